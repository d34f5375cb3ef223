//! `CacheOptions`: what one request sets for itself.

use std::time::Duration;

use cache_core::{CacheMode, CacheOptions, CacheRequestExt, Policy, Reason, Rule};
use http::Request;
use kit::{Scenario, not_modified, ok, status};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options() -> CacheOptions {
    CacheOptions::new()
}

#[test]
fn the_mode_is_in_the_options_or_by_itself() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    let reload = || ok("two").max_age(60);
    cache
        .get("/")
        .options(CacheMode::Reload)
        .origin(reload())
        .miss();
    cache
        .get("/")
        .mode(CacheMode::Reload)
        .origin(reload())
        .miss();
    cache
        .get("/")
        .mode(CacheMode::Default)
        .options(CacheMode::Reload)
        .origin(reload())
        .miss()
        .because(Reason::Reload);
    cache
        .get("/")
        .mode(CacheMode::OnlyIfCached)
        .options(options())
        .hit();
}

#[test]
fn every_mode_can_be_set_on_the_request_the_builder_and_the_parts() {
    for mode in [
        CacheMode::Default,
        CacheMode::NoStore,
        CacheMode::Reload,
        CacheMode::NoCache,
        CacheMode::ForceCache,
        CacheMode::OnlyIfCached,
        CacheMode::ReadOnly,
    ] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(ok("one").max_age(1).etag("\"1\""))
            .miss();
        cache.wait(2);
        let request = || Request::get("http://origin.test/");
        let built = request()
            .cache(mode)
            .body(Default::default())
            .expect("a request");
        let plain = request()
            .body(Default::default())
            .expect("a request")
            .cache(mode);
        let (parts, body) = request()
            .body(Default::default())
            .expect("a request")
            .into_parts();
        let parts = Request::from_parts(parts.cache(mode), body);
        for request in [built, plain, parts] {
            let call = cache.request(request);
            match mode {
                CacheMode::Default | CacheMode::NoCache | CacheMode::ReadOnly => {
                    call.origin(not_modified()).revalidated();
                }
                CacheMode::NoStore => {
                    call.origin(ok("one")).bypass();
                }
                CacheMode::Reload => {
                    call.origin(ok("one").max_age(0).etag("\"1\"")).miss();
                }
                _ => {
                    call.stale_hit().because(Reason::ModeTakesStale);
                }
            }
            if mode == CacheMode::Default || mode == CacheMode::NoCache {
                cache.wait(2);
            }
        }
    }
}

#[test]
fn a_lifetime_of_the_request_comes_before_rules_and_policy() {
    let policy = Policy::private()
        .default_ttl(seconds(100))
        .rules([Rule::any().override_ttl(seconds(100)).max_ttl(seconds(100))])
        .expect("rules");
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .options(options().override_ttl(seconds(5)))
        .origin(ok("one").max_age(60))
        .miss();
    cache.wait(4);
    cache.get("/").hit();
    cache.wait(2);
    let max = options().max_ttl(seconds(1));
    cache.get("/").options(max).origin(ok("two")).miss();
    cache.wait(2);
    cache.get("/").origin(ok("three")).miss();
    cache.wait(99);
    cache.get("/").hit();

    let mut cache = Scenario::private();
    cache
        .get("/")
        .options(options().default_ttl(seconds(5)))
        .origin(ok("one"))
        .miss();
    cache.get("/").hit();
    let seen = cache.get("/x").options(options().default_ttl(seconds(5)));
    seen.origin(status(404))
        .miss()
        .not_stored(Reason::NoFreshness);
}

#[test]
fn the_origin_is_obeyed_or_not_as_the_request_says() {
    let mut cache = Scenario::with(Policy::private().default_ttl(seconds(60)));
    let forbidden = || ok("one").cache_control("no-store");
    let ignoring = options().ignore_origin(true);
    cache.get("/").origin(forbidden()).miss();
    cache
        .get("/")
        .options(ignoring)
        .origin(forbidden())
        .miss()
        .stored();
    cache.get("/").hit();

    let policy = Policy::private()
        .default_ttl(seconds(60))
        .ignore_origin(true);
    let mut cache = Scenario::with(policy);
    let obeying = options().ignore_origin(false);
    cache.get("/").options(obeying).origin(forbidden()).miss();
    cache.get("/").origin(forbidden()).miss();
    cache.get("/").hit();
}

