//! Updating a stored response from a newer one without content (RFC 9111 §3.2, §4.3.4, §4.3.5).

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, LAST_MODIFIED, SET_COOKIE, TRAILER,
};

use crate::header::cache_control::ResponseDirectives;
use crate::header::connection;
use crate::header::entity_tag::EntityTag;
use crate::policy::{Policy, Terms};
use crate::reason::Reason;
use crate::rules::storing::{
    Asked, Received, content_length, describe, has_explicit_lifetime, store,
};
use crate::stored::StoredHead;

/// The fields of `stored` with those of `newer` in their place; all but those that RFC 9111 §3.2
/// excepts.
fn merge(stored: &StoredHead, newer: &HeaderMap) -> HeaderMap {
    let mut newer = newer.clone();
    connection::strip_hop_by_hop(&mut newer);
    // What the stored content depends on, and what belongs to one message.
    for name in [CONTENT_LENGTH, CONTENT_RANGE, TRAILER] {
        newer.remove(name);
    }
    // The tag that the content came with stays: the newer one is the same, or a weaker or stronger
    // form of it, and whether bytes are equal to these is known of this one only.
    if stored.headers.contains_key(ETAG) {
        newer.remove(ETAG);
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

/// A stored head, freshened.
#[derive(Debug)]
pub(crate) struct Freshened {
    /// With all fields, for the one who asked.
    pub(crate) answer: StoredHead,
    /// What is kept of it, or why nothing is.
    pub(crate) kept: Result<StoredHead, Reason>,
}

/// Freshens `stored` by `newer`.
pub(crate) fn freshen(
    policy: &Policy,
    asked: &Asked,
    stored: &StoredHead,
    newer: &Received<'_>,
) -> Freshened {
    let mut headers = merge(stored, newer.headers);
    let updated = merged(stored, newer, &headers);
    let terms = Terms::of(policy, asked, &updated);
    let directives = terms.directives(&headers);
    let answer = describe(&terms, asked, &updated, &directives);
    let answer = StoredHead {
        part: stored.part.clone(),
        ..answer
    };
    if newer.headers.contains_key(SET_COOKIE) && !says_that_it_may_be_stored(policy, newer.headers)
    {
        // The lifetime that the stored response gave itself was given without this cookie.
        headers.remove(SET_COOKIE);
    }
    Freshened {
        answer,
        kept: store(policy, asked, &merged(stored, newer, &headers)),
    }
}

/// The stored response with these fields, as if it had come now.
fn merged<'a>(stored: &StoredHead, newer: &Received<'_>, headers: &'a HeaderMap) -> Received<'a> {
    Received {
        status: stored.status,
        version: stored.version,
        headers,
        received_at: newer.received_at,
    }
}

fn says_that_it_may_be_stored(policy: &Policy, headers: &HeaderMap) -> bool {
    has_explicit_lifetime(policy, headers)
        || ResponseDirectives::read(headers, &policy.targets).public
}

/// Whether the response to a HEAD request describes the stored response to GET (RFC 9111 §4.3.5).
pub(crate) fn describes(head: &HeaderMap, stored: &StoredHead, length: u64) -> bool {
    let same_tag = match (head.get(ETAG), stored.etag()) {
        (Some(new), Some(old)) => EntityTag::parse(new.as_bytes()) == old,
        (Some(_), None) => false,
        (None, _) => true,
    };
    let same_date = match head.get(LAST_MODIFIED) {
        Some(new) => stored.headers.get(LAST_MODIFIED) == Some(new),
        None => true,
    };
    let same_length = content_length(head).is_none_or(|announced| announced == length);
    same_tag && same_date && same_length
}
