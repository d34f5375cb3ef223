//! Fields of the connection never come out of the store (RFC 9111 §3.1, RFC 9110 §7.6.1), whichever
//! way they came.

use cache_core::Reason;
use kit::{Answer, Scenario, Seen, not_modified, ok, status};

const NAMES: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-hop",
    "x-other",
];

/// The answer with every field of the connection there is, two of them known from `Connection` only.
fn with_all(answer: Answer) -> Answer {
    NAMES
        .iter()
        .fold(answer.with("connection", "x-hop, X-Other"), |to, name| {
            to.with(name, "close")
        })
        .with("x-kept", "1")
}

#[track_caller]
fn has_none(seen: Seen) -> Seen {
    NAMES
        .iter()
        .fold(seen, |seen, name| seen.without(name))
        .field("x-kept", "1")
}

#[test]
fn from_a_response_to_get() {
    let mut cache = Scenario::private();
    let answer = with_all(ok("one").max_age(60).etag("\"1\""));
    cache
        .get("/")
        .origin(answer)
        .miss()
        .field("keep-alive", "close");
    has_none(cache.get("/").hit()).status(200);
    has_none(cache.send("HEAD", "/").hit()).status(200);
    has_none(cache.get("/").with("range", "bytes=0-1").hit()).status(206);
    let unsatisfiable = cache.get("/").with("range", "bytes=9-").hit().status(416);
    NAMES
        .iter()
        .fold(unsatisfiable, |seen, name| seen.without(name));
    has_none(cache.get("/").with("if-none-match", "\"1\"").hit()).status(304);
    cache.wait(60);
    has_none(cache.get("/").origin_fails().stale_hit()).body("one");
}

#[test]
fn from_a_304() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(60);
    let answer = with_all(not_modified().max_age(60));
    has_none(cache.get("/").origin(answer).revalidated());
    has_none(cache.get("/").hit()).body("one");
}

#[test]
fn from_a_304_in_the_background() {
    let mut cache = Scenario::private();
    let answer = ok("one").cache_control("max-age=60, stale-while-revalidate=60");
    cache.get("/").origin(answer.etag("\"1\"")).miss();
    cache.wait(60);
    let answer = with_all(not_modified().max_age(60));
    cache.get("/").origin(answer).stale_hit();
    cache.settle();
    has_none(cache.get("/").hit()).body("one");
}

#[test]
fn from_a_response_to_head() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(60);
    let answer = with_all(ok("").max_age(60).etag("\"1\""));
    cache.send("HEAD", "/").origin(answer).revalidated();
    has_none(cache.get("/").hit()).body("one");
}

#[test]
fn from_a_response_to_post() {
    let mut cache = Scenario::private();
    let answer = with_all(ok("made").max_age(60).with("content-location", "/"));
    cache.send("POST", "/").origin(answer).miss().stored();
    has_none(cache.get("/").hit()).body("made");
}

#[test]
fn from_a_part() {
    let mut cache = Scenario::private();
    let part = status(206)
        .chunk("0123")
        .max_age(60)
        .with("content-range", "bytes 0-3/8");
    let asked = cache.get("/").with("range", "bytes=0-3");
    asked.origin(with_all(part)).miss().stored();
    has_none(cache.get("/").with("range", "bytes=1-2").hit()).body("12");
}

#[test]
fn from_trailers() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("connection", "checksum");
    let seen = cache
        .get("/")
        .origin(answer.trailer("checksum", "1"))
        .miss();
    assert_eq!(seen.trailers.expect("trailers")["checksum"], "1");
    assert_eq!(cache.get("/").hit().trailers, None);
}

#[test]
fn trailers_never_become_header_fields() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("trailer", "checksum");
    let answer = answer.trailer("checksum", "1");
    cache.get("/").origin(answer).miss().without("checksum");
    cache
        .get("/")
        .hit()
        .without("checksum")
        .field("trailer", "checksum");
}

#[test]
fn what_authenticates_to_a_proxy_is_not_stored_with_its_challenge() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(with_all(status(407).max_age(60)))
        .miss()
        .not_stored(Reason::AboutOneExchange);
    cache.get("/").origin(ok("one")).miss();
}
