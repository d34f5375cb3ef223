//! Updating a stored response from a newer one without content (RFC 9111 §3.2, §4.3.4, §4.3.5).

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, LAST_MODIFIED, TRAILER,
};

use crate::header::connection;
use crate::header::entity_tag::EntityTag;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::storing::{self, Asked, Received, content_length};
use crate::stored::StoredHead;

/// The fields of `stored` with those of `newer` in their place; all but those that RFC 9111 §3.2
/// excepts.
pub(crate) fn update(stored: &StoredHead, newer: &HeaderMap) -> HeaderMap {
    let mut newer = newer.clone();
    connection::strip_hop_by_hop(&mut newer);
    // What the stored content depends on, and what belongs to one message.
    for name in [CONTENT_LENGTH, CONTENT_RANGE, TRAILER] {
        newer.remove(name);
    }
    let mut headers = stored.headers.clone();
    // Both are of the message that they came in, not of the representation.
    headers.remove(AGE);
    headers.remove(DATE);
    for name in newer.keys() {
        headers.remove(name);
    }
    for (name, value) in &newer {
        headers.append(name, value.clone());
    }
    headers
}

/// The head of `stored` as `newer` freshens it, and why it is not to be kept, if it is not.
pub(crate) fn freshen(
    policy: &Policy,
    asked: &Asked,
    stored: &StoredHead,
    newer: &Received<'_>,
) -> (StoredHead, Result<(), Reason>) {
    let headers = update(stored, newer.headers);
    let merged = Received {
        status: stored.status,
        version: stored.version,
        headers: &headers,
        received_at: newer.received_at,
    };
    match storing::store(policy, asked, &merged) {
        Ok(head) => (head, Ok(())),
        Err(reason) => (
            StoredHead {
                headers,
                received_at: newer.received_at,
                ..stored.clone()
            },
            Err(reason),
        ),
    }
}

/// Whether the response to a HEAD request describes the stored response to GET (RFC 9111 §4.3.5).
pub(crate) fn describes(head: &HeaderMap, stored: &StoredHead) -> bool {
    let tag = |headers: &HeaderMap| headers.get(ETAG).map(|etag| etag.as_bytes().to_vec());
    let same_tag = match (tag(head), tag(&stored.headers)) {
        (Some(new), Some(old)) => EntityTag::parse(&new) == EntityTag::parse(&old),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let same_date = match head.get(LAST_MODIFIED) {
        Some(new) => stored.headers.get(LAST_MODIFIED) == Some(new),
        None => true,
    };
    let same_length = match (content_length(head), content_length(&stored.headers)) {
        (Some(new), Some(old)) => new == old,
        _ => true,
    };
    same_tag && same_date && same_length
}
