//! The way of a request: the one place where policy, backend and inner service meet.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use cache_core::{
    AfterForward, AfterLookup, Answer, Backend, BackendError, Begin, CacheInfo, CacheName,
    Candidates, Continuation, Entry, Forward, Lease, Lookup, Outcome, Policy, Reason, RequestHead,
    Reuse, SelectingField, StoredHead, Storing, Token, Unsafe, Upkeep,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};
use tower_service::Service;
use tracing::debug;

use crate::background::Background;
use crate::body::{BoxError, CacheBody};
use crate::budget::Budget;
use crate::capture::Capture;
use crate::clock::{Clock, SystemClock};
use crate::distrust::Distrust;
use crate::flights::{FlightKey, Flights, Lead, Place, Progress};
use crate::future::ResponseFuture;
use crate::health::{Doing, Health};
use crate::lease::HeldLease;
use crate::rest::Rest;
use crate::revalidations::Revalidations;
use crate::transfer::{self, Transfer};
use crate::work::Work;

/// What all services of one layer share.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) policy: Policy,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) backend_budget: Duration,
    pub(crate) backend_timeout: Duration,
    pub(crate) cache_name: Option<CacheName>,
    pub(crate) coalescing_wait: Duration,
    pub(crate) lease: Option<Duration>,
    pub(crate) flights: Arc<Flights>,
    revalidations: Arc<Revalidations>,
    pub(crate) distrust: Arc<Distrust>,
    pub(crate) health: Arc<Health>,
    pub(crate) background: Background,
}

impl Engine {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            policy: Policy::private(),
            clock: Arc::new(SystemClock),
            backend_budget: Duration::from_millis(50),
            backend_timeout: Duration::from_secs(5),
            cache_name: None,
            coalescing_wait: Duration::from_secs(5),
            lease: None,
            flights: Arc::default(),
            revalidations: Arc::default(),
            distrust: Arc::default(),
            health: Arc::default(),
            background: Background::new(256),
        }
    }
}

/// Handles a request. A hit in a store that answers at once is answered here and now.
pub(crate) fn call<S, ReqBody, ResBody>(
    engine: &Arc<Engine>,
    inner: &S,
    request: Request<ReqBody>,
) -> ResponseFuture<ResBody, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Error: Into<BoxError>> + Send + 'static,
{
    let now = engine.clock.now();
    let ended = engine.flights.all_ended();
    let head = RequestHead::from(&request).with_content(!request.body().is_end_stream());
    let exchange = || Exchange {
        engine: engine.clone(),
        inner: inner.clone(),
        budget: Budget::new(engine.backend_budget),
        all_ended: ended,
        ended: None,
    };
    let step = match Begin::new(&engine.policy, &head, now) {
        Begin::Lookup(lookup) if !engine.health.may_ask(now) => {
            Step::from(lookup.next_without_store(&head))
        }
        Begin::Lookup(lookup) => match engine.look_up_now(&lookup, head, now) {
            Some(found) => Step::from(engine.judge(lookup, &head, found, now)),
            None => return ResponseFuture::waiting(exchange().look_up(lookup, request, now)),
        },
        Begin::Forward(forward) => Step::Forward(forward),
        Begin::Unsafe(unsafe_method) => Step::Unsafe(unsafe_method),
        Begin::Unsatisfiable(reason) => Step::Unsatisfiable(reason),
        Begin::Bypass(reason) => Step::Bypass(reason),
    };
    match step {
        Step::Reuse(reuse) if !reuse.is_remote() => {
            ResponseFuture::answered(engine.answer(reuse, now))
        }
        step => ResponseFuture::waiting(exchange().go_on(step, request, now)),
    }
}

/// Where an exchange stands when nothing more is to be looked up.
enum Step {
    Reuse(Reuse),
    ReuseWhileRevalidating(Reuse, Forward),
    Forward(Forward),
    Unsafe(Unsafe),
    Unsatisfiable(Reason),
    Bypass(Reason),
}

impl Step {
    /// Tells those who wait for the same what was found.
    fn tell(&self, lead: &Lead) {
        if let Self::Reuse(reuse) | Self::ReuseWhileRevalidating(reuse, _) = self {
            lead.tell(Progress::Stored(reuse.entry().clone()));
        }
    }
}

impl From<AfterLookup> for Step {
    fn from(after: AfterLookup) -> Self {
        match after {
            AfterLookup::Reuse(reuse) => Self::Reuse(reuse),
            AfterLookup::ReuseWhileRevalidating(reuse, forward) => {
                Self::ReuseWhileRevalidating(reuse, forward)
            }
            AfterLookup::Forward(forward) => Self::Forward(forward),
            AfterLookup::Unsatisfiable(reason) => Self::Unsatisfiable(reason),
        }
    }
}

