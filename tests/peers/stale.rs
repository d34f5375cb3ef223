//! What is served when it is no longer fresh.

use std::time::Duration;

use cache_core::{CacheMode, Outcome, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use kit::{Answer, ManualClock, Scenario, not_modified, ok, status};
use tower_layer::Layer;
use tower_service::Service;

use crate::held::{around, get, held, settle, soon, text};
use crate::info::outcome;

/// A cache in which "one", with these lines of `Cache-Control`, has been stale for a second.
fn stale(policy: Policy, lines: &[&str]) -> Scenario {
    let mut cache = Scenario::with(policy);
    let answer = ok("one").etag("\"1\"");
    let answer = lines
        .iter()
        .fold(answer, |answer, line| answer.cache_control(line));
    cache.get("/").origin(answer).miss();
    cache.wait(61);
    cache
}

// http-cache-tower: W2, `must-revalidate` was what let a stale response be served.
#[test]
fn must_revalidate_keeps_a_stale_response_from_standing_in_for_an_error() {
    for lines in [
        &["max-age=0, must-revalidate"][..],
        &["max-age=60, must-revalidate, stale-if-error=600"],
        &["max-age=60, stale-if-error=600", "must-revalidate"],
        &["max-age=60, stale-if-error=600, MUST-REVALIDATE"],
    ] {
        for code in [500, 502, 503, 504] {
            let mut cache = stale(Policy::private(), lines);
            cache.get("/").origin(status(code)).miss().status(code);
            cache.get("/").origin_fails().error();
        }
    }
}

// http-cache-tower: W6, only the first line was searched, for a substring, and only for one
// directive. pingora: `no-cache` left the stale windows open.
#[test]
fn every_prohibition_keeps_a_stale_response_from_standing_in() {
    for directive in [
        "no-cache",
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=60",
    ] {
        let lines = [
            "max-age=60, stale-if-error=600, stale-while-revalidate=600",
            directive,
        ];
        let mut cache = stale(Policy::shared(), &lines);
        cache.get("/").origin_fails().error();
        cache.get("/").origin(status(503)).miss().status(503);
    }
    for directive in ["note=\"must-revalidate\"", "x-must-revalidate=1"] {
        let mut cache = stale(Policy::shared(), &["max-age=60", directive]);
        cache.get("/").origin_fails().stale_hit().body("one");
    }
}

// http-cache-tower: W6, served stale for ever while the origin is down.
#[test]
fn a_stale_response_stands_in_for_a_lost_connection_no_longer_than_the_grace() {
    let policy = Policy::private().grace(Duration::from_secs(100));
    let mut cache = stale(policy, &["max-age=60"]);
    cache
        .get("/")
        .origin_fails()
        .stale_hit()
        .because(Reason::Disconnected);
    cache.wait(98);
    cache.get("/").origin_fails().stale_hit().age(159);
    cache.wait(1);
    cache.get("/").origin_fails().error();
}

// http-cache-tower, http-cache-semantics: no stale-if-error. cachet: what had expired was gone.
#[test]
fn stale_if_error_serves_within_its_window_and_for_its_errors_only() {
    for code in [500, 502, 503, 504] {
        let mut cache = stale(Policy::private(), &["max-age=60, stale-if-error=10"]);
        cache.wait(8);
        cache
            .get("/")
            .origin(status(code))
            .stale_hit()
            .status(200)
            .body("one");
        cache.wait(1);
        cache.get("/").origin(status(code)).miss().status(code);
    }
    for code in [400, 401, 403, 404, 429, 501] {
        let mut cache = stale(Policy::private(), &["max-age=60, stale-if-error=10"]);
        cache.get("/").origin(status(code)).miss().status(code);
    }
}

// http-cache-semantics: S5 and its JavaScript sibling #56: `max-stale` overrode what the origin forbids.
#[test]
fn what_a_request_permits_comes_after_what_the_origin_forbids() {
    for directives in [
        "max-age=60, no-cache",
        "s-maxage=60",
        "max-age=60, proxy-revalidate",
        "max-age=60, must-revalidate",
    ] {
        for permission in [
            "max-stale",
            "max-stale=9999",
            "max-stale=9999, stale-if-error=9999",
        ] {
            let mut cache = stale(Policy::shared(), &[directives]);
            cache
                .get("/")
                .with("cache-control", permission)
                .origin(status(503))
                .miss()
                .status(503)
                .sent("if-none-match", "\"1\"");
        }
    }
    let mut cache = stale(Policy::shared(), &["max-age=60"]);
    cache
        .get("/")
        .with("cache-control", "max-stale=2")
        .stale_hit()
        .because(Reason::MaxStale);
}

// http-cache-tower: W5; its ForceCache was read as "whatever the headers say".
#[test]
fn no_mode_gets_past_what_the_origin_forbids() {
    for directives in ["max-age=60, no-cache", "max-age=60, must-revalidate"] {
        let mut cache = stale(Policy::private(), &[directives]);
        cache
            .get("/")
            .mode(CacheMode::ForceCache)
            .origin_fails()
            .error();
        cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
    }
}

// IronTraffic #237: "cacheable" as a yes or no lost `only-if-cached` on some ways.
#[test]
fn only_if_cached_asks_the_origin_on_no_way() {
    let ways: [&[(&str, &str)]; 6] = [
        &[],
        &[("range", "bytes=0-1")],
        &[("if-match", "\"1\"")],
        &[("if-none-match", "\"2\"")],
        &[("authorization", "Bearer bob")],
        &[("cache-control", "no-cache")],
    ];
    for fields in ways {
        let mut cache = stale(
            Policy::private(),
            &["max-age=60, stale-while-revalidate=600, stale-if-error=600"],
        );
        let mut call = cache.get("/").with("cache-control", "only-if-cached");
        for (name, value) in fields {
            call = call.with(name, value);
        }
        call.unsatisfiable();
        assert_eq!(cache.origin().sent().len(), 1, "{fields:?}");
    }
}

// tower-http-cache: the only caller of a stale response waited for the origin all the same.
#[tokio::test(start_paused = true)]
async fn a_stale_response_is_served_before_the_origin_has_answered() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let call = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(windowed("one"));
    text(call.await.expect("no panic").expect("a response")).await;
    clock.advance(Duration::from_secs(61));

    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::StaleHit);
    assert_eq!(text(response).await, "one");
    arrivals.next().await.answer(windowed("two"));
    settle().await;
    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(outcome(&response), Outcome::Hit);
    assert_eq!(text(response).await, "two");
}

