//! The promises of the tower side: streaming, readiness, faults, cancellation, distrust.

#![expect(
    clippy::type_complexity,
    reason = "the types of services that are written as closures"
)]

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::marker::PhantomPinned;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::{
    Answer as BackendAnswer, Backend, BackendError, BodyWriter, CacheInfo, CacheMode, Candidates,
    Entry, Outcome, Policy, PrimaryKey, Query, Reason, StoredHead,
};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheBody, CacheLayer};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use kit::{
    FaultyBackend, ManualClock, Operation, Origin, RecordingBackend, Scenario, TestBody, ok, status,
};
use tower::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://origin.test{path}"))
        .body(Empty::new())
        .expect("a request")
}

fn outcome<B>(response: &Response<B>) -> Outcome {
    response
        .extensions()
        .get::<CacheInfo>()
        .expect("every response has a CacheInfo")
        .outcome
}

/// A service that answers with this body and this `Cache-Control`.
fn answering<B: Send + 'static>(
    directives: &'static str,
    body: impl Fn() -> B + Clone,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible, Future: Send> + Clone
{
    tower::service_fn(move |_| {
        let response = Response::builder()
            .header("cache-control", directives)
            .body(body());
        ready(Ok(response.expect("a response")))
    })
}

/// What the backend does wrong must not be seen, whichever operation it is.
#[test]
fn whatever_the_backend_fails_at_the_caller_gets_the_response() {
    for operation in [
        Operation::Lookup,
        Operation::Write,
        Operation::Publish,
        Operation::Freshen,
        Operation::Remove,
        Operation::Invalidate,
    ] {
        let backend = FaultyBackend::new(MemoryBackend::default());
        let mut cache = Scenario::over(Policy::private(), backend.clone());
        cache
            .get("/")
            .origin(ok("one").max_age(60).etag("\"1\""))
            .miss();
        cache.wait(61);
        backend.fail(operation);
        let expected = if operation == Operation::Lookup {
            "two"
        } else {
            "one"
        };
        let answer = if operation == Operation::Lookup {
            ok("two")
        } else {
            kit::not_modified()
        };
        let seen = cache.get("/").origin(answer).seen().expect("a response");
        assert_eq!(
            String::from_utf8_lossy(&seen.body),
            expected,
            "{operation:?}"
        );
        cache
            .get("/new")
            .origin(ok("new").max_age(60))
            .miss()
            .body("new");
        cache
            .get("/")
            .mode(CacheMode::Reload)
            .origin(status(404))
            .miss()
            .status(404);
        cache
            .send("POST", "/")
            .origin(ok("done"))
            .bypass()
            .body("done");
        backend.heal();
        cache.get("/after").origin(ok("after").max_age(60)).miss();
        cache.get("/after").hit().body("after");
    }
}

#[test]
fn a_lookup_that_fails_is_a_miss_with_its_reason() {
    let backend = FaultyBackend::new(MemoryBackend::default());
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    cache.get("/").origin(ok("one").max_age(60)).miss();
    backend.fail(Operation::Lookup);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .miss()
        .because(Reason::BackendUnavailable);
    cache
        .get("/")
        .with("cache-control", "only-if-cached")
        .unsatisfiable();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_costs_one_budget_a_request() {
    let backend = FaultyBackend::new(MemoryBackend::default());
    let origin = Origin::new();
    let layer = CacheLayer::new(backend.clone()).backend_budget(Duration::from_millis(70));
    let cache = layer.layer(origin.clone());
    for operation in [
        Operation::Lookup,
        Operation::Freshen,
        Operation::Remove,
        Operation::Invalidate,
        Operation::Publish,
    ] {
        backend.hang(operation);
    }
    let started = tokio::time::Instant::now();
    origin.answers(ok("one").max_age(60));
    let response = cache.clone().oneshot(get("/")).await.expect("a response");
    assert_eq!(started.elapsed().as_millis().div_euclid(10), 7);
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes(),
        "one"
    );
    assert_eq!(
        started.elapsed().as_millis().div_euclid(10),
        7,
        "the body waits for nothing"
    );

    let started = tokio::time::Instant::now();
    origin.answers(
        ok("done")
            .with("location", "/other")
            .with("content-location", "/third"),
    );
    let post = Request::post("http://origin.test/")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    cache.oneshot(post).await.expect("a response");
    assert_eq!(
        started.elapsed().as_millis().div_euclid(10),
        7,
        "three invalidations share a budget"
    );
}