impl Engine {
    /// What is found in a store that answers at once.
    fn look_up_now(
        &self,
        lookup: &Lookup,
        head: RequestHead<'_>,
        now: SystemTime,
    ) -> Option<Result<Candidates, BackendError>> {
        match self.backend.lookup(lookup.query(&self.policy, head), now) {
            Answer::Now(found) => Some(found),
            // It does nothing before it is polled; the task of this exchange makes one of its own.
            Answer::Later(_) => None,
        }
    }

    fn judge(
        self: &Arc<Self>,
        lookup: Lookup,
        head: &RequestHead<'_>,
        found: Result<Candidates, BackendError>,
        now: SystemTime,
    ) -> AfterLookup {
        self.health.note(Doing::Reading, &found, now);
        match found {
            Ok(candidates) => {
                self.retry_invalidations(now);
                let candidates = self.distrust.filter(lookup.key(), candidates);
                lookup.next(&self.policy, head, &candidates, now)
            }
            Err(_) => lookup.next_without_store(head),
        }
    }

    /// Takes note of how writing to the store ended.
    pub(crate) fn note_writing<T>(&self, done: &Result<T, BackendError>) {
        self.health.note(Doing::Writing, done, self.clock.now());
    }

    /// Stores the body of a response on its way to the caller.
    async fn capture<B: Body>(
        mut capture: Option<Capture>,
        response: Response<B>,
    ) -> Response<CacheBody<B>> {
        if response.body().is_end_stream() {
            // Nobody polls a body that is at its end already.
            poll_fn(|cx| {
                if let Some(mut capture) = capture.take() {
                    capture.publish(None, cx);
                }
                Poll::Ready(())
            })
            .await;
        }
        response.map(|body| CacheBody::origin(body, capture))
    }

    /// A capture, unless the store is left alone; and what is to be said of it.
    fn begin_capture(
        self: &Arc<Self>,
        head: StoredHead,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> (Option<Capture>, Storing) {
        if self.health.rests(now) {
            return (None, Storing::Refused(Reason::BackendUnavailable));
        }
        (Some(Capture::new(self, head, headers)), Storing::Accepted)
    }

    /// The same, for all who wait for it as well.
    fn capture_for_all<B>(
        capture: Option<Capture>,
        response: Response<B>,
        lead: Lead,
        head: Arc<StoredHead>,
    ) -> Response<CacheBody<B>>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        response.map(|body| {
            let incoming = Box::pin(CacheBody::origin(body, None));
            CacheBody::shared(Transfer::begin(incoming, capture, lead, head))
        })
    }

    /// Takes note that the origin failed where it was asked about a stored response.
    fn spare_origin(&self, stored: Option<Token>, now: SystemTime) {
        if let Some(token) = stored {
            self.revalidations.fail(token, now);
        }
    }

    /// The stored response that answers while the origin, which failed a moment ago, is spared.
    fn spare(&self, forward: &Forward, now: SystemTime) -> Option<Reuse> {
        let token = forward.stored_token()?;
        if !self.revalidations.failed(token, now) {
            return None;
        }
        forward.without_asking(now)
    }

    /// Whether what another request has found, or is getting, answers this one, too.
    fn judge_found(
        &self,
        entry: Entry,
        request: RequestHead<'_>,
        now: SystemTime,
    ) -> Option<Reuse> {
        let Begin::Lookup(lookup) = Begin::new(&self.policy, &request, now) else {
            return None;
        };
        let found = Candidates::from_iter([entry]);
        match lookup.next(&self.policy, &request, &found, now) {
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
fn continuation_of(reuse: &Reuse) -> Option<Continuation> {
    reuse.continuation().filter(|rest| rest.left(0) > 0)
}

/// Whether a response is for others than the one who asked: fresh, and whole.
fn is_for_all(head: &StoredHead, now: SystemTime) -> bool {
    !head.remaining(now).is_zero()
        && !head.freshness().always_validate
        && head.status() != StatusCode::PARTIAL_CONTENT
}

/// How long a request waits, the first time and at most, until it looks whether the process that has
/// the lease has stored anything.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// How many flights a request waits for, one after the other.
const MOST_FLIGHTS: usize = 4;

/// A request on its way, and what it takes along.
struct Exchange<S> {
    engine: Arc<Engine>,
    inner: S,
    budget: Budget,
    /// How many flights had ended when the store was asked.
    all_ended: u64,
    /// The same for this key, or another with the same hash, where the store took its time.
    ended: Option<u64>,
}

/// What became of a request that others may have asked already.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made"
)]
enum Turn<ReqBody, Response> {
    Answered(Response),
    /// It goes on by itself.
    Alone(Step, Request<ReqBody>),
}

impl<S> Exchange<S> {
    async fn look_up<ReqBody, ResBody>(
        mut self,
        lookup: Lookup,
        request: Request<ReqBody>,
        now: SystemTime,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        self.ended = Some(self.engine.flights.ended(lookup.key()));
        let head = RequestHead::from(&request);
        let query = lookup.query(&self.engine.policy, head);
        let found = self.engine.backend.lookup(query, now);
        let found = self.budget.spend("looking up", found).await;
        let step = Step::from(self.engine.judge(lookup, &head, found, now));
        self.go_on(step, request, now).await
    }

