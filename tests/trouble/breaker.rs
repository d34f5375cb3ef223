//! A store that fails is left alone for a while, and is tried again by one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{BackendErrorKind, Outcome, Reason};
use cache_tower::{CacheLayer, Clock};
use http::Method;
use kit::held::{get, settle};
use kit::{Answer, Operation, Origin, ok, status};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::scene::{Got, Scene, fetch, got, got_all, is_ready, with_method};
use crate::store::{Fault, Store, UNAVAILABLE};

const DECLINED: Fault = Fault::Fails(BackendErrorKind::Declined);
const TIMED_OUT: Fault = Fault::Fails(BackendErrorKind::TimedOut);

fn unstored() -> Answer {
    ok("own").cache_control("no-store")
}

/// What a request gives, of which the origin answers this where it is asked.
async fn gives(scene: &mut Scene, path: &str, answer: Answer) -> Got {
    let call = scene.fetch(get(path));
    sleep(Duration::from_millis(60)).await;
    if let Some(asked) = scene.arrivals.now() {
        asked.answer(answer);
    }
    got(call).await
}

/// So many requests, each for something else; how often the store was looked into.
async fn lookups(scene: &mut Scene, store: &Store, requests: usize) -> usize {
    store.take();
    for i in 0..requests {
        let got = gives(scene, &format!("/never-stored/{i}"), unstored()).await;
        assert_eq!(got.text(), "own");
    }
    store.take_lookups()
}