#[test]
fn a_hit_writes_nothing() {
    let backend = RecordingBackend::new(MemoryBackend::default());
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    cache.get("/").origin(ok("one").max_age(60)).miss();
    assert_eq!(
        backend.take(),
        [Operation::Lookup, Operation::Write, Operation::Publish]
    );
    cache.get("/").hit();
    assert_eq!(backend.take(), [Operation::Lookup]);
    cache
        .get("/")
        .with("cache-control", "no-store")
        .origin(ok("two"))
        .bypass();
    assert_eq!(backend.take(), []);
}

/// A backend that answers every lookup with the same response, whatever was asked for.
#[derive(Debug, Clone)]
struct Lying {
    inner: MemoryBackend,
    answer: Candidates,
}

impl Backend for Lying {
    fn lookup<'a>(
        &'a self,
        _: Query<'a>,
        _: SystemTime,
    ) -> BackendAnswer<'a, Result<Candidates, BackendError>> {
        BackendAnswer::Now(Ok(self.answer.clone()))
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        self.inner.writer(head)
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.freshen(entry, head, now)
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.remove(entry)
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.invalidate(key, now)
    }
}

/// Keeps what the last lookup found.
#[derive(Debug, Clone)]
struct Spying {
    inner: MemoryBackend,
    found: Arc<std::sync::Mutex<Candidates>>,
}

impl Backend for Spying {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<Candidates, BackendError>> {
        let answer = self.inner.lookup(query, now);
        if let BackendAnswer::Now(Ok(found)) = &answer {
            *self.found.lock().expect("unpoisoned") = found.clone();
        }
        answer
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        self.inner.writer(head)
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.freshen(entry, head, now)
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.remove(entry)
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        self.inner.invalidate(key, now)
    }
}

/// What is stored for alice's variant of `/`.
fn alices() -> Candidates {
    let found = Arc::new(std::sync::Mutex::new(Candidates::default()));
    let spying = Spying {
        inner: MemoryBackend::default(),
        found: found.clone(),
    };
    let mut cache = Scenario::over(Policy::private(), spying);
    let answer = ok("alice's").max_age(600).with("vary", "x-user");
    cache.get("/").with("x-user", "alice").origin(answer).miss();
    cache.get("/").with("x-user", "alice").hit();
    let found = found.lock().expect("unpoisoned").clone();
    assert_eq!(found.len(), 1);
    found
}

#[test]
fn a_backend_that_returns_the_response_of_another_request_is_not_believed() {
    let mut cache = Scenario::over(
        Policy::private(),
        Lying {
            inner: MemoryBackend::default(),
            answer: alices(),
        },
    );
    cache.get("/").with("x-user", "alice").hit().body("alice's");
    cache
        .get("/other")
        .with("x-user", "alice")
        .origin(ok("two"))
        .miss()
        .body("two");
    cache
        .get("http://other.test/")
        .with("x-user", "alice")
        .origin(ok("two"))
        .miss()
        .body("two");
    cache
        .get("/")
        .with("x-user", "bob")
        .origin(ok("two"))
        .miss()
        .body("two");
    cache
        .get("/")
        .with("x-user", "alice")
        .with("cookie", "a=1")
        .origin(ok("two"))
        .miss()
        .body("two");
    cache
        .get("/other")
        .with("x-user", "alice")
        .origin_fails()
        .error();
}

#[tokio::test]
async fn what_layers_make_shares_one_store() {
    let layer = CacheLayer::new(MemoryBackend::default());
    let origin = Origin::new();
    origin.answers(ok("one").max_age(60));
    let first = layer.layer(origin.clone());
    let second = layer.clone().layer(origin.clone());
    let response = first.clone().oneshot(get("/")).await.expect("a response");
    response.into_body().collect().await.expect("a body");
    drop((first, layer));
    let response = second.oneshot(get("/")).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Hit);
}

