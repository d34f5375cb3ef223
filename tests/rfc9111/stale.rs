//! Stale responses (RFC 9111 §4.2.4, RFC 5861).

use cache_core::{Policy, Reason};
use kit::{Scenario, not_modified, ok, status};
use std::time::Duration;

const ERRORS: [u16; 4] = [500, 502, 503, 504];

/// A cache in which a response with these directives has been stale for 10 seconds.
fn stale(policy: Policy, directives: &str) -> Scenario {
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .origin(
            ok("one")
                .max_age(60)
                .cache_control(directives)
                .etag("\"1\""),
        )
        .miss();
    cache.wait(70);
    cache
}

#[test]
fn a_stale_response_is_served_while_the_origin_cannot_be_reached() {
    let mut cache = stale(Policy::private(), "public");
    cache
        .get("/")
        .origin_fails()
        .stale_hit()
        .because(Reason::Disconnected)
        .body("one")
        .age(70);
    cache.wait(3000);
    cache.get("/").origin_fails().stale_hit();
}

#[test]
fn what_the_origin_forbids_is_not_served_stale() {
    for directives in [
        "must-revalidate",
        "no-cache",
        "proxy-revalidate",
        "s-maxage=60",
    ] {
        let directives = format!("{directives}, stale-if-error=600, stale-while-revalidate=600");
        stale(Policy::shared(), &directives)
            .get("/")
            .origin_fails()
            .error();
        for code in ERRORS {
            stale(Policy::shared(), &directives)
                .get("/")
                .origin(status(code))
                .miss()
                .status(code);
        }
    }
}

#[test]
fn rules_for_shared_caches_do_not_bind_a_private_one() {
    for directives in ["proxy-revalidate", "s-maxage=60"] {
        stale(Policy::private(), directives)
            .get("/")
            .origin_fails()
            .stale_hit();
    }
}

#[test]
fn an_error_response_passes_without_stale_if_error() {
    for code in ERRORS {
        let mut cache = stale(Policy::private(), "public");
        cache.get("/").origin(status(code)).miss().status(code);
        // It says nothing of the stored response.
        cache
            .get("/")
            .origin(not_modified())
            .revalidated()
            .body("one");
    }
}

#[test]
fn stale_if_error_serves_within_its_window() {
    for code in ERRORS {
        let mut cache = stale(Policy::private(), "stale-if-error=15");
        cache
            .get("/")
            .origin(status(code))
            .stale_hit()
            .because(Reason::StaleIfError)
            .status(200)
            .body("one");
        cache.wait(6);
        cache.get("/").origin(status(code)).miss().status(code);
    }
}

#[test]
fn a_window_of_the_origin_is_the_end_of_it_even_where_no_response_comes() {
    let mut cache = stale(Policy::private(), "stale-if-error=15");
    cache
        .get("/")
        .origin_fails()
        .stale_hit()
        .because(Reason::StaleIfError);
    cache.wait(6);
    cache.get("/").origin_fails().error();
}

#[test]
fn a_request_that_bounds_the_age_takes_nothing_stale_while_revalidating() {
    let directives = "max-age=60, stale-while-revalidate=600";
    for (asked, expected_stale) in [("max-age=100", false), ("max-age=100, max-stale=100", true)] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(ok("one").cache_control(directives).etag("\"1\""))
            .miss();
        cache.wait(61);
        let call = cache.get("/").with("cache-control", asked);
        if expected_stale {
            call.stale_hit();
        } else {
            call.origin(not_modified()).revalidated();
        }
    }
}

#[test]
fn stale_if_error_is_not_for_other_errors() {
    for code in [400, 403, 404, 410, 429, 501] {
        stale(Policy::private(), "stale-if-error=15")
            .get("/")
            .origin(status(code))
            .miss()
            .status(code);
    }
}

#[test]
fn a_request_may_ask_for_stale_if_error() {
    let mut cache = stale(Policy::private(), "public");
    let ask = |cache: &mut Scenario, window: &str| {
        let directive = format!("stale-if-error={window}");
        cache
            .get("/")
            .with("cache-control", &directive)
            .origin(status(503))
            .seen()
            .expect("a response")
            .status
    };
    assert_eq!(ask(&mut cache, "10"), 503);
    assert_eq!(ask(&mut cache, "11"), 200);
}