    async fn go_on<ReqBody, ResBody>(
        mut self,
        step: Step,
        request: Request<ReqBody>,
        now: SystemTime,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let (step, request) = match step {
            Step::Forward(forward) if forward.can_be_shared() => {
                if let Some(reuse) = self.engine.spare(&forward, now) {
                    return Ok(self.reuse(reuse, request, now));
                }
                match self.forward_together(forward, request).await? {
                    Turn::Answered(response) => return Ok(response),
                    Turn::Alone(step, request) => (step, request),
                }
            }
            step => (step, request),
        };
        match step {
            Step::Reuse(reuse) => Ok(self.reuse(reuse, request, now)),
            Step::ReuseWhileRevalidating(reuse, forward) => {
                let response = self.engine.answer(reuse, now);
                self.revalidate_in_background(forward, request);
                Ok(response)
            }
            Step::Forward(forward) => self.forward(forward, request, None).await,
            Step::Unsafe(unsafe_method) => self.forward_unsafe(unsafe_method, request).await,
            Step::Unsatisfiable(reason) => Ok(self.engine.unsatisfiable(reason)),
            Step::Bypass(reason) => {
                let response = call_when_ready(&mut self.inner, request).await?;
                Ok(self.engine.pass(response, Outcome::Bypass, reason, reason))
            }
        }
    }

    /// A stored response as the answer. Where its body is in a store that may go away meanwhile, the
    /// request, which was not sent, is kept for the rest of it.
    fn reuse<ReqBody, ResBody>(
        &self,
        reuse: Reuse,
        request: Request<ReqBody>,
        now: SystemTime,
    ) -> Response<CacheBody<ResBody>>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Send + 'static,
        ResBody: Send + 'static,
    {
        let continuation = reuse.continuation().filter(|_| reuse.is_remote());
        let response = self.engine.answer(reuse, now);
        match continuation {
            Some(continuation) => {
                let rest = Rest::new(continuation, self.inner.clone(), request);
                response.map(|body: CacheBody<ResBody>| body.or_rest(rest))
            }
            None => response,
        }
    }

    /// Asks the origin, or waits for another who has asked for the same.
    async fn forward_together<ReqBody, ResBody>(
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
        let wait = engine.coalescing_wait;
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
        let Begin::Lookup(lookup) = Begin::new(&self.engine.policy, &head, now) else {
            return None;
        };
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
            let leasing = engine.backend.lease(forward.key(), time);
            let leased = self.budget.spend("leasing", leasing).await;
            engine.note_writing(&leased);
            match leased {
                Ok(Lease::Granted(token)) => {
                    let lease = HeldLease::new(&engine, forward.key(), token);
                    // Another may have had it since the store was asked.
                    return match self.look_again(request, false).await {
                        Some(step) => Err(step),
                        None => Ok(Some(lease)),
                    };
                }
                Ok(Lease::Taken) if Instant::now() + pause < deadline => {}
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

    /// A response that another asked for, while it arrives.
    fn share<ReqBody, ResBody>(
        &self,
        reuse: Reuse,
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
            let body = CacheBody::shared(reader);
            match continuation {
                Some(continuation) => {
                    body.or_rest(Rest::new(continuation, self.inner.clone(), request))
                }
                None => body,
            }
        })
    }

