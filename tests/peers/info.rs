//! What callers are told.

use std::time::Duration;

use cache_core::{CacheInfo, CacheMode, Outcome, Reason, Storing};
use http::Response;
use kit::{Scenario, ok, status};

/// What became of a request.
pub(crate) fn outcome<B>(response: &Response<B>) -> Outcome {
    response
        .extensions()
        .get::<CacheInfo>()
        .expect("every response has a CacheInfo")
        .outcome
}

// requests-cache: what was no hit had no attributes, and programs broke on it.
#[test]
fn every_response_says_what_became_of_its_request() {
    let mut cache = Scenario::private();
    let unsatisfiable = cache.get("/").mode(CacheMode::OnlyIfCached);
    assert_eq!(unsatisfiable.unsatisfiable().info.age, None);
    let miss = cache.get("/").origin(ok("one").max_age(60)).miss();
    assert!(!miss.info.is_hit());
    assert_eq!(miss.info.reason, Reason::UriMiss);
    cache.wait(10);
    let hit = cache.get("/").hit();
    assert!(hit.info.is_hit());
    let (age, remaining) = (hit.info.age.expect("an age"), hit.info.remaining);
    assert_eq!(age.as_secs(), 10);
    assert_eq!(age + remaining.expect("a time"), Duration::from_secs(60));
    let post = cache.send("POST", "/").origin(status(500)).bypass();
    assert_eq!(post.info.reason, Reason::Method);
}

// requests-cache, Souin, OkHttp: that nothing was stored was seen, but not why.
#[test]
fn whether_a_response_is_stored_is_said_apart_from_whether_it_was_a_hit() {
    let mut cache = Scenario::private();
    let info = |answer| {
        let mut cache = Scenario::shared();
        cache.get("/").origin(answer).miss().info
    };
    assert_eq!(info(ok("one").max_age(60)).storing, Storing::Accepted);
    for (answer, reason) in [
        (ok("one"), Reason::NoFreshness),
        (ok("one").cache_control("no-store"), Reason::ResponseNoStore),
        (
            ok("one").cache_control("private, max-age=60"),
            Reason::Private,
        ),
        (ok("one").max_age(60).with("vary", "*"), Reason::VaryStar),
    ] {
        assert_eq!(info(answer).storing, Storing::Refused(reason));
        assert!(!reason.explain().is_empty());
    }
    cache.get("/").origin(ok("one").max_age(60)).miss();
    assert_eq!(cache.get("/").hit().info.storing, Storing::Stored);
}

// Souin: the key, tenants and tokens included, was in a header of every response. Others overwrote
// what a cache further up had said.
#[test]
fn a_response_has_the_fields_of_the_origin_and_on_a_hit_its_age() {
    let mut cache = Scenario::private();
    let date = cache.date(0);
    let answer = ok("one")
        .max_age(60)
        .with("date", &date)
        .with("cache-status", "cdn.example; hit; ttl=30")
        .with("x-cache", "HIT")
        .with("via", "1.1 cdn");
    let expected = ["cache-control", "cache-status", "date", "via", "x-cache"];
    let names = |seen: &kit::Seen| {
        let mut names: Vec<_> = seen.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let miss = cache.get("/").origin(answer).miss();
    assert_eq!(names(&miss), expected);
    let hit = cache
        .get("/")
        .hit()
        .field("cache-status", "cdn.example; hit; ttl=30")
        .field("x-cache", "HIT");
    assert_eq!(names(&hit), [&["age"][..], &expected[..]].concat());
}