fn windowed(body: &'static str) -> Answer {
    ok(body).cache_control("max-age=60, stale-while-revalidate=600")
}

// tower-http-cache: an error of the origin reached the caller of a stale response.
#[test]
fn a_validation_in_the_background_that_fails_is_seen_by_nobody_and_tried_again_after_a_while() {
    let mut cache = stale(
        Policy::private(),
        &["max-age=60, stale-while-revalidate=600"],
    );
    cache.get("/").origin_fails().stale_hit().body("one");
    cache.settle();
    cache.get("/").stale_hit().body("one");
    cache.settle();
    cache.wait(6);
    cache.get("/").origin(status(500)).stale_hit().body("one");
    cache.settle();
    cache.get("/").stale_hit().body("one");
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

// hitbox, tower-http-cache: without an end.
#[test]
fn stale_while_revalidate_ends_with_its_window() {
    let mut cache = stale(
        Policy::private(),
        &["max-age=60, stale-while-revalidate=10"],
    );
    cache.wait(9);
    cache
        .get("/")
        .origin(status(503))
        .miss()
        .status(503)
        .because(Reason::Stale);
}

// tower-http-cache: what it asked for in the background lacked the fields of the request. cachet: the
// second store was asked, not the origin.
#[test]
fn a_validation_in_the_background_is_the_request_itself() {
    let mut cache = Scenario::private();
    let me = |cache: &mut Scenario, answer| {
        cache
            .get("/me?page=2")
            .with("authorization", "Bearer alice")
            .with("accept-language", "de")
            .origin(answer)
            .seen()
            .expect("a response")
    };
    let answer = windowed("one")
        .etag("\"1\"")
        .with("vary", "accept-language");
    me(&mut cache, answer);
    cache.wait(61);
    let seen = me(&mut cache, windowed("two").with("vary", "accept-language"));
    assert_eq!(seen.info.outcome, Outcome::StaleHit);
    let sent = cache.settle();
    assert_eq!(sent.uri, "http://origin.test/me?page=2");
    assert_eq!(sent.headers["authorization"], "Bearer alice");
    assert_eq!(sent.headers["accept-language"], "de");
    assert_eq!(sent.headers["if-none-match"], "\"1\"");
}

// tower-http-cache, hitbox: many callers of one stale response were as many requests.
#[tokio::test(start_paused = true)]
async fn one_stale_response_is_validated_once_at_a_time() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let call = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(windowed("one"));
    text(call.await.expect("no panic").expect("a response")).await;
    clock.advance(Duration::from_secs(61));
    for _ in 0..5 {
        let response = soon(cache.call(get("/"))).await.expect("a response");
        assert_eq!(outcome(&response), Outcome::StaleHit);
    }
    let only = arrivals.next().await;
    settle().await;
    assert!(arrivals.is_empty());
    only.fail();
    settle().await;
    clock.advance(Duration::from_secs(6));
    soon(cache.call(get("/"))).await.expect("a response");
    arrivals.next().await.answer(windowed("two"));
}

// tower-http-cache: dropping any clone of the layer ended all work in the background.
#[tokio::test(start_paused = true)]
async fn dropping_the_layer_and_other_services_of_it_ends_no_background_work() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let layer = CacheLayer::new(MemoryBackend::default()).clock(clock.clone());
    let mut cache = layer.layer(origin.clone());
    drop(layer.clone().layer(origin));
    drop(layer);
    let call = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(windowed("one"));
    text(call.await.expect("no panic").expect("a response")).await;
    clock.advance(Duration::from_secs(61));
    soon(cache.call(get("/"))).await.expect("a response");
    arrivals.next().await.answer(windowed("two"));
    settle().await;
    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(text(response).await, "two");
}

#[test]
fn an_error_that_is_none_of_rfc_5861_spares_no_origin() {
    let mut cache = stale(Policy::private(), &["max-age=60, stale-if-error=600"]);
    for _ in 0..2 {
        cache.get("/").origin(status(501)).miss().status(501);
    }
}

#[test]
fn an_origin_that_answers_again_is_spared_no_longer() {
    let mut cache = stale(Policy::private(), &["max-age=60, stale-if-error=600"]);
    cache.get("/").origin_fails().stale_hit().body("one");
    cache.get("/").stale_hit().body("one");
    cache
        .get("/")
        .with("cache-control", "no-cache")
        .origin(ok("two").cache_control("max-age=1"))
        .miss();
    cache.wait(2);
    cache.get("/").origin(ok("three")).miss().body("three");

    let mut cache = stale(Policy::private(), &["max-age=60, stale-if-error=600"]);
    cache.get("/").origin_fails().stale_hit().body("one");
    cache
        .get("/")
        .with("cache-control", "no-cache")
        .origin(not_modified().cache_control("max-age=1, stale-if-error=600"))
        .revalidated();
    cache.wait(2);
    cache.get("/").origin(ok("two")).miss().body("two");
}