/// Bodies of streams that never end: server-sent events.
fn streaming(
    directives: &'static str,
) -> (
    http_body_util::channel::Sender<Bytes>,
    Cache<
        impl Service<
            Request<Empty<Bytes>>,
            Response = Response<Channel<Bytes>>,
            Error = Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static,
    >,
) {
    let (sender, body) = Channel::<Bytes>::new(8);
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let inner = answering(directives, move || {
        body.lock().expect("unpoisoned").take().expect("one call")
    });
    (
        sender,
        CacheLayer::new(MemoryBackend::default()).layer(inner),
    )
}

#[tokio::test]
async fn a_stream_passes_frame_by_frame_while_it_is_made_stored_or_not() {
    for directives in ["no-store", "max-age=60"] {
        let (mut sender, cache) = streaming(directives);
        let response = cache
            .oneshot(get("/"))
            .await
            .expect("the head comes before the body");
        let mut body = response.into_body();
        assert!(poll_once(&mut body).is_pending());
        for event in ["one", "two"] {
            sender
                .send_data(Bytes::from_static(event.as_bytes()))
                .await
                .expect("the body is read");
            let Poll::Ready(Some(Ok(frame))) = poll_once(&mut body) else {
                panic!("no frame at once")
            };
            assert_eq!(frame.into_data().expect("data"), event);
            assert!(poll_once(&mut body).is_pending());
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "1".parse().expect("a value"));
        sender
            .send_trailers(trailers.clone())
            .await
            .expect("the body is read");
        drop(sender);
        let frame = body.frame().await.expect("a frame").expect("trailers");
        assert_eq!(frame.into_trailers().expect("trailers"), trailers);
        assert!(body.frame().await.is_none());
    }
}

fn poll_once<B: Body + Unpin>(body: &mut B) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_body_that_is_not_stored_is_not_copied() {
    let data = Bytes::from_static(b"never copied");
    let given = data.clone();
    let cache = CacheLayer::new(MemoryBackend::default())
        .layer(answering("no-store", move || Full::new(given.clone())));
    let mut body = cache
        .oneshot(get("/"))
        .await
        .expect("a response")
        .into_body();
    let Some(Ok(frame)) = body.frame().await else {
        panic!("no frame")
    };
    assert_eq!(frame.into_data().expect("data").as_ptr(), data.as_ptr());
}

#[tokio::test]
async fn hits_share_the_bytes_that_are_stored() {
    let large = || Full::new(Bytes::from(vec![7_u8; 1 << 20]));
    let cache = CacheLayer::new(MemoryBackend::default()).layer(answering("max-age=60", large));
    cache
        .clone()
        .oneshot(get("/"))
        .await
        .expect("a response")
        .into_body()
        .collect()
        .await
        .expect("a body");
    let mut pointers = Vec::new();
    for _ in 0..2 {
        let mut body = cache
            .clone()
            .oneshot(get("/"))
            .await
            .expect("a response")
            .into_body();
        assert_eq!(body.size_hint().exact(), Some(1 << 20));
        let frame = body
            .frame()
            .await
            .expect("a frame")
            .expect("data")
            .into_data()
            .expect("data");
        pointers.push(frame.as_ptr());
        assert!(body.is_end_stream());
    }
    assert_eq!(pointers[0], pointers[1]);
}

#[tokio::test]
async fn a_body_that_is_dropped_before_its_end_is_not_stored() {
    let (mut sender, cache) = streaming("max-age=60");
    let response = cache.clone().oneshot(get("/")).await.expect("a response");
    sender
        .send_data(Bytes::from_static(b"half"))
        .await
        .expect("the body is read");
    let mut body = response.into_body();
    body.frame().await.expect("a frame").expect("data");
    drop(body);
    let mut only_stored = get("/");
    only_stored.extensions_mut().insert(CacheMode::OnlyIfCached);
    let response = cache.oneshot(only_stored).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Unsatisfiable);
}

#[tokio::test]
async fn a_response_is_visible_when_its_body_has_been_read_even_if_the_reader_stops_at_the_end_of_stream()
 {
    // `Full` says that it is at its end together with its only frame, and many readers stop there.
    let cache = CacheLayer::new(MemoryBackend::default()).layer(answering("max-age=60", || {
        Full::new(Bytes::from_static(b"one"))
    }));
    let mut body = cache
        .clone()
        .oneshot(get("/"))
        .await
        .expect("a response")
        .into_body();
    body.frame().await.expect("a frame").expect("data");
    assert!(body.is_end_stream());
    assert_eq!(
        outcome(&cache.oneshot(get("/")).await.expect("a response")),
        Outcome::Hit
    );
}