#[test]
fn read_only_goes_with_any_mode() {
    let mut cache = Scenario::private();
    for mode in [CacheMode::Default, CacheMode::Reload, CacheMode::ForceCache] {
        let read_only = options().mode(mode).read_only();
        cache
            .get("/")
            .options(read_only)
            .origin(ok("one").max_age(60))
            .miss()
            .not_stored(Reason::ReadOnly);
    }
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/").options(options().read_only()).hit();
}

#[test]
fn only_requests_with_the_same_key_material_share_responses() {
    let mut cache = Scenario::private();
    let versioned = |version: &str| options().key_material(version);
    cache
        .get("/")
        .options(versioned("1"))
        .origin(ok("one").max_age(60))
        .miss();
    cache
        .get("/")
        .options(versioned("2"))
        .origin(ok("two").max_age(60))
        .miss();
    cache.get("/").origin(ok("three").max_age(60)).miss();
    cache.get("/").options(versioned("1")).hit().body("one");
    cache.get("/").options(versioned("2")).hit().body("two");
    cache.get("/").hit().body("three");
    cache
        .send("POST", "/")
        .options(versioned("1"))
        .origin(ok(""))
        .bypass();
    cache
        .get("/")
        .options(versioned("1"))
        .origin(ok("four"))
        .miss();
    cache.get("/").options(versioned("2")).hit().body("two");
}

#[test]
fn a_partition_of_the_request_replaces_the_one_that_the_policy_finds() {
    let mut cache = Scenario::private();
    let tenant = |name: &str| options().partition(name);
    cache
        .get("/")
        .options(tenant("a"))
        .with("authorization", "x")
        .origin(ok("a").max_age(60))
        .miss();
    cache
        .get("/")
        .options(tenant("a"))
        .with("authorization", "y")
        .hit();
    cache
        .get("/")
        .options(tenant("b"))
        .origin(ok("b").max_age(60))
        .miss();
    cache.get("/").origin(ok("common").max_age(60)).miss();
    // It changes what all see, and what the tenant sees.
    cache
        .send("POST", "/")
        .options(tenant("a"))
        .origin(ok(""))
        .bypass();
    cache.get("/").options(tenant("a")).origin(ok("a")).miss();
    cache.get("/").origin(ok("common")).miss();
    cache.get("/").options(tenant("b")).hit().body("b");
}

#[test]
fn what_is_secret_in_options_is_not_shown() {
    let options = options().key_material("hunter2").partition("hunter2");
    assert!(!format!("{options:?}").contains("hunter"));
}

#[test]
fn a_request_that_waits_for_nobody_and_one_without_time_for_the_store_say_so() {
    let options = options()
        .backend_budget(seconds(1))
        .coalescing_wait(Duration::ZERO);
    assert_eq!(options.waits(), (Some(seconds(1)), Some(Duration::ZERO)));
    let mut cache = Scenario::private();
    cache
        .get("/")
        .options(options.clone())
        .origin(ok("one").max_age(60))
        .miss();
    cache.get("/").options(options).hit();
}

#[test]
fn read_only_refreshes_nothing_early() {
    let policy = Policy::private().early_refresh(0.5).expect("a fraction");
    let mut cache = Scenario::with(policy);
    cache.get("/").origin(ok("one").max_age(100)).miss();
    cache.wait(90);
    // The origin would have no answer.
    cache
        .get("/")
        .options(options().read_only())
        .hit()
        .because(Reason::Fresh);
    cache.settle();
    cache.origin().answers(ok("two").max_age(100));
    cache.get("/").seen().expect("a response");
    cache.settle();
    cache.get("/").hit().body("two");
}
