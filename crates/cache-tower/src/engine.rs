//! The way of a request: the one place where policy, backend and inner service meet.

use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use cache_core::{
    AfterForward, AfterLookup, Backend, BackendError, Begin, CacheInfo, CacheName, Candidates,
    Entry, Failure, Forward, Judgement, Lookup, Outcome, Policy, PrimaryKey, Reason, RequestHead,
    Reuse, StoredHead, Storing, Token, Unsafe, Upkeep,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;
use tracing::debug;

use crate::background::Background;
use crate::body::{BoxError, CacheBody};
use crate::budget::Budget;
use crate::capture::Capture;
use crate::clock::{Clock, SystemClock};
use crate::distrust::Distrust;
use crate::event::{Event, Listeners};
use crate::fail_mode::FailMode;
use crate::flights::{Flights, Lead, Progress};
use crate::future::ResponseFuture;
use crate::health::{Doing, Health};
use crate::rest::Rest;
use crate::revalidations::Revalidations;
use crate::second::EmptyBodies;
use crate::together::{AnotherDoes, Turn};
use crate::transfer::Transfer;
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
    pub(crate) has_info: bool,
    pub(crate) coalescing_wait: Duration,
    pub(crate) lease: Option<Duration>,
    pub(crate) fail_mode: FailMode,
    pub(crate) seed: u64,
    pub(crate) flights: Arc<Flights>,
    pub(crate) revalidations: Arc<Revalidations>,
    pub(crate) distrust: Arc<Distrust>,
    pub(crate) health: Arc<Health>,
    pub(crate) background: Background,
    pub(crate) listeners: Listeners,
    pub(crate) empty_bodies: EmptyBodies,
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
            has_info: true,
            coalescing_wait: Duration::from_secs(5),
            lease: None,
            fail_mode: FailMode::Open,
            seed: RandomState::new().hash_one(()),
            flights: Arc::default(),
            revalidations: Arc::new(Revalidations::new(Duration::from_secs(5))),
            distrust: Arc::default(),
            health: Arc::default(),
            background: Background::new(256),
            listeners: Listeners::default(),
            empty_bodies: EmptyBodies::default(),
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
    let recent = match engine.health.is_well() {
        true => engine.clock.recent(),
        false => engine.clock.now(),
    };
    let ended = engine.flights.all_ended();
    let head = RequestHead::from(&request).with_content(!request.body().is_end_stream());
    let exchange = || Exchange {
        engine: engine.clone(),
        inner: inner.clone(),
        budget: Budget::new(engine.backend_budget),
        all_ended: ended,
        ended: None,
        in_background: false,
    };
    let step = match Begin::new(&engine.policy, &head, recent) {
        Begin::Lookup(lookup) if !engine.health.may_ask(recent) => {
            Step::from(lookup.next_without_store(&head))
        }
        Begin::Lookup(mut lookup) => {
            lookup.refresh_early(engine.seed);
            let query = lookup.query(&engine.policy, head);
            let mut seen = Seen::Nothing;
            engine.backend.lookup_now(query, recent, &mut |found| {
                seen = engine.see(&lookup, &head, found, recent);
            });
            match seen {
                Seen::Answer(response) => return ResponseFuture::answered(response),
                Seen::Candidates(candidates, judgement) => {
                    Step::from(lookup.follow(judgement, &head, candidates))
                }
                Seen::Failure => Step::from(lookup.next_without_store(&head)),
                Seen::Nothing => {
                    let now = engine.clock.now();
                    return ResponseFuture::waiting(exchange().look_up(lookup, request, now));
                }
            }
        }
        Begin::Forward(forward) => Step::Forward(forward),
        Begin::Unsafe(unsafe_method) => Step::Unsafe(unsafe_method),
        Begin::Unsatisfiable(reason) => Step::Unsatisfiable(reason),
        Begin::Bypass(reason) => Step::Bypass(reason),
    };
    ResponseFuture::waiting(exchange().go_on(step, request, engine.clock.now()))
}

/// What came of a look into a store that answers at once.
enum Seen<B> {
    /// It does not answer at once.
    Nothing,
    Failure,
    Answer(Response<CacheBody<B>>),
    Candidates(Candidates, Judgement),
}

