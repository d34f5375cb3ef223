//! The way of a request: the one place where policy, backend and inner service meet.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use cache_core::{
    AfterForward, AfterLookup, Answer, Backend, BackendError, Begin, CacheInfo, CacheName,
    Candidates, Forward, Lookup, Outcome, Policy, Reason, RequestHead, Reuse, StoredHead, Storing,
    Unsafe, Upkeep,
};
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Handle;
use tower_service::Service;
use tracing::debug;

use crate::body::{BoxError, CacheBody};
use crate::budget::Budget;
use crate::capture::Capture;
use crate::clock::{Clock, SystemClock};
use crate::distrust::Distrust;
use crate::future::ResponseFuture;
use crate::health::{Doing, Health};
use crate::revalidations::Revalidations;
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
    revalidations: Arc<Revalidations>,
    pub(crate) distrust: Arc<Distrust>,
    pub(crate) health: Arc<Health>,
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
            revalidations: Arc::default(),
            distrust: Arc::default(),
            health: Arc::default(),
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
    let head = RequestHead::from(&request).with_content(!request.body().is_end_stream());
    let exchange = || Exchange {
        engine: engine.clone(),
        inner: inner.clone(),
        budget: Budget::new(engine.backend_budget),
    };
    let step = match Begin::new(&engine.policy, &head, now) {
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
        Step::Reuse(reuse) => ResponseFuture::answered(engine.answer(reuse, now)),
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
        &self,
        lookup: Lookup,
        head: &RequestHead<'_>,
        found: Result<Candidates, BackendError>,
        now: SystemTime,
    ) -> AfterLookup {
        self.health.note(Doing::Reading, &found);
        match found {
            Ok(candidates) => {
                let candidates = self.distrust.filter(lookup.key(), candidates);
                lookup.next(&self.policy, head, &candidates, now)
            }
            Err(_) => lookup.next_without_store(head),
        }
    }

    /// Stores the body of a response on its way to the caller.
    async fn capture<B: Body>(
        self: &Arc<Self>,
        head: StoredHead,
        response: Response<B>,
    ) -> Response<CacheBody<B>> {
        let mut capture = Some(Capture::new(self, head, response.headers()));
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
}

/// A request on its way, and what it takes along.
struct Exchange<S> {
    engine: Arc<Engine>,
    inner: S,
    budget: Budget,
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
        match step {
            Step::Reuse(reuse) => Ok(self.engine.answer(reuse, now)),
            Step::ReuseWhileRevalidating(reuse, forward) => {
                let response = self.engine.answer(reuse, now);
                self.revalidate_in_background(forward, request);
                Ok(response)
            }
            Step::Forward(forward) => self.forward(forward, request).await,
            Step::Unsafe(unsafe_method) => self.forward_unsafe(unsafe_method, request).await,
            Step::Unsatisfiable(reason) => Ok(self.engine.unsatisfiable(reason)),
            Step::Bypass(reason) => {
                let response = call_when_ready(&mut self.inner, request).await?;
                Ok(self.engine.pass(response, Outcome::Bypass, reason, reason))
            }
        }
    }

    async fn forward<ReqBody, ResBody>(
        &mut self,
        forward: Forward,
        mut request: Request<ReqBody>,
    ) -> Result<Response<CacheBody<ResBody>>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        forward.prepare(request.headers_mut());
        let why = forward.reason();
        let response = match call_when_ready(&mut self.inner, request).await {
            Ok(response) => response,
            Err(error) => {
                let now = self.engine.clock.now();
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
        match forward.next(&self.engine.policy, (&response).into(), now) {
            AfterForward::Store(head) => {
                let response = self.engine.capture(head, response).await;
                let info = CacheInfo::unstored(Outcome::Miss, why, Storing::Accepted);
                Ok(self
                    .engine
                    .conclude(response, info.with_forward(why, status)))
            }
            AfterForward::Reuse(reuse, upkeep) => {
                // Nobody reads its body.
                drop(response);
                self.keep_up(upkeep, now).await;
                let info = reuse.info(now).with_forward(why, status);
                Ok(self.engine.respond(reuse, info, now))
            }
            AfterForward::Pass(why_not_stored, upkeep) => {
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
                let response = self.engine.capture(head, response).await;
                let info = CacheInfo::unstored(Outcome::Miss, why, Storing::Accepted);
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
        let permit = forward
            .stored_token()
            .and_then(|token| self.engine.revalidations.begin(token));
        let (Some(permit), Ok(runtime)) = (permit, Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            match self.forward(forward, request).await {
                // What is stored becomes visible when it has been read.
                Ok(response) if response.body().is_stored() => {}
                Ok(response) => drain(response.into_body()).await,
                Err(_) => debug!("validating in the background: the origin gave no response"),
            }
            drop(permit);
        });
    }
}

/// Waits until a service is ready, and calls it.
async fn call_when_ready<S, Request>(
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