    /// Asks the origin. Whoever leads tells those who wait what it answered.
    async fn forward<ReqBody, ResBody>(
        &mut self,
        forward: Forward,
        mut request: Request<ReqBody>,
        lead: Option<Lead>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        forward.prepare(request.headers_mut());
        let why = forward.reason();
        let token = forward.stored_token();
        let response = match call_when_ready(&mut self.inner, request).await {
            Ok(response) => response,
            Err(error) => {
                let now = self.engine.clock.now();
                self.engine.spare_origin(token, now);
                return match forward.next_without_response(now) {
                    Some(reuse) => {
                        debug!("the origin gave no response, and a stored one stands in");
                        let info = reuse.info(now).with_forward(why, None);
                        Ok(self.engine.respond(reuse, info, now))
                    }
                    None => Err(error),
                };
            }
        };
        let now = self.engine.clock.now();
        let status = Some(response.status());
        if response.status().is_server_error() {
            self.engine.spare_origin(token, now);
        }
        match forward.next(&self.engine.policy, (&response).into(), now) {
            AfterForward::Store(head) => {
                let shared = match &lead {
                    Some(_) if is_for_all(&head, now) => Some(Arc::new(head.clone())),
                    _ => None,
                };
                let (capture, storing) = self.engine.begin_capture(head, response.headers(), now);
                let response = match (lead, shared) {
                    (Some(lead), Some(head)) => {
                        Engine::capture_for_all(capture, response, lead, head)
                    }
                    (lead, _) => {
                        if let Some(lead) = lead {
                            lead.tell(Progress::Solitary);
                        }
                        Engine::capture(capture, response).await
                    }
                };
                let info = CacheInfo::unstored(Outcome::Miss, why, storing);
                Ok(self
                    .engine
                    .conclude(response, info.with_forward(why, status)))
            }
            AfterForward::Reuse(reuse, upkeep) => {
                // Nobody reads its body.
                drop(response);
                if let Some(lead) = &lead {
                    lead.tell(match &upkeep {
                        Upkeep::Freshen(entry, head) => Progress::Stored(Entry {
                            head: head.clone(),
                            ..entry.clone()
                        }),
                        _ if reuse.is_validated() => Progress::Solitary,
                        _ => Progress::Stored(reuse.entry().clone()),
                    });
                }
                self.keep_up(upkeep, now).await;
                drop(lead);
                let info = reuse.info(now).with_forward(why, status);
                Ok(self.engine.respond(reuse, info, now))
            }
            AfterForward::Pass(why_not_stored, upkeep) => {
                if let Some(lead) = lead {
                    lead.tell(Progress::Solitary);
                }
                self.keep_up(upkeep, now).await;
                Ok(self
                    .engine
                    .pass(response, Outcome::Miss, why, why_not_stored))
            }
        }
    }

    async fn forward_unsafe<ReqBody, ResBody>(
        &mut self,
        unsafe_method: Unsafe,
        request: Request<ReqBody>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        let response = call_when_ready(&mut self.inner, request).await?;
        let now = self.engine.clock.now();
        let after = unsafe_method.next(&self.engine.policy, (&response).into(), now);
        let why = match &*after.invalidate {
            [] => Reason::Method,
            _ => Reason::Invalidated,
        };
        for key in after.invalidate {
            self.engine
                .see_to(Work::Invalidate(key), &mut self.budget, now)
                .await;
        }
        let status = Some(response.status());
        Ok(match after.store {
            Some(head) => {
                let (capture, storing) = self.engine.begin_capture(head, response.headers(), now);
                let response = Engine::capture(capture, response).await;
                let info = CacheInfo::unstored(Outcome::Miss, why, storing);
                self.engine
                    .conclude(response, info.with_forward(why, status))
            }
            None => self
                .engine
                .pass(response, Outcome::Bypass, why, Reason::Method),
        })
    }

    async fn keep_up(&mut self, upkeep: Upkeep, now: SystemTime) {
        let work = match upkeep {
            Upkeep::Nothing => return,
            Upkeep::Freshen(entry, head) => Work::Freshen(entry, head),
            Upkeep::Remove(entry) => Work::Remove(entry),
        };
        self.engine.see_to(work, &mut self.budget, now).await;
    }

    /// Sends the request, which is answered already, to bring the store up to date.
    fn revalidate_in_background<ReqBody, ResBody>(
        mut self,
        forward: Forward,
        request: Request<ReqBody>,
    ) where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let now = self.engine.clock.now();
        let Some(token) = forward.stored_token() else {
            return;
        };
        let place = self.engine.background.place();
        let permit = self.engine.revalidations.begin(token, now);
        let (Some(place), Some(permit)) = (place, permit) else {
            return;
        };
        let background = self.engine.background.clone();
        let task = background.spawn(async move {
            let response = self.forward(forward, request, None).await;
            match response {
                // What is stored becomes visible when it has been read.
                Ok(response) if !response.body().is_stored() => drain(response.into_body()).await,
                Ok(_) => {}
                Err(_) => debug!("validating in the background: the origin gave no response"),
            }
            drop((permit, place));
        });
        // Without a runtime there is no background.
        drop(task);
    }
}

/// Waits until a service is ready, and calls it.
pub(crate) async fn call_when_ready<S, Request>(
    service: &mut S,
    request: Request,
) -> Result<S::Response, S::Error>
where
    S: Service<Request>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// Reads a body to its end.
async fn drain<B: Body>(body: B) {
    let mut body = pin!(body);
    while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {}
}
