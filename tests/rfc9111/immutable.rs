//! Responses that do not change while they are fresh (RFC 8246).

use cache_core::{Policy, Reason};
use kit::{Scenario, not_modified, ok};

/// A cache that validates every response, with one that has these directives.
fn filled(directives: &str) -> Scenario {
    let mut cache = Scenario::with(Policy::private().always_revalidate(true));
    let answer = ok("one").cache_control(directives).etag("\"1\"");
    cache.get("/").origin(answer).miss();
    cache
}

#[test]
fn what_is_immutable_is_not_validated_while_it_is_fresh() {
    for directives in [
        "max-age=60, immutable",
        "immutable, immutable, max-age=60",
        "max-age=60, immutable=0",
        "max-age=60, immutable=\"no\"",
    ] {
        filled(directives).get("/").hit();
    }
}

#[test]
fn what_is_not_is_validated() {
    let mut cache = filled("max-age=60");
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::AlwaysRevalidate)
        .sent("if-none-match", "\"1\"");
}

#[test]
fn what_is_immutable_and_stale_is_validated() {
    let mut cache = filled("max-age=60, immutable");
    cache.wait(60);
    cache.get("/").origin(not_modified()).revalidated();
}

#[test]
fn a_request_that_asks_for_validation_gets_it() {
    for directives in ["no-cache", "max-age=0"] {
        let mut cache = filled("max-age=60, immutable");
        let asked = cache.get("/").with("cache-control", directives);
        let seen = asked.origin(not_modified().max_age(60)).revalidated();
        seen.sent("if-none-match", "\"1\"");
    }
}

#[test]
fn in_a_request_it_means_nothing() {
    let mut cache = filled("max-age=60");
    let asked = cache.get("/").with("cache-control", "immutable");
    asked.origin(not_modified()).revalidated();
}