/// A store that rests, as it was looked into in vain five times.
async fn resting(store: &Store) -> Scene {
    let mut scene = Scene::over(store.clone());
    store.set(Operation::Lookup, UNAVAILABLE);
    assert_eq!(lookups(&mut scene, store, 5).await, 5);
    store.heal();
    scene
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_in_a_row_a_store_is_not_looked_into_for_a_second() {
    for store in [Store::new(), Store::later()] {
        for fault in [UNAVAILABLE, TIMED_OUT, Fault::Hangs] {
            store.heal();
            let mut scene = Scene::over(store.clone());
            store.set(Operation::Lookup, fault);
            assert_eq!(lookups(&mut scene, &store, 7).await, 5, "{fault:?}");
            store.heal();
            assert_eq!(lookups(&mut scene, &store, 3).await, 0);
            scene.clock.advance(Duration::from_millis(999));
            assert_eq!(lookups(&mut scene, &store, 3).await, 0);
            scene.clock.advance(Duration::from_millis(1));
            assert_eq!(lookups(&mut scene, &store, 3).await, 3);
        }
    }
}

/// And costs no time, and says so.
#[tokio::test(start_paused = true)]
async fn a_store_that_rests_costs_no_time() {
    let store = Store::later();
    let mut scene = Scene::over(store.clone());
    store.set(Operation::Lookup, Fault::Hangs);
    lookups(&mut scene, &store, 5).await;
    let started = Instant::now();
    let call = scene.fetch(get("/"));
    scene.asked().await.answer(unstored());
    assert!(started.elapsed() < Duration::from_millis(5));
    let got = got(call).await;
    assert_eq!(got.info.reason, Reason::BackendUnavailable);
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
}

#[tokio::test(start_paused = true)]
async fn four_failures_and_a_success_do_not_count() {
    let store = Store::new();
    let mut scene = Scene::over(store.clone());
    for _ in 0..3 {
        store.set(Operation::Lookup, UNAVAILABLE);
        assert_eq!(lookups(&mut scene, &store, 4).await, 4);
        store.heal();
        assert_eq!(lookups(&mut scene, &store, 1).await, 1);
    }
}

/// So many requests at the same time, each for something else; how often the store was looked into.
async fn lookups_at_once(scene: &mut Scene, store: &Store, requests: usize) -> usize {
    store.take();
    let calls: Vec<_> = (0..requests)
        .map(|i| scene.fetch(get(&format!("/at-once/{i}"))))
        .collect();
    sleep(Duration::from_millis(60)).await;
    while let Some(asked) = scene.arrivals.now() {
        asked.answer(unstored());
    }
    for got in got_all(calls).await {
        assert_eq!(got.text(), "own");
    }
    store.take_lookups()
}

#[tokio::test(start_paused = true)]
async fn after_a_second_one_of_all_requests_tries_and_its_success_is_for_all() {
    for store in [Store::new(), Store::later()] {
        let mut scene = resting(&store).await;
        // As long as the one who tries has no answer, nobody else tries.
        store.set(Operation::Lookup, Fault::Takes(Duration::from_millis(30)));
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(lookups_at_once(&mut scene, &store, 10).await, 1);
        assert_eq!(lookups_at_once(&mut scene, &store, 10).await, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_fails_is_another_second_of_rest() {
    for fault in [UNAVAILABLE, TIMED_OUT, Fault::Hangs] {
        let store = Store::new();
        let mut scene = resting(&store).await;
        store.set(Operation::Lookup, fault);
        for _ in 0..3 {
            scene.clock.advance(Duration::from_millis(1_000));
            assert_eq!(lookups_at_once(&mut scene, &store, 10).await, 1);
            scene.clock.advance(Duration::from_millis(999));
            assert_eq!(lookups_at_once(&mut scene, &store, 10).await, 0);
        }
        store.heal();
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(lookups(&mut scene, &store, 5).await, 5);
    }
}

/// Before its first poll, or in the middle: then another tries, a second later.
#[tokio::test(start_paused = true)]
async fn where_the_one_who_tries_leaves_another_does() {
    for polls in 0..3 {
        let store = Store::new();
        let mut scene = resting(&store).await;
        scene.clock.advance(Duration::from_secs(1));
        store.set(Operation::Lookup, Fault::Hangs);
        let mut trying = Box::pin(scene.cache.clone().call(get("/")));
        for _ in 0..polls {
            assert!(!is_ready(trying.as_mut()).await);
        }
        drop(trying);
        store.heal();
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(lookups(&mut scene, &store, 5).await, 5, "{polls}");
    }
}

/// Those who waited for another, and look again when it has left or failed, are no exception.
#[tokio::test(start_paused = true)]
async fn who_takes_over_from_another_asks_a_store_that_rests_no_sooner() {
    for advance in [999, 1_000] {
        let store = Store::new();
        let mut scene = resting(&store).await;
        let mut leading = Vec::new();
        let mut waiting = Vec::new();
        for i in 0..10 {
            let path = format!("/{i}");
            leading.push(scene.fetch(get(&path)));
            settle().await;
            waiting.push(scene.fetch(get(&path)));
        }
        let asked = scene.asked_for(10).await;
        store.take();
        store.set(Operation::Lookup, Fault::Hangs);
        scene.clock.advance(Duration::from_millis(advance));
        for asked in asked {
            asked.fail();
        }
        sleep(Duration::from_millis(60)).await;
        for asked in scene.asked_for(10).await {
            asked.answer(unstored());
        }
        for got in got_all(waiting).await {
            assert_eq!(got.text(), "own");
        }
        let lookups = store.take_lookups();
        let most = usize::from(advance == 1_000);
        assert!(lookups <= most, "{lookups} lookups after {advance} ms");
    }
}

/// It is left alone, whatever there is to be done: the breaker is one for all operations.
#[tokio::test(start_paused = true)]
async fn a_store_that_rests_is_not_written_to_either() {
    let store = Store::new();
    let mut scene = resting(&store).await;
    store.take();
    for i in 0..3 {
        let got = gives(&mut scene, &format!("/{i}"), ok("one").max_age(600)).await;
        assert_eq!(got.text(), "one");
    }
    sleep(Duration::from_secs(6)).await;
    assert_eq!(store.take(), [], "what a store is asked while it rests");
}

/// So it is not said to be, either.
#[tokio::test(start_paused = true)]
async fn what_a_store_that_rests_is_not_given_is_not_said_to_be_stored() {
    let store = Store::new();
    let mut scene = resting(&store).await;
    let calls = scene.fetch_all(3, || get("/")).await;
    let feed = scene.asked().await.begin(ok("one").max_age(600));
    settle().await;
    feed.end();
    for got in got_all(calls).await {
        assert!(!got.info.is_stored(), "{:?}", got.info);
    }
}

/// What it takes says nothing of what it gives: a store that is too slow to be looked into in time
/// may take responses all the same, as there is more time for that.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_never_looked_into_in_time_is_left_alone_though_it_takes_responses() {
    for fault in [UNAVAILABLE, Fault::Hangs] {
        let store = Store::new();
        let mut scene = Scene::over(store.clone());
        store.set(Operation::Lookup, fault);
        store.set(Operation::Publish, Fault::Takes(Duration::from_millis(100)));
        for i in 0..10 {
            let got = gives(&mut scene, &format!("/{i}"), ok("one").max_age(600)).await;
            assert_eq!(got.text(), "one");
            sleep(Duration::from_millis(200)).await;
        }
        let lookups = store.take_lookups();
        assert!(lookups <= 5, "{lookups} lookups, each in vain ({fault:?})");
    }
}

/// Full, or a replica: it can be read.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_to_be_written_is_still_read() {
    for operation in [Operation::Write, Operation::Publish] {
        for fault in [UNAVAILABLE, DECLINED] {
            let store = Store::new();
            let mut scene = Scene::over(store.clone());
            gives(&mut scene, "/", ok("kept").max_age(600)).await;
            store.set(operation, fault);
            // At the same time, so that no lookup succeeds in between.
            let calls: Vec<_> = (0..20)
                .map(|i| scene.fetch(get(&format!("/{i}"))))
                .collect();
            for asked in scene.asked_for(20).await {
                asked.answer(ok("one").max_age(600));
            }
            got_all(calls).await;
            settle().await;
            let hit = got(scene.fetch(get("/"))).await;
            assert_eq!(hit.info.outcome, Outcome::Hit, "{operation:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_ends_to_write_is_left_alone() {
    for fault in [TIMED_OUT, Fault::Hangs] {
        let store = Store::new();
        let mut scene = Scene::over(store.clone());
        store.set(Operation::Publish, fault);
        let calls: Vec<_> = (0..5).map(|i| scene.fetch(get(&format!("/{i}")))).collect();
        for asked in scene.asked_for(5).await {
            asked.answer(ok("one").max_age(600));
        }
        got_all(calls).await;
        sleep(Duration::from_secs(6)).await;
        assert_eq!(lookups(&mut scene, &store, 3).await, 0, "{fault:?}");
        store.heal();
        scene.clock.advance(Duration::from_secs(1));
        assert_eq!(lookups(&mut scene, &store, 3).await, 3);
    }
}

/// It does not take this response, and says so: that is no failure.
#[tokio::test(start_paused = true)]
async fn what_a_store_declines_never_counts() {
    for operation in [Operation::Lookup, Operation::Write, Operation::Publish] {
        let store = Store::new();
        let mut scene = Scene::over(store.clone());
        store.set(operation, DECLINED);
        for i in 0..20 {
            let got = gives(&mut scene, &format!("/{i}"), ok("one").max_age(600)).await;
            assert_eq!(got.text(), "one");
        }
        assert_eq!(store.take_lookups(), 20, "{operation:?}");
    }
}

/// Back, by however much, or far ahead: after a try that succeeds all is well, and there is a try.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_prolongs_no_rest() {
    for seconds in [-1, -10, -3_600, -100_000_000, 3_600, 10_000_000_000] {
        let clock = Jumping::default();
        let store = Store::new();
        let layer = CacheLayer::new(store.clone()).clock(clock.clone());
        let origin = Origin::new();
        let cache = layer.layer(origin.clone());
        let ask = async |requests: usize| {
            store.take();
            for i in 0..requests {
                origin.answers(unstored());
                let call = fetch(&cache, get(&format!("/{i}")));
                call.await.expect("no panic").expect("a response");
            }
            store.take_lookups()
        };
        store.set(Operation::Lookup, UNAVAILABLE);
        assert_eq!(ask(7).await, 5);
        clock.jump(seconds);
        // Another clock: one tries, and fails.
        assert!(ask(10).await <= 1, "{seconds}");
        store.heal();
        clock.jump(2);
        assert_eq!(ask(10).await, 10, "{seconds}");
        // And it is back as it was before.
        clock.jump(-seconds);
        assert_eq!(ask(10).await, 10, "{seconds}");
    }
}

/// Where it shows no time at all.
#[tokio::test(start_paused = true)]
async fn a_clock_from_before_1970_breaks_nothing() {
    let clock = Jumping::default();
    clock.jump(-2_000_000_000);
    let store = Store::new();
    let layer = CacheLayer::new(store.clone()).clock(clock.clone());
    let origin = Origin::new();
    let cache = layer.layer(origin.clone());
    store.set(Operation::Lookup, UNAVAILABLE);
    for i in 0..20 {
        origin.answers(unstored());
        let call = fetch(&cache, get(&format!("/{i}")));
        call.await.expect("no panic").expect("a response");
    }
    assert!(store.take_lookups() <= 20);
    store.heal();
    clock.jump(2_000_000_010);
    for i in 0..2 {
        origin.answers(unstored());
        let call = fetch(&cache, get(&format!("/{i}")));
        call.await.expect("no panic").expect("a response");
    }
    assert_eq!(store.take_lookups(), 2);
}

/// A clock that shows any time.
#[derive(Debug, Clone)]
struct Jumping(Arc<Mutex<i64>>);

impl Default for Jumping {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(1_780_000_000)))
    }
}

impl Jumping {
    fn jump(&self, seconds: i64) {
        *self.0.lock().expect("unpoisoned") += seconds;
    }
}

impl Clock for Jumping {
    fn now(&self) -> SystemTime {
        let seconds = *self.0.lock().expect("unpoisoned");
        let by = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0.. => UNIX_EPOCH + by,
            _ => UNIX_EPOCH - by,
        }
    }
}