#[test]
fn the_policy_may_set_stale_if_error() {
    let policy = Policy::private().stale_if_error(Duration::from_secs(600));
    stale(policy.clone(), "public")
        .get("/")
        .origin(status(503))
        .stale_hit();
    stale(policy, "stale-if-error=0")
        .get("/")
        .origin(status(503))
        .miss();
}

#[test]
fn a_request_with_no_cache_gets_the_error() {
    let mut cache = stale(Policy::private(), "stale-if-error=600");
    cache
        .get("/")
        .with("cache-control", "no-cache")
        .origin_fails()
        .error();
    cache
        .get("/")
        .with("cache-control", "no-cache")
        .origin(status(503))
        .miss()
        .status(503);
}

#[test]
fn without_a_validator_a_stale_response_still_stands_in() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.wait(61);
    cache.get("/").origin_fails().stale_hit().body("one");
}

#[test]
fn stale_while_revalidate_answers_at_once_and_validates_in_the_background() {
    let mut cache = Scenario::private();
    let asked = cache.get("/").with("x-trace", "first");
    asked
        .origin(
            ok("one")
                .cache_control("max-age=60, stale-while-revalidate=30")
                .etag("\"1\""),
        )
        .miss();
    cache.wait(61);
    let asked = cache.get("/").with("x-trace", "second");
    asked
        .origin(not_modified().max_age(60))
        .stale_hit()
        .because(Reason::StaleWhileRevalidate)
        .body("one");
    let sent = cache.settle();
    assert_eq!(sent.headers["if-none-match"], "\"1\"");
    assert_eq!(
        sent.headers["x-trace"], "second",
        "the request itself is sent"
    );
    cache.get("/").hit().body("one").age(0);
}

#[test]
fn the_answer_to_a_background_validation_replaces_the_stored_response() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=60, stale-while-revalidate=30"))
        .miss();
    cache.wait(61);
    cache
        .get("/")
        .origin(ok("two").cache_control("no-cache").etag("\"2\""))
        .stale_hit()
        .body("one");
    cache.settle();
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("two");
}

#[test]
fn a_background_validation_runs_once_at_a_time() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=60, stale-while-revalidate=30"))
        .miss();
    cache.wait(61);
    cache.origin().answers(ok("two").max_age(60));
    // The second one would find no answer at the origin.
    cache.get("/").stale_hit();
    cache.settle();
    cache.get("/").hit().body("two");
}

#[test]
fn past_its_window_stale_while_revalidate_validates_first() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(
            ok("one")
                .cache_control("max-age=60, stale-while-revalidate=30")
                .etag("\"1\""),
        )
        .miss();
    cache.wait(90);
    cache.get("/").origin(not_modified()).revalidated();
}

#[test]
fn a_failed_background_validation_leaves_the_stored_response() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=60, stale-while-revalidate=30"))
        .miss();
    cache.wait(61);
    cache.get("/").origin_fails().stale_hit();
    cache.settle();
    cache.wait(6);
    cache.get("/").origin(status(503)).stale_hit();
    cache.settle();
    cache.wait(6);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .stale_hit()
        .body("one");
    cache.settle();
    cache.get("/").hit().body("two");
}

#[test]
fn a_request_that_wants_it_fresher_is_not_answered_while_revalidating() {
    for directives in ["max-age=60", "min-fresh=1", "no-cache"] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(
                ok("one")
                    .cache_control("max-age=60, stale-while-revalidate=30")
                    .etag("\"1\""),
            )
            .miss();
        cache.wait(61);
        cache
            .get("/")
            .with("cache-control", directives)
            .origin(not_modified().max_age(60))
            .revalidated();
    }
}

#[test]
fn a_fresh_response_stands_in_for_a_validation_that_the_caller_asked_for() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=60, must-revalidate"))
        .miss();
    cache.wait(10);
    cache
        .get("/")
        .with("cache-control", "max-age=5")
        .origin_fails()
        .hit()
        .because(Reason::Disconnected);
}

#[test]
fn no_warning_is_added_and_one_that_came_is_kept() {
    for came in [None, Some("199 - \"odd\"")] {
        let mut cache = Scenario::private();
        let answer = ok("one").max_age(60);
        let answer = match came {
            Some(warning) => answer.with("warning", warning),
            None => answer,
        };
        cache.get("/").origin(answer).miss();
        cache.wait(61);
        let seen = cache.get("/").origin_fails().stale_hit();
        match came {
            Some(warning) => seen.field("warning", warning),
            None => seen.without("warning"),
        };
    }
}
