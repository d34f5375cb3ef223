//! The request is about to be looked up.

use std::time::SystemTime;

use http::StatusCode;

use super::forward::Forward;
use super::reuse::{Answering, Found, Reuse};
use crate::backend::{Candidates, Entry, Query};
use crate::header::cache_control::RequestDirectives;
use crate::header::range::ByteRange;
use crate::key::PrimaryKey;
use crate::mode::CacheMode;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::{Fields, RequestHead};
use crate::rules::conditional::Validators;
use crate::rules::reuse::{Reusing, is_due_early, reuse};
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
    pub(super) read_only: bool,
    pub(super) is_head: bool,
    pub(super) asked_at: SystemTime,
    pub(super) early: Option<u64>,
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
    /// Answer with it, and validate it in the background with the request itself: it is stale, or will
    /// be soon.
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

    /// The same, where what is found may be brought up to date before it is stale, if the policy says
    /// so. The seed is the process's: by it is drawn when that is due.
    #[must_use]
    pub fn refreshing_early(self, seed: u64) -> Self {
        Self {
            early: Some(seed),
            ..self
        }
    }

    /// Selects among what was found, and judges it (RFC 9111 §4).
    #[must_use]
    pub fn next(
        self,
        policy: &Policy,
        request: &RequestHead<'_>,
        candidates: Candidates,
        now: SystemTime,
    ) -> AfterLookup {
        let range = if self.fields.range && !self.is_head {
            ByteRange::read(request.headers)
        } else {
            None
        };
        let mut selector =
            Selector::new(policy, &self.key, request.headers, range, candidates.len());
        let mut is_selected = false;
        let mut best: Option<(usize, &Entry)> = None;
        for (index, entry) in candidates.iter().enumerate() {
            if !selector.selects(&entry.head) {
                continue;
            }
            is_selected = true;
            let is_better = |(_, best): (usize, &Entry)| {
                preference(&best.head, now) <= preference(&entry.head, now)
            };
            if selector.has_content(entry) && best.is_none_or(is_better) {
                best = Some((index, entry));
            }
        }
        let Some((index, entry)) = best else {
            let reason = match () {
                () if is_selected => Reason::PartialMiss,
                () if candidates.is_known() => Reason::VaryMiss,
                () => Reason::UriMiss,
            };
            return self.forward(request, None, reason);
        };
        if let Some(filters) = &policy.filters {
            if !filters.permit_reuse(request, &entry.head) {
                return self.rejected(request, entry.clone());
            }
        }
        match reuse(policy, &self.directives, self.mode, &entry.head, now) {
            Reusing::Allowed(Reason::Fresh) if self.refreshes_early(policy, entry, now) => {
                let reuse = self.reuse(request, candidates, index, Reason::EarlyRefresh);
                self.while_revalidating(request, reuse, Reason::EarlyRefresh)
            }
            Reusing::Allowed(reason) => {
                AfterLookup::Reuse(self.reuse(request, candidates, index, reason))
            }
            Reusing::AllowedWhileRevalidating => {
                let reason = Reason::StaleWhileRevalidate;
                let reuse = self.reuse(request, candidates, index, reason);
                match self.read_only {
                    // There is nothing that a validation could be written to.
                    true => AfterLookup::Reuse(reuse),
                    false => self.while_revalidating(request, reuse, Reason::Stale),
                }
            }
            Reusing::Refused(reason) => self.forward(request, Some(entry.clone()), reason),
        }
    }

    /// Goes on without the store, which failed.
    #[must_use]
    pub fn next_without_store(self, request: &RequestHead<'_>) -> AfterLookup {
        self.forward(request, None, Reason::BackendUnavailable)
    }

    fn refreshes_early(&self, policy: &Policy, entry: &Entry, now: SystemTime) -> bool {
        let Some(seed) = self.early.filter(|_| policy.early_refresh.is_some()) else {
            return false;
        };
        self.mode == CacheMode::Default
            // There is nothing that a validation could be written to.
            && !self.read_only
            && !self.directives.only_if_cached
            && is_due_early(policy, &entry.head, entry.token, seed, now)
    }

    fn while_revalidating(
        self,
        request: &RequestHead<'_>,
        reuse: Reuse,
        reason: Reason,
    ) -> AfterLookup {
        let entry = reuse.entry().clone();
        let validators = Validators::of(&entry.head).filter(|_| can_validate(request));
        let forward = Forward::new(self.ask(request), Some(entry), validators, reason);
        AfterLookup::ReuseWhileRevalidating(reuse, forward.for_nobody())
    }

    fn reuse(
        &self,
        request: &RequestHead<'_>,
        candidates: Candidates,
        index: usize,
        reason: Reason,
    ) -> Reuse {
        let entry = Found::Among(candidates, index);
        let fields = self.fields;
        let answering = if self.is_head || fields.preconditions || fields.range {
            Answering::of(self.is_head, request.headers, &entry)
        } else {
            Answering::Whole
        };
        Reuse {
            entry,
            reason,
            is_validated: false,
            answering,
        }
    }

    /// What is found is not to be used, nor to stand in.
    fn rejected(self, request: &RequestHead<'_>, entry: Entry) -> AfterLookup {
        let rejected = (!self.read_only).then_some(entry);
        match self.forward(request, None, Reason::FilterRefusesReuse) {
            AfterLookup::Forward(forward) => {
                AfterLookup::Forward(forward.without_rejected(rejected))
            }
            after => after,
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
        let validators = entry
            .as_ref()
            .filter(|_| can_validate(request))
            .and_then(|entry| Validators::of(&entry.head));
        AfterLookup::Forward(Forward::new(self.ask(request), entry, validators, reason))
    }

    pub(super) fn wants_stored_only(&self) -> bool {
        self.directives.only_if_cached || self.mode == CacheMode::OnlyIfCached
    }

    pub(super) fn ask(self, request: &RequestHead<'_>) -> Asked {
        super::ask(request, self.key, self.directives, self.asked_at)
    }
}

/// Whether a precondition makes the origin answer 304, and not 412 (RFC 9110 §13.1.2, RFC 10008).
fn can_validate(request: &RequestHead<'_>) -> bool {
    matches!(request.method.as_str(), "GET" | "HEAD" | "QUERY")
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
