//! Asking the origin whether a stored response still holds.

use std::time::Duration;

use cache_core::{CacheMode, Reason};
use cache_memory::MemoryBackend;
use kit::{ManualClock, Scenario, not_modified, ok, status};
use tower_service::Service;

use crate::held::{around, get, held, soon, text};

/// A cache that stored "one" with the tag `"v1"`, which has been stale for a second.
fn stale() -> Scenario {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"v1\""))
        .miss();
    cache.wait(61);
    cache
}

// http-cache-tower: W3, body v1 was stored with the tag v2 and served to everybody, since a 304 to the
// caller's own tag was taken for one to ours.
#[test]
fn while_ours_is_asked_about_the_caller_s_own_tag_is_not() {
    let mut cache = stale();
    cache
        .get("/")
        .with("if-none-match", "\"v2\"")
        .origin(ok("two").max_age(60).etag("\"v2\""))
        .miss()
        .body("two")
        .sent("if-none-match", "\"v1\"");
    cache.get("/").hit().body("two").field("etag", "\"v2\"");
}

// http-cache-tower: W3, the other way round: the caller's own copy is not what was validated.
#[test]
fn a_304_to_our_tag_gives_the_stored_response_to_a_caller_that_has_another() {
    let mut cache = stale();
    cache
        .get("/")
        .with("if-none-match", "\"v0\"")
        .origin(not_modified().max_age(60))
        .revalidated()
        .status(200)
        .body("one")
        .field("etag", "\"v1\"");
    cache.get("/").hit().body("one").field("etag", "\"v1\"");
}

// http-cache-tower: W3, where the caller has the current tag and the cache an old one.
#[test]
fn a_304_labelled_with_a_tag_that_we_did_not_send_labels_nothing() {
    for own in [None, Some("\"v2\"")] {
        let mut cache = stale();
        let call = match own {
            Some(own) => cache.get("/").with("if-none-match", own),
            None => cache.get("/"),
        };
        call.origin(not_modified().etag("\"v2\"").max_age(60))
            .revalidated()
            .because(Reason::ForeignNotModified)
            .body("one")
            .field("etag", "\"v1\"");
        cache
            .get("/")
            .origin(ok("two"))
            .miss()
            .not_sent("if-none-match");
    }
}

// http-cache-tower: with nothing stored, the caller's 304 went on as if it were for the cache.
#[test]
fn a_304_is_not_stored() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("if-none-match", "\"v2\"")
        .origin(not_modified().etag("\"v2\"").max_age(60))
        .miss()
        .status(304)
        .not_stored(Reason::CallerPrecondition);
    cache.get("/").origin(ok("two")).miss().status(200);
}

// http-cache-tower, http-cache-semantics: a caller's condition never got its 304.
#[test]
fn a_caller_that_has_the_stored_response_gets_304_from_the_store() {
    let mut cache = Scenario::private();
    let modified = cache.date(-1000);
    let later = cache.date(-999);
    let earlier = cache.date(-1001);
    let answer = ok("one")
        .max_age(60)
        .etag("\"v1\"")
        .with("last-modified", &modified)
        .with("content-type", "text/plain");
    cache.get("/").origin(answer).miss();
    for tags in ["\"v1\"", "W/\"v1\"", "\"v0\", \"v1\"", "*"] {
        cache
            .get("/")
            .with("if-none-match", tags)
            .hit()
            .status(304)
            .body("")
            .field("etag", "\"v1\"")
            .without("content-type");
    }
    for since in [&modified, &later] {
        cache
            .get("/")
            .with("if-modified-since", since)
            .hit()
            .status(304);
    }
    cache
        .get("/")
        .with("if-none-match", "\"v2\"")
        .with("if-modified-since", &later)
        .hit()
        .status(200)
        .body("one");
    cache
        .get("/")
        .with("if-modified-since", &earlier)
        .hit()
        .status(200)
        .body("one");
}

// http-cache-semantics: S6, S14; pingora: of the fields of a 304 only five were taken over.
#[test]
fn a_304_brings_every_field_up_to_date() {
    let mut cache = Scenario::private();
    let old = [cache.date(-1000), cache.date(0), cache.date(60)];
    let answer = ok("one")
        .max_age(60)
        .with("last-modified", &old[0])
        .with("date", &old[1])
        .with("expires", &old[2])
        .with("age", "50")
        .with("link", "<a>")
        .with("x-kept", "1")
        .with("content-length", "3");
    cache.get("/").origin(answer).miss();
    cache.wait(20);
    let new = [cache.date(0), cache.date(90)];
    let freshened = not_modified()
        .max_age(90)
        .with("last-modified", &old[0])
        .with("date", &new[0])
        .with("expires", &new[1])
        .with("link", "<b>")
        .with("link", "<c>")
        .with("x-new", "1")
        .with("content-length", "0");
    cache
        .get("/")
        .origin(freshened)
        .revalidated()
        .body("one")
        .age(0)
        .field("x-new", "1");
    cache.wait(80);
    cache
        .get("/")
        .hit()
        .status(200)
        .body("one")
        .age(80)
        .field("last-modified", &old[0])
        .field("date", &new[0])
        .field("expires", &new[1])
        .field("cache-control", "max-age=90")
        .field("link", "<b>, <c>")
        .field("x-new", "1")
        .field("x-kept", "1")
        .field("content-length", "3");
}

