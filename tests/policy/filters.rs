//! Filters of the policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{CacheMode, Policy, Reason};
use cache_memory::MemoryBackend;
use kit::{Scenario, ok, status};

#[test]
fn what_a_filter_refuses_is_not_stored() {
    let policy = Policy::private().filter(|request, response| {
        request.uri.path() != "/health" && !response.headers.contains_key("x-incomplete")
    });
    let mut cache = Scenario::with(policy);
    let seen = cache.get("/health").origin(ok("one").max_age(60)).miss();
    seen.not_stored(Reason::FilterRefusesStoring);
    let incomplete = ok("one").max_age(60).with("x-incomplete", "1");
    cache
        .get("/")
        .origin(incomplete)
        .miss()
        .not_stored(Reason::FilterRefusesStoring);
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/").hit();
}

/// A cache with something in it, and a filter that refuses it from now on.
fn refusing() -> Scenario {
    let refuses = Arc::new(AtomicBool::new(false));
    let flag = refuses.clone();
    let policy = Policy::private().filter_reuse(move |_, _| !flag.load(Ordering::SeqCst));
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.get("/").hit();
    refuses.store(true, Ordering::SeqCst);
    cache
}

#[test]
fn what_a_filter_refuses_when_it_is_read_is_removed() {
    let mut cache = refusing();
    cache
        .get("/")
        .origin(ok("two").cache_control("no-store"))
        .miss()
        .because(Reason::FilterRefusesReuse)
        .not_sent("if-none-match");
    cache
        .get("/")
        .origin(ok("three"))
        .miss()
        .because(Reason::UriMiss);
}

#[test]
fn what_a_filter_refuses_does_not_stand_in() {
    let mut cache = refusing();
    cache
        .get("/")
        .origin(status(503).cache_control("stale-if-error=60"))
        .miss()
        .status(503);
    let mut cache = refusing();
    cache.get("/").origin_fails().error();
}

#[test]
fn what_a_filter_refuses_stays_where_nothing_is_to_be_written() {
    let mut cache = refusing();
    cache
        .get("/")
        .mode(CacheMode::ReadOnly)
        .origin(ok("two"))
        .miss()
        .because(Reason::FilterRefusesReuse);
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::FilterRefusesReuse);
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::UriMiss);
}

#[test]
fn who_wants_only_what_is_stored_gets_nothing_that_a_filter_refuses() {
    let mut cache = refusing();
    cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
}

#[test]
fn filters_add_up() {
    let policy = Policy::private()
        .filter_storing(|_, response| !response.headers.contains_key("x-a"))
        .filter_storing(|_, response| !response.headers.contains_key("x-b"));
    let mut cache = Scenario::with(policy);
    for name in ["x-a", "x-b"] {
        let answer = ok("one").max_age(60).with(name, "1");
        cache
            .get("/")
            .origin(answer)
            .miss()
            .not_stored(Reason::FilterRefusesStoring);
    }
    cache.get("/").origin(ok("one").max_age(60)).miss().stored();
}

#[test]
fn a_filter_of_bodies_sees_the_whole_body_up_to_its_limit() {
    let policy = Policy::private().filter_body(12, |response, body| {
        response.status == 200 && !body.windows(5).any(|window| window == b"error")
    });
    let mut cache = Scenario::with(policy);
    let chunks = |second| ok("").max_age(60).chunk("an er").chunk(second);
    for _ in 0..2 {
        cache.get("/").origin(chunks("ror")).miss().body("an error");
    }
    for _ in 0..2 {
        cache.get("/long").origin(chunks("a, and much more")).miss();
    }
    cache.get("/").origin(chunks("a")).miss();
    cache.get("/").hit().body("an era");
    cache.get("/empty").origin(ok("").max_age(60)).miss();
    cache.get("/empty").hit();
}

/// What is stored is not what the origin has any more, whether or not the new response is stored.
#[test]
fn what_turns_out_not_to_be_stored_takes_the_place_of_what_is() {
    let policies = [
        Policy::private().max_body_bytes(10),
        Policy::private().filter_body(10, |_, _| true),
        Policy::private().filter_body(100, |_, body| body == b"old"),
    ];
    for policy in policies {
        let mut cache = Scenario::with(policy);
        cache.get("/").origin(ok("old").max_age(60)).miss();
        cache.get("/").hit().body("old");
        cache
            .get("/")
            .mode(CacheMode::NoCache)
            .origin(ok("new").max_age(60).chunk(" and much longer"))
            .miss();
        cache.get("/").origin(ok("newer").max_age(60)).miss();
    }
}

#[test]
fn a_store_that_does_not_take_it_in_the_end_does_not_keep_what_it_was_to_replace() {
    let backend = MemoryBackend::with_capacity(64 << 10).expect("room");
    let mut cache = Scenario::over(Policy::private(), backend);
    cache.get("/").origin(ok("old").max_age(60)).miss();
    let new = ok("").max_age(60).chunk(vec![0; 58_970]);
    cache.get("/").mode(CacheMode::NoCache).origin(new).miss();
    cache.get("/").origin(ok("newer").max_age(60)).miss();
}
