//! A request that may change something at the origin.

use std::time::SystemTime;

use http::{Method, StatusCode};

use super::ResponseHead;
use crate::key::PrimaryKey;
use crate::policy::Policy;
use crate::rules::invalidation::{describes_target, invalidated};
use crate::rules::storing::{Asked, Received, has_explicit_lifetime, store};
use crate::stored::StoredHead;

/// A request with an unsafe method, on its way to the origin.
#[derive(Debug)]
pub struct Unsafe {
    pub(super) asked: Box<Asked>,
    /// It invalidates, and nothing is stored.
    pub(super) is_disabled: bool,
}

/// What follows the response to it.
#[derive(Debug)]
#[non_exhaustive]
pub struct AfterUnsafe {
    /// The keys that it makes invalid (RFC 9111 §4.4), to be removed before the answer is given.
    pub invalidate: Vec<PrimaryKey>,
    /// The head to store it under, where it is what a GET would get (RFC 9110 §9.3.3).
    pub store: Option<StoredHead>,
}

impl Unsafe {
    /// The request is sent now (RFC 9111 §4.2.3: `request_time`).
    pub fn prepare(&mut self, now: SystemTime) {
        self.asked.asked_at = now;
    }

    /// Judges the response.
    #[must_use]
    pub fn next(self, policy: &Policy, response: ResponseHead<'_>, now: SystemTime) -> AfterUnsafe {
        let asked = &self.asked;
        if asked.read_only {
            return AfterUnsafe {
                invalidate: Vec::new(),
                store: None,
            };
        }
        let request = asked.head();
        let invalidate = invalidated(&request, response.status, response.headers)
            .iter()
            .flat_map(|uri| PrimaryKey::derive_changed(policy, &request, uri))
            .collect();
        let is_what_get_gets = !self.is_disabled
            && asked.method == Method::POST
            && response.status == StatusCode::OK
            && has_explicit_lifetime(policy, response.headers)
            && describes_target(&request, response.headers);
        let store = is_what_get_gets.then(|| {
            let received = Received {
                status: response.status,
                version: response.version,
                headers: response.headers,
                received_at: now,
            };
            store(policy, asked, &received).ok().map(|head| StoredHead {
                // It is what the target is like after the change that makes older answers invalid.
                requested_at: now,
                ..head
            })
        });
        AfterUnsafe {
            invalidate,
            store: store.flatten(),
        }
    }
}