// OkHttp #3700: after a 304 the stored bytes no longer were what their fields said.
#[test]
fn a_304_leaves_the_stored_bytes_and_what_it_does_not_name_as_they_are() {
    static GZIP: [u8; 6] = [0x1f, 0x8b, 8, 0, 0xff, 0];
    let mut cache = Scenario::private();
    let answer = ok("")
        .chunk(&GZIP[..])
        .max_age(60)
        .etag("\"1\"")
        .with("content-encoding", "gzip")
        .with("content-type", "text/html")
        .with("content-length", "6");
    cache.get("/").origin(answer).miss();
    cache.wait(61);
    let freshened = not_modified()
        .etag("\"1\"")
        .max_age(60)
        .with("content-length", "57")
        .with("content-range", "bytes 0-1/2")
        .with("transfer-encoding", "chunked");
    cache.get("/").origin(freshened).revalidated();
    let seen = cache
        .get("/")
        .hit()
        .field("content-encoding", "gzip")
        .field("content-type", "text/html")
        .field("content-length", "6")
        .without("content-range")
        .without("transfer-encoding");
    assert_eq!(seen.body, GZIP);
}

// http-cache-stream: #10, the 304s of Azure Storage lack what they should repeat.
#[test]
fn a_304_that_repeats_nothing_validates_what_was_asked_about() {
    let mut cache = stale();
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .status(200)
        .body("one")
        .field("etag", "\"v1\"");
    cache.get("/").hit().body("one");
}

// http-cache-tower: a 304 that forbids storing was taken over like any other.
#[test]
fn a_304_that_forbids_storing_ends_what_is_stored() {
    let mut cache = stale();
    cache
        .get("/")
        .origin(not_modified().etag("\"v1\"").cache_control("no-store"))
        .revalidated()
        .body("one");
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-none-match");
}

// tower-http-cache: chunks from before a change were served with the fields from after it.
#[test]
fn a_new_response_replaces_fields_and_body_together() {
    let mut cache = stale();
    let new = ok("two").max_age(60).etag("\"v2\"").with("x-new", "1");
    cache.get("/").origin(new).miss().body("two");
    cache
        .get("/")
        .hit()
        .body("two")
        .field("etag", "\"v2\"")
        .field("x-new", "1");
}

// http-cache-tower-server: no validation, so a stale response was fetched anew each time.
#[test]
fn a_stale_response_with_a_validator_is_validated() {
    let mut cache = Scenario::private();
    let modified = cache.date(-1000);
    let answer = ok("one").max_age(60).with("last-modified", &modified);
    cache.get("/").origin(answer).miss();
    cache.wait(61);
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("one")
        .sent("if-modified-since", &modified);
}

// http-cache-semantics: S13, HEAD was not answered from a stored GET.
#[test]
fn head_is_answered_from_the_stored_response_to_get() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("content-length", "3");
    cache.get("/").origin(answer).miss();
    cache
        .send("HEAD", "/")
        .hit()
        .status(200)
        .body("")
        .field("content-length", "3");
}

// http-cache-tower, pingora: HEAD changed nothing of the stored GET.
#[test]
fn head_freshens_the_stored_response_to_get_or_shows_that_it_is_over() {
    let mut cache = stale();
    cache
        .send("HEAD", "/")
        .origin(status(200).max_age(60).etag("\"v1\"").with("x-new", "1"))
        .revalidated();
    cache.get("/").hit().body("one").field("x-new", "1");
    cache.wait(61);
    cache
        .send("HEAD", "/")
        .origin(status(200).max_age(60).etag("\"v2\""))
        .miss();
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-none-match");
}

// http-cache-tower before its entry tokens, hitbox, cachet: what came in between was overwritten.
#[tokio::test(start_paused = true)]
async fn a_304_does_not_land_on_a_response_that_was_replaced_meanwhile() {
    let clock = ManualClock::new();
    let (origin, mut arrivals) = held();
    let mut cache = around(MemoryBackend::default(), &clock, origin);
    let call = tokio::spawn(cache.call(get("/")));
    let old = ok("one").max_age(60).etag("\"v1\"");
    arrivals.next().await.answer(old);
    text(call.await.expect("no panic").expect("a response")).await;
    clock.advance(Duration::from_secs(61));

    let slow = tokio::spawn(cache.call(get("/")));
    let validation = arrivals.next().await;
    assert_eq!(validation.headers["if-none-match"], "\"v1\"");
    let mut reload = get("/");
    reload.extensions_mut().insert(CacheMode::Reload);
    let quick = tokio::spawn(cache.call(reload));
    let new = ok("two").max_age(60).etag("\"v2\"");
    arrivals.next().await.answer(new);
    text(quick.await.expect("no panic").expect("a response")).await;
    validation.answer(not_modified().etag("\"v1\"").max_age(600));
    let response = slow.await.expect("no panic").expect("a response");
    assert_eq!(response.headers()["etag"], "\"v1\"");
    assert_eq!(text(response).await, "one");

    let response = soon(cache.call(get("/"))).await.expect("a response");
    assert_eq!(response.headers()["etag"], "\"v2\"");
    assert_eq!(text(response).await, "two");
}
