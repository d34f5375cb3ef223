//! The request is about to be looked up.

use std::time::SystemTime;

use http::StatusCode;

use super::forward::Forward;
use super::reuse::{Answering, Reuse};
use crate::backend::{Candidates, Entry, Query};
use crate::header::cache_control::RequestDirectives;
use crate::header::range::ByteRange;
use crate::key::PrimaryKey;
use crate::mode::CacheMode;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::{Fields, RequestHead};
use crate::rules::conditional::Validators;
use crate::rules::reuse::{Reusing, reuse};
use crate::rules::selection::Selector;
use crate::rules::storing::Asked;
use crate::stored::StoredHead;

/// A request whose key is known.
#[derive(Debug)]
pub struct Lookup {
    pub(super) key: PrimaryKey,
    pub(super) fields: Fields,
    pub(super) directives: RequestDirectives,
    pub(super) mode: CacheMode,
    pub(super) is_head: bool,
    pub(super) asked_at: SystemTime,
}

/// What may follow a look into the store.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the engine has to handle every state"
)]
pub enum AfterLookup {
    /// Answer with it.
    Reuse(Reuse),
    /// Answer with it, and validate it in the background with the request itself.
    ReuseWhileRevalidating(Reuse, Forward),
    /// Ask the origin.
    Forward(Forward),
    /// Answer 504 (RFC 9111 §5.2.1.7).
    Unsatisfiable(Reason),
}

impl Lookup {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrimaryKey {
        &self.key
    }

    /// What to ask the backend for.
    #[must_use]
    pub fn query<'a>(&'a self, policy: &'a Policy, request: RequestHead<'a>) -> Query<'a> {
        Query::new(policy, &self.key, request)
    }

    /// Selects among what was found, and judges it (RFC 9111 §4).
    #[must_use]
    pub fn next(
        self,
        policy: &Policy,
        request: &RequestHead<'_>,
        candidates: &Candidates,
        now: SystemTime,
    ) -> AfterLookup {
        let range = if self.fields.range && !self.is_head {
            ByteRange::read(request.headers)
        } else {
            None
        };
        let mut selector = Selector::new(policy, &self.key, request.headers, range);
        let mut is_selected = false;
        let mut best: Option<&Entry> = None;
        for entry in &**candidates {
            if !selector.selects(&entry.head) {
                continue;
            }
            is_selected = true;
            let is_better =
                |best: &Entry| preference(&best.head, now) <= preference(&entry.head, now);
            if selector.has_content(entry) && best.is_none_or(is_better) {
                best = Some(entry);
            }
        }
        let Some(entry) = best else {
            let reason = match () {
                () if is_selected => Reason::PartialMiss,
                () if candidates.is_known() => Reason::VaryMiss,
                () => Reason::UriMiss,
            };
            return self.forward(request, None, reason);
        };
        match reuse(policy, &self.directives, self.mode, &entry.head, now) {
            Reusing::Allowed(reason) => AfterLookup::Reuse(self.reuse(request, entry, reason)),
            Reusing::AllowedWhileRevalidating => {
                let reuse = self.reuse(request, entry, Reason::StaleWhileRevalidate);
                let validators = Validators::of(&entry.head);
                let asked = self.ask(request);
                let forward = Forward::new(asked, Some(entry.clone()), validators, Reason::Stale);
                let forward = forward.for_nobody();
                AfterLookup::ReuseWhileRevalidating(reuse, forward)
            }
            Reusing::Refused(reason) => self.forward(request, Some(entry.clone()), reason),
        }
    }

    /// Goes on without the store, which failed.
    #[must_use]
    pub fn next_without_store(self, request: &RequestHead<'_>) -> AfterLookup {
        self.forward(request, None, Reason::BackendUnavailable)
    }

    fn reuse(&self, request: &RequestHead<'_>, entry: &Entry, reason: Reason) -> Reuse {
        let fields = self.fields;
        let answering = if self.is_head || fields.preconditions || fields.range {
            Answering::of(self.is_head, request.headers, entry)
        } else {
            Answering::Whole
        };
        Reuse {
            entry: entry.clone(),
            reason,
            is_validated: false,
            answering,
        }
    }

    fn forward(
        self,
        request: &RequestHead<'_>,
        entry: Option<Entry>,
        reason: Reason,
    ) -> AfterLookup {
        if self.wants_stored_only() {
            return AfterLookup::Unsatisfiable(Reason::OnlyIfCached);
        }
        let validators = entry.as_ref().and_then(|entry| Validators::of(&entry.head));
        AfterLookup::Forward(Forward::new(self.ask(request), entry, validators, reason))
    }

    pub(super) fn wants_stored_only(&self) -> bool {
        self.directives.only_if_cached || self.mode == CacheMode::OnlyIfCached
    }

    pub(super) fn ask(self, request: &RequestHead<'_>) -> Asked {
        super::ask(request, self.key, self.directives, self.asked_at)
    }
}

/// Of several responses, one with a known place comes first, then a fresh one, then one that was
/// selected by something before one that has no `Vary` (RFC 9111 §4.1), then the most recent.
fn preference(head: &StoredHead, now: SystemTime) -> impl Ord + use<> {
    let is_part = head.status == StatusCode::PARTIAL_CONTENT;
    let has_place = !is_part || head.part.is_some();
    let is_fresh = !head.remaining(now).is_zero();
    let dated_at = head.freshness.dated_at;
    (
        has_place,
        is_fresh,
        !head.selecting.is_empty(),
        dated_at,
        head.received_at,
        !is_part,
    )
}