/// A store that was not told of a change is not believed afterwards, by this process.
#[tokio::test(start_paused = true)]
async fn what_changes_while_the_store_rests_is_not_served_afterwards() {
    for fault in [UNAVAILABLE, Fault::Hangs] {
        for changes in [1, 3, 2_000] {
            let store = Store::new();
            let mut scene = Scene::over(store.clone());
            for path in ["/", "/other"] {
                gives(&mut scene, path, ok("older").max_age(60_000)).await;
            }
            scene.clock.advance(Duration::from_secs(1));
            for operation in [Operation::Lookup, Operation::Invalidate] {
                store.set(operation, fault);
            }
            lookups(&mut scene, &store, 5).await;
            for i in 0..changes {
                // The first of many, which are more than are remembered one by one.
                let path = if i == 0 {
                    "/".to_owned()
                } else {
                    format!("/{i}")
                };
                let change = scene.fetch(with_method(get(&path), Method::PUT));
                scene.asked().await.answer(status(204));
                got(change).await;
            }
            sleep(Duration::from_secs(6)).await;
            scene.clock.advance(Duration::from_secs(2));
            store.heal();
            let now = gives(&mut scene, "/", ok("newer").max_age(60_000)).await;
            assert_eq!(now.text(), "newer", "{fault:?}, {changes} changes");
            let hit = gives(&mut scene, "/", ok("newest")).await;
            assert_eq!(hit.text(), "newer", "what came afterwards is served");
            let other = gives(&mut scene, "/other", ok("newer")).await;
            assert!(changes > 1_000 || other.text() == "older");
        }
    }
}

