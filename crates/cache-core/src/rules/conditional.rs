//! Preconditions: those of the caller, answered from the store (RFC 9111 §4.3.2), and ours, sent to
//! the origin (§4.3.1).

use std::fmt;
use std::time::Duration;

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED,
};

use crate::header::date;
use crate::header::entity_tag::{EntityTag, tags};
use crate::rules::freshness::elapsed;
use crate::stored::StoredHead;

/// Whether a request has a precondition that only the origin can evaluate (RFC 9110 §13.1.1, §13.1.4).
pub(crate) fn is_for_origin(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE)
}

/// Whether the caller has the stored response already, so that 304 answers it.
pub(crate) fn is_not_modified(headers: &HeaderMap, stored: &StoredHead) -> bool {
    // RFC 9110 §13.2.1: a precondition counts only where the answer would otherwise be a success.
    if !stored.status.is_success() {
        return false;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        return tags(headers, &IF_NONE_MATCH).any(|tag| {
            tag == EntityTag::parse(b"*")
                || stored
                    .etag()
                    .is_some_and(|stored| stored.weakly_matches(tag))
        });
    }
    // §4.3.2: without Last-Modified, the date of the response stands in.
    let modified_at = || stored.last_modified().unwrap_or(stored.freshness.dated_at);
    date::read(headers, &IF_MODIFIED_SINCE).is_some_and(|since| modified_at() <= since)
}

/// Whether the caller's `If-Range` lets its `Range` count (RFC 9110 §13.1.5).
pub(crate) fn is_range_wanted(headers: &HeaderMap, stored: &StoredHead) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else {
        return true;
    };
    let condition = condition.as_bytes();
    match date::parse(condition) {
        None => stored
            .etag()
            .is_some_and(|etag| etag.strongly_matches(EntityTag::parse(condition))),
        // A date is strong only where the response is at least a second younger (§8.8.2.2).
        Some(since) => stored.last_modified().is_some_and(|modified_at| {
            modified_at == since
                && elapsed(modified_at, stored.freshness.dated_at) >= Duration::from_secs(1)
        }),
    }
}

/// The validators that were sent for a stored response.
#[derive(Clone)]
pub(crate) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl fmt::Debug for Validators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validators(..)")
    }
}

impl Validators {
    pub(crate) fn of(stored: &StoredHead) -> Option<Self> {
        let last_modified = stored
            .last_modified()
            .and_then(|_| stored.headers.get(LAST_MODIFIED));
        let validators = Self {
            etag: stored.headers.get(ETAG).cloned(),
            last_modified: last_modified.cloned(),
        };
        (validators.etag.is_some() || validators.last_modified.is_some()).then_some(validators)
    }

    /// Puts them in the place of the caller's preconditions.
    ///
    /// Deliberately without the caller's entity tags, which RFC 9111 §4.3.2 lets a cache add: a 304
    /// that names no tag could then be for either of us.
    pub(crate) fn precondition(&self, headers: &mut HeaderMap) {
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
            headers.remove(name);
        }
        if let Some(etag) = &self.etag {
            headers.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some(last_modified) = &self.last_modified {
            headers.insert(IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// Whether a 304 with these fields answers them (RFC 9111 §4.3.4).
    pub(crate) fn are_answered_by(&self, not_modified: &HeaderMap) -> bool {
        let ours = self
            .etag
            .as_ref()
            .map(|etag| EntityTag::parse(etag.as_bytes()));
        let theirs = not_modified
            .get(ETAG)
            .map(|etag| EntityTag::parse(etag.as_bytes()));
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => ours.weakly_matches(theirs),
            // A strong tag that we do not have names another representation.
            (None, Some(theirs)) => !theirs.is_strong() && self.has_same_date(not_modified),
            // Many origins leave the tag out; nothing but ours was sent.
            (_, None) => self.has_same_date(not_modified),
        }
    }

    fn has_same_date(&self, not_modified: &HeaderMap) -> bool {
        match (&self.last_modified, not_modified.get(LAST_MODIFIED)) {
            (Some(ours), Some(theirs)) => {
                date::parse(ours.as_bytes()) == date::parse(theirs.as_bytes())
            }
            _ => true,
        }
    }
}

/// Turns the fields of a 200 into those of the 304 that stands for it (RFC 9110 §15.4.5).
pub(crate) fn into_not_modified(headers: &mut HeaderMap) {
    for name in DESCRIBES_CONTENT {
        headers.remove(name);
    }
    if headers.contains_key(ETAG) {
        headers.remove(LAST_MODIFIED);
    }
}

const DESCRIBES_CONTENT: [HeaderName; 5] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
];
