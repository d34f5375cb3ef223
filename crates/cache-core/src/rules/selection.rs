//! Which stored responses match a request (RFC 9111 §4.1).

use http::header::HeaderMap;

use crate::backend::Entry;
use crate::header::range::{ByteRange, Part};
use crate::header::vary::{Vary, normalise};
use crate::key::{Digest, PrimaryKey, Secret};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::conditional;
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

/// Adds fields that a response was selected by though it does not say so.
pub(crate) fn select_by(
    policy: &Policy,
    request: &HeaderMap,
    names: impl IntoIterator<Item = HeaderName>,
    selecting: &mut Vec<SelectingField>,
) {
    for name in names {
        if !selecting.iter().any(|field| field.name == name) {
            selecting.push(SelectingField {
                value: digest(policy, request, &name),
                name,
            });
        }
    }
}

/// Tells which stored responses match a request.
pub(crate) struct Selector<'a> {
    policy: &'a Policy,
    key: &'a PrimaryKey,
    request: &'a HeaderMap,
    /// What of the content is asked for, where it is not the whole.
    range: Option<ByteRange>,
    /// The digests of the fields that were needed so far.
    digests: Vec<SelectingField>,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        key: &'a PrimaryKey,
        request: &'a HeaderMap,
        is_head: bool,
    ) -> Self {
        Self {
            policy,
            key,
            request,
            range: ByteRange::read(request).filter(|_| !is_head),
            digests: Vec::new(),
        }
    }

    /// Whether a stored response is for the same key, and was selected by the values that the
    /// request has.
    pub(crate) fn selects(&mut self, head: &StoredHead) -> bool {
        head.key == *self.key
            && head
                .selecting
                .iter()
                .all(|field| self.value(&field.name) == field.value)
    }

    /// Whether a stored response is whole, as far as its head can tell, or has the part that is
    /// asked for.
    pub(crate) fn has_content(&self, entry: &Entry) -> bool {
        let (head, length) = (&*entry.head, entry.body.len());
        head.content_length
            .is_none_or(|announced| announced == length)
            && head
                .part
                .as_ref()
                .is_none_or(|part| self.wants(head, part, length))
    }

    /// Whether a stored part, of which `length` bytes are there, has all that the request asks for.
    fn wants(&self, head: &StoredHead, part: &Part, length: u64) -> bool {
        let range = self.range.and_then(|range| range.of(part.length));
        range.is_some_and(|range| part.len() == length && part.contains(&range))
            && conditional::is_range_wanted(self.request, head)
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
