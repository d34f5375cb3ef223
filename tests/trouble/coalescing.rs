//! Identical requests at the same time are one request to the origin.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{BoxFuture, CacheName, Outcome, Reason, Storing};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;
use kit::held::{get, held, settle, soon, text};
use kit::{Origin, ok};
use tokio::task::yield_now;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::reading::{Reading, pattern};
use crate::scene::{Got, Scene, answer, fetch, got, got_all, has_no_flights, info};
use crate::store::Store;

#[tokio::test(start_paused = true)]
async fn ten_thousand_identical_misses_are_one_request() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let calls = scene.fetch_all(10_000, || get("/")).await;
        let feed = scene.asked().await.begin(ok("one ").max_age(600));
        settle().await;
        feed.data("two ");
        settle().await;
        feed.data("three");
        feed.end();
        let seen = got_all(calls).await;
        assert!(seen.iter().all(|got| got.text() == "one two three"));
        let collapsed = seen.iter().filter(|got| got.info.collapsed).count();
        assert_eq!(collapsed, 9_999);
        scene.nothing_is_asked().await;
        assert_eq!(got(scene.fetch(get("/"))).await.info.outcome, Outcome::Hit);
        assert!(scene.all_has_landed());
    }
}

/// An origin that counts, and answers in pieces, each after a turn.
#[derive(Clone)]
struct Counting {
    asked: Arc<AtomicUsize>,
    pieces: VecDeque<Bytes>,
}

struct Pieces {
    left: VecDeque<Bytes>,
    is_turn: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_turn = !self.is_turn;
        if self.is_turn && !self.left.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

impl Service<Request<Full<Bytes>>> for Counting {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let left = self.pieces.clone();
        Box::pin(async move {
            yield_now().await;
            let body = Pieces {
                left,
                is_turn: false,
            };
            let response = Response::builder().header("cache-control", "max-age=600");
            Ok(response.body(body).expect("a response"))
        })
    }
}

