//! A stored response is the answer.

use std::time::SystemTime;

use http::header::{AGE, HeaderMap, HeaderValue};
use http::{StatusCode, Version};

use crate::backend::{Entry, StoredBody};
use crate::info::{CacheInfo, Outcome, Storing};
use crate::reason::Reason;
use crate::rules::conditional;
use crate::stored::StoredHead;

/// A stored response that answers a request.
#[derive(Debug)]
pub struct Reuse {
    pub(super) entry: Entry,
    pub(super) reason: Reason,
    pub(super) is_validated: bool,
    pub(super) answering: Answering,
}

/// Which part of the stored response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answering {
    Whole,
    /// To HEAD.
    HeadOnly,
    /// 304, to the caller's own precondition.
    NotModified,
}

impl Answering {
    pub(super) fn of(is_head: bool, request: &HeaderMap, stored: &StoredHead) -> Self {
        if conditional::is_not_modified(request, stored) {
            Self::NotModified
        } else if is_head {
            Self::HeadOnly
        } else {
            Self::Whole
        }
    }
}

impl Reuse {
    /// The status code to send.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.answering {
            Answering::NotModified => StatusCode::NOT_MODIFIED,
            _ => self.entry.head.status,
        }
    }

    /// The version that the stored response came in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.entry.head.version
    }

    /// The header section to send, with its `Age` (RFC 9111 §5.1).
    #[must_use]
    pub fn headers(&self, now: SystemTime) -> HeaderMap {
        let head = &*self.entry.head;
        let mut headers = head.headers.clone();
        headers.insert(AGE, HeaderValue::from(head.age(now).as_secs()));
        if !self.is_validated {
            // RFC 9111 §5.2.2.4: these are not for reuse without validation.
            for name in &head.freshness.no_cache_fields {
                headers.remove(name);
            }
        }
        if self.answering == Answering::NotModified {
            conditional::into_not_modified(&mut headers);
        }
        headers
    }

    /// The body to send, if any is.
    #[must_use]
    pub fn body(&self) -> Option<&StoredBody> {
        (self.answering == Answering::Whole).then_some(&self.entry.body)
    }

    /// What there is to say of it.
    #[must_use]
    pub fn info(&self, now: SystemTime) -> CacheInfo {
        let remaining = self.entry.head.remaining(now);
        let outcome = match () {
            () if self.is_validated => Outcome::Revalidated,
            () if remaining.is_zero() => Outcome::StaleHit,
            () => Outcome::Hit,
        };
        CacheInfo {
            outcome,
            reason: self.reason,
            storing: Storing::Stored,
            age: Some(self.entry.head.age(now)),
            remaining: Some(remaining),
        }
    }
}
