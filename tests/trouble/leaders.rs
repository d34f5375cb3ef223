//! What becomes of those who wait where the one they wait for leaves, fails, hangs or panics.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use cache_core::Outcome;
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use http::{Request, Response};
use http_body_util::Full;
use kit::held::{get, held, settle, soon, text};
use kit::{OriginError, ok, status};
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::reading::{Reading, Step};
use crate::scene::{Scene, answer, fetch, got, got_all, has_no_flights, info, is_ready, with};
use crate::store::Store;

#[tokio::test(start_paused = true)]
async fn where_a_leader_leaves_before_the_head_another_asks_once_for_all() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let leading = scene.fetch(get("/"));
        let given_up = scene.asked().await;
        let waiting = scene.fetch_all(100, || get("/")).await;
        scene.nothing_is_asked().await;
        leading.abort();
        let asked = scene.asked().await;
        assert!(given_up.is_given_up());
        let feed = asked.begin(ok("one").max_age(600));
        settle().await;
        feed.end();
        let seen = got_all(waiting).await;
        assert!(seen.iter().all(|got| got.text() == "one"));
        assert_eq!(seen.iter().filter(|got| !got.info.collapsed).count(), 1);
        scene.nothing_is_asked().await;
        assert_eq!(got(scene.fetch(get("/"))).await.info.outcome, Outcome::Hit);
        assert!(scene.all_has_landed());
    }
}

/// One after the other: each time one more request, until nobody wants to wait any longer.
#[tokio::test(start_paused = true)]
async fn where_leaders_leave_one_after_the_other_nobody_hangs() {
    let mut scene = Scene::new();
    let request = |number: usize| with(get("/"), "x-number", &number.to_string());
    let mut calls: Vec<_> = (0..20).map(|i| Some(scene.fetch(request(i)))).collect();
    let mut requests = 0;
    let last = loop {
        settle().await;
        let mut here = Vec::new();
        while let Some(asked) = scene.arrivals.now() {
            here.push(asked);
        }
        assert!(!here.is_empty(), "nobody asks any more");
        requests += here.len();
        let [asked] = &here[..] else {
            break here;
        };
        let number = asked.headers["x-number"].to_str().expect("text");
        let leading: usize = number.parse().expect("a number");
        calls[leading].take().expect("it asks once").abort();
    };
    assert!(calls.iter().flatten().count() > 10, "most wait no longer");
    assert!(requests <= 20, "{requests} requests");
    for asked in last {
        asked.answer(ok("one").max_age(600));
    }
    for got in got_all(calls.into_iter().flatten().collect()).await {
        assert_eq!(got.text(), "one");
    }
    assert!(scene.all_has_landed());
}

#[tokio::test(start_paused = true)]
async fn where_a_leader_leaves_in_the_middle_of_the_body_it_goes_on_and_is_stored() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let leading = scene.send(get("/"));
        let asked = scene.asked().await;
        let waiting = scene.fetch_all(3, || get("/")).await;
        let feed = asked.begin(ok("one ").max_age(600));
        let mut led = Reading::of(answer(leading).await);
        assert_eq!(led.step(), Step::Data("one ".into()));
        feed.data("two ");
        drop(led);
        settle().await;
        assert!(!feed.is_dropped());
        feed.data("three");
        feed.end();
        for got in got_all(waiting).await {
            assert_eq!(got.text(), "one two three");
        }
        settle().await;
        assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
        assert!(scene.all_has_landed());
        scene.nothing_is_asked().await;
    }
}

/// While those who waited are only about to look at it.
#[tokio::test(start_paused = true)]
async fn where_a_leader_leaves_as_soon_as_it_has_the_head_one_asks_for_all_at_most() {
    let mut scene = Scene::new();
    let mut leading = Box::pin(scene.cache.clone().call(get("/")));
    assert!(!is_ready(leading.as_mut()).await);
    let asked = scene.asked().await;
    let waiting = scene.fetch_all(10, || get("/")).await;
    let feed = asked.begin(ok("one ").max_age(600));
    let response = leading.await.expect("a response");
    drop(response);
    settle().await;
    if feed.is_dropped() {
        scene.asked().await.answer(ok("one two").max_age(600));
    } else {
        feed.data("two");
        feed.end();
    }
    for got in got_all(waiting).await {
        assert_eq!(got.text(), "one two");
    }
    assert!(scene.all_has_landed());
}

#[tokio::test(start_paused = true)]
async fn where_all_leave_before_the_head_the_request_is_given_up() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let calls = scene.fetch_all(10, || get("/")).await;
        let asked = scene.asked().await;
        // Who waits, first: or each of them would become the leader for a moment.
        calls.iter().rev().for_each(tokio::task::JoinHandle::abort);
        settle().await;
        assert!(asked.is_given_up());
        assert!(scene.all_has_landed());
        let next = scene.fetch_all(2, || get("/")).await;
        while let Some(asked) = scene.arrivals.now() {
            if !asked.is_given_up() {
                asked.answer(ok("two").max_age(600));
            }
        }
        for got in got_all(next).await {
            assert_eq!(got.text(), "two");
        }
        assert!(scene.all_has_landed());
    }
}

