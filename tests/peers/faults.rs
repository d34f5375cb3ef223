//! A store that fails, hangs, or gives nonsense.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    BackendError, BackendErrorKind, BoxFuture, CacheMode, Entry, Policy, ReadBody, Reason,
    StoredBody,
};
use cache_memory::MemoryBackend;
use cache_tower::Cache;
use http::Request;
use http_body_util::{BodyExt, Full};
use kit::{
    Answer, FaultyBackend, Log, ManualClock, Operation, Origin, Scenario, not_modified, ok, status,
};
use tokio::time::Instant;
use tower_service::Service;

use crate::altered::Altered;
use crate::held::{around, get, settle, soon, text};

const OPERATIONS: [Operation; 6] = [
    Operation::Lookup,
    Operation::Write,
    Operation::Publish,
    Operation::Freshen,
    Operation::Remove,
    Operation::Invalidate,
];

/// The longest that the store may take on the way of one request, and a turn of the timer.
const BUDGET: Duration = Duration::from_millis(51);

/// A cache over a store that works so far, its origin and its clock.
struct Faulty {
    backend: FaultyBackend<MemoryBackend>,
    cache: Cache<Origin>,
    clock: ManualClock,
    origin: Origin,
}

impl Faulty {
    fn new() -> Self {
        let backend = FaultyBackend::new(MemoryBackend::default());
        let clock = ManualClock::new();
        let origin = Origin::new();
        Self {
            cache: around(backend.clone(), &clock, origin.clone()),
            backend,
            clock,
            origin,
        }
    }

    /// What a request gives, within the budget.
    async fn send(&mut self, request: Request<Full<Bytes>>, answer: Answer) -> String {
        self.origin.answers(answer);
        let started = Instant::now();
        let response = self.cache.call(request).await.expect("a response");
        let text = text(response).await;
        assert!(started.elapsed() <= BUDGET, "{:?}", started.elapsed());
        assert!(self.origin.is_exhausted());
        text
    }
}

/// One exchange of each kind, while the store is as it is.
async fn exchange(faulty: &mut Faulty, is_found: bool) {
    let fresh = |body| ok(body).max_age(60).etag("\"1\"");
    assert_eq!(faulty.send(get("/new"), fresh("new")).await, "new");
    let validated = match is_found {
        true => faulty.send(get("/old"), not_modified().etag("\"1\"")),
        false => faulty.send(get("/old"), fresh("old")),
    };
    assert_eq!(validated.await, "old");
    let superseding = ok("superseding").cache_control("no-store");
    let superseding = faulty.send(get("/superseded"), superseding).await;
    assert_eq!(superseding, "superseding");
    let mut put = get("/old");
    *put.method_mut() = http::Method::PUT;
    let changed = ok("changed")
        .with("location", "/new")
        .with("content-location", "/superseded");
    assert_eq!(faulty.send(put, changed).await, "changed");
}

async fn with_what_is_stale() -> Faulty {
    let mut faulty = Faulty::new();
    for path in ["/old", "/superseded"] {
        let answer = ok("old").max_age(60).etag("\"1\"");
        faulty.send(get(path), answer).await;
    }
    faulty.clock.advance(Duration::from_secs(61));
    faulty
}

// http-cache-tower: W10; cachet, requests-cache, hishel: a store that failed took the origin's good
// response with it.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_anything_costs_no_response() {
    for operation in OPERATIONS {
        let mut faulty = with_what_is_stale().await;
        faulty.backend.fail(operation);
        exchange(&mut faulty, operation != Operation::Lookup).await;
        faulty.backend.heal();
        let fresh = ok("after").max_age(60);
        assert_eq!(faulty.send(get("/after"), fresh).await, "after");
        let response = faulty.cache.call(get("/after")).await.expect("a hit");
        assert_eq!(text(response).await, "after");
    }
}

