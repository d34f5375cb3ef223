//! A stored response is the answer.

use std::ops::{Deref, Range};
use std::time::{Duration, SystemTime};

use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderValue};
use http::{StatusCode, Version};

use super::continuation::Continuation;
use crate::backend::{Candidates, Entry, Source, StoredBody};
use crate::header::common_values;
use crate::header::range::{self, ByteRange, Part};
use crate::info::{CacheInfo, Outcome, Storing};
use crate::reason::Reason;
use crate::rules::conditional;

/// A stored response that answers a request.
#[derive(Debug)]
pub struct Reuse<'a> {
    pub(super) entry: Found<'a>,
    pub(super) reason: Reason,
    pub(super) is_validated: bool,
    pub(super) answering: Answering,
}

/// The stored response: by itself, or among those that a lookup brought, which need not be copied then, or still in
/// the store.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Alone(Entry),
    Among(Candidates, usize),
    Seen(&'a Entry),
}

impl Deref for Found<'_> {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        match self {
            Self::Alone(entry) => entry,
            Self::Among(candidates, index) => &candidates[*index],
            Self::Seen(entry) => entry,
        }
    }
}

/// What of the stored response is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answering {
    Whole,
    /// To HEAD.
    HeadOnly,
    /// 304, to the caller's own precondition.
    NotModified,
    /// 206, to the caller's `Range`.
    Part(Part),
    /// 416: no byte of this length is in the caller's `Range`.
    Unsatisfiable(u64),
}

impl Answering {
    /// In the order of RFC 9110 §13.2.2.
    #[inline]
    pub(super) fn of(is_head: bool, request: &HeaderMap, entry: &Entry) -> Self {
        let stored = &*entry.head;
        if conditional::is_not_modified(request, stored) {
            return Self::NotModified;
        }
        if is_head {
            return Self::HeadOnly;
        }
        let length = stored
            .part
            .as_ref()
            .map_or(entry.body.len(), |part| part.length);
        let can_be_cut = stored.status == StatusCode::OK || stored.part.is_some();
        match ByteRange::read(request) {
            Some(range) if can_be_cut && conditional::is_range_wanted(request, stored) => {
                match range.of(length) {
                    // The last bytes of nothing: satisfiable, but no `Content-Range` can say so.
                    None if length == 0 && matches!(range, ByteRange::Suffix(1..)) => Self::Whole,
                    Some(bytes) => Self::Part(Part { bytes, length }),
                    None => Self::Unsatisfiable(length),
                }
            }
            _ => Self::Whole,
        }
    }
}

impl Reuse<'_> {
    /// The status code to send.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.answering {
            Answering::Whole | Answering::HeadOnly => self.entry.head.status,
            Answering::NotModified => StatusCode::NOT_MODIFIED,
            Answering::Part(_) => StatusCode::PARTIAL_CONTENT,
            Answering::Unsatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// The version that the stored response came in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.entry.head.version
    }

    /// The header section to send, with its `Age` (RFC 9111 §5.1).
    #[must_use]
    #[inline]
    pub fn headers(&self, now: SystemTime) -> HeaderMap {
        let head = &*self.entry.head;
        let mut headers = head.headers.clone();
        if !self.is_validated {
            // RFC 9111 §5.2.2.4: these are not for reuse without validation.
            for name in &head.freshness.no_cache_fields {
                headers.remove(name);
            }
        }
        // So that nobody takes it as fresh.
        let age = head.known_age(now).unwrap_or(Duration::MAX);
        let age = seconds(age.as_secs().min(MOST_AGE));
        match headers.iter_mut().next() {
            Some((name, place)) if *name == AGE => *place = age,
            _ => {
                headers.insert(AGE, age);
            }
        }
        match &self.answering {
            Answering::Whole | Answering::HeadOnly => {}
            Answering::NotModified => conditional::into_not_modified(&mut headers),
            Answering::Part(part) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(part.len()));
                set_content_range(&mut headers, part.content_range());
            }
            Answering::Unsatisfiable(length) => {
                // It says nothing of the content, so nothing that is said of that is for it.
                let date = headers.remove(DATE);
                headers.clear();
                headers.extend(date.map(|date| (DATE, date)));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
                set_content_range(&mut headers, range::unsatisfied(*length));
            }
        }
        headers
    }

    /// The body to send, and which of its bytes, if any are.
    #[must_use]
    #[inline]
    pub fn body(&self) -> Option<(&StoredBody, Range<u64>)> {
        let body = &self.entry.body;
        match &self.answering {
            Answering::Whole => Some((body, 0..body.len())),
            Answering::Part(part) => {
                let start = self
                    .entry
                    .head
                    .part
                    .as_ref()
                    .map_or(0, |stored| stored.bytes.start);
                let bytes =
                    part.bytes.start.checked_sub(start)?..part.bytes.end.checked_sub(start)?;
                Some((body, bytes))
            }
            _ => None,
        }
    }

    /// The stored response.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether the origin validated it just now.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.is_validated
    }

    /// Whether there is a body to send that is still in the store.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.entry.body.source(), Source::Remote(_)) && self.body().is_some()
    }

    /// How to go on from the origin where the body cannot be read to its end; `None`: there is no
    /// strong entity tag that would tell whether it is the same.
    #[must_use]
    pub fn continuation(&self) -> Option<Continuation> {
        let head = &*self.entry.head;
        let stored = self.entry.body.len();
        let (bytes, length) = match (&self.answering, &head.part) {
            (Answering::Part(part), _) => (part.bytes.clone(), part.length),
            (Answering::Whole, Some(part)) => (part.bytes.clone(), part.length),
            (Answering::Whole, None) if head.status == StatusCode::OK => (0..stored, stored),
            _ => return None,
        };
        Continuation::of(head.headers.get(ETAG)?, bytes, length)
    }

    /// What there is to say of it.
    #[must_use]
    pub fn info(&self, now: SystemTime) -> CacheInfo {
        let head = &*self.entry.head;
        let (age, lifetime) = (head.known_age(now), head.freshness.lifetime);
        let remaining = age.map_or(Duration::ZERO, |age| lifetime.saturating_sub(age));
        let outcome = match () {
            () if self.is_validated => Outcome::Revalidated,
            () if remaining.is_zero() => Outcome::StaleHit,
            () => Outcome::Hit,
        };
        CacheInfo {
            age: Some(age.unwrap_or(head.freshness.initial_age)),
            remaining: Some(remaining),
            stale_for: Some(age.map_or(Duration::MAX, |age| age.saturating_sub(lifetime))),
            ..CacheInfo::unstored(outcome, self.reason, Storing::Stored).with_stored(head)
        }
    }
}

/// As much as an age is, where it is more (RFC 9111 §1.2.2).
const MOST_AGE: u64 = 1 << 31;

/// A number of seconds.
fn seconds(seconds: u64) -> HeaderValue {
    common_values::number(seconds)
        .map_or_else(|| HeaderValue::from(seconds), HeaderValue::from_static)
}

fn set_content_range(headers: &mut HeaderMap, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(CONTENT_RANGE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_numbers_are() {
        for number in (0..10_010).chain([99_999, u64::MAX]) {
            assert_eq!(seconds(number), HeaderValue::from(number));
        }
    }
}
