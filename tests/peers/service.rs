//! The contract between tower services: readiness, errors, bodies, and what must pass untouched.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use cache_core::{CacheMode, Outcome, Policy};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use kit::{ManualClock, Origin, OriginError, TestBody, ok};
use tokio::time::Instant;
use tower::buffer::Buffer;
use tower::limit::{ConcurrencyLimit, RateLimit, rate::Rate};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::held::{around, get, held, settle, soon, text};
use crate::info::outcome;

fn without_clock<S>(inner: S) -> cache_tower::Cache<S> {
    CacheLayer::new(MemoryBackend::default()).layer(inner)
}

// http-cache-tower: W8; tower-http-cache: with a limit of one inside, the first call never ended.
#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_of_one_inside_lets_calls_through_one_by_one() {
    let origin = Origin::new();
    let mut cache = without_clock(ConcurrencyLimit::new(origin.clone(), 1));
    for path in ["/a", "/b", "/c"] {
        origin.answers(ok("one").cache_control("no-store"));
        let response = soon(cache.call(get(path))).await.expect("a response");
        assert_eq!(text(response).await, "one");
    }
}

// hitbox: `poll_ready must be called first`; tower-resilience #286: a clone was called that had never
// been ready.
#[tokio::test(start_paused = true)]
async fn the_very_service_that_was_ready_is_called() {
    let origin = Origin::new();
    let clock = ManualClock::new();
    let mut cache = around(
        MemoryBackend::default(),
        &clock,
        Strict::new(origin.clone()),
    );
    let windowed = || ok("one").cache_control("max-age=60, stale-while-revalidate=600");
    origin.answers(windowed());
    text(soon(cache.call(get("/"))).await.expect("a miss")).await;
    clock.advance(Duration::from_secs(61));
    origin.answers(windowed());
    soon(cache.call(get("/"))).await.expect("a stale hit");
    settle().await;
    assert!(origin.is_exhausted(), "the background asked");
    origin.answers(ok("posted"));
    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    soon(cache.call(post)).await.expect("a response to POST");
    origin.answers(ok("bypassed"));
    let mut bypass = get("/");
    bypass.extensions_mut().insert(CacheMode::NoStore);
    soon(cache.call(bypass)).await.expect("a bypass");
}

/// A service that takes readiness as tower means it: of one clone, for one call.
#[derive(Debug)]
struct Strict {
    inner: Origin,
    is_ready: bool,
}

impl Strict {
    fn new(inner: Origin) -> Self {
        Self {
            inner,
            is_ready: false,
        }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl Service<Request<Full<Bytes>>> for Strict {
    type Response = Response<TestBody>;
    type Error = OriginError;
    type Future = <Origin as Service<Request<Full<Bytes>>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "it was not ready");
        self.inner.call(request)
    }
}

// http-cache-tower, tower-http-cache: readiness was asked for twice, so a place was taken for nothing.
#[tokio::test(start_paused = true)]
async fn a_buffer_of_one_place_inside_is_not_exhausted() {
    let origin = Origin::new();
    let mut cache = without_clock(Buffer::new(Strict::new(origin.clone()), 1));
    for _ in 0..5 {
        origin.answers(ok("one").cache_control("no-store"));
        let response = soon(cache.call(get("/"))).await.expect("a response");
        assert_eq!(text(response).await, "one");
    }
}

// http-cache: a limiter of its own was needed, since hits counted with one inside.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_inside_holds_for_misses_and_not_for_hits() {
    let origin = Origin::new();
    let rate = Rate::new(1, Duration::from_secs(10));
    let limited = RateLimit::new(origin.clone(), rate);
    let mut cache = without_clock(Buffer::new(limited, 4));
    let started = Instant::now();
    for path in ["/a", "/b"] {
        origin.answers(ok("one").max_age(600));
        text(soon(cache.call(get(path))).await.expect("a response")).await;
    }
    assert_eq!(started.elapsed().as_secs(), 10);
    for path in ["/a", "/b", "/a", "/b"] {
        let response = soon(cache.call(get(path))).await.expect("a response");
        assert_eq!(outcome(&response), Outcome::Hit);
    }
    assert_eq!(started.elapsed().as_secs(), 10);
}

