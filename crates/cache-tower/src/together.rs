//! Requests for the same wait for one another, in this process and among all who share the store.

use std::time::{Duration, SystemTime};

use cache_core::{
    AfterLookup, Backend as _, Begin, CacheInfo, Candidates, Continuation, Entry, Forward, Outcome,
    Reason, RequestHead, Reuse, SelectingField, StoredHead,
};
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;

use crate::body::{BoxError, CacheBody};
use crate::budget::Budget;
use crate::engine::{Engine, Exchange, Step};
use crate::flights::{FlightKey, Lead, Place, Progress};
use crate::lease::{HeldLease, Leased};
use crate::rest::Rest;
use crate::transfer;

/// What became of a request that others may have asked already.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made"
)]
pub(crate) enum Turn<ReqBody, Response> {
    Answered(Response),
    /// It goes on by itself.
    Alone(Step, Request<ReqBody>),
}

/// Another process is asking the origin for the same, or has just done so.
#[derive(Debug)]
pub(crate) struct AnotherDoes;

impl<S> Exchange<S> {
    /// Asks the origin, or waits for another who has asked for the same.
    pub(crate) async fn forward_together<ReqBody, ResBody>(
        &mut self,
        forward: Forward,
        request: Request<ReqBody>,
    ) -> Result<Turn<ReqBody, Response<CacheBody<ResBody>>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let engine = self.engine.clone();
        // A longer one would not fit into a clock.
        let wait = engine.coalescing_wait.min(LONGEST_WAIT);
        if wait.is_zero() || Handle::try_current().is_err() {
            return Ok(Turn::Alone(Step::Forward(forward), request));
        }
        let deadline = Instant::now() + wait;
        let mut key = FlightKey {
            key: forward.key().clone(),
            variant: None,
        };
        for _ in 0..MOST_FLIGHTS {
            let waiter = match engine.flights.join(key.clone(), wait) {
                Place::Alone => break,
                Place::Leader(lead) => {
                    // Another may have come and gone since the store was asked.
                    if let Some(step) = self.look_again((&request).into(), true).await {
                        step.tell(&lead);
                        return Ok(Turn::Alone(step, request));
                    }
                    let leased = self.lease(&forward, (&request).into(), deadline).await;
                    let lease = match leased {
                        Ok(lease) => lease,
                        Err(step) => {
                            step.tell(&lead);
                            return Ok(Turn::Alone(step, request));
                        }
                    };
                    let lead = lead.with_lease(lease);
                    let response = self.forward(forward, request, Some(lead)).await?;
                    return Ok(Turn::Answered(response));
                }
                Place::Waiter(waiter) => waiter,
            };
            let Ok(told) = timeout_at(deadline, waiter.told()).await else {
                break;
            };
            match told {
                Progress::Asking | Progress::Abandoned => {}
                Progress::Solitary => break,
                Progress::Stored(entry) => {
                    let now = engine.clock.now();
                    let head = entry.head.clone();
                    let reuse = engine
                        .judge_found(entry, (&request).into(), now)
                        .or_else(|| engine.spare(&forward, now));
                    if let Some(reuse) = reuse {
                        return Ok(Turn::Alone(Step::Reuse(reuse), request));
                    }
                    if !engine.is_for_another_variant(&head, (&request).into(), &mut key) {
                        break;
                    }
                }
                Progress::Arriving(head, transfer) => {
                    let now = engine.clock.now();
                    let entry = transfer::entry(&head);
                    if let Some(reuse) = engine.judge_found(entry, (&request).into(), now) {
                        let can_leave = continuation_of(&reuse).is_some();
                        let Some(reader) = transfer.join(can_leave) else {
                            if transfer.is_broken() {
                                continue;
                            }
                            break;
                        };
                        let why = forward.reason();
                        let response = self.share(reuse, reader, why, request, now);
                        return Ok(Turn::Answered(response));
                    }
                    if !engine.is_for_another_variant(&head, (&request).into(), &mut key) {
                        break;
                    }
                }
            }
        }
        Ok(Turn::Alone(Step::Forward(forward), request))
    }

    /// Looks into the store again, where something may have been stored; `None`: there is nothing
    /// that answers. A leader looks only if another may have ended meanwhile.
    async fn look_again(&mut self, head: RequestHead<'_>, is_leader: bool) -> Option<Step> {
        let now = self.engine.clock.now();
        let Begin::Lookup(mut lookup) = Begin::new(&self.engine.policy, &head, now) else {
            return None;
        };
        lookup.refresh_early(self.engine.seed);
        let flights = &self.engine.flights;
        if is_leader
            && (self.all_ended == flights.all_ended()
                || self.ended == Some(flights.ended(lookup.key())))
        {
            return None;
        }
        if !self.engine.health.may_ask(now) {
            return None;
        }
        let query = lookup.query(&self.engine.policy, head);
        let found = self.engine.backend.lookup(query, now);
        let found = self.budget.spend("looking up", found).await;
        match Step::from(self.engine.judge(lookup, &head, found, now)) {
            Step::Forward(_) => None,
            step => Some(step),
        }
    }

    /// The lease on asking the origin, if there is one to be had; or what another process, which had
    /// it, has stored meanwhile.
    async fn lease(
        &mut self,
        forward: &Forward,
        request: RequestHead<'_>,
        deadline: Instant,
    ) -> Result<Option<HeldLease>, Step> {
        let engine = self.engine.clone();
        let Some(time) = engine.lease else {
            return Ok(None);
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let now = engine.clock.now();
            if engine.health.rests(now) {
                return Ok(None);
            }
            let leased = engine
                .take_lease(forward.key(), time, &mut self.budget)
                .await;
            match leased {
                Ok(Leased::Held(lease)) => {
                    // Another may have had it since the store was asked.
                    return match self.look_again(request, false).await {
                        Some(step) => Err(step),
                        None => Ok(Some(lease)),
                    };
                }
                Ok(Leased::Taken) if Instant::now() + pause < deadline => {}
                _ => return Ok(None),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            // Waiting for another is not the store's fault.
            self.budget = Budget::new(engine.backend_budget);
            if let Some(step) = self.look_again(request, false).await {
                return Err(step);
            }
        }
    }

    /// The lease on asking the origin in the background, if there is one to be had.
    pub(crate) async fn lease_in_background(
        &mut self,
        forward: &Forward,
        request: RequestHead<'_>,
    ) -> Result<Option<HeldLease>, AnotherDoes> {
        let engine = self.engine.clone();
        let Some(time) = engine.lease else {
            return Ok(None);
        };
        self.budget = Budget::new(engine.backend_timeout);
        let leased = engine
            .take_lease(forward.key(), time, &mut self.budget)
            .await;
        match leased {
            Ok(Leased::Held(lease)) => {
                // Another may have had it since the store was asked.
                match self.look_again(request, false).await {
                    Some(Step::Reuse(_)) => Err(AnotherDoes),
                    _ => Ok(Some(lease)),
                }
            }
            Ok(Leased::Taken) => Err(AnotherDoes),
            _ => Ok(None),
        }
    }

    /// A response that another asked for, while it arrives.
    fn share<ReqBody, ResBody>(
        &self,
        reuse: Reuse<'_>,
        reader: transfer::Reader,
        why: Reason,
        request: Request<ReqBody>,
        now: SystemTime,
    ) -> Response<CacheBody<ResBody>>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Send + 'static,
        ResBody: Send + 'static,
    {
        let info = CacheInfo::unstored(Outcome::Miss, why, reader.storing())
            .with_collapsed_forward(why, reuse.status());
        let continuation = continuation_of(&reuse);
        let response = self.engine.respond(reuse, info, now);
        response.map(|_: CacheBody<ResBody>| {
            let rest = continuation
                .map(|continuation| Rest::new(continuation, self.inner.clone(), request));
            CacheBody::shared(reader).or_rest(rest)
        })
    }
}

