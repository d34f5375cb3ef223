//! Bodies on their way, stored or not.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_core::{Outcome, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheBody, CacheLayer};
use http::{Request, Response};
use http_body::Body;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use kit::{Scenario, ok, status};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::held::{get, held, soon, text};
use crate::info::outcome;

/// What a body has to give now.
fn poll<B>(body: &mut CacheBody<B>) -> Poll<Option<Bytes>>
where
    CacheBody<B>: Body<Data = Bytes> + Unpin,
{
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(body).poll_frame(&mut cx).map(|frame| {
        let Ok(frame) = frame? else {
            panic!("the body breaks off")
        };
        frame.into_data().ok()
    })
}

/// A service that answers its first call with this body and this `Cache-Control`, and every other one
/// with a body that never comes.
fn sending(
    directives: Option<&'static str>,
    body: Channel<Bytes>,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Channel<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    let body = Arc::new(Mutex::new(Some(body)));
    service_fn(move |_| {
        let first = body.lock().expect("unpoisoned").take();
        let body = first.unwrap_or_else(|| Channel::new(1).1);
        let mut response = Response::builder().header("content-type", "text/event-stream");
        if let Some(directives) = directives {
            response = response.header("cache-control", directives);
        }
        ready(Ok(response.body(body).expect("a response")))
    })
}

fn caching<S>(inner: S) -> Cache<S> {
    CacheLayer::new(MemoryBackend::default()).layer(inner)
}

// http-cache-tower: W9, a stream of events never gave so much as its head.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_stored_gives_its_head_and_each_frame_at_once() {
    for directives in [Some("no-store"), Some("no-cache, private"), None] {
        let (mut sender, body) = Channel::new(4);
        let mut cache = caching(sending(directives, body));
        let Ok(response) = soon(cache.call(get("/events"))).await;
        assert_eq!(outcome(&response), Outcome::Miss);
        let mut body = response.into_body();
        assert_eq!(poll(&mut body), Poll::Pending);
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            sender.send_data(event.into()).await.expect("it is read");
            assert_eq!(poll(&mut body), Poll::Ready(Some(event.into())));
            assert_eq!(poll(&mut body), Poll::Pending);
        }
        assert!(!body.is_end_stream());
        drop(sender);
        assert_eq!(poll(&mut body), Poll::Ready(None));
    }
}

// http-cache-tower: even its streaming layer read the whole body before it gave the head.
// requests-cache #878, http-cache #103: the same.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_stored_reaches_the_caller_as_it_arrives() {
    let (mut sender, body) = Channel::new(4);
    let mut cache = caching(sending(Some("max-age=600"), body));
    let Ok(response) = soon(cache.call(get("/"))).await;
    let mut body = response.into_body();
    sender.send_data("one ".into()).await.expect("it is read");
    assert_eq!(poll(&mut body), Poll::Ready(Some("one ".into())));
    assert_eq!(poll(&mut body), Poll::Pending);
    let Ok(meanwhile) = soon(cache.call(get("/"))).await;
    assert_eq!(
        outcome(&meanwhile),
        Outcome::Miss,
        "half a body is seen by nobody"
    );
    drop(meanwhile);
    sender.send_data("two".into()).await.expect("it is read");
    drop(sender);
    assert_eq!(poll(&mut body), Poll::Ready(Some("two".into())));
    assert_eq!(poll(&mut body), Poll::Ready(None));
    let Ok(response) = soon(cache.call(get("/"))).await;
    assert_eq!(outcome(&response), Outcome::Hit);
    assert_eq!(text(response).await, "one two");
}

// http-cache-tower: trailers were lost.
#[test]
fn trailers_pass_and_are_replayed() {
    for directives in ["no-store", "max-age=600"] {
        let mut cache = Scenario::private();
        let answer = ok("one").cache_control(directives).trailer("checksum", "1");
        let seen = cache.get("/").origin(answer).miss().body("one");
        assert_eq!(seen.trailers.expect("trailers")["checksum"], "1");
        if directives != "no-store" {
            let seen = cache.get("/").hit().body("one");
            assert_eq!(seen.trailers.expect("trailers")["checksum"], "1");
        }
    }
}

// pingora: a body that grew too long on its way broke off. axum-response-cache: it became a 500.
// http-cache-tower-server: it was collected all the same.
#[test]
fn a_body_that_grows_too_long_passes_whole_and_is_not_stored() {
    let policy = Policy::private().max_body_bytes(8);
    let mut cache = Scenario::with(policy);
    let long = || {
        ok("12345")
            .chunk("6789")
            .trailer("checksum", "1")
            .max_age(600)
    };
    for _ in 0..2 {
        let seen = cache.get("/").origin(long()).miss().body("123456789");
        assert!(!seen.broke_off);
        assert_eq!(seen.trailers.expect("trailers")["checksum"], "1");
    }
    let announced = long().with("content-length", "9");
    cache
        .get("/")
        .origin(announced)
        .miss()
        .not_stored(Reason::BodyTooLarge)
        .body("123456789");
    cache
        .get("/")
        .origin(ok("12345").chunk("678").max_age(600))
        .miss();
    cache.get("/").hit().body("12345678");
}

// http-cache-stream, OkHttp: it had to be read to its end, and nobody said so. Here it is documented,
// and half of it is never seen.
#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_to_its_end_is_not_stored() {
    let (origin, mut arrivals) = held();
    let mut cache = caching(origin);
    let call = tokio::spawn(cache.call(get("/")));
    arrivals
        .next()
        .await
        .answer(ok("half").chunk("whole").max_age(600));
    let mut response = call.await.expect("no panic").expect("a response");
    response
        .body_mut()
        .frame()
        .await
        .expect("a frame")
        .expect("data");
    drop(response);
    let call = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(ok("two"));
    let response = call.await.expect("no panic").expect("a response");
    assert_eq!(outcome(&response), Outcome::Miss);
}

// OkHttp, Symfony: a redirection was never stored where its empty body was not read, and nobody reads it.
#[tokio::test]
async fn an_empty_body_need_not_be_read_to_be_stored() {
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder()
            .status(301)
            .header("location", "/new")
            .header("cache-control", "max-age=600")
            .body(Empty::<Bytes>::new());
        ready(Ok::<_, Infallible>(response.expect("a response")))
    });
    let mut cache = caching(inner);
    for expected in [Outcome::Miss, Outcome::Hit] {
        let Ok(response) = cache.call(get("/")).await;
        assert_eq!(outcome(&response), expected);
        assert_eq!(response.headers()["location"], "/new");
    }
}

// http-cache-stream: an error of the store broke the body. Here an error of the body is its own.
#[test]
fn a_body_that_breaks_off_breaks_off_for_the_caller_too() {
    for directives in ["no-store", "max-age=600"] {
        let mut cache = Scenario::private();
        let answer = ok("half").cache_control(directives).breaks_off();
        let seen = cache.get("/").origin(answer).miss().body("half");
        assert!(seen.broke_off);
        cache.get("/").origin(status(503)).miss();
    }
}