// axum-response-cache: the inner service was called before the store was looked into.
// http-cache-tower: a hit waited for the inner service to be ready.
#[tokio::test(start_paused = true)]
async fn a_hit_neither_calls_the_inner_service_nor_waits_for_it() {
    let (origin, mut arrivals) = held();
    let mut cache = without_clock(ConcurrencyLimit::new(origin, 1));
    let call = tokio::spawn(cache.call(get("/a")));
    arrivals.next().await.answer(ok("one").max_age(600));
    text(call.await.expect("no panic").expect("a response")).await;

    let busy = tokio::spawn(cache.call(get("/b")));
    let asked = arrivals.next().await;
    let response = soon(cache.call(get("/a"))).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Hit);
    let waiting = tokio::spawn(cache.call(get("/c")));
    settle().await;
    assert!(arrivals.is_empty(), "a miss waits");
    asked.answer(ok("two"));
    soon(busy).await.expect("no panic").expect("a response");
    arrivals.next().await.answer(ok("three"));
    soon(waiting).await.expect("no panic").expect("a response");
}

// hitbox: a caller that went away left those behind it waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_keeps_nobody_waiting() {
    let (origin, mut arrivals) = held();
    let mut cache = without_clock(ConcurrencyLimit::new(origin, 1));
    let leaving = tokio::spawn(cache.call(get("/")));
    let asked = arrivals.next().await;
    let staying = tokio::spawn(cache.call(get("/")));
    settle().await;
    leaving.abort();
    arrivals.next().await.answer(ok("one").max_age(600));
    let response = soon(staying).await.expect("no panic").expect("a response");
    assert_eq!(text(response).await, "one");
    drop(asked);
    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Hit);
}

// tower-http-cache: eight uncacheable requests waited for one another.
#[tokio::test(start_paused = true)]
async fn uncacheable_requests_are_at_the_origin_at_the_same_time() {
    let (origin, mut arrivals) = held();
    let mut cache = without_clock(origin);
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(tokio::spawn(cache.call(get("/"))));
    }
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(arrivals.next().await);
    }
    for asked in waiting {
        asked.answer(ok("one").cache_control("no-store"));
    }
    for call in calls {
        let response = soon(call).await.expect("no panic").expect("a response");
        assert_eq!(text(response).await, "one");
    }
}

// Souin, caddy cache-handler #82: a slow first request blocked everybody behind it.
#[tokio::test(start_paused = true)]
async fn a_slow_first_request_does_not_block_the_next_one() {
    let (origin, mut arrivals) = held();
    let mut cache = without_clock(origin);
    let slow = tokio::spawn(cache.call(get("/")));
    let never_answered = arrivals.next().await;
    let quick = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(ok("one").max_age(600));
    let response = soon(quick).await.expect("no panic").expect("a response");
    assert_eq!(text(response).await, "one");
    slow.abort();
    drop(never_answered);
}

// http-cache-tower: the inner error was turned into text. tower-http-cache: into a box.
#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_reach_the_caller_as_they_are() {
    let origin = Origin::new();
    let mut cache = without_clock(origin.clone());
    origin.fails();
    let error: OriginError = cache.call(get("/")).await.expect_err("an error");
    assert_eq!(error, OriginError("the origin is down"));

    let mut cache = without_clock(NeverReady);
    let error: OriginError = cache.call(get("/")).await.expect_err("an error");
    assert_eq!(error, OriginError("never ready"));
}

#[derive(Debug, Clone)]
struct NeverReady;

impl Service<Request<Full<Bytes>>> for NeverReady {
    type Response = Response<TestBody>;
    type Error = OriginError;
    type Future = std::future::Ready<Result<Response<TestBody>, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Err(OriginError("never ready")))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        panic!("it was never ready")
    }
}

// http-cache-tower, tower-http-cache: around a service that cannot fail, one that can.
#[tokio::test]
async fn around_a_service_that_cannot_fail_nothing_fails() {
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(
            Bytes::from_static(b"one"),
        ))))
    });
    let Ok(response) = without_clock(inner).call(get("/")).await;
    assert_eq!(text(response).await, "one");
}

// tower-http-cache: bodies had to be `Sync`. http-cache-tower: `Unpin`, and their data `Bytes`.
#[tokio::test]
async fn bodies_need_be_neither_sync_nor_unpin_nor_made_of_bytes() {
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder()
            .header("cache-control", "max-age=600")
            .body(Odd::default())
            .expect("a response");
        ready(Ok::<_, Infallible>(response))
    });
    let mut cache = without_clock(inner);
    for expected in [Outcome::Miss, Outcome::Hit] {
        let Ok(response) = cache.call(get("/")).await;
        assert_eq!(outcome(&response), expected);
        assert_eq!(text(response).await, "onetwo");
    }
}

/// A body that is not `Sync` for its cell, not `Unpin` for its mark, and whose data are in two parts.
#[derive(Default)]
struct Odd {
    is_over: Cell<bool>,
    _mark: PhantomPinned,
}