// alkem-io #6331: an outage filled the log, a line a request.
#[tokio::test]
async fn a_store_that_fails_is_told_once_and_once_when_it_is_back() {
    let mut faulty = Faulty::new();
    let log = Log::new();
    let stale = ok("one").cache_control("no-cache").etag("\"1\"");
    for (operation, what) in [
        (Operation::Lookup, "Reading"),
        (Operation::Publish, "Writing"),
    ] {
        faulty.backend.fail(operation);
        for path in ["/1", "/2", "/3"] {
            faulty.send(get(path), stale.clone()).await;
        }
        let lines = log.take();
        assert!(
            lines.len() == 1
                && lines[0].starts_with("WARN")
                && lines[0].contains(what)
                && lines[0].contains("the store does not do its part"),
            "{operation:?}: {lines:?}"
        );
        faulty.backend.heal();
        faulty.send(get("/1"), stale.clone()).await;
        assert_eq!(log.take(), [""; 0], "it may fail again");
        faulty.clock.advance(Duration::from_secs(5));
        for path in ["/1", "/2", "/3"] {
            faulty.send(get(path), stale.clone()).await;
        }
        let lines = log.take();
        assert!(
            lines.len() == 1
                && lines[0].starts_with("INFO")
                && lines[0].contains(what)
                && lines[0].contains("does its part again"),
            "{operation:?}: {lines:?}"
        );
    }
}

// Souin #239, #584, #644: a store that hung, hung everything.
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_anything_costs_no_response_and_no_more_than_its_budget() {
    for operation in OPERATIONS {
        let mut faulty = with_what_is_stale().await;
        faulty.backend.hang(operation);
        exchange(&mut faulty, operation != Operation::Lookup).await;
    }
}

// api7/aisix #1149: the time was limited for each command, and a request has several.
#[tokio::test(start_paused = true)]
async fn all_operations_of_one_request_share_one_budget() {
    let mut faulty = with_what_is_stale().await;
    for operation in OPERATIONS {
        faulty.backend.hang(operation);
    }
    exchange(&mut faulty, false).await;
    exchange(&mut faulty, false).await;
}

// Souin #584, #644: with store and origin both down, the answer was an empty 200.
#[test]
fn a_store_and_an_origin_that_both_fail_give_the_error_of_the_origin() {
    let backend = FaultyBackend::new(MemoryBackend::default());
    let mut cache = Scenario::over(Policy::private(), backend.clone());
    cache.get("/").origin(ok("one").max_age(60)).miss();
    backend.fail(Operation::Lookup);
    cache.get("/").origin_fails().error();
    cache.get("/").origin(status(503)).miss().status(503);
    cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::BackendUnavailable)
        .body("two");
}

// http-cache-stream: what the store could not write broke the body of the caller. Its lesson: a write
// fails after the response has begun.
#[test]
fn a_store_that_fails_in_the_middle_of_a_body_does_not_break_it() {
    for operation in [Operation::Write, Operation::Publish] {
        let backend = FaultyBackend::new(MemoryBackend::default());
        let mut cache = Scenario::over(Policy::private(), backend.clone());
        backend.fail(operation);
        let long = ok("one ").chunk("two ").chunk("three").trailer("end", "1");
        let seen = cache.get("/").origin(long.max_age(60)).miss();
        let seen = seen.body("one two three");
        assert!(!seen.broke_off);
        assert_eq!(seen.trailers.expect("trailers")["end"], "1");
        backend.heal();
        cache.get("/").origin(ok("four")).miss().body("four");
    }
}

// http-cache-tower: the end of a body waited for the store.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_body_does_not_wait_for_the_store() {
    let mut faulty = Faulty::new();
    faulty.backend.hang(Operation::Publish);
    let started = Instant::now();
    faulty.send(get("/"), ok("one").max_age(60)).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