#[tokio::test(start_paused = true)]
async fn where_all_leave_in_the_middle_of_the_body_it_is_given_up_and_not_stored() {
    for store in [Store::new(), Store::later()] {
        for announced in [None, Some(12)] {
            let mut scene = Scene::over(store.clone());
            let calls = scene.fetch_all(10, || get("/")).await;
            let asked = scene.asked().await;
            let head = ok("one ").max_age(600);
            let feed = match announced {
                None => asked.begin(head),
                Some(length) => asked.begin_announced(head, length),
            };
            settle().await;
            feed.data("two ");
            settle().await;
            assert_eq!(feed.taken(), 2);
            calls.iter().for_each(tokio::task::JoinHandle::abort);
            settle().await;
            assert!(feed.is_dropped());
            assert!(scene.all_has_landed());
            assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
            let next = scene.fetch(get("/"));
            scene
                .asked()
                .await
                .answer(ok("next").cache_control("no-store"));
            assert_eq!(got(next).await.text(), "next");
        }
    }
}

/// Whoever waited has a try of its own: one, and none that waits for all the others.
#[tokio::test(start_paused = true)]
async fn where_the_origin_fails_everybody_tries_once_and_nobody_hangs() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(50, || get("/")).await;
    let mut requests = 0;
    let mut rounds = 0;
    loop {
        settle().await;
        if scene.arrivals.is_empty() {
            break;
        }
        rounds += 1;
        while let Some(asked) = scene.arrivals.now() {
            requests += 1;
            asked.fail();
        }
    }
    assert_eq!(requests, 50, "one for each");
    assert!(rounds <= 5, "{rounds} one after the other");
    for call in calls {
        let failed = soon(call).await.expect("no panic");
        assert_eq!(failed, Err(OriginError("the origin is down")));
    }
    assert!(scene.all_has_landed());
    let next = scene.fetch(get("/"));
    scene.asked().await.answer(ok("next"));
    assert_eq!(got(next).await.text(), "next");
}

#[tokio::test(start_paused = true)]
async fn where_a_leader_fails_one_more_request_is_enough_for_all_others() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let leading = scene.fetch(get("/"));
        let asked = scene.asked().await;
        let waiting = scene.fetch_all(50, || get("/")).await;
        asked.fail();
        scene.asked().await.answer(ok("one").max_age(600));
        soon(leading)
            .await
            .expect("no panic")
            .expect_err("an error");
        for got in got_all(waiting).await {
            assert_eq!(got.text(), "one");
        }
        scene.nothing_is_asked().await;
        assert!(scene.all_has_landed());
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_origin_hangs_those_who_wait_go_by_themselves_in_time() {
    let mut scene = Scene::new();
    let leading = scene.fetch(get("/"));
    let hanging = scene.asked().await;
    sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let waiting = scene.fetch_all(10, || get("/")).await;
    sleep(Duration::from_millis(3_990)).await;
    scene.nothing_is_asked().await;
    // The first is five seconds old; those who have waited for it go on waiting for their time.
    sleep(Duration::from_millis(20)).await;
    let newcomers = scene.fetch_all(10, || get("/")).await;
    let second = scene.asked().await;
    sleep(Duration::from_millis(1_000)).await;
    let own = scene.asked_for(10).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_millis(5_100));
    for asked in own {
        asked.answer(ok("own").cache_control("no-store"));
    }
    for got in got_all(waiting).await {
        assert_eq!(got.text(), "own");
        assert!(!got.info.collapsed);
    }
    second.answer(ok("second").max_age(600));
    for got in got_all(newcomers).await {
        assert_eq!(got.text(), "second");
    }
    assert_eq!(got(scene.fetch(get("/"))).await.text(), "second");
    hanging.answer(ok("first").cache_control("no-store"));
    assert_eq!(got(leading).await.text(), "first");
    assert!(scene.all_has_landed());
}

/// The one that was given up does not take the other with it.
#[tokio::test(start_paused = true)]
async fn where_an_old_flight_ends_the_new_one_goes_on() {
    let mut scene = Scene::new();
    let old = scene.fetch(get("/"));
    let hanging = scene.asked().await;
    sleep(Duration::from_secs(5)).await;
    let new = scene.fetch(get("/"));
    let asked = scene.asked().await;
    old.abort();
    settle().await;
    assert!(hanging.is_given_up());
    let newest = scene.fetch(get("/"));
    scene.nothing_is_asked().await;
    asked.answer(ok("one").max_age(600));
    for call in [new, newest] {
        assert_eq!(got(call).await.text(), "one");
    }
    assert!(scene.all_has_landed());
}

/// The time is that of the request, not of each of those that it waits for.
#[tokio::test(start_paused = true)]
async fn who_waits_for_several_one_after_the_other_waits_no_longer() {
    let mut scene = Scene::new();
    let first = scene.fetch(get("/"));
    let asked = scene.asked().await;
    let started = Instant::now();
    let waiting = scene.fetch_all(3, || get("/")).await;
    sleep(Duration::from_secs(3)).await;
    asked.fail();
    let hanging = scene.asked().await;
    let others = scene.arrivals.next().await;
    assert!(started.elapsed() < Duration::from_millis(5_100));
    others.answer(ok("own"));
    drop((first, waiting, hanging));
}

