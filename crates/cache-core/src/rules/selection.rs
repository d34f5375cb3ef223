//! Which stored responses match a request (RFC 9111 §4.1).

use http::header::HeaderMap;

use crate::header::vary::{Vary, normalise};
use crate::key::{Digest, PrimaryKey, Secret};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::stored::{SelectingField, StoredHead};
use http::header::HeaderName;

/// The fields that a response was selected by, with the values they have in `request`.
pub(crate) fn selecting(
    policy: &Policy,
    request: &HeaderMap,
    response: &HeaderMap,
) -> Result<Vec<SelectingField>, Reason> {
    match Vary::read(response) {
        Vary::Any => Err(Reason::VaryStar),
        Vary::Fields(names) if names.len() > MAX_FIELDS => Err(Reason::VaryTooLong),
        Vary::Fields(names) => Ok(names
            .into_iter()
            .map(|name| SelectingField {
                value: digest(policy, request, &name),
                name,
            })
            .collect()),
    }
}

/// Whether `stored` was selected by the fields that `request` has, under the same key.
pub(crate) fn matches(
    policy: &Policy,
    key: &PrimaryKey,
    request: &HeaderMap,
    stored: &StoredHead,
) -> bool {
    stored.key == *key
        && stored
            .selecting
            .iter()
            .all(|field| field.value == digest(policy, request, &field.name))
}

/// The keyed digest of a field's value, so that the value itself is nowhere at rest.
pub(crate) fn digest(policy: &Policy, request: &HeaderMap, name: &HeaderName) -> Option<Digest> {
    let value = normalise(request, name)?;
    let mut digest = policy.secret.digest(b"vary");
    digest.field(name.as_str().as_bytes());
    digest.field(&value);
    Some(digest.finish())
}

/// One digest over names and values: what tells variants of one key apart.
pub(crate) fn variant<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, Option<Digest>)>,
) -> Digest {
    let mut digest = Secret::none().digest(b"variant");
    for (name, value) in fields {
        digest.field(name.as_str().as_bytes());
        digest.field(value.as_ref().map_or(&[], |value| value));
    }
    digest.finish()
}

/// More fields than this are not worth telling apart.
const MAX_FIELDS: usize = 32;