#[tokio::test]
async fn an_empty_body_that_is_never_polled_is_stored() {
    let cache = CacheLayer::new(MemoryBackend::default())
        .layer(answering("max-age=60", Empty::<Bytes>::new));
    let response = cache.clone().oneshot(get("/")).await.expect("a response");
    assert!(
        response.body().is_end_stream(),
        "nobody polls a body that says that it is at its end"
    );
    drop(response);
    assert_eq!(
        outcome(&cache.oneshot(get("/")).await.expect("a response")),
        Outcome::Hit
    );
}

/// A body that is neither `Sync` nor `Unpin`, and whose data are not `Bytes`.
struct Awkward {
    left: u8,
    _not_unpin: PhantomPinned,
    _not_sync: std::cell::Cell<u8>,
}

impl Body for Awkward {
    type Data = std::collections::VecDeque<u8>;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        let left = self.left.checked_sub(1);
        if let Some(left) = left {
            // No field is pinned structurally, but only `pin_project` could say so without `unsafe`.
            self.set_left(left);
        }
        Poll::Ready(left.map(|left| Ok(Frame::data([b'a' + left].into()))))
    }
}

impl Awkward {
    fn set_left(self: Pin<&mut Self>, left: u8) {
        Pin::set(
            &mut { self },
            Self {
                left,
                _not_unpin: PhantomPinned,
                _not_sync: std::cell::Cell::new(0),
            },
        );
    }
}

#[tokio::test]
async fn bodies_need_not_be_sync_or_unpin_and_their_data_need_not_be_bytes() {
    let awkward = || Awkward {
        left: 3,
        _not_unpin: PhantomPinned,
        _not_sync: std::cell::Cell::new(0),
    };
    let cache = CacheLayer::new(MemoryBackend::default()).layer(answering("max-age=60", awkward));
    for expected in [Outcome::Miss, Outcome::Hit] {
        let response = cache.clone().oneshot(get("/")).await.expect("a response");
        assert_eq!(outcome(&response), expected);
        assert_eq!(
            response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes(),
            "cba"
        );
    }
}

/// The request body passes unchanged: the inner service gets the very type that the caller gave.
#[tokio::test]
async fn the_request_body_passes_unchanged() {
    struct Mine(&'static str);

    impl Body for Mine {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("nobody reads it but the inner service")
        }
    }

    let inner = tower::service_fn(|request: Request<Mine>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(
            Bytes::from_static(request.into_body().0.as_bytes()),
        ))))
    });
    let cache = CacheLayer::new(MemoryBackend::default()).layer(inner);
    let request = Request::post("http://origin.test/")
        .body(Mine("mine"))
        .expect("a request");
    let response = cache.oneshot(request).await.expect("a response");
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes(),
        "mine"
    );
}

#[test]
fn the_error_type_is_the_inner_services_own() {
    fn error_of<S: Service<Request<Empty<Bytes>>, Error = E>, E>(
        _: &S,
    ) -> std::marker::PhantomData<E> {
        std::marker::PhantomData
    }
    let cache = CacheLayer::new(MemoryBackend::default()).layer(Origin::new());
    let _: std::marker::PhantomData<kit::OriginError> = error_of(&cache);
}

#[tokio::test]
async fn a_hit_needs_nothing_of_a_busy_inner_service() {
    let origin = Origin::new();
    origin.answers(ok("one").max_age(60));
    let limited = tower::limit::ConcurrencyLimit::new(origin, 1);
    let mut held = limited.clone();
    let cache = CacheLayer::new(MemoryBackend::default()).layer(limited);
    cache
        .clone()
        .oneshot(get("/"))
        .await
        .expect("a response")
        .into_body()
        .collect()
        .await
        .expect("a body");
    let _permit = <_ as ServiceExt<Request<Empty<Bytes>>>>::ready(&mut held)
        .await
        .expect("the only permit");
    assert_eq!(
        outcome(&cache.clone().oneshot(get("/")).await.expect("a response")),
        Outcome::Hit
    );
    let mut miss = pin!(cache.oneshot(get("/other")));
    assert!(
        poll_fn(|cx| Poll::Ready(miss.as_mut().poll(cx).is_pending())).await,
        "a miss waits for it"
    );
}

