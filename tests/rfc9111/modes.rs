//! `CacheMode`.

use cache_core::{CacheMode, Reason};
use kit::{Scenario, not_modified, ok, status};

/// A cache in which `/` is fresh, `/stale` is stale, and `/strict` is stale and must not be reused so.
fn filled() -> Scenario {
    let mut cache = Scenario::private();
    cache
        .get("/stale")
        .origin(ok("stale").max_age(1).etag("\"s\""))
        .miss();
    cache
        .get("/strict")
        .origin(
            ok("strict")
                .cache_control("max-age=1, must-revalidate")
                .etag("\"t\""),
        )
        .miss();
    cache.wait(2);
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(1);
    cache
}

#[test]
fn no_store_neither_reads_nor_writes() {
    let mut cache = filled();
    cache
        .get("/")
        .mode(CacheMode::NoStore)
        .origin(ok("two").max_age(60))
        .bypass()
        .not_sent("if-none-match");
    cache.get("/").hit().body("one");
}

#[test]
fn reload_does_not_read_but_writes() {
    let mut cache = filled();
    let seen = cache
        .get("/")
        .mode(CacheMode::Reload)
        .origin(ok("two").max_age(60))
        .miss()
        .because(Reason::Reload);
    seen.not_sent("if-none-match")
        .sent("cache-control", "no-cache");
    cache.get("/").hit().body("two");
    cache
        .get("/")
        .mode(CacheMode::Reload)
        .origin_fails()
        .error();
}

#[test]
fn no_cache_validates() {
    let mut cache = filled();
    let seen = cache
        .get("/")
        .mode(CacheMode::NoCache)
        .origin(not_modified())
        .revalidated();
    seen.sent("if-none-match", "\"1\"")
        .sent("cache-control", "max-age=0");
    cache
        .get("/")
        .mode(CacheMode::NoCache)
        .origin_fails()
        .error();
}

#[test]
fn a_cache_control_of_the_request_is_left_as_it_is() {
    let mut cache = filled();
    let asked = cache
        .get("/")
        .mode(CacheMode::Reload)
        .with("cache-control", "x");
    asked.origin(ok("two")).miss().sent("cache-control", "x");
}

#[test]
fn force_cache_takes_stale_responses_unless_the_origin_forbids_it() {
    let mut cache = filled();
    cache
        .get("/stale")
        .mode(CacheMode::ForceCache)
        .stale_hit()
        .because(Reason::ModeTakesStale);
    cache
        .get("/strict")
        .mode(CacheMode::ForceCache)
        .origin(not_modified().max_age(60))
        .revalidated();
    cache
        .get("/new")
        .mode(CacheMode::ForceCache)
        .origin(ok("new").max_age(60))
        .miss();
}

#[test]
fn only_if_cached_takes_stale_responses_and_asks_nobody() {
    let mut cache = filled();
    cache.get("/").mode(CacheMode::OnlyIfCached).hit();
    cache
        .get("/stale")
        .mode(CacheMode::OnlyIfCached)
        .stale_hit();
    cache
        .get("/strict")
        .mode(CacheMode::OnlyIfCached)
        .unsatisfiable();
    cache
        .get("/new")
        .mode(CacheMode::OnlyIfCached)
        .unsatisfiable()
        .because(Reason::OnlyIfCached);
}

#[test]
fn offline_asks_nobody_whatever_the_request_is() {
    let mut cache = filled();
    cache
        .get("/new")
        .mode(CacheMode::OnlyIfCached)
        .with("cache-control", "no-store")
        .unsatisfiable();
    cache
        .get("/new")
        .mode(CacheMode::OnlyIfCached)
        .content("x")
        .unsatisfiable();
    for method in ["POST", "OPTIONS"] {
        cache
            .send(method, "/")
            .mode(CacheMode::OnlyIfCached)
            .unsatisfiable();
    }
}

#[test]
fn read_only_asks_for_nothing_in_the_background() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=1, stale-while-revalidate=60"))
        .miss();
    cache.wait(2);
    // The origin would have no answer.
    cache
        .get("/")
        .mode(CacheMode::ReadOnly)
        .stale_hit()
        .because(Reason::StaleWhileRevalidate);
    cache.settle();
}

#[test]
fn read_only_reads_but_writes_nothing() {
    let mut cache = filled();
    cache.get("/").mode(CacheMode::ReadOnly).hit();
    cache
        .get("/new")
        .mode(CacheMode::ReadOnly)
        .origin(ok("new").max_age(60))
        .miss()
        .not_stored(Reason::ReadOnly);
    cache.get("/new").origin(ok("new")).miss();
    cache
        .get("/stale")
        .mode(CacheMode::ReadOnly)
        .origin(not_modified().max_age(60))
        .revalidated();
    cache
        .get("/stale")
        .mode(CacheMode::ReadOnly)
        .origin(status(404))
        .miss();
    cache
        .get("/stale")
        .mode(CacheMode::ReadOnly)
        .origin(not_modified().etag("\"x\""))
        .revalidated();
    cache
        .get("/stale")
        .origin(not_modified())
        .revalidated()
        .sent("if-none-match", "\"s\"");
    cache
        .send("POST", "/")
        .mode(CacheMode::ReadOnly)
        .origin(ok(""))
        .bypass();
    cache.get("/").hit();
}

#[test]
fn read_only_freshens_nothing_by_head() {
    let mut cache = filled();
    cache
        .send("HEAD", "/stale")
        .mode(CacheMode::ReadOnly)
        .origin(ok("").etag("\"x\""))
        .miss();
    cache
        .get("/stale")
        .origin(not_modified())
        .revalidated()
        .sent("if-none-match", "\"s\"");
}
