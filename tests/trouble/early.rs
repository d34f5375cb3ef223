//! What is asked for often is brought up to date before it is stale, and an origin that failed is spared.

use std::time::Duration;

use cache_core::{CacheMode, Outcome, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheLayer};
use kit::held::{Arrivals, Held, get, held, settle};
use kit::{Answer, ManualClock, not_modified, ok, status};
use tower_layer::Layer;

use crate::scene::{Got, Scene, fetch, got, got_all, with, with_mode};
use crate::store::Store;

const SECOND: Duration = Duration::from_secs(1);

fn early() -> CacheLayer {
    let policy = Policy::private().early_refresh(0.8).expect("a fraction");
    CacheLayer::new(MemoryBackend::default()).policy(policy)
}

/// A scene in which this is stored.
async fn with_stored(layer: CacheLayer, answer: Answer) -> Scene {
    let mut scene = Scene::with(layer);
    let first = scene.fetch(get("/"));
    scene.asked().await.answer(answer);
    got(first).await;
    scene
}

/// Hits, second by second, until the origin is asked; the age at which that was.
async fn age_when_asked(scene: &mut Scene) -> u64 {
    for age in 0..100 {
        let hit = got(scene.fetch(get("/"))).await;
        assert_eq!(hit.info.outcome, Outcome::Hit, "at {age} s");
        settle().await;
        if !scene.arrivals.is_empty() {
            assert_eq!(hit.info.reason, Reason::EarlyRefresh);
            return age;
        }
        assert_eq!(hit.info.reason, Reason::Fresh);
        scene.clock.advance(SECOND);
    }
    panic!("it became stale")
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_often_never_becomes_stale() {
    let mut scene = with_stored(early(), ok("one").max_age(100).etag("\"1\"")).await;
    for _ in 0..10 {
        let age = age_when_asked(&mut scene).await;
        assert!((80..=90).contains(&age), "at {age} s");
        // Others are answered meanwhile, and ask for nothing.
        for hit in got_all(scene.fetch_all(20, || get("/")).await).await {
            assert_eq!(hit.info.outcome, Outcome::Hit);
        }
        let asked = scene.asked().await;
        assert_eq!(asked.headers["if-none-match"], "\"1\"");
        asked.answer(not_modified().etag("\"1\"").max_age(100));
        settle().await;
        let hit = got(scene.fetch(get("/"))).await;
        assert_eq!(hit.info.age, Some(Duration::ZERO));
    }
}

/// Where it begins is not the same for all, so that not all ask at once.
#[tokio::test(start_paused = true)]
async fn it_is_not_the_same_second_everywhere() {
    let mut ages = Vec::new();
    for _ in 0..20 {
        let mut scene = with_stored(early(), ok("one").max_age(100)).await;
        ages.push(age_when_asked(&mut scene).await);
        scene.asked().await.answer(ok("two"));
    }
    ages.sort_unstable();
    ages.dedup();
    assert!(ages.len() > 3, "{ages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_response_takes_the_place_of_the_fresh_one_and_an_error_does_not() {
    let answers = [
        (status(503).max_age(600), false),
        (status(500), false),
        (ok("two").max_age(100), true),
    ];
    for (answer, is_new) in answers {
        let mut scene = with_stored(early(), ok("one").max_age(100)).await;
        age_when_asked(&mut scene).await;
        scene.asked().await.answer(answer);
        settle().await;
        let hit = got(scene.fetch(get("/"))).await;
        assert_eq!(hit.info.outcome, Outcome::Hit);
        assert_eq!(hit.text(), if is_new { "two" } else { "one" });
        // One that failed is not asked again at once.
        scene.nothing_is_asked().await;
        scene.clock.advance(5 * SECOND);
        got(scene.fetch(get("/"))).await;
        settle().await;
        assert_eq!(scene.arrivals.is_empty(), is_new);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_early_that_is_not_to_be() {
    let unset = CacheLayer::new(MemoryBackend::default());
    let plain = || ok("one").cache_control("max-age=100");
    let immutable = ok("one").cache_control("max-age=100, immutable");
    for (layer, answer) in [(unset, plain()), (early(), immutable)] {
        let mut scene = with_stored(layer, answer).await;
        scene.clock.advance(99 * SECOND);
        let hit = got(scene.fetch(get("/"))).await;
        assert_eq!(hit.info.reason, Reason::Fresh);
        scene.nothing_is_asked().await;
    }
    let mut scene = with_stored(early(), plain()).await;
    scene.clock.advance(99 * SECOND);
    let only_if_cached = with(get("/"), "cache-control", "only-if-cached");
    let mut requests = vec![only_if_cached];
    for mode in [
        CacheMode::OnlyIfCached,
        CacheMode::ReadOnly,
        CacheMode::ForceCache,
    ] {
        requests.push(with_mode(get("/"), mode));
    }
    for request in requests {
        let hit = got(scene.fetch(request)).await;
        assert_eq!(hit.info.reason, Reason::Fresh);
        scene.nothing_is_asked().await;
    }
}

#[test]
fn a_fraction_is_between_nothing_and_all() {
    for wrong in [-0.1, 0.0, 1.0, 80.0, f64::NAN, f64::INFINITY] {
        let error = Policy::private()
            .early_refresh(wrong)
            .expect_err("no fraction");
        assert!(error.to_string().contains("write a number"), "{error}");
    }
}

/// Two processes that share a store.
async fn two_processes(policy: Policy) -> ([Cache<Held>; 2], Arrivals, ManualClock, Store) {
    let (store, clock) = (Store::leasing(), ManualClock::new());
    let (origin, mut arrivals) = held();
    let caches = [(); 2].map(|()| {
        CacheLayer::new(store.clone())
            .policy(policy.clone())
            .clock(clock.clone())
            .lease(60 * SECOND)
            .layer(origin.clone())
    });
    let first = fetch(&caches[0], get("/"));
    let head = ok("one").cache_control("max-age=100, stale-while-revalidate=100");
    arrivals.next().await.answer(head);
    got(first).await;
    settle().await;
    (caches, arrivals, clock, store)
}

/// So many hits in both.
async fn hits(caches: &[Cache<Held>; 2]) -> Vec<Got> {
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.extend(caches.iter().map(|cache| fetch(cache, get("/"))));
    }
    settle().await;
    got_all(calls).await
}

#[tokio::test(start_paused = true)]
async fn processes_with_a_lease_ask_once_between_them_in_the_background() {
    let early = Policy::private().early_refresh(0.5).expect("a fraction");
    for (policy, age) in [(Policy::private(), 101), (early, 99)] {
        let (caches, mut arrivals, clock, store) = two_processes(policy).await;
        clock.advance(age * SECOND);
        hits(&caches).await;
        assert_eq!(arrivals.len(), 1);
        assert_eq!(store.leases(), 1);
        arrivals.next().await.answer(ok("two").max_age(100));
        settle().await;
        for got in hits(&caches).await {
            assert_eq!((got.text(), got.info.outcome), ("two", Outcome::Hit));
        }
        assert!(arrivals.is_empty());
        assert_eq!(store.leases(), 0);
    }
}

/// Whatever way it failed, stale responses stand in for a while without its being asked.
#[tokio::test(start_paused = true)]
async fn an_origin_that_failed_is_spared_for_as_long_as_is_set() {
    for pause in [0, 5, 30] {
        for gives_no_response in [true, false] {
            let layer = CacheLayer::new(MemoryBackend::default());
            let layer = layer.failure_pause(pause * SECOND);
            let head = match gives_no_response {
                true => ok("one").max_age(60),
                false => ok("one").cache_control("max-age=60, stale-if-error=600"),
            };
            let mut scene = with_stored(layer, head).await;
            scene.clock.advance(61 * SECOND);
            for round in 0..3 {
                let call = scene.fetch(get("/"));
                let asked = scene.asked().await;
                match gives_no_response {
                    true => asked.fail(),
                    false => asked.answer(status(503)),
                }
                assert_eq!(got(call).await.text(), "one");
                for _ in 0..pause {
                    let spared = got(scene.fetch(get("/"))).await;
                    assert_eq!(spared.text(), "one", "round {round}");
                    assert_eq!(spared.info.outcome, Outcome::StaleHit);
                    scene.nothing_is_asked().await;
                    scene.clock.advance(SECOND);
                }
            }
        }
    }
}