/// An inner service and its body that each take a few turns before they answer.
#[derive(Clone)]
struct Slow(Origin);

impl Service<Request<Empty<Bytes>>> for Slow {
    type Response = Response<SlowBody>;
    type Error = kit::OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(answer.await?.map(|body| SlowBody {
                body,
                is_turn: false,
            }))
        })
    }
}

struct SlowBody {
    body: TestBody,
    is_turn: bool,
}

impl Body for SlowBody {
    type Data = Bytes;
    type Error = kit::OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.is_turn = !self.is_turn;
        if self.is_turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}

/// Answers later what it could answer now, as a store over a network does.
#[derive(Debug, Clone)]
struct Later<B = MemoryBackend>(B);

async fn later<T>(answer: BackendAnswer<'_, T>) -> T {
    tokio::task::yield_now().await;
    answer.wait().await
}

impl<B: Backend> Backend for Later<B> {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<Candidates, BackendError>> {
        BackendAnswer::later(async move { later(self.0.lookup(query, now)).await })
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(LaterWriter(self.0.writer(head)))
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        BackendAnswer::later(async move { later(self.0.freshen(entry, head, now)).await })
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> BackendAnswer<'a, Result<(), BackendError>> {
        BackendAnswer::later(async move { later(self.0.remove(entry)).await })
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> BackendAnswer<'a, Result<(), BackendError>> {
        BackendAnswer::later(async move { later(self.0.invalidate(key, now)).await })
    }
}

struct LaterWriter(Box<dyn BodyWriter>);

impl BodyWriter for LaterWriter {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.0.write(chunk)
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> BackendAnswer<'static, Result<(), BackendError>> {
        BackendAnswer::later(async move { later(self.0.publish(trailers)).await })
    }
}

mod contract_of_a_backend_that_answers_later {
    kit::backend_contract!(super::Later(cache_memory::MemoryBackend::default()));
}

/// Sends a request and reads its body, and drops whatever is under way after so many polls.
/// Whether it came to its end before.
async fn drop_after(polls: usize, cache: &Cache<Slow>, request: Request<Empty<Bytes>>) -> bool {
    let exchange = async {
        let response = cache.clone().oneshot(request).await.expect("a response");
        response.into_body().collect().await.expect("a body")
    };
    let mut exchange = Box::pin(exchange);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx).is_ready())).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Every kind of exchange, dropped after every number of polls: afterwards the cache still works, and
/// what it serves is whole.
#[tokio::test]
async fn dropping_an_exchange_at_any_poll_leaves_a_cache_that_works() {
    for slow_backend in [false, true] {
        let mut polls = 0;
        loop {
            let memory = MemoryBackend::default();
            let layer = if slow_backend {
                CacheLayer::new(Later(memory))
            } else {
                CacheLayer::new(memory)
            };
            let clock = ManualClock::new();
            let origin = Origin::new();
            let cache = layer.clock(clock.clone()).layer(Slow(origin.clone()));
            let stored = || ok("").max_age(60).etag("\"1\"").chunk("who").chunk("le");
            let mut all_came_to_their_end = true;

            let mut run = async |answer: kit::Answer, request: Request<Empty<Bytes>>| {
                origin.answers(answer);
                all_came_to_their_end &= drop_after(polls, &cache, request).await;
                settle().await;
                origin.forget();
            };
            run(stored(), get("/")).await;
            run(stored(), get("/")).await;
            clock.advance(Duration::from_secs(61));
            run(
                kit::not_modified().cache_control("max-age=60, stale-while-revalidate=60"),
                get("/"),
            )
            .await;
            clock.advance(Duration::from_secs(61));
            run(stored(), get("/")).await;
            let post = Request::post("http://origin.test/")
                .body(Empty::new())
                .expect("a request");
            run(ok("done").with("location", "/other"), post).await;
            let mut reload = get("/");
            reload.extensions_mut().insert(CacheMode::Reload);
            run(status(404), reload).await;

            origin.answers(stored());
            let response = cache.clone().oneshot(get("/")).await.expect("a response");
            assert_eq!(
                response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes(),
                "whole"
            );
            settle().await;
            let response = cache.clone().oneshot(get("/")).await.expect("a response");
            assert_eq!(outcome(&response), Outcome::Hit, "after {polls} polls");
            assert_eq!(
                response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes(),
                "whole"
            );
            if all_came_to_their_end {
                break;
            }
            polls += 1;
            assert!(polls < 100, "the exchange never ends");
        }
        assert!(polls > 4, "the exchanges were not dropped on their way");
    }
}

