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
    Reuse(Reuse<'static>),
    /// Answer with it, and validate it in the background with the request itself: it is stale, or will
    /// be soon.
    ReuseWhileRevalidating(Reuse<'static>, Forward),
    /// Ask the origin.
    Forward(Forward),
    /// Answer 504 (RFC 9111 §5.2.1.7).
    Unsatisfiable(Reason),
}

/// How a lookup is to be answered.
#[derive(Debug)]
pub struct Judgement(Verdict);

/// Which of the candidates is it, and why.
#[derive(Debug)]
enum Verdict {
    /// The one in this place.
    Allowed(usize, Reason),
    /// The second reason is that of the validation.
    AllowedWhileRevalidating(Entry, Reason, Reason),
    /// A filter of the policy does not want it.
    Rejected(Entry),
    Refused(Entry, Reason),
    Missed(Reason),
}

impl Lookup {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrimaryKey {
        &self.key
    }

    /// What to ask the backend for.
    #[must_use]
    #[inline]
    pub fn query<'a>(&'a self, policy: &'a Policy, request: RequestHead<'a>) -> Query<'a> {
        Query::new(policy, &self.key, request)
    }

    /// Lets what is found be brought up to date before it is stale, if the policy says
    /// so. The seed is the process's: by it is drawn when that is due.
    pub fn refresh_early(&mut self, seed: u64) {
        self.early = Some(seed);
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
        let judgement = self.judge(policy, request, &candidates, now);
        self.follow(judgement, request, candidates)
    }

    /// The first half of [`next`](Self::next), for who looks at what is still in the store.
    #[must_use]
    #[inline]
    pub fn judge(
        &self,
        policy: &Policy,
        request: &RequestHead<'_>,
        candidates: &Candidates,
        now: SystemTime,
    ) -> Judgement {
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
            // `Range` means nothing to a HEAD (RFC 9110 §14.2), and a part is no answer to it.
            let is_part = self.is_head && entry.head.status == StatusCode::PARTIAL_CONTENT;
            if !is_part && selector.has_content(entry) && best.is_none_or(is_better) {
                best = Some((index, entry));
            }
        }
        let Some((index, entry)) = best else {
            return Judgement(Verdict::Missed(match () {
                () if is_selected => Reason::PartialMiss,
                () if candidates.is_known() => Reason::VaryMiss,
                () => Reason::UriMiss,
            }));
        };
        if let Some(filters) = &policy.filters {
            if !filters.permit_reuse(request, &entry.head) {
                return Judgement(Verdict::Rejected(entry.clone()));
            }
        }
        let reusing = reuse(policy, &self.directives, self.mode, &entry.head, now);
        Judgement(match reusing {
            Reusing::Allowed(Reason::Fresh) if self.refreshes_early(policy, entry, now) => {
                let reason = Reason::EarlyRefresh;
                Verdict::AllowedWhileRevalidating(entry.clone(), reason, reason)
            }
            Reusing::Allowed(reason) => Verdict::Allowed(index, reason),
            Reusing::AllowedWhileRevalidating => match self.read_only {
                // There is nothing that a validation could be written to.
                true => Verdict::Allowed(index, Reason::StaleWhileRevalidate),
                false => {
                    let reason = Reason::StaleWhileRevalidate;
                    Verdict::AllowedWhileRevalidating(entry.clone(), reason, Reason::Stale)
                }
            },
            Reusing::Refused(reason) => Verdict::Refused(entry.clone(), reason),
        })
    }

    /// The answer, if it is a stored response and there is nothing else to do, of candidates that were judged so.
    #[must_use]
    #[inline]
    pub fn reuse<'a>(
        &self,
        judgement: &Judgement,
        request: &RequestHead<'_>,
        candidates: &'a Candidates,
    ) -> Option<Reuse<'a>> {
        let Judgement(Verdict::Allowed(index, reason)) = judgement else {
            return None;
        };
        let entry = candidates.get(*index)?;
        Some(self.answering(request, Found::Seen(entry), *reason))
    }

    /// The second half of [`next`](Self::next), with candidates that were judged so.
    #[must_use]
    pub fn follow(
        self,
        judgement: Judgement,
        request: &RequestHead<'_>,
        candidates: Candidates,
    ) -> AfterLookup {
        match judgement.0 {
            Verdict::Allowed(index, reason) if index < candidates.len() => {
                let entry = Found::Among(candidates, index);
                AfterLookup::Reuse(self.answering(request, entry, reason))
            }
            Verdict::Allowed(..) => self.forward(request, None, Reason::UriMiss),
            Verdict::AllowedWhileRevalidating(entry, reason, why) => {
                let reuse = self.answering(request, Found::Alone(entry.clone()), reason);
                self.while_revalidating(request, reuse, entry, why)
            }
            Verdict::Rejected(entry) => self.rejected(request, entry),
            Verdict::Refused(entry, reason) => self.forward(request, Some(entry), reason),
            Verdict::Missed(reason) => self.forward(request, None, reason),
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
        reuse: Reuse<'static>,
        entry: Entry,
        reason: Reason,
    ) -> AfterLookup {
        let validators = Validators::of(&entry.head).filter(|_| can_validate(request));
        let forward = Forward::new(self.ask(request), Some(entry), validators, reason);
        AfterLookup::ReuseWhileRevalidating(reuse, forward.for_nobody())
    }

    fn answering<'a>(
        &self,
        request: &RequestHead<'_>,
        entry: Found<'a>,
        reason: Reason,
    ) -> Reuse<'a> {
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