// OpenAI, 20 March 2023; hitbox: a caller that went away in the middle of a command left the next one
// with its reply, or waiting.
#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_the_store_in_the_middle_harms_nobody() {
    for operation in OPERATIONS {
        let mut faulty = with_what_is_stale().await;
        faulty.backend.hang(operation);
        let mut put = get("/old");
        *put.method_mut() = http::Method::PUT;
        for (request, answer) in [
            (get("/new"), ok("new").max_age(60)),
            (get("/old"), not_modified()),
            (get("/superseded"), ok("not stored")),
            (put, status(204)),
        ] {
            faulty.origin.answers(answer);
            let leaving = tokio::spawn(faulty.cache.call(request));
            settle().await;
            leaving.abort();
        }
        faulty.origin.forget();
        faulty.backend.heal();
        for (path, body) in [("/new", "1"), ("/old", "2"), ("/superseded", "3")] {
            let mut reload = get(path);
            reload.extensions_mut().insert(CacheMode::Reload);
            let answer = ok(body).max_age(60);
            assert_eq!(faulty.send(reload, answer).await, body);
        }
        for (path, body) in [("/new", "1"), ("/old", "2"), ("/superseded", "3")] {
            let response = faulty.cache.call(get(path)).await.expect("a hit");
            assert_eq!(text(response).await, body);
        }
    }
}

// Partial responses taken for whole: what the store returns is compared with what its head says.
#[test]
fn a_stored_body_that_is_shorter_than_its_head_says_is_a_miss() {
    let backend = Altered::finding(|found| {
        let cut = |entry: &Entry| Entry {
            body: StoredBody::whole(Bytes::from_static(b"on")),
            ..entry.clone()
        };
        found.iter().map(cut).collect()
    });
    let mut cache = Scenario::over(Policy::private(), backend);
    let whole = || ok("one").max_age(60).with("content-length", "3");
    cache.get("/").origin(whole()).miss();
    cache.get("/").origin(whole()).miss().body("one");
}

/// A cache over a store that has the head of "/", and this behind a body of eight bytes.
async fn reading(reads: Reads) -> Cache<Origin> {
    let backend = Altered::finding(move |found| {
        let elsewhere = |entry: &Entry| Entry {
            body: StoredBody::remote(Arc::new(reads), 8),
            ..entry.clone()
        };
        found.iter().map(elsewhere).collect()
    });
    let origin = Origin::new();
    let mut cache = around(backend, &ManualClock::new(), origin.clone());
    origin.answers(ok("one two.").max_age(60));
    text(cache.call(get("/")).await.expect("a response")).await;
    cache
}

/// What reading the second half of a stored body gives.
#[derive(Debug, Clone, Copy)]
enum Reads {
    Error,
    Nothing,
    TooMuch,
    Never,
}

impl ReadBody for Reads {
    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
        let read = *self;
        Box::pin(async move {
            match read {
                _ if start == 0 => Ok(Bytes::from_static(b"one ")),
                Self::Error => Err(BackendError::new(BackendErrorKind::Unavailable, "reading")),
                Self::Nothing => Ok(Bytes::new()),
                Self::TooMuch => Ok(Bytes::from_static(b"two. And more.")),
                Self::Never => pending().await,
            }
        })
    }
}

// http-cache: a body that the store could not give any more ended as if it were whole.
#[tokio::test(start_paused = true)]
async fn a_stored_body_that_cannot_be_read_on_breaks_off() {
    for reads in [Reads::Error, Reads::Nothing, Reads::TooMuch] {
        let mut cache = reading(reads).await;
        let mut body = cache.call(get("/")).await.expect("a hit").into_body();
        let first = body.frame().await.expect("a frame").expect("data");
        assert_eq!(first.into_data().expect("data"), "one ");
        assert!(body.frame().await.expect("an end").is_err(), "{reads:?}");
        assert!(body.frame().await.is_none());
    }
}

// Souin #239: a body that never came on.
#[tokio::test(start_paused = true)]
async fn a_stored_body_that_never_comes_breaks_off() {
    let mut cache = reading(Reads::Never).await;
    let response = cache.call(get("/")).await.expect("a hit");
    assert!(soon(response.into_body().collect()).await.is_err());
}

// hitbox: what waited for a store that never answers, waited for ever, and held on to its memory.
#[tokio::test(start_paused = true)]
async fn a_response_that_the_store_never_ends_to_publish_is_given_up() {
    let held = Arc::new(());
    let backend = Altered::never_publishing(held.clone());
    let origin = Origin::new();
    let mut cache = around(backend, &ManualClock::new(), origin.clone());
    for _ in 0..3 {
        origin.answers(ok("one").max_age(60));
        text(cache.call(get("/")).await.expect("a response")).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(Arc::strong_count(&held), 2, "the test's and the store's");
}