impl Step {
    /// Tells those who wait for the same what was found.
    fn tell(&self, lead: &Lead) {
        if let Self::Reuse(reuse) | Self::ReuseWhileRevalidating(reuse, _) = self {
            lead.tell(Progress::Stored(reuse.entry().clone()));
        }
    }
}

impl Engine {
    /// Whether what another request has found, or is getting, answers this one, too.
    fn judge_found(
        &self,
        entry: Entry,
        request: RequestHead<'_>,
        now: SystemTime,
    ) -> Option<Reuse<'static>> {
        let Begin::Lookup(lookup) = Begin::new(&self.policy, &request, now) else {
            return None;
        };
        let found = Candidates::from_iter([entry]);
        match lookup.next(&self.policy, &request, found, now) {
            AfterLookup::Reuse(reuse) => Some(reuse),
            _ => None,
        }
    }

    /// Whether a request has other values than a response was selected by, and `key` was not for those
    /// that have the same as it; now it is.
    fn is_for_another_variant(
        &self,
        head: &StoredHead,
        request: RequestHead<'_>,
        key: &mut FlightKey,
    ) -> bool {
        if key.variant.is_some() || head.selecting().is_empty() {
            return false;
        }
        let Begin::Lookup(lookup) = Begin::new(&self.policy, &request, self.clock.now()) else {
            return false;
        };
        let names = head.selecting().iter().map(SelectingField::name);
        let variant = lookup.query(&self.policy, request).variant(names);
        key.variant = Some(variant);
        variant != head.variant()
    }
}

/// How to get the rest of a body that is read with others, where its length is known.
fn continuation_of(reuse: &Reuse<'_>) -> Option<Continuation> {
    reuse.continuation().filter(|rest| rest.left(0) > 0)
}

/// How long a request waits, the first time and at most, until it looks whether the process that has
/// the lease has stored anything.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// How many flights a request waits for, one after the other.
const MOST_FLIGHTS: usize = 4;

const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