/// Where an exchange stands when nothing more is to be looked up.
pub(crate) enum Step {
    Reuse(Reuse<'static>),
    ReuseWhileRevalidating(Reuse<'static>, Forward),
    Forward(Forward),
    Unsafe(Unsafe),
    Unsatisfiable(Reason),
    Bypass(Reason),
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
    /// Answers with what is seen in a store, if there is nothing else to do or to wait for.
    fn see<B>(
        self: &Arc<Self>,
        lookup: &Lookup,
        head: &RequestHead<'_>,
        found: Result<&Candidates, BackendError>,
        now: SystemTime,
    ) -> Seen<B> {
        let Some(candidates) = self.note_found(found, now) else {
            return Seen::Failure;
        };
        let trusted = self.distrust.filter(lookup.key(), candidates);
        let candidates = trusted.as_ref().unwrap_or(candidates);
        let judgement = lookup.judge(&self.policy, head, candidates, now);
        match lookup.reuse(&judgement, head, candidates) {
            Some(reuse) if !reuse.is_remote() => Seen::Answer(self.answer(reuse, now)),
            _ => Seen::Candidates(candidates.clone(), judgement),
        }
    }

    pub(crate) fn judge(
        self: &Arc<Self>,
        lookup: Lookup,
        head: &RequestHead<'_>,
        found: Result<Candidates, BackendError>,
        now: SystemTime,
    ) -> AfterLookup {
        let Some(candidates) = self.note_found(found, now) else {
            return lookup.next_without_store(head);
        };
        let trusted = self.distrust.filter(lookup.key(), &candidates);
        lookup.next(&self.policy, head, trusted.unwrap_or(candidates), now)
    }

    /// Takes note of how a lookup ended.
    fn note_found<T>(
        self: &Arc<Self>,
        found: Result<T, BackendError>,
        now: SystemTime,
    ) -> Option<T> {
        self.health.note(Doing::Reading, &found, now);
        match found {
            Ok(found) => {
                self.retry_invalidations(now);
                Some(found)
            }
            Err(error) => {
                self.listeners.tell(&Event::BackendFailed { error: &error });
                None
            }
        }
    }

    /// Whether a request is kept from the origin, which it would have to be sent to because the store is
    /// away.
    fn is_closed_to(&self, forward: &Forward) -> bool {
        forward.reason() == Reason::BackendUnavailable && self.fail_mode == FailMode::Closed
    }

    /// Takes note of how writing to the store ended.
    pub(crate) fn note_writing<T>(&self, done: &Result<T, BackendError>) {
        self.health.note(Doing::Writing, done, self.clock.now());
        if let Err(error) = done {
            self.listeners.tell(&Event::BackendFailed { error });
        }
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
        self: &Arc<Self>,
        capture: Option<Capture>,
        response: Response<B>,
        lead: Lead,
        head: Arc<StoredHead>,
    ) -> Response<CacheBody<B>>
    where
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let (engine, headers) = (self.clone(), response.headers().clone());
        let share = move |trailers: &HeaderMap| engine.policy.stored_trailers(&headers, trailers);
        response.map(|body| {
            let incoming = Box::pin(CacheBody::origin(body, None));
            CacheBody::shared(Transfer::begin(incoming, capture, lead, head, share))
        })
    }

    /// Takes note that the origin failed where it was asked about a stored response.
    fn spare_origin(&self, stored: Option<Token>, failure: Failure, now: SystemTime) {
        if let Some(token) = stored {
            self.revalidations.fail(token, failure, now);
        }
    }

    /// The stored response that answers while the origin, which failed a moment ago, is spared.
    pub(crate) fn spare(&self, forward: &Forward, now: SystemTime) -> Option<Reuse<'static>> {
        let token = forward.stored_token()?;
        let failure = self.revalidations.failed(token, now)?;
        forward.without_asking(failure, now)
    }
}

/// Whether a response is for others than the one who asked: fresh, and whole.
fn is_for_all(head: &StoredHead, now: SystemTime) -> bool {
    !head.remaining(now).is_zero()
        && !head.freshness().always_validate
        && head.status() != StatusCode::PARTIAL_CONTENT
}

/// A request on its way, and what it takes along.
pub(crate) struct Exchange<S> {
    pub(crate) engine: Arc<Engine>,
    pub(crate) inner: S,
    pub(crate) budget: Budget,
    /// How many flights had ended when the store was asked.
    pub(crate) all_ended: u64,
    /// The same for this key, or another with the same hash, where the store took its time.
    pub(crate) ended: Option<u64>,
    /// The caller has its answer already.
    pub(crate) in_background: bool,
}

