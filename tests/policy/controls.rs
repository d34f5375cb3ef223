//! `CacheControls`: what is changed while the cache runs.

use std::time::Duration;

use cache_core::{CacheMode, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use kit::{ManualClock, Scenario, not_modified, ok};

#[test]
fn a_disabled_cache_neither_reads_nor_writes_and_still_invalidates() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/changed").origin(ok("one").max_age(60)).miss();
    cache.controls().disable();
    assert!(cache.controls().switches().is_disabled);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .bypass()
        .because(Reason::Disabled);
    let made = ok("made").max_age(60).with("content-location", "/changed");
    cache.send("POST", "/changed").origin(made).bypass();
    cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
    cache.controls().enable();
    cache.get("/").hit().body("one");
    cache.get("/changed").origin(ok("two")).miss();
}

#[test]
fn an_offline_cache_answers_from_the_store_or_504() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(1)).miss();
    cache.wait(2);
    cache.controls().set_offline(true);
    cache.get("/").stale_hit().because(Reason::ModeTakesStale);
    cache.get("/").mode(CacheMode::Reload).stale_hit();
    cache.get("/x").unsatisfiable();
    cache.send("POST", "/").unsatisfiable();
    cache.controls().set_offline(false);
    cache.get("/").origin(ok("two").max_age(60)).miss();
}

#[test]
fn a_read_only_cache_writes_nothing() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(1).etag("\"1\""))
        .miss();
    cache.wait(2);
    cache.controls().set_read_only(true);
    cache
        .get("/")
        .origin(not_modified().max_age(60))
        .revalidated();
    cache
        .get("/x")
        .origin(ok("x").max_age(60))
        .miss()
        .not_stored(Reason::ReadOnly);
    cache.send("POST", "/").origin(ok("")).bypass();
    cache.controls().set_read_only(false);
    cache
        .get("/")
        .origin(not_modified().max_age(60))
        .revalidated();
    cache.get("/x").origin(ok("x").max_age(60)).miss();
}

#[test]
fn another_policy_holds_from_the_next_request_on_and_is_not_retroactive() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/none").origin(ok("one")).miss();
    let longer = cache
        .controls()
        .policy()
        .default_ttl(Duration::from_secs(60));
    cache.controls().set_policy(longer);
    cache.get("/none").origin(ok("one")).miss();
    cache.get("/none").hit();
    cache
        .controls()
        .update_policy(|policy| policy.clone().max_ttl(Duration::ZERO));
    cache.get("/").hit();
    cache.get("/none").hit();
    cache.get("/new").origin(ok("one").max_age(60)).miss();
    cache.get("/new").origin(ok("one").max_age(60)).miss();
}

#[test]
fn controls_are_of_the_layer_that_they_were_taken_of() {
    let clock = ManualClock::new();
    let layer = CacheLayer::new(MemoryBackend::default()).clock(clock.clone());
    let controls = layer.controls();
    let changed = layer.clone().policy(Policy::shared());
    controls.disable();
    let mut one = Scenario::in_layer(layer, clock.clone());
    let mut other = Scenario::in_layer(changed, clock);
    one.get("/").origin(ok("one").max_age(60)).bypass();
    other.get("/").origin(ok("one").max_age(60)).miss();
    controls.enable();
    one.get("/").origin(ok("one").max_age(60)).miss();
    one.get("/").hit();
}

#[test]
fn a_layer_that_is_made_of_one_that_is_disabled_is_disabled() {
    let clock = ManualClock::new();
    let layer = CacheLayer::new(MemoryBackend::default()).clock(clock.clone());
    layer.controls().disable();
    let changed = layer.policy(Policy::shared());
    assert!(changed.controls().switches().is_disabled);
    let mut cache = Scenario::in_layer(changed, clock);
    cache.get("/").origin(ok("one").max_age(60)).bypass();
}

#[test]
fn waits_can_be_changed_too() {
    let mut cache = Scenario::private();
    let controls = cache.controls().clone();
    controls.set_backend_budget(Duration::from_secs(1));
    controls.set_backend_timeout(Duration::from_secs(1));
    controls.set_coalescing_wait(Duration::ZERO);
    let shown = format!("{controls:?}");
    assert!(shown.contains("coalescing_wait: 0ns"), "{shown}");
    assert!(shown.contains("backend_budget: 1s"), "{shown}");
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/").hit();
}

#[tokio::test]
async fn a_layer_that_is_shut_down_has_ended_what_went_on_in_the_background() {
    let layer = CacheLayer::new(MemoryBackend::default()).clock(ManualClock::new());
    let origin = kit::Origin::new();
    let client = tower::Layer::layer(&layer, origin.clone());
    let get = async || {
        let request = http::Request::get("http://origin.test/");
        let request = request.body(http_body_util::Full::<bytes::Bytes>::default());
        let answer = tower::ServiceExt::oneshot(client.clone(), request.expect("a request"));
        let response = answer.await.expect("a response");
        let info = *response
            .extensions()
            .get::<cache_core::CacheInfo>()
            .expect("an info");
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        body.expect("a whole body");
        info.outcome
    };
    let stale = || {
        ok("one")
            .cache_control("max-age=0, stale-while-revalidate=60")
            .etag("\"1\"")
    };
    origin.answers(stale());
    origin.answers(not_modified().max_age(60));
    assert_eq!(get().await, cache_core::Outcome::Miss);
    assert_eq!(get().await, cache_core::Outcome::StaleHit);
    assert_eq!(origin.sent().len(), 1, "the validation has only been begun");
    layer.shutdown().await;
    assert_eq!(origin.sent().len(), 2);
    assert_eq!(get().await, cache_core::Outcome::Hit);
}
