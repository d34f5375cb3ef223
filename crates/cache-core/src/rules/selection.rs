//! Which stored responses match a request (RFC 9111 §4.1).

use http::header::HeaderMap;

use crate::backend::Entry;
use crate::header::vary::{Vary, normalise};
use crate::key::{Digest, PrimaryKey, Secret};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::stored::SelectingField;
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

/// Tells which stored responses match a request.
pub(crate) struct Selector<'a> {
    policy: &'a Policy,
    key: &'a PrimaryKey,
    request: &'a HeaderMap,
    /// The digests of the fields that were needed so far.
    digests: Vec<SelectingField>,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(policy: &'a Policy, key: &'a PrimaryKey, request: &'a HeaderMap) -> Self {
        Self {
            policy,
            key,
            request,
            digests: Vec::new(),
        }
    }

    /// Whether a stored response is for the same key, was selected by the values that the request
    /// has, and is whole, as far as its head can tell.
    pub(crate) fn matches(&mut self, entry: &Entry) -> bool {
        let head = &*entry.head;
        head.key == *self.key
            && head
                .content_length
                .is_none_or(|length| length == entry.body.len())
            && head
                .selecting
                .iter()
                .all(|field| self.value(&field.name) == field.value)
    }

    fn value(&mut self, name: &HeaderName) -> Option<Digest> {
        if let Some(known) = self.digests.iter().find(|known| known.name == *name) {
            return known.value;
        }
        let value = digest(self.policy, self.request, name);
        self.digests.push(SelectingField {
            name: name.clone(),
            value,
        });
        value
    }
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
