//! What a change at the origin does to what is stored.

use std::time::Duration;

use cache_core::{Outcome, Policy};
use cache_memory::MemoryBackend;
use http::Method;
use kit::{FaultyBackend, ManualClock, Operation, Scenario, ok, status};
use tower_service::Service;

use crate::held::{around, get, held, soon, text};
use crate::info::outcome;

/// A cache that stored "old" under these paths.
fn storing(paths: &[&str]) -> Scenario {
    let mut cache = Scenario::private();
    for path in paths {
        cache.get(path).origin(ok("old").max_age(600)).miss();
    }
    cache
}

// pingora, http-cache-semantics, tower-http-cache, hishel, requests-cache: nothing was invalidated.
#[test]
fn a_successful_change_invalidates_its_target() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "M-SEARCH"] {
        for code in [200, 201, 204, 303] {
            let mut cache = storing(&["/a", "/b"]);
            cache.send(method, "/a").origin(status(code)).bypass();
            cache.get("/a").origin(ok("new")).miss().body("new");
            cache.get("/b").hit().body("old");
        }
    }
}

// http-cache-tower: `Location` and `Content-Location` were not read; ATS and others: nor their origin.
#[test]
fn a_change_invalidates_what_it_names_at_its_own_origin_and_nothing_elsewhere() {
    let mut cache = storing(&["/a", "/b", "/c", "http://other.test/d"]);
    let answer = status(201)
        .with("location", "/b")
        .with("content-location", "http://origin.test/c");
    cache.send("POST", "/a").origin(answer).bypass();
    for path in ["/a", "/b", "/c"] {
        cache.get(path).origin(ok("new").max_age(600)).miss();
    }
    let answer = status(201)
        .with("location", "http://other.test/d")
        .with("content-location", "http://other.test/d");
    cache.send("POST", "/a").origin(answer).bypass();
    cache.get("http://other.test/d").hit().body("old");
}

// Apache Traffic Server #7839: anybody could flush an entry with a request that failed.
#[test]
fn a_change_that_failed_invalidates_nothing() {
    for code in [400, 401, 403, 404, 405, 409, 500, 503] {
        let mut cache = storing(&["/a"]);
        cache.send("POST", "/a").origin(status(code)).bypass();
        cache.get("/a").hit().body("old");
    }
    let mut cache = storing(&["/a"]);
    cache.send("DELETE", "/a").origin_fails().error();
    cache.get("/a").hit();
}

// The same, by methods that change nothing.
#[test]
fn safe_methods_invalidate_nothing() {
    for method in ["OPTIONS", "TRACE", "PROPFIND", "QUERY"] {
        let mut cache = storing(&["/a"]);
        cache.send(method, "/a").origin(ok("")).bypass();
        cache.get("/a").hit().body("old");
    }
}

// axum-response-cache: any client could send `X-Invalidate-Cache`.
#[test]
fn no_field_of_a_request_administers_the_cache() {
    for field in [
        "x-invalidate-cache",
        "x-cache-invalidate",
        "x-purge",
        "surrogate-key",
        "x-cache-key",
        "x-cache-mode",
    ] {
        let mut cache = storing(&["/a", "/b"]);
        cache.get("/a").with(field, "true").hit();
        cache.send("PURGE", "/b").origin(status(405)).bypass();
        for path in ["/a", "/b"] {
            cache.get(path).hit().body("old");
        }
    }
}

// http-cache-tower: one key, so what other variants had stayed.
#[test]
fn a_change_invalidates_all_variants() {
    let mut cache = Scenario::shared();
    for language in ["en", "de"] {
        let answer = ok("old").max_age(600).with("vary", "accept-language");
        cache
            .get("/")
            .with("accept-language", language)
            .origin(answer)
            .miss();
    }
    cache.send("PUT", "/").origin(status(204)).bypass();
    for language in ["en", "de"] {
        cache
            .get("/")
            .with("accept-language", language)
            .origin(ok("new"))
            .miss();
    }
}

// cachet: an answer that was under way was stored after the change that made it wrong.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_change_does_not_become_visible_after_it() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let early = tokio::spawn(cache.call(get("/")));
    let asked_before = arrivals.next().await;
    clock.advance(Duration::from_secs(1));
    let mut put = get("/");
    *put.method_mut() = Method::PUT;
    let change = tokio::spawn(cache.call(put));
    arrivals.next().await.answer(status(204));
    soon(change).await.expect("no panic").expect("a response");
    asked_before.answer(ok("old").max_age(600));
    let response = soon(early).await.expect("no panic").expect("a response");
    assert_eq!(text(response).await, "old");

    let late = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(ok("new").max_age(600));
    let response = soon(late).await.expect("no panic").expect("a response");
    assert_eq!(outcome(&response), Outcome::Miss);
    assert_eq!(text(response).await, "new");
}

// http-cache, hitbox: whoever wrote last, won.
#[tokio::test(start_paused = true)]
async fn an_older_answer_that_comes_later_replaces_nothing() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let slow = tokio::spawn(cache.call(get("/")));
    let asked_first = arrivals.next().await;
    clock.advance(Duration::from_secs(1));
    let quick = tokio::spawn(cache.call(get("/")));
    arrivals.next().await.answer(ok("new").max_age(600));
    text(quick.await.expect("no panic").expect("a response")).await;
    asked_first.answer(ok("old").max_age(600));
    text(slow.await.expect("no panic").expect("a response")).await;
    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(text(response).await, "new");
}

// FusionCache has a queue for it: an invalidation that the store failed to do must not be forgotten.
#[test]
fn what_the_store_failed_to_invalidate_is_not_served() {
    let backend = FaultyBackend::new(MemoryBackend::default());
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    cache.get("/").origin(ok("old").max_age(600)).miss();
    backend.fail(Operation::Invalidate);
    cache.send("PUT", "/").origin(status(204)).bypass();
    backend.heal();
    cache.get("/").origin(ok("new")).miss().body("new");
}
