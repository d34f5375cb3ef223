//! Age and freshness (RFC 9111 §4.2, §5.1).

use cache_core::Policy;
use kit::{Scenario, ok};
use std::time::Duration;

#[test]
fn the_age_field_counts() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).with("age", "50"))
        .miss()
        .field("age", "50");
    cache.get("/").hit().age(50);
    cache.wait(9);
    cache.get("/").hit().age(59);
    cache.wait(1);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .miss()
        .body("two");
}

#[test]
fn a_response_that_arrives_stale_is_not_reused() {
    for answer in [
        ok("one").max_age(60).with("age", "60"),
        ok("one").max_age(60).with("age", "7200, 0"),
    ] {
        let mut cache = Scenario::private();
        cache.get("/").origin(answer).miss();
        cache.get("/").origin(ok("two")).miss();
    }
}

#[test]
fn an_invalid_age_is_ignored() {
    for age in ["-7200", "7200.0", "0, 7200"] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(ok("one").max_age(60).with("age", age))
            .miss();
        cache.get("/").hit().age(0);
    }
}

#[test]
fn an_old_date_makes_a_response_old() {
    let mut cache = Scenario::private();
    let date = cache.date(-50);
    cache
        .get("/")
        .origin(ok("one").max_age(60).with("date", &date))
        .miss();
    cache.get("/").hit().age(50);
    cache.wait(10);
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn a_huge_age_does_not_overflow() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .cache_control("max-age=99999999999")
        .with("age", "18446744073709551615");
    cache.get("/").origin(answer).miss();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn a_huge_max_age_is_long() {
    for max_age in [
        "2147483647",
        "2147483648",
        "99999999999",
        "99999999999999999999999",
    ] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(ok("one").cache_control(&format!("max-age={max_age}")))
            .miss();
        cache.wait(1_000_000_000);
        cache.get("/").hit().age(1_000_000_000);
    }
}

#[test]
fn expires_counts_from_the_date_of_the_response() {
    let mut cache = Scenario::private();
    // The origin's clock is an hour ahead.
    let (date, expires) = (cache.date(3600), cache.date(3660));
    cache
        .get("/")
        .origin(ok("one").with("date", &date).with("expires", &expires))
        .miss();
    cache.wait(59);
    cache.get("/").hit().field("expires", &expires);
    cache.wait(2);
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn an_invalid_expires_is_in_the_past() {
    for expires in [
        "0",
        "-1",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18-Aug-2050 02:01:18 GMT",
    ] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(ok("one").with("expires", expires).etag("\"1\""))
            .miss();
        cache
            .get("/")
            .origin(ok("two"))
            .miss()
            .sent("if-none-match", "\"1\"");
    }
}

#[test]
fn s_maxage_is_for_shared_caches() {
    let answer = || ok("one").cache_control("max-age=1, s-maxage=60");
    let mut shared = Scenario::shared();
    shared.get("/").origin(answer()).miss();
    shared.wait(30);
    shared.get("/").hit();
    let mut private = Scenario::private();
    private.get("/").origin(answer()).miss();
    private.wait(30);
    private.get("/").origin(answer()).miss();
}

#[test]
fn a_lifetime_of_the_policy_is_for_responses_without_one() {
    let mut cache = Scenario::with(Policy::private().default_ttl(Duration::from_secs(60)));
    cache.get("/silent").origin(ok("one")).miss().stored();
    cache.get("/says").origin(ok("one").max_age(1)).miss();
    cache.wait(30);
    cache.get("/silent").hit();
    cache.get("/says").origin(ok("two")).miss();
}

#[test]
fn the_age_that_a_cache_behind_us_computes_is_right() {
    // A cache behind us reads `Date` and `Age` of a hit; `Date` stays the origin's.
    let mut cache = Scenario::shared();
    let date = cache.date(0);
    cache
        .get("/")
        .origin(ok("one").max_age(60).with("date", &date).with("age", "10"))
        .miss();
    cache.wait(20);
    cache.get("/").hit().field("date", &date).age(30);
}

#[test]
fn hits_say_how_old_and_how_fresh_they_are() {
    let mut cache = Scenario::private();
    let info = cache.get("/").origin(ok("one").max_age(60)).miss().info;
    assert_eq!((info.age, info.remaining), (None, None));
    cache.wait(20);
    let info = cache.get("/").hit().info;
    assert_eq!(info.age.map(|age| age.as_secs()), Some(20));
    assert_eq!(
        info.remaining.map(|remaining| remaining.as_secs()),
        Some(39)
    );
    assert_eq!(
        info.to_string(),
        "hit: the stored response is fresh; age 20 s, fresh for 39 s"
    );
}

#[test]
fn two_expires_lines_are_in_the_past() {
    let mut cache = Scenario::private();
    let expires = cache.date(100);
    let answer = ok("one")
        .with("expires", &expires)
        .with("expires", &expires);
    cache.get("/").origin(answer.etag("\"1\"")).miss();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn expires_counts_for_nothing_beside_max_age_and_shared_beside_s_maxage() {
    for (directives, policy, lifetime) in [
        ("max-age=60", Policy::private(), 60),
        ("s-maxage=60", Policy::shared(), 60),
        ("s-maxage=60", Policy::private(), 100),
    ] {
        let mut cache = Scenario::with(policy);
        let (now, expires) = (cache.date(0), cache.date(100));
        let answer = ok("one").cache_control(directives).with("date", &now);
        cache
            .get("/")
            .origin(answer.with("expires", &expires))
            .miss();
        cache.wait(lifetime - 1);
        cache.get("/").hit();
        cache.wait(1);
        cache.get("/").origin(ok("two")).miss();
    }
}

#[test]
fn a_first_hand_response_has_no_age() {
    let mut cache = Scenario::private();
    let date = cache.date(-5);
    let answer = ok("one").max_age(60).with("date", &date);
    cache.get("/").origin(answer).miss().without("age");
}

#[test]
fn the_heuristic_is_for_a_uri_with_a_query_too() {
    let mut cache = Scenario::private();
    let (now, changed) = (cache.date(0), cache.date(-1000));
    let answer = ok("one").with("date", &now).with("last-modified", &changed);
    cache.get("/?page=2").origin(answer).miss().stored();
    cache.wait(99);
    cache.get("/?page=2").hit();
}

#[test]
fn a_response_that_passes_gets_no_date() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60))
        .miss()
        .without("date");
}

#[test]
fn a_date_that_is_nearly_right_is_in_the_past() {
    for expires in [
        "Thu, 31 Dec 2026 23:59:60 GMT",
        "Fri, 31 Dec 2026 23:59:59 GMT",
        "Saturday, 31-Dec-72 00:00:00 GMT",
        "Sunday, 31-Dec-72 00:00:00 GMT",
        "Thu, 31 Dec 2026 23:59:59 gmt",
    ] {
        let mut cache = Scenario::private();
        let answer = ok("one").with("expires", expires).etag("\"1\"");
        cache.get("/").origin(answer).miss();
        cache.get("/").origin(ok("two")).miss();
    }
}