#[test]
fn services_bodies_and_futures_can_be_sent_and_shared() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>() {}
    is_send_and_sync::<CacheLayer>();
    is_send_and_sync::<Cache<Origin>>();
    is_send_and_sync::<CacheBody<TestBody>>();
    is_send::<cache_tower::ResponseFuture<TestBody, kit::OriginError>>();
}

#[test]
fn without_a_runtime_memory_still_works_and_nothing_runs_in_the_background() {
    let origin = Origin::new();
    let clock = ManualClock::new();
    let cache = CacheLayer::new(MemoryBackend::default())
        .clock(clock.clone())
        .layer(origin.clone());
    let fetch = || {
        let mut future = Box::pin(async {
            let response = cache.clone().call(get("/")).await.expect("a response");
            let outcome = outcome(&response);
            (
                outcome,
                response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes(),
            )
        });
        match future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(seen) => seen,
            Poll::Pending => panic!("it waits for something"),
        }
    };
    origin.answers(ok("one").cache_control("max-age=60, stale-while-revalidate=60"));
    assert_eq!(fetch().0, Outcome::Miss);
    assert_eq!(fetch().0, Outcome::Hit);
    clock.advance(Duration::from_secs(61));
    assert_eq!(fetch(), (Outcome::StaleHit, Bytes::from_static(b"one")));
}

#[test]
fn the_future_of_a_call_is_small() {
    // It has the response of a hit in it, which is moved about; nothing else in it is large.
    let size = size_of::<cache_tower::ResponseFuture<TestBody, kit::OriginError>>();
    assert!(size <= 208, "{size} bytes");
}

/// A reader that counts, as hyper's server does, stops when all bytes have come.
#[tokio::test]
async fn a_body_of_which_all_bytes_were_read_is_stored_though_its_end_was_not_seen() {
    let inner = tower::service_fn(|_: Request<Empty<Bytes>>| {
        let answer = ok("")
            .max_age(60)
            .with("content-length", "5")
            .chunk("who")
            .chunk("le");
        ready(Ok::<_, Infallible>(answer.response()))
    });
    let cache = CacheLayer::new(MemoryBackend::default()).layer(inner);
    for (frames, expected) in [(1, Outcome::Miss), (2, Outcome::Hit)] {
        let mut body = cache
            .clone()
            .oneshot(get("/"))
            .await
            .expect("a response")
            .into_body();
        for _ in 0..frames {
            body.frame().await.expect("a frame").expect("data");
        }
        drop(body);
        let response = cache.clone().oneshot(get("/")).await.expect("a response");
        assert_eq!(outcome(&response), expected, "after {frames} frames");
    }
}