/// Dropped, as its task is when it panics, the leader makes room.
#[tokio::test(start_paused = true)]
async fn where_a_leader_panics_another_asks() {
    let (origin, mut arrivals) = held();
    let layer = CacheLayer::new(MemoryBackend::default());
    let cache = layer.layer(service_fn(move |request: Request<Full<Bytes>>| {
        let mut origin = origin.clone();
        async move {
            let response = origin.call(request).await?;
            assert_ne!(response.status(), 500, "the test wants it");
            Ok::<_, OriginError>(response)
        }
    }));
    let leading = fetch(&cache, get("/"));
    let asked = arrivals.next().await;
    let waiting = [(); 5].map(|()| fetch(&cache, get("/")));
    settle().await;
    asked.answer(status(500));
    soon(leading).await.expect_err("a panic");
    arrivals.next().await.answer(ok("one").max_age(600));
    for call in waiting {
        assert_eq!(got(call).await.text(), "one");
    }
    assert!(arrivals.is_empty());
    assert!(has_no_flights(&layer));
}

/// A body that panics takes with it whoever touches it, but leaves nobody waiting, and is not stored.
#[tokio::test(start_paused = true)]
async fn where_a_body_panics_nobody_hangs_and_nothing_is_stored() {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    struct Panicking(u8);

    impl http_body::Body for Panicking {
        type Data = Bytes;
        type Error = OriginError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, OriginError>>> {
            self.0 += 1;
            match self.0 {
                1 => Poll::Ready(Some(Ok(http_body::Frame::data("one ".into())))),
                2 | 3 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => panic!("the test wants it"),
            }
        }
    }

    let layer = CacheLayer::new(MemoryBackend::default());
    let cache = layer.layer(service_fn(|_: Request<Full<Bytes>>| {
        let response = Response::builder().header("cache-control", "max-age=600");
        ready(Ok::<_, OriginError>(
            response.body(Panicking(0)).expect("a response"),
        ))
    }));
    let calls = [(); 5].map(|()| fetch(&cache, get("/")));
    for call in calls {
        if let Ok(got) = soon(call).await {
            let got = got.expect("a response");
            assert!(got.error.is_some(), "half of it, and no error: {got:?}");
        }
    }
    assert!(has_no_flights(&layer));
}

/// Whoever is not polled any more, but not dropped either, holds up nobody for longer than the wait.
#[tokio::test(start_paused = true)]
async fn a_leader_that_nobody_polls_any_more_is_waited_for_no_longer_than_the_wait() {
    let mut scene = Scene::new();
    let mut leading = Box::pin(scene.cache.clone().call(get("/")));
    assert!(!is_ready(leading.as_mut()).await);
    scene.asked().await.answer(ok("one").max_age(600));
    let waiting = scene.fetch(get("/"));
    scene.nothing_is_asked().await;
    sleep(Duration::from_secs(5)).await;
    scene.asked().await.answer(ok("two"));
    assert_eq!(got(waiting).await.text(), "two");
    let response = leading.await.expect("a response");
    assert_eq!(text(response).await, "one");
    assert!(scene.all_has_landed());
}

/// Nor who has its response, and reads nothing of it.
#[tokio::test(start_paused = true)]
async fn a_leader_that_never_reads_holds_up_nobody() {
    let mut scene = Scene::new();
    let leading = scene.send(get("/"));
    let feed = scene.asked().await.begin(ok("one ").max_age(600));
    let unread = answer(leading).await;
    assert!(!info(&unread).collapsed);
    let waiting = scene.fetch_all(10, || get("/")).await;
    feed.data("two");
    feed.end();
    for got in got_all(waiting).await {
        assert_eq!(got.text(), "one two");
    }
    assert_eq!(got(scene.fetch(get("/"))).await.info.outcome, Outcome::Hit);
    assert_eq!(text(unread).await, "one two");
}

/// An inner service that is not ready is waited for as any origin is.
#[tokio::test(start_paused = true)]
async fn where_the_inner_service_is_busy_identical_requests_take_one_place() {
    let (origin, mut arrivals) = held();
    let limited = tower::limit::ConcurrencyLimit::new(origin, 1);
    let layer = CacheLayer::new(MemoryBackend::default());
    let cache = layer.layer(limited);
    let busy = fetch(&cache, get("/busy"));
    let asked = arrivals.next().await;
    let calls = [(); 10].map(|()| fetch(&cache, get("/")));
    settle().await;
    assert!(arrivals.is_empty());
    asked.answer(ok("busy"));
    assert_eq!(got(busy).await.text(), "busy");
    arrivals.next().await.answer(ok("one").max_age(600));
    for call in calls {
        assert_eq!(got(call).await.text(), "one");
    }
    assert!(arrivals.is_empty());
}
