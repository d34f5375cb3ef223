//! What takes memory, and how much at most.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Outcome, Policy, Reason, Source};
use cache_memory::MemoryBackend;
use http::Method;
use kit::{Answer, ManualClock, Origin, Scenario, not_modified, ok};
use tower_service::Service;

use crate::found::found;
use crate::held::{around, get, text};
use crate::info::outcome;

/// Reads the response to GET, which is stored.
#[track_caller]
fn store(cache: &mut Scenario, path: &str, answer: Answer) {
    cache.get(path).origin(answer).miss().stored();
}

// http-cache: two of its stores have no eviction. tower-http-cache: a capacity in entries.
#[test]
fn a_store_in_memory_holds_no_more_bytes_than_its_capacity() {
    let backend = MemoryBackend::with_capacity(1 << 20).expect("a capacity");
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    for number in 0..100 {
        let answer = ok("").chunk(vec![0; 50_000]).max_age(600);
        store(&mut cache, &format!("/{number}"), answer);
        assert!(backend.weight() <= 1 << 20);
    }
    assert!(backend.weight() > 500_000, "it holds what it can");
}

// http-cache with moka: 42 entries, whatever their size.
#[tokio::test]
async fn small_responses_are_not_counted_but_weighed() {
    let origin = Origin::new();
    let mut cache = around(
        MemoryBackend::default(),
        &ManualClock::new(),
        origin.clone(),
    );
    for expected in [Outcome::Miss, Outcome::Hit] {
        for number in 0..2000 {
            if expected == Outcome::Miss {
                origin.answers(ok("one").max_age(600));
            }
            let response = cache.call(get(&format!("/{number}"))).await;
            let response = response.expect("a response");
            assert_eq!(outcome(&response), expected);
            text(response).await;
        }
    }
}

// tower-http-cache: what weighed nothing. A body in many pieces takes more than its bytes.
#[test]
fn a_body_in_many_pieces_takes_no_more_than_it_weighs() {
    const PIECES: usize = 100_000;
    let backend = MemoryBackend::default();
    let policy = Policy::private();
    let mut cache = Scenario::over(policy.clone(), backend.clone());
    let answer = (0..PIECES).fold(ok("").max_age(600), |answer, _| answer.chunk(&b"x"[..]));
    store(&mut cache, "/", answer);
    let found = found(&backend, &policy, cache.clock(), &get("/"));
    let taken = match found[0].body.source() {
        Source::Whole(bytes) => bytes.len(),
        Source::Chunks(chunks) => PIECES + chunks.len() * size_of::<Bytes>(),
        Source::Remote(_) => panic!("it is in memory"),
    };
    let weight = backend.weight();
    assert!(taken as u64 <= weight, "{taken} bytes weigh {weight}");
}

// http-cache on redb and files: what had expired stayed. tower-http-cache: its chunks, for ever.
#[test]
fn what_is_over_goes_when_its_place_is_needed_and_is_not_found_before() {
    let backend = MemoryBackend::with_capacity(1 << 20).expect("a capacity");
    let policy = Policy::private().grace(Duration::ZERO);
    let mut cache = Scenario::over(policy.clone(), backend.clone());
    store(&mut cache, "/", ok("one").max_age(60));
    cache.wait(60);
    assert!(found(&backend, &policy, cache.clock(), &get("/")).is_empty());
    cache.get("/").origin_fails().error();
}

// Hono CVE-2025-71381: an origin, or who can make it vary, let the variants of one URI grow.
#[test]
fn the_variants_of_one_resource_are_bounded() {
    let backend = MemoryBackend::default();
    let policy = Policy::shared();
    let mut cache = Scenario::over(policy.clone(), backend.clone());
    for number in 0..1000 {
        cache
            .get("/")
            .with("x-user", &number.to_string())
            .origin(ok("one").max_age(600).with("vary", "x-user"))
            .miss();
    }
    let variants = found(&backend, &policy, cache.clock(), &get("/")).len();
    assert!(variants <= 64, "{variants}");
    cache.get("/").with("x-user", "999").hit();
}

// Hono CVE-2025-71381: and the names that it varies by.
#[test]
fn the_fields_that_a_response_is_selected_by_are_bounded() {
    let mut cache = Scenario::private();
    let names: Vec<_> = (0..1000).map(|number| format!("x-{number}")).collect();
    let answer = ok("one").max_age(600).with("vary", &names.join(", "));
    cache
        .get("/")
        .origin(answer)
        .miss()
        .not_stored(Reason::VaryTooLong)
        .body("one");
}

// Hash flooding: unbounded keys.
#[test]
fn a_request_with_a_key_that_is_too_long_passes() {
    let policy = Policy::private().max_head_bytes(1000);
    let mut cache = Scenario::with(policy);
    let path = format!("/?{}", "q".repeat(1000));
    for body in ["one", "two"] {
        cache
            .get(&path)
            .origin(ok(body).max_age(600))
            .bypass()
            .because(Reason::KeyTooLong)
            .body(body);
    }
}

// tower-http-cache: fields of any size beside a body that was limited.
#[test]
fn a_header_section_that_is_too_large_passes_and_is_not_stored() {
    let mut cache = Scenario::private();
    let large = "x".repeat(65_536);
    let answer = ok("one").max_age(600).with("x-large", &large);
    cache
        .get("/")
        .origin(answer)
        .miss()
        .not_stored(Reason::HeadTooLarge)
        .field("x-large", &large)
        .body("one");
}

// http-cache-semantics: S6; what each 304 brings takes the place of what was there.
#[test]
fn validating_again_and_again_adds_nothing() {
    let backend = MemoryBackend::default();
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    store(&mut cache, "/", ok("one").max_age(60).etag("\"1\""));
    let freshened = || {
        not_modified()
            .max_age(60)
            .with("link", "<a>")
            .with("link", "<b>")
    };
    let mut weights = Vec::new();
    for _ in 0..20 {
        cache.wait(61);
        cache
            .get("/")
            .origin(freshened())
            .revalidated()
            .field("link", "<a>, <b>");
        weights.push(backend.weight());
    }
    assert!(
        weights.iter().all(|weight| *weight == weights[0]),
        "{weights:?}"
    );
}

// Cache-busting, and changes to what is not stored: places that are taken for nothing.
#[tokio::test]
async fn changes_to_what_is_not_stored_take_no_more_than_the_capacity() {
    let backend = MemoryBackend::with_capacity(1 << 20).expect("a capacity");
    let origin = Origin::new();
    let mut cache = around(backend.clone(), &ManualClock::new(), origin.clone());
    for number in 0..20_000 {
        origin.answers(ok(""));
        let mut put = get(&format!("/{number}"));
        *put.method_mut() = Method::PUT;
        cache.call(put).await.expect("a response");
    }
    assert!(backend.weight() <= 1 << 20);
}