/// A caller that gives up while an invalidation is under way does not undo it.
#[tokio::test]
async fn an_invalidation_that_was_begun_is_done_whatever_becomes_of_the_caller() {
    let origin = Origin::new();
    let clock = ManualClock::new();
    let cache = CacheLayer::new(Later(MemoryBackend::default()))
        .clock(clock.clone())
        .layer(origin.clone());
    origin.answers(ok("one").max_age(60));
    cache
        .clone()
        .oneshot(get("/"))
        .await
        .expect("a response")
        .into_body()
        .collect()
        .await
        .expect("a body");
    settle().await;
    clock.advance(Duration::from_secs(1));
    origin.answers(ok("done"));
    let post = Request::post("http://origin.test/")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let mut posting = Box::pin(cache.clone().oneshot(post));
    assert!(poll_fn(|cx| Poll::Ready(posting.as_mut().poll(cx).is_pending())).await);
    drop(posting);
    settle().await;
    origin.answers(ok("two"));
    assert_eq!(
        outcome(&cache.oneshot(get("/")).await.expect("a response")),
        Outcome::Miss
    );
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    let mut cache = Scenario::private();
    let answer = ok("hunter2 body")
        .max_age(600)
        .etag("\"1\"")
        .with("set-cookie", "hunter2")
        .with("vary", "x-user");
    let found = Arc::new(std::sync::Mutex::new(Candidates::default()));
    let spying = Spying {
        inner: MemoryBackend::default(),
        found: found.clone(),
    };
    let mut spied = Scenario::over(
        Policy::private().secret(cache_core::Secret::new(b"hunter2")),
        spying.clone(),
    );
    let ask = |cache: &mut Scenario, answer: Option<kit::Answer>| {
        let asked = cache
            .get("/?token=hunter2")
            .with("authorization", "hunter2")
            .with("x-user", "hunter2");
        match answer {
            Some(answer) => asked.origin(answer).miss(),
            None => asked.hit(),
        }
    };
    ask(&mut cache, Some(answer.clone()));
    ask(&mut spied, Some(answer));
    ask(&mut spied, None);
    let found = found.lock().expect("unpoisoned").clone();
    let key = found[0].head.key();
    let shown = format!("{spying:?} {found:?} {key:?} {:?}", found[0].body);
    assert!(!shown.contains("hunter2"), "{shown}");
    let bytes = key.as_bytes();
    assert!(
        !bytes.windows(7).any(|window| window == b"hunter2"),
        "the key is readable"
    );
}

#[tokio::test]
async fn cache_status_is_sent_on_request_behind_that_of_others() {
    let name = cache_core::CacheName::new("ours").expect("a token");
    let origin = Origin::new();
    let layer = CacheLayer::new(MemoryBackend::default());
    let silent = layer.clone().layer(origin.clone());
    let telling = layer.cache_status(name).layer(origin.clone());
    let statuses = async |cache: Cache<Origin>, path: &str| -> Vec<String> {
        let response = cache.oneshot(get(path)).await.expect("a response");
        let lines = response.headers().get_all("cache-status").iter();
        let lines = lines
            .map(|line| line.to_str().expect("text").to_owned())
            .collect();
        response.into_body().collect().await.expect("a body");
        lines
    };
    origin.answers(ok("one").max_age(60).with("cache-status", "cdn; hit"));
    let miss =
        "ours; fwd=uri-miss; fwd-status=200; stored; detail=\"nothing is stored for this URI\"";
    assert_eq!(statuses(telling.clone(), "/").await, ["cdn; hit", miss]);
    let hit = statuses(telling.clone(), "/").await;
    assert_eq!(hit[0], "cdn; hit");
    assert!(hit[1].starts_with("ours; hit; ttl="), "{hit:?}");
    assert_eq!(hit.len(), 2);
    assert_eq!(statuses(silent, "/").await, ["cdn; hit"]);
    origin.answers(ok("two").cache_control("no-store"));
    let refused = "ours; fwd=uri-miss; fwd-status=200; detail=\"the response says no-store\"";
    assert_eq!(statuses(telling, "/other").await, [refused]);
}

/// Invalidating fails, but only after a turn.
#[tokio::test]
async fn an_invalidation_that_fails_after_its_caller_has_gone_is_not_forgotten() {
    let origin = Origin::new();
    let clock = ManualClock::new();
    let faulty = FaultyBackend::new(MemoryBackend::default());
    let layer = CacheLayer::new(Later(faulty.clone())).clock(clock.clone());
    let cache = layer.layer(origin.clone());
    origin.answers(ok("one").max_age(60));
    let response = cache.clone().oneshot(get("/")).await.expect("a response");
    response.into_body().collect().await.expect("a body");
    settle().await;
    clock.advance(Duration::from_secs(1));
    faulty.fail(Operation::Invalidate);
    origin.answers(ok("done"));
    let post = Request::post("http://origin.test/")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let mut posting = Box::pin(cache.clone().oneshot(post));
    assert!(poll_fn(|cx| Poll::Ready(posting.as_mut().poll(cx).is_pending())).await);
    drop(posting);
    settle().await;
    faulty.heal();
    origin.answers(ok("two"));
    let response = cache.oneshot(get("/")).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Miss);
}