/// On several threads, nothing but the number of requests can be said beforehand.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_identical_misses_on_several_threads_are_one_request() {
    let hour = Duration::from_secs(3600);
    for store in [Store::new(), Store::later()] {
        // However slow the machine is: these times are not what is tested.
        let layer = CacheLayer::new(store)
            .coalescing_wait(hour)
            .backend_budget(hour)
            .backend_timeout(hour);
        let whole = pattern(40_000);
        let asked = Arc::<AtomicUsize>::default();
        let origin = Counting {
            asked: asked.clone(),
            pieces: (0..10)
                .map(|i| whole.slice(i * 4_000..(i + 1) * 4_000))
                .collect(),
        };
        let cache = layer.layer(origin);
        let calls: Vec<_> = (0..10_000).map(|_| fetch(&cache, get("/"))).collect();
        for call in calls {
            let Ok(got) = call.await.expect("no panic");
            got.is(&whole);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

/// Over and over, while some leave: whoever waits is woken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_nobody_who_waits_is_forgotten() {
    let hour = Duration::from_secs(3600);
    let whole = pattern(30_000);
    for round in 0..60 {
        let layer = CacheLayer::new(Store::forgetful()).coalescing_wait(hour);
        let origin = Counting {
            asked: Arc::default(),
            pieces: (0..300)
                .map(|i| whole.slice(i * 100..(i + 1) * 100))
                .collect(),
        };
        let cache = layer.layer(origin);
        let mut calls: Vec<_> = (0..20).map(|_| fetch(&cache, get("/"))).collect();
        for turn in 0..round {
            yield_now().await;
            if turn % 5 == 0 && calls.len() > 5 {
                calls.remove(turn % 3).abort();
            }
        }
        for call in calls {
            // Real time, but far more than it takes.
            let got = tokio::time::timeout(Duration::from_secs(120), call).await;
            let Ok(got) = got.expect("it is woken").expect("no panic");
            got.is(&whole);
        }
        assert!(has_no_flights(&layer));
    }
}

/// A long body, on several threads: some read slowly, some leave, and whoever is left behind goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_threads_a_long_body_is_exact_for_each_reader() {
    #[derive(Clone)]
    struct Ranges(Bytes, Arc<AtomicUsize>);

    impl Service<Request<Full<Bytes>>> for Ranges {
        type Response = Response<Pieces>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Response<Pieces>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
            let whole = self.0.clone();
            let length = whole.len();
            let mut response = Response::builder()
                .header("cache-control", "max-age=600")
                .header("etag", "\"1\"");
            let mut from = 0;
            match request.headers().get("range") {
                None => {
                    self.1.fetch_add(1, Ordering::SeqCst);
                    response = response.header("content-length", length);
                }
                Some(range) => {
                    let range = range.to_str().expect("text");
                    let first = range.strip_prefix("bytes=").expect("a range");
                    let (first, last) = first.split_once('-').expect("a range");
                    assert_eq!(last, (length - 1).to_string());
                    from = first.parse().expect("a place");
                    let range = format!("bytes {first}-{last}/{length}");
                    response = response.status(206).header("content-range", range);
                }
            }
            let left = (from..length).step_by(10_000);
            let left = left.map(|at| whole.slice(at..length.min(at + 10_000)));
            let body = Pieces {
                left: left.collect(),
                is_turn: false,
            };
            Box::pin(async move { Ok(response.body(body).expect("a response")) })
        }
    }

    let hour = Duration::from_secs(3600);
    let whole = pattern(3 << 20);
    for round in 0..5_usize {
        let layer = CacheLayer::new(Store::forgetful()).coalescing_wait(hour);
        let asked = Arc::<AtomicUsize>::default();
        let cache = layer.layer(Ranges(whole.clone(), asked.clone()));
        let mut calls = Vec::new();
        for reader in 0..12_usize {
            let (mut cache, slowness) = (cache.clone(), reader * round);
            calls.push(tokio::spawn(async move {
                let Ok(response) = cache.call(get("/")).await;
                let mut reading = Reading::of(response);
                while !reading.is_over() {
                    poll_fn(|cx| reading.poll_step(cx)).await;
                    for _ in 0..slowness {
                        yield_now().await;
                    }
                }
                reading.got()
            }));
        }
        for (i, call) in calls.into_iter().enumerate() {
            if i % 5 == 4 {
                call.abort();
                continue;
            }
            // Real time, but far more than it takes.
            let got = tokio::time::timeout(Duration::from_secs(120), call).await;
            got.expect("it is woken").expect("no panic").is(&whole);
        }
        settle().await;
        assert!(has_no_flights(&layer));
    }
}

/// Many keys at the same time, on several threads: each is one request, and nobody gets what is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn identical_misses_for_many_keys_are_one_request_each() {
    #[derive(Clone)]
    struct Echo(Arc<AtomicUsize>);

    impl Service<Request<Full<Bytes>>> for Echo {
        type Response = Response<Pieces>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Response<Pieces>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
            let pieces = [request.uri().path().to_owned(), " and its end".into()];
            let mut origin = Counting {
                asked: self.0.clone(),
                pieces: pieces.map(Bytes::from).into(),
            };
            origin.call(request)
        }
    }

    let hour = Duration::from_secs(3600);
    let asked = Arc::<AtomicUsize>::default();
    let layer = CacheLayer::new(MemoryBackend::default()).coalescing_wait(hour);
    let cache = layer.layer(Echo(asked.clone()));
    let path = |i: usize| format!("/{}", i % 100);
    let calls: Vec<_> = (0..10_000).map(|i| fetch(&cache, get(&path(i)))).collect();
    for (i, call) in calls.into_iter().enumerate() {
        let Ok(got) = call.await.expect("no panic");
        assert_eq!(got.text(), path(i) + " and its end");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 100);
}