impl<S> Exchange<S> {
    pub(crate) async fn look_up<ReqBody, ResBody>(
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
        match Step::from(self.engine.judge(lookup, &head, found, now)) {
            Step::Reuse(reuse) => Ok(self.reuse(reuse, request, now)),
            // What has to be asked for takes more room than a hit needs.
            step => Box::pin(self.go_on(step, request, now)).await,
        }
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
            Step::Forward(forward) if self.engine.is_closed_to(&forward) => {
                return Ok(self.engine.unavailable());
            }
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
                let second = match reuse.is_remote() {
                    true => self.engine.empty_bodies.second(&request),
                    false => None,
                };
                let info = reuse.info(now);
                let response = self.respond(reuse, info, second, now);
                self.revalidate_in_background(forward, request);
                Ok(response)
            }
            Step::Forward(forward) => self.forward(forward, request, None).await,
            Step::Unsafe(unsafe_method) => self.forward_unsafe(unsafe_method, request).await,
            Step::Unsatisfiable(reason) => Ok(self.engine.unsatisfiable(reason)),
            Step::Bypass(reason) => {
                let response = self.ask(request, reason).await?;
                Ok(self.engine.pass(response, Outcome::Bypass, reason, reason))
            }
        }
    }

    /// A stored response as the answer, to a request that was not sent.
    fn reuse<ReqBody, ResBody>(
        &self,
        reuse: Reuse<'_>,
        request: Request<ReqBody>,
        now: SystemTime,
    ) -> Response<CacheBody<ResBody>>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Send + 'static,
    {
        let rest = self.rest_of(&reuse, Some(request));
        let response = self.engine.answer(reuse, now);
        response.map(|body: CacheBody<ResBody>| body.or_rest(rest))
    }

    /// The same, where there is more to say of it.
    fn respond<ReqBody, ResBody>(
        &self,
        reuse: Reuse<'_>,
        info: CacheInfo,
        request: Option<Request<ReqBody>>,
        now: SystemTime,
    ) -> Response<CacheBody<ResBody>>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Send + 'static,
    {
        let rest = self.rest_of(&reuse, request);
        let response = self.engine.respond(reuse, info, now);
        response.map(|body: CacheBody<ResBody>| body.or_rest(rest))
    }

    /// Where a body is in a store that may go away meanwhile, a request is kept for the rest of it.
    fn rest_of<ReqBody, ResBody>(
        &self,
        reuse: &Reuse<'_>,
        request: Option<Request<ReqBody>>,
    ) -> Option<Rest<ResBody>>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Send + 'static,
    {
        if !reuse.is_remote() || self.engine.fail_mode == FailMode::Closed {
            return None;
        }
        let continuation = reuse.continuation()?;
        Some(Rest::new(continuation, self.inner.clone(), request?))
    }

    /// Sends a request to the origin, and says so.
    async fn ask<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        reason: Reason,
    ) -> Result<Response<ResBody>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    {
        if !self.engine.listeners.is_some() {
            return call_when_ready(&mut self.inner, request).await;
        }
        let in_background = self.in_background;
        let forwarded = Event::Forwarded {
            reason,
            in_background,
        };
        self.engine.listeners.tell(&forwarded);
        let start = Instant::now();
        let answer = call_when_ready(&mut self.inner, request).await;
        let after = start.elapsed();
        self.engine.listeners.tell(&match &answer {
            Ok(response) => Event::OriginAnswered {
                status: response.status(),
                after,
            },
            Err(_) => Event::OriginFailed { after },
        });
        answer
    }

    /// Asks the origin. Whoever leads tells those who wait what it answered.
    pub(crate) async fn forward<ReqBody, ResBody>(
        &mut self,
        mut forward: Forward,
        mut request: Request<ReqBody>,
        lead: Option<Lead>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        if let Some(entry) = forward.take_rejected() {
            let now = self.engine.clock.now();
            self.keep_up(Upkeep::Remove(entry), now).await;
        }
        let second = match forward.may_answer_remotely() {
            true => self.engine.empty_bodies.second(&request),
            false => None,
        };
        forward.prepare(request.headers_mut(), self.engine.clock.now());
        let why = forward.reason();
        let token = forward.stored_token();
        let response = match self.ask(request, why).await {
            Ok(response) => response,
            Err(error) => {
                let now = self.engine.clock.now();
                self.engine.spare_origin(token, Failure::Disconnected, now);
                return match forward.next_without_response(now) {
                    Some(reuse) => {
                        debug!("the origin gave no response, and a stored one stands in");
                        let info = reuse.info(now).with_forward(why, None);
                        Ok(self.respond(reuse, info, second, now))
                    }
                    None => Err(error),
                };
            }
        };
        let now = self.engine.clock.now();
        let status = Some(response.status());
        if let Some(failure) = Failure::of(response.status()) {
            self.engine.spare_origin(token, failure, now);
        } else if let Some(token) = token {
            self.engine.revalidations.succeed(token);
        }
        match forward.next(&self.engine.policy, (&response).into(), now) {
            AfterForward::Store(head, replaced) => {
                let shared = match &lead {
                    Some(_) if is_for_all(&head, now) => Some(Arc::new(head.clone())),
                    _ => None,
                };
                let info = CacheInfo::unstored(Outcome::Miss, why, Storing::Accepted);
                let info = info.with_stored(&head);
                let (capture, storing) = self.engine.begin_capture(head, response.headers(), now);
                let capture = capture.map(|capture| capture.replacing(replaced));
                let info = info.with_storing(storing);
                let response = match (lead, shared) {
                    (Some(lead), Some(head)) => {
                        self.engine.capture_for_all(capture, response, lead, head)
                    }
                    (lead, _) => {
                        if let Some(lead) = lead {
                            lead.tell(Progress::Solitary);
                        }
                        Engine::capture(capture, response).await
                    }
                };
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
                Ok(self.respond(reuse, info, second, now))
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
        mut unsafe_method: Unsafe,
        request: Request<ReqBody>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        unsafe_method.prepare(self.engine.clock.now());
        let response = self.ask(request, Reason::Method).await?;
        let now = self.engine.clock.now();
        let after = unsafe_method.next(&self.engine.policy, (&response).into(), now);
        let why = match &*after.invalidate {
            [] => Reason::Method,
            _ => Reason::Invalidated,
        };
        self.invalidate(after.invalidate, now).await;
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

    /// Invalidates all of them, also where the caller goes away meanwhile.
    async fn invalidate(&mut self, keys: Vec<PrimaryKey>, now: SystemTime) {
        for key in &keys {
            self.engine.flights.close(key);
        }
        let engine = self.engine.clone();
        let mut budget = mem::replace(&mut self.budget, Budget::new(Duration::ZERO));
        let mut invalidating = Box::pin(async move {
            for key in keys {
                let work = Work::Invalidate(key);
                engine.see_to(work, &mut budget, now).await;
            }
            budget
        });
        let first = poll_fn(|cx| Poll::Ready(invalidating.as_mut().poll(cx))).await;
        let budget = match first {
            Poll::Ready(budget) => Some(budget),
            Poll::Pending => match self.engine.background.spawn(invalidating) {
                Ok(task) => task.await.ok(),
                Err(invalidating) => Some(invalidating.await),
            },
        };
        if let Some(budget) = budget {
            self.budget = budget;
        }
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
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        ReqBody: Body + Send + 'static,
        ResBody: Body<Error: Into<BoxError>> + Send + 'static,
    {
        let now = self.engine.clock.now();
        let Some(token) = forward.stored_token() else {
            return;
        };
        let place = self.engine.background.place_to_validate();
        let permit = self.engine.revalidations.begin(token, now);
        let (Some(place), Some(permit)) = (place, permit) else {
            return;
        };
        self.in_background = true;
        let background = self.engine.background.clone();
        let task = background.spawn(async move {
            let _lease = match self.lease_in_background(&forward, (&request).into()).await {
                Ok(lease) => lease,
                Err(AnotherDoes) => return,
            };
            let response = self.forward(forward, request, None).await;
            match response {
                // What is stored becomes visible when it has been read; nobody else reads it.
                Ok(response) => store(response.into_body()).await,
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

/// Reads a body as long as it is being stored.
async fn store<B>(body: CacheBody<B>)
where
    B: Body<Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    while body.is_being_stored()
        && let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await
    {}
}
