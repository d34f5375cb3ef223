//! How old a response is, how long it lives, and how long it is kept.

use std::time::Duration;

use cache_core::{Policy, Reason, Retention};
use cache_memory::MemoryBackend;
use kit::{ManualClock, Operation, RecordingBackend, Scenario, not_modified, ok, status};

use crate::held::{around, get, held, soon, text};
use tower_service::Service;

const DAY: u64 = 86_400;

// http-cache-semantics: S2, a panic that any origin could cause.
#[test]
fn an_age_that_does_not_fit_makes_a_response_stale_and_nothing_worse() {
    for age in [
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "2147483648",
    ] {
        let mut cache = Scenario::private();
        let answer = ok("one").max_age(60).etag("\"1\"").with("age", age);
        cache.get("/").origin(answer).miss();
        cache.get("/").origin_fails().stale_hit().age(2_147_483_648);
        cache.wait(5);
        cache.get("/").origin(not_modified()).revalidated();
    }
}

// http-cache-semantics: S10, `Age: 50, 60` was zero, and so was a max-age that does not fit.
#[test]
fn the_first_of_two_ages_counts_and_a_long_lifetime_is_long() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("age", "50, 60");
    cache.get("/").origin(answer).miss();
    cache.get("/").hit().age(50);
    cache.wait(11);
    let answer = ok("two").cache_control("max-age=18446744073709551616");
    cache.get("/").origin(answer).miss().because(Reason::Stale);
    cache.wait(10 * 365 * DAY);
    cache.get("/").hit().body("two").age(10 * 365 * DAY);
}

// http-cache-semantics: S7, `Date` was rewritten on every hit, so that the next cache counted the age
// twice.
#[test]
fn a_hit_has_the_date_of_the_origin_and_the_age_since() {
    let mut cache = Scenario::private();
    let date = cache.date(0);
    let answer = ok("one").max_age(60).with("date", &date);
    cache.get("/").origin(answer).miss().field("date", &date);
    cache.wait(10);
    cache.get("/").hit().field("date", &date).age(10);
    cache.wait(20);
    cache.get("/").hit().field("date", &date).age(30);
}

// http-cache-semantics: S8, only one form of dates was read.
#[test]
fn dates_are_read_in_their_three_forms() {
    for expires in [
        "Thu, 28 May 2026 20:43:20 GMT",
        "Thursday, 28-May-26 20:43:20 GMT",
        "Thu May 28 20:43:20 2026",
    ] {
        let mut cache = Scenario::private();
        assert_eq!(cache.date(1000), "Thu, 28 May 2026 20:43:20 GMT");
        cache
            .get("/")
            .origin(ok("one").with("expires", expires))
            .miss();
        cache.wait(999);
        cache.get("/").hit();
        cache.wait(1);
        cache.get("/").origin(ok("two")).miss();
    }
}

// http-cache-semantics: S9; pingora: `Date` and `Age` were not read, so that a response lived anew in
// each cache on its way.
#[test]
fn what_a_response_spent_elsewhere_counts_as_age() {
    let mut cache = Scenario::private();
    let date = cache.date(-3600);
    let old = ok("one").max_age(600).with("date", &date);
    cache.get("/").origin(old).miss();
    cache
        .get("/")
        .origin(ok("two").max_age(600).with("age", "100"))
        .miss()
        .because(Reason::Stale);
    cache.wait(20);
    cache.get("/").hit().age(120);
    cache.wait(480);
    cache
        .get("/")
        .origin(ok("three"))
        .miss()
        .because(Reason::Stale);
}

// http-cache-semantics: S9, the time that the answer took was not counted.
#[tokio::test(start_paused = true)]
async fn the_time_that_an_answer_took_counts_as_age() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let call = tokio::spawn(cache.call(get("/")));
    let asked = arrivals.next().await;
    clock.advance(Duration::from_secs(30));
    asked.answer(ok("one").max_age(60));
    text(call.await.expect("no panic").expect("a response")).await;
    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(response.headers()["age"], "30");
}

// http-cache-semantics: S11, a lifetime of a day was invented; OkHttp and requests-cache: for ever.
#[test]
fn immutable_gives_no_lifetime() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("immutable"))
        .miss()
        .not_stored(Reason::NoFreshness);
    let answer = ok("one").cache_control("immutable").etag("\"1\"");
    cache.get("/").origin(answer).miss();
    cache.get("/").origin(not_modified()).revalidated();
}

// http-cache-semantics: S12, fresh responses were validated in a shared cache.
#[test]
fn proxy_revalidate_lets_fresh_responses_be_reused() {
    let mut cache = Scenario::shared();
    let answer = ok("one").cache_control("max-age=60, proxy-revalidate");
    cache.get("/").origin(answer).miss();
    cache.wait(59);
    cache.get("/").hit();
}

