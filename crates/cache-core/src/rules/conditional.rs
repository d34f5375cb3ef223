//! Preconditions: those of the caller, answered from the store (RFC 9111 §4.3.2), and ours, sent to
//! the origin (§4.3.1).

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};

use crate::header::date;
use crate::header::entity_tag::{EntityTag, is_well_formed, tags};
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

/// The validators that were sent for a stored response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    /// The caller's own tags went along, so that not every 304 is for us.
    has_others: bool,
}

impl Validators {
    pub(crate) fn of(stored: &StoredHead) -> Option<Self> {
        let last_modified = stored
            .last_modified()
            .and_then(|_| stored.headers.get(LAST_MODIFIED));
        let validators = Self {
            etag: stored.headers.get(ETAG).cloned(),
            last_modified: last_modified.cloned(),
            has_others: false,
        };
        (validators.etag.is_some() || validators.last_modified.is_some()).then_some(validators)
    }

    /// Puts them in the place of the caller's preconditions.
    ///
    /// The caller's entity tags are kept behind ours (RFC 9111 §4.3.2), so that the origin can
    /// answer 304 to what only the caller has. `Range` goes: the whole is asked for.
    pub(crate) fn precondition(&mut self, headers: &mut HeaderMap) {
        headers.remove(IF_MODIFIED_SINCE);
        headers.remove(RANGE);
        if let Some(ours) = &self.etag {
            let ours_parsed = EntityTag::parse(ours.as_bytes());
            let others: Vec<&[u8]> = headers
                .get_all(IF_NONE_MATCH)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect();
            let repeats = || tags(headers, &IF_NONE_MATCH).all(|tag| tag == ours_parsed);
            if others.is_empty() || repeats() || !is_well_formed(ours.as_bytes()) {
                headers.insert(IF_NONE_MATCH, ours.clone());
            } else {
                self.has_others = true;
                let mut list = ours.as_bytes().to_vec();
                for other in others {
                    list.extend_from_slice(b", ");
                    list.extend_from_slice(other);
                }
                let list = HeaderValue::from_bytes(&list).unwrap_or_else(|_| ours.clone());
                headers.insert(IF_NONE_MATCH, list);
            }
        } else {
            headers.remove(IF_NONE_MATCH);
        }
        if let Some(last_modified) = &self.last_modified {
            headers.insert(IF_MODIFIED_SINCE, last_modified.clone());
        }
    }

    /// Whether the caller's own entity tags were sent, too.
    pub(crate) fn has_others(&self) -> bool {
        self.has_others
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
            // Many origins leave the tag out; then it is ours, if only ours was sent.
            (_, None) => !self.has_others && self.has_same_date(not_modified),
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