impl Body for Odd {
    type Data = Chain<Bytes, &'static [u8]>;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        let data = Bytes::from_static(b"one").chain(&b"two"[..]);
        let is_over = self.is_over.replace(true);
        Poll::Ready((!is_over).then(|| Ok(Frame::data(data))))
    }
}

/// Content that is neither `Sync` nor `Clone`, and that only the inner service may read.
struct Upload(Cell<&'static str>);

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("it is not for the cache")
    }
}

// hitbox: the inner service had to take another type of body. http-cache #64: requests that cannot be
// cloned failed.
#[tokio::test]
async fn the_request_passes_with_its_body_fields_and_extensions() {
    #[derive(Clone)]
    struct Peer(&'static str);

    let inner = service_fn(|request: Request<Upload>| {
        let Peer(peer) = request.extensions().get().expect("a peer");
        let field = request.headers()["x-user"].to_str().expect("text");
        let said = format!("{} {peer} {field}", request.body().0.get());
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(
            said,
        )))))
    });
    let mut cache = without_clock(inner);
    for method in ["POST", "GET"] {
        let request = Request::builder()
            .method(method)
            .uri("http://origin.test/")
            .header("x-user", "alice")
            .extension(Peer("peer"))
            .body(Upload(Cell::new("body")))
            .expect("a request");
        let Ok(response) = cache.call(request).await;
        assert_eq!(text(response).await, "body peer alice");
    }
}

// http-cache-tower: fields that are not UTF-8 were dropped, repeated ones joined, extensions lost.
#[tokio::test]
async fn a_response_passes_with_all_that_the_inner_service_gave_it() {
    #[derive(Clone, Debug, PartialEq)]
    struct Peer(u32);

    let inner = service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder()
            .version(http::Version::HTTP_2)
            .status(203)
            .header("cache-control", "max-age=600")
            .header("x-name", &b"Ren\xe9"[..])
            .header("link", "<a>")
            .header("link", "<b>")
            .extension(Peer(7))
            .body(Full::new(Bytes::from_static(b"one")));
        ready(Ok::<_, Infallible>(response.expect("a response")))
    });
    let mut cache = without_clock(inner);
    for expected in [Outcome::Miss, Outcome::Hit] {
        let Ok(response) = cache.call(get("/")).await;
        assert_eq!(outcome(&response), expected);
        assert_eq!(response.status(), 203);
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.headers()["x-name"].as_bytes(), b"Ren\xe9");
        let links: Vec<_> = response.headers().get_all("link").iter().collect();
        assert_eq!(links, ["<a>", "<b>"]);
        let is_miss = expected == Outcome::Miss;
        let peer = response.extensions().get();
        assert_eq!(peer, is_miss.then_some(&Peer(7)));
        assert_eq!(text(response).await, "one");
    }
}

// http-cache-tower, tower-http-cache: an upgrade is more than its head and its body.
#[tokio::test]
async fn an_upgrade_passes_untouched() {
    #[derive(Clone)]
    struct OnUpgrade;

    let inner = service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("cache-control", "max-age=600")
            .extension(OnUpgrade)
            .body(Empty::<Bytes>::new());
        ready(Ok::<_, Infallible>(response.expect("a response")))
    });
    let mut cache = without_clock(inner);
    for _ in 0..2 {
        let Ok(response) = cache.call(get("/")).await;
        assert_eq!(outcome(&response), Outcome::Miss);
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert!(response.extensions().get::<OnUpgrade>().is_some());
    }
}

// tower-resilience #225: each call of `layer` had a store of its own.
#[tokio::test]
async fn all_services_of_a_layer_share_one_store() {
    let origin = Origin::new();
    let layer = CacheLayer::new(MemoryBackend::default());
    let mut first = layer.layer(origin.clone());
    let mut second = layer.clone().layer(origin.clone());
    origin.answers(ok("one").max_age(600));
    text(first.call(get("/")).await.expect("a response")).await;
    let response = second.call(get("/")).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Hit);
}

// requests-cache 1.3.0: some settings could be changed later, some could not, and nobody knew which.
#[tokio::test]
async fn what_is_set_on_a_layer_later_does_not_change_the_services_it_made() {
    let origin = Origin::new();
    let layer = CacheLayer::new(MemoryBackend::default());
    let mut before = layer.layer(origin.clone());
    let mut after = layer.policy(Policy::shared()).layer(origin.clone());
    let personal = || ok("one").cache_control("private, max-age=600");
    for (service, is_stored) in [(&mut before, true), (&mut after, false)] {
        origin.answers(personal());
        let response = service.call(get("/")).await.expect("a response");
        let info = *response
            .extensions()
            .get::<cache_core::CacheInfo>()
            .expect("info");
        assert_eq!(info.is_stored(), is_stored);
    }
}