// tower-http-cache: one lifetime for all, whatever the origin said.
#[test]
fn the_lifetime_is_what_the_origin_says() {
    for (directives, shared, private) in [
        ("max-age=5", 5, 5),
        ("max-age=5, s-maxage=9", 9, 5),
        ("max-age=\"5\"", 5, 5),
    ] {
        for (policy, lifetime) in [(Policy::shared(), shared), (Policy::private(), private)] {
            let mut cache = Scenario::with(policy);
            let answer = ok("one").cache_control(directives);
            cache.get("/").origin(answer).miss();
            cache.wait(lifetime - 1);
            cache.get("/").hit();
            cache.wait(1);
            cache.get("/").origin(ok("two")).miss();
        }
    }
}

// pingora: no lifetime from `Last-Modified`.
#[test]
fn a_tenth_of_the_time_since_the_last_change_is_a_lifetime() {
    let mut cache = Scenario::private();
    let modified = cache.date(-100_000);
    let date = cache.date(0);
    let answer = ok("one")
        .with("date", &date)
        .with("last-modified", &modified);
    cache.get("/").origin(answer).miss();
    cache.wait(9_999);
    cache.get("/").hit();
    cache.wait(1);
    cache.get("/").origin(not_modified()).revalidated();
}

// http-cache-tower, before alpha.9: one setting was default and cap at once.
#[test]
fn the_default_lifetime_only_fills_gaps_and_the_longest_only_cuts() {
    let policy = Policy::private()
        .default_ttl(Duration::from_secs(50))
        .max_ttl(Duration::from_secs(100));
    for (directives, lifetime) in [
        ("public", 50),
        ("max-age=10", 10),
        ("max-age=60", 60),
        ("max-age=1000", 100),
    ] {
        let mut cache = Scenario::with(policy.clone());
        let answer = ok("one").cache_control(directives);
        cache.get("/").origin(answer).miss();
        cache.wait(lifetime - 1);
        cache.get("/").hit();
        cache.wait(1);
        cache.get("/").origin(ok("two")).miss();
    }
}

// pingora: what the request asked for was parsed and not acted on.
#[test]
fn a_request_may_want_a_younger_or_a_longer_lived_response() {
    let mut cache = Scenario::private();
    let answer = || ok("one").max_age(60).etag("\"1\"");
    cache.get("/").origin(answer()).miss();
    cache.wait(30);
    for (directive, reason) in [
        ("max-age=29", Reason::RequestMaxAge),
        ("min-fresh=31", Reason::RequestMinFresh),
        ("no-cache", Reason::RequestNoCache),
    ] {
        cache
            .get("/")
            .with("cache-control", directive)
            .origin(status(503))
            .miss()
            .because(reason);
    }
    for directive in ["max-age=31", "min-fresh=29"] {
        cache.get("/").with("cache-control", directive).hit();
    }
}

// hishel: an entry was gone from the store after an hour, whatever its lifetime.
#[test]
fn an_entry_is_kept_for_as_long_as_it_is_fresh() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(30 * DAY)).miss();
    cache.wait(30 * DAY - 1);
    cache.get("/").hit();
}

// requests-cache on Redis: what was never to expire went after an hour, and other things stayed.
#[test]
fn what_is_kept_for_ever_is_and_the_rest_goes_when_its_time_is_over() {
    let grace = Policy::private().grace(Duration::from_secs(100));
    let mut kept = Scenario::with(grace.clone().retention(Retention::Forever));
    let mut gone = Scenario::with(grace);
    for cache in [&mut kept, &mut gone] {
        cache
            .get("/")
            .origin(ok("one").max_age(60).etag("\"1\""))
            .miss();
        cache.wait(159);
        cache
            .get("/")
            .origin(status(503))
            .miss()
            .sent("if-none-match", "\"1\"");
    }
    kept.wait(100 * 365 * DAY);
    kept.get("/").origin(not_modified()).revalidated();
    gone.wait(1);
    gone.get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-none-match");
}

// hishel: each hit wrote to the store and prolonged the entry. tower-http-cache: a stale entry that
// was read lived on as a fresh one.
#[test]
fn a_hit_writes_nothing_and_prolongs_nothing() {
    let backend = RecordingBackend::new(MemoryBackend::default());
    let policy = Policy::private().grace(Duration::from_secs(100));
    let mut cache = Scenario::over(policy, backend.clone());
    cache.get("/").origin(ok("one").max_age(60)).miss();
    let _ = backend.take();
    for _ in 0..5 {
        cache.wait(10);
        cache.get("/").hit();
    }
    cache.wait(10);
    for _ in 0..3 {
        cache.get("/").origin_fails().stale_hit();
    }
    assert_eq!(backend.take(), [Operation::Lookup; 8]);
    cache.wait(100);
    cache.get("/").origin_fails().error();
}