/// Nothing is stored of it, nothing found, but those who ask at the same time ask once.
#[tokio::test(start_paused = true)]
async fn while_the_store_rests_identical_requests_still_are_one() {
    let store = Store::new();
    let mut scene = resting(&store).await;
    let calls = scene.fetch_all(100, || get("/")).await;
    let feed = scene.asked().await.begin(ok("one").max_age(600));
    settle().await;
    feed.end();
    for got in got_all(calls).await {
        assert_eq!(got.text(), "one");
        assert_eq!(got.info.reason, Reason::BackendUnavailable);
    }
    scene.nothing_is_asked().await;
    assert_eq!(store.take_lookups(), 0);
}

/// What one service of a layer finds out is known to all.
#[tokio::test(start_paused = true)]
async fn services_of_one_layer_leave_their_store_alone_together() {
    let store = Store::new();
    let mut scene = resting(&store).await;
    store.take();
    let other = scene.layer.clone().layer(scene.origin.clone());
    let call = fetch(&other, get("/"));
    scene.asked().await.answer(unstored());
    got(call).await;
    assert_eq!(store.take_lookups(), 0);
}

/// What is in the air when a store goes to rest is not harmed by that.
#[tokio::test(start_paused = true)]
async fn who_waits_while_a_store_goes_to_rest_is_answered() {
    let store = Store::new();
    let mut scene = Scene::over(store.clone());
    let calls = scene.fetch_all(5, || get("/")).await;
    let asked = scene.asked().await;
    store.set(Operation::Lookup, UNAVAILABLE);
    lookups(&mut scene, &store, 5).await;
    let feed = asked.begin(ok("one").max_age(600));
    settle().await;
    feed.end();
    for got in got_all(calls).await {
        assert_eq!(got.text(), "one");
    }
}
