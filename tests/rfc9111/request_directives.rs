//! Directives of requests (RFC 9111 §5.2.1) and `Pragma` (§5.4).

use cache_core::Reason;
use kit::{Scenario, not_modified, ok};

/// A cache in which a response is 20 seconds old, and a millisecond, and fresh for the rest of 60.
fn filled() -> Scenario {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(20);
    cache
}

#[track_caller]
fn hits(directives: &str) {
    filled().get("/").with("cache-control", directives).hit();
}

#[track_caller]
fn validates(directives: &str, reason: Reason) {
    let mut cache = filled();
    let asked = cache.get("/").with("cache-control", directives);
    let seen = asked.origin(ok("two").max_age(60)).miss().because(reason);
    seen.sent("if-none-match", "\"1\"")
        .sent("cache-control", directives);
    cache.get("/").hit().body("two");
}

#[test]
fn no_cache_validates_what_is_fresh() {
    validates("no-cache", Reason::RequestNoCache);
    validates("NO-CACHE, max-stale", Reason::RequestNoCache);
}

#[test]
fn max_age_bounds_the_age() {
    hits("max-age=21");
    validates("max-age=20", Reason::RequestMaxAge);
    validates("max-age=0", Reason::RequestNoCache);
    validates("max-age=x", Reason::RequestNoCache);
}

#[test]
fn min_fresh_bounds_the_time_left() {
    hits("min-fresh=39");
    validates("min-fresh=40", Reason::RequestMinFresh);
    validates("min-fresh=x", Reason::RequestMinFresh);
}

#[test]
fn max_stale_takes_what_is_stale_no_longer_than_that() {
    let mut cache = filled();
    cache.wait(50);
    cache
        .get("/")
        .with("cache-control", "max-stale=11")
        .stale_hit()
        .because(Reason::MaxStale)
        .age(70);
    cache
        .get("/")
        .with("cache-control", "max-stale")
        .stale_hit();
    cache
        .get("/")
        .with("cache-control", "max-stale=10")
        .origin(not_modified())
        .revalidated();
}

#[test]
fn max_stale_does_not_lift_what_the_origin_forbids() {
    for directives in [
        "max-age=1, must-revalidate",
        "max-age=1, no-cache",
        "s-maxage=1",
        "max-age=1, proxy-revalidate",
    ] {
        let mut cache = Scenario::shared();
        cache
            .get("/")
            .origin(ok("one").cache_control(directives).etag("\"1\""))
            .miss();
        cache.wait(2);
        cache
            .get("/")
            .with("cache-control", "max-stale")
            .origin(not_modified())
            .revalidated();
    }
}

#[test]
fn only_if_cached_takes_what_is_fresh_and_is_504_else() {
    let mut cache = filled();
    cache.get("/").with("cache-control", "only-if-cached").hit();
    cache
        .get("/other")
        .with("cache-control", "only-if-cached")
        .unsatisfiable()
        .because(Reason::OnlyIfCached);
    cache.wait(41);
    cache
        .get("/")
        .with("cache-control", "only-if-cached")
        .unsatisfiable();
    cache
        .get("/")
        .with("cache-control", "only-if-cached, max-stale")
        .stale_hit();
}

#[test]
fn only_if_cached_asks_nobody_even_for_a_range() {
    filled()
        .get("/other")
        .with("cache-control", "only-if-cached")
        .with("range", "bytes=0-1")
        .unsatisfiable();
}

#[test]
fn pragma_counts_where_there_is_no_cache_control() {
    let mut cache = filled();
    cache
        .get("/")
        .with("pragma", "no-cache")
        .with("cache-control", "x")
        .hit();
    cache.get("/").with("pragma", "other").hit();
    cache
        .get("/")
        .with("pragma", "no-cache")
        .origin(not_modified())
        .revalidated();
}

#[test]
fn pragma_in_a_response_means_nothing() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).with("pragma", "no-cache"))
        .miss();
    cache.get("/").hit();
}

#[test]
fn directives_pass_in_both_directions_known_or_not() {
    let mut cache = filled();
    let asked = "max-age=0, no-transform, community=\"UCI\"";
    let said = "max-age=60, no-transform, community=\"UCI\"";
    cache
        .get("/")
        .with("cache-control", asked)
        .origin(ok("two").cache_control(said))
        .miss()
        .sent("cache-control", asked)
        .field("cache-control", said);
    cache.get("/").hit().field("cache-control", said);
}

#[test]
fn numbers_are_read_as_tokens_and_as_quoted_strings() {
    hits("max-age=\"21\"");
    validates("max-age=\"20\"", Reason::RequestMaxAge);
    hits("min-fresh=\"39\"");
    validates("min-fresh=\"40\"", Reason::RequestMinFresh);
}