#[tokio::test(start_paused = true)]
async fn whoever_waited_is_told_so_and_nobody_else() {
    let name = CacheName::new("ours").expect("a token");
    let mut scene = Scene::with(CacheLayer::new(MemoryBackend::default()).cache_status(name));
    let calls = scene.fetch_all(3, || get("/")).await;
    let feed = scene.asked().await.begin(ok("one").max_age(600));
    settle().await;
    feed.end();
    let mut seen = got_all(calls).await;
    seen.push(got(scene.fetch(get("/"))).await);
    let status = |i: usize| seen[i].headers["cache-status"].to_str().expect("text");
    let detail = "detail=\"nothing is stored for this URI\"";
    assert_eq!(
        status(0),
        format!("ours; fwd=uri-miss; fwd-status=200; stored; {detail}")
    );
    for i in [1, 2] {
        assert_eq!(
            status(i),
            format!("ours; fwd=uri-miss; fwd-status=200; collapsed; stored; {detail}")
        );
        let info = seen[i].info;
        assert!(info.collapsed);
        assert_eq!(info.outcome, Outcome::Miss);
        assert_eq!(info.reason, Reason::UriMiss);
        assert_eq!(info.storing, Storing::Accepted);
        assert_eq!(info.forwarded, Some(Reason::UriMiss));
        assert_eq!(info.forwarded_status, Some(StatusCode::OK));
    }
    assert!(!seen[0].info.collapsed);
    assert_eq!(seen[3].info.outcome, Outcome::Hit);
    assert!(!seen[3].info.collapsed);
}

/// Field by field, but for what says what the cache did.
#[tokio::test(start_paused = true)]
async fn whoever_waited_gets_the_head_that_a_hit_would_get() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(2, || get("/")).await;
    let asked = scene.asked().await;
    let feed = asked.begin(
        ok("one")
            .cache_control("max-age=600, no-cache=\"x-one\"")
            .with("x-one", "1")
            .with("x-two", "2")
            .with("connection", "x-hop")
            .with("x-hop", "1")
            .etag("\"1\""),
    );
    settle().await;
    feed.end();
    let waited = got_all(calls).await.remove(1);
    assert!(waited.info.collapsed);
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.info.outcome, Outcome::Hit);
    assert_eq!(waited.status, hit.status);
    assert_eq!(waited.headers, hit.headers);
    assert_eq!(waited.headers["x-two"], "2");
    for hidden in ["x-one", "x-hop", "connection"] {
        assert!(!waited.headers.contains_key(hidden), "{hidden}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_for_different_keys_do_not_wait_for_each_other() {
    let mut scene = Scene::new();
    let mut calls = Vec::new();
    for target in [
        "http://origin.test/",
        "http://origin.test/a",
        "http://origin.test/A",
        "http://origin.test/a/",
        "http://origin.test/?a",
        "http://origin.test/?a=1",
        "http://origin.test/?a=2",
        "http://origin.test:8080/",
        "http://other.test/",
        "https://origin.test/",
    ] {
        let mut request = get("/");
        *request.uri_mut() = target.parse().expect("a target");
        calls.push(scene.send(request));
    }
    scene.asked_for(calls.len()).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_ever_is_one() {
    let layer = CacheLayer::new(MemoryBackend::default()).coalescing_wait(Duration::MAX);
    let mut scene = Scene::with(layer);
    let calls = scene.fetch_all(10, || get("/")).await;
    scene.asked().await.answer(ok("one").max_age(600));
    for got in got_all(calls).await {
        assert_eq!(got.text(), "one");
    }
}

/// What is not stored of them is for the one whose request it was.
#[tokio::test(start_paused = true)]
async fn others_get_the_trailers_that_a_later_hit_would_get() {
    let mut scene = Scene::shared();
    let calls = scene.fetch_all(3, || get("/")).await;
    let mut trailers = HeaderMap::new();
    for (name, value) in [
        ("x-user", "alice"),
        ("set-cookie", "session=alice"),
        ("x-sum", "1"),
    ] {
        trailers.insert(name, HeaderValue::from_static(value));
    }
    let answer = ok("one").cache_control("max-age=600, private=\"x-user\"");
    scene.asked().await.answer(answer.trailers(trailers));
    let mut seen = got_all(calls).await.into_iter();
    let names = |got: Got| -> Vec<String> {
        let trailers = got.trailers.unwrap_or_default();
        trailers.keys().map(ToString::to_string).collect()
    };
    assert_eq!(names(seen.next().expect("the first")).len(), 3);
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.info.outcome, Outcome::Hit);
    for got in seen.chain([hit]) {
        assert_eq!(names(got), ["x-sum"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_turns_it_off() {
    let layer = CacheLayer::new(MemoryBackend::default()).coalescing_wait(Duration::ZERO);
    let mut scene = Scene::with(layer);
    let calls = scene.fetch_all(10, || get("/")).await;
    for asked in scene.asked_for(10).await {
        asked.answer(ok("one").max_age(600));
    }
    for got in got_all(calls).await {
        assert_eq!(got.text(), "one");
        assert!(!got.info.collapsed);
    }
    assert_eq!(got(scene.fetch(get("/"))).await.info.outcome, Outcome::Hit);
}

/// The times are those of the runtime: a request waits as long as it was told to, and not longer.
#[tokio::test(start_paused = true)]
async fn how_long_a_request_waits_can_be_set() {
    for wait in [1, 250, 30_000].map(Duration::from_millis) {
        let layer = CacheLayer::new(MemoryBackend::default()).coalescing_wait(wait);
        let mut scene = Scene::with(layer);
        let hanging = scene.send(get("/"));
        let never_answered = scene.asked().await;
        let started = Instant::now();
        let waiting = scene.send(get("/"));
        // The first is older than this already; then nobody waits for it.
        let expected = if wait.as_millis() == 1 {
            Duration::ZERO
        } else {
            wait
        };
        tokio::time::timeout(Duration::from_secs(3600), scene.arrivals.next())
            .await
            .expect("a request")
            .answer(ok("two").max_age(600));
        let late = started.elapsed() - expected;
        assert!(late <= Duration::from_millis(2), "{wait:?}: {late:?} late");
        assert_eq!(text(answer(waiting).await).await, "two");
        hanging.abort();
        settle().await;
        drop(never_answered);
    }
}

/// Who leads, and through which clone of the layer, does not matter to those who wait.
#[tokio::test(start_paused = true)]
async fn services_of_one_layer_wait_for_each_other_whatever_they_are_around() {
    let mut scene = Scene::new();
    let first = scene.fetch(get("/"));
    let asked = scene.asked().await;
    let (other_origin, mut other_arrivals) = held();
    let second = fetch(&scene.layer.clone().layer(other_origin), get("/"));
    // Its bodies have another type.
    let third = fetch(&scene.layer.layer(Origin::new()), get("/"));
    settle().await;
    assert!(other_arrivals.is_empty());
    let feed = asked.begin(ok("one ").max_age(600));
    settle().await;
    feed.data("two");
    feed.end();
    for call in [first, second, third] {
        assert_eq!(got(call).await.text(), "one two");
    }
    // One whose leader's service fails has its own.
    let first = scene.fetch(get("/other"));
    let failing = scene.asked().await;
    let (other_origin, arrivals) = held();
    other_arrivals = arrivals;
    let second = fetch(&scene.layer.clone().layer(other_origin), get("/other"));
    settle().await;
    failing.fail();
    soon(first).await.expect("no panic").expect_err("an error");
    other_arrivals.next().await.answer(ok("own"));
    assert_eq!(got(second).await.text(), "own");
    scene.nothing_is_asked().await;
}

#[tokio::test(start_paused = true)]
async fn layers_of_their_own_do_not_wait_for_each_other() {
    let mut scene = Scene::new();
    let _one = scene.send(get("/"));
    let other = CacheLayer::new(MemoryBackend::default()).layer(scene.origin.clone());
    let _other = crate::scene::send(&other, get("/"));
    scene.asked_for(2).await;
}

/// There is nothing that could wake those who wait in time.
#[test]
fn without_a_runtime_nobody_waits_and_nothing_panics() {
    let (origin, arrivals) = held();
    let layer = CacheLayer::new(MemoryBackend::default());
    let mut cache = layer.layer(origin);
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(cache.call(get("/")));
    let mut second = pin!(cache.call(get("/")));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    assert_eq!(arrivals.len(), 2);
    assert!(has_no_flights(&layer));
}

/// The request that asked first is not the one that has to be read first.
#[tokio::test(start_paused = true)]
async fn who_waited_can_be_read_before_who_asked() {
    let mut scene = Scene::new();
    let leading = scene.send(get("/"));
    let asked = scene.asked().await;
    let waiting = scene.send(get("/"));
    settle().await;
    asked.answer(ok("one ").chunk("two").max_age(600));
    let (led, waited) = (answer(leading).await, answer(waiting).await);
    assert!(info(&waited).collapsed);
    assert_eq!(text(waited).await, "one two");
    assert_eq!(text(led).await, "one two");
}
