//! What is stored, and what of it.

use std::time::Duration;

use cache_core::{CacheMode, Policy, Reason};
use cache_memory::MemoryBackend;
use http::Request;
use http_body_util::Full;
use kit::{Answer, ManualClock, Scenario, not_modified, ok, status};

use crate::found::found;
use crate::held::get;

/// What a fresh cache says of storing this answer.
#[track_caller]
fn refused(policy: Policy, answer: Answer, reason: Reason) {
    Scenario::with(policy)
        .get("/")
        .origin(answer)
        .miss()
        .not_stored(reason);
}

/// A fresh cache stores this answer.
#[track_caller]
fn stored(policy: Policy, answer: Answer) {
    let backend = MemoryBackend::default();
    let mut cache = Scenario::over(policy.clone(), backend.clone());
    cache.get("/").origin(answer).miss().stored();
    let found = found(&backend, &policy, cache.clock(), &get("/"));
    assert_eq!(found.len(), 1);
}

// http-cache-semantics: S1; Django GHSA-8cjm-8mp7-r2xf: names were compared with their case.
#[test]
fn prohibitions_count_in_any_case_and_on_any_line() {
    for (lines, reason) in [
        (&["NO-STORE, max-age=60"][..], Reason::ResponseNoStore),
        (&["max-age=60", "No-Store"], Reason::ResponseNoStore),
        (&["Private, max-age=60"], Reason::Private),
        (&["max-age=60,PRIVATE"], Reason::Private),
        (&["public, max-age=60", "x=1, pRiVaTe"], Reason::Private),
    ] {
        let answer = lines
            .iter()
            .fold(ok("one"), |answer, line| answer.cache_control(line));
        refused(Policy::shared(), answer, reason);
    }
}

// http-cache-semantics: S1, `No-Store` of a request was ignored, and `Max-Age=60` was no lifetime.
#[test]
fn names_of_directives_have_no_case() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("cache-control", "No-Store")
        .origin(ok("one").max_age(60))
        .bypass()
        .not_stored(Reason::RequestNoStore);
    cache
        .get("/")
        .origin(ok("two").cache_control("Max-Age=60"))
        .miss();
    cache.get("/").hit().body("two");
}

// http-cache-semantics: S15, commas inside quoted strings split directives. http-cache-tower: W6, a
// search for substrings.
#[test]
fn what_is_said_inside_quotes_is_no_directive() {
    let answer = ok("one").cache_control("note=\"x, no-store, private\", max-age=60");
    stored(Policy::shared(), answer);
    let answer = ok("one").cache_control("note=\"max-age=60, public\"");
    refused(Policy::shared(), answer, Reason::NoFreshness);
}

// Hono CVE-2026-24472, hitbox, tower-http-cache, requests-cache: `no-store` and `private` stored.
#[test]
fn prohibitions_bind_the_kind_of_cache_that_they_are_for() {
    for (directives, shared, private) in [
        ("max-age=60", None, None),
        ("public", None, None),
        (
            "no-store",
            Some(Reason::ResponseNoStore),
            Some(Reason::ResponseNoStore),
        ),
        (
            "no-store, public, max-age=60",
            Some(Reason::ResponseNoStore),
            Some(Reason::ResponseNoStore),
        ),
        ("private, max-age=60", Some(Reason::Private), None),
        ("private, s-maxage=60", Some(Reason::Private), None),
        ("no-cache", None, None),
    ] {
        let answer = || ok("one").cache_control(directives).etag("\"1\"");
        for (policy, reason) in [(Policy::shared(), shared), (Policy::private(), private)] {
            match reason {
                Some(reason) => refused(policy, answer(), reason),
                None => stored(policy, answer()),
            }
        }
    }
}

// hitbox: `no-store` with a cookie was stored and replayed.
#[test]
fn a_cookie_with_no_store_reaches_its_caller_and_nobody_else() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .cache_control("no-store")
        .with("set-cookie", "session=alice");
    cache
        .get("/")
        .origin(answer)
        .miss()
        .field("set-cookie", "session=alice");
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .without("set-cookie");
}

// pingora: of two directives of one name the last one won.
#[test]
fn the_most_restrictive_of_two_directives_of_one_name_counts() {
    for directives in [
        "private, private=\"x-user\", max-age=60",
        "private=\"x-user\", private, max-age=60",
    ] {
        let answer = ok("one").cache_control(directives);
        refused(Policy::shared(), answer, Reason::Private);
    }
    for directives in [
        "max-age=600, no-cache, no-cache=\"x-user\"",
        "max-age=0, max-age=999",
        "max-age=999, max-age=0",
    ] {
        let mut cache = Scenario::shared();
        let answer = ok("one").cache_control(directives).etag("\"1\"");
        cache.get("/").origin(answer).miss();
        cache
            .get("/")
            .origin(ok("two"))
            .miss()
            .sent("if-none-match", "\"1\"");
    }
}

// undici CVE-2026-13697: `private=""` was stored, and forms that nobody writes got past the rule for
// `Authorization`.
#[test]
fn a_broken_private_is_private() {
    for directive in [
        "private=\"\"",
        "private=",
        "private=\"x",
        "private =x",
        "private=\",\"",
    ] {
        let answer = ok("one").cache_control(directive).max_age(60);
        refused(Policy::shared(), answer, Reason::Private);
    }
    let answer = ok("one").cache_control("private=\"x-user\", max-age=60");
    Scenario::shared()
        .get("/")
        .with("authorization", "Bearer alice")
        .origin(answer)
        .miss()
        .not_stored(Reason::Authorization);
}

// http-cache-tower, http-cache-semantics: fields named by `private` and `no-cache` were replayed.
#[test]
fn fields_named_by_private_and_no_cache_are_not_replayed() {
    let answer = || {
        ok("one")
            .cache_control("max-age=60, private=\"x-user\", no-cache=\"x-turn\"")
            .with("x-user", "alice")
            .with("x-turn", "1")
            .with("x-page", "home")
    };
    let mut cache = Scenario::shared();
    cache
        .get("/")
        .origin(answer())
        .miss()
        .field("x-user", "alice")
        .field("x-turn", "1");
    cache
        .get("/")
        .hit()
        .without("x-user")
        .without("x-turn")
        .field("x-page", "home");
    let mut cache = Scenario::private();
    cache.get("/").origin(answer()).miss();
    cache
        .get("/")
        .hit()
        .field("x-user", "alice")
        .without("x-turn");
}

// RFC 9111 §3.5, which tower-http-cache and hitbox leave out.
#[test]
fn a_shared_cache_stores_authorised_responses_only_where_the_origin_says_so() {
    let answered = |directives: &str| {
        let mut cache = Scenario::shared();
        cache
            .get("/")
            .with("authorization", "Bearer alice")
            .origin(ok("one").cache_control(directives))
            .miss()
            .info
    };
    for directives in [
        "max-age=60",
        "max-age=60, immutable",
        "max-age=60, proxy-revalidate",
    ] {
        assert_eq!(
            answered(directives).storing,
            cache_core::Storing::Refused(Reason::Authorization),
            "{directives}"
        );
    }
    for directives in [
        "max-age=60, public",
        "s-maxage=60",
        "max-age=60, must-revalidate",
    ] {
        assert!(answered(directives).is_stored(), "{directives}");
    }
}

// Souin #805, caddy cache-handler #124, rustango #1259, vinext #598, ocache #61, actor-ts #980: one
// user's cookie was replayed to others. It is not, unless the origin itself gives the response a
// lifetime; RFC 9111 §7.3 leaves that to the origin.
#[test]
fn a_cookie_is_not_replayed_for_a_lifetime_of_our_own_making() {
    let lifetimes = |cache: &Scenario| {
        let modified = cache.date(-864_000);
        [
            ok("one").with("last-modified", &modified),
            ok("one").cache_control("stale-while-revalidate=60"),
            ok("one").etag("\"1\""),
        ]
    };
    for number in 0..3 {
        let policy = Policy::shared().default_ttl(Duration::from_secs(60));
        let mut cache = Scenario::with(policy);
        let answer = lifetimes(&cache)[number].clone();
        cache
            .get("/")
            .origin(answer.with("set-cookie", "session=alice"))
            .miss()
            .field("set-cookie", "session=alice")
            .not_stored(Reason::SetCookie);
        let policy = Policy::private().default_ttl(Duration::from_secs(60));
        let mut cache = Scenario::with(policy);
        let answer = lifetimes(&cache)[number].clone();
        cache
            .get("/")
            .origin(answer.with("set-cookie", "session=alice"))
            .miss()
            .field("set-cookie", "session=alice");
        cache.get("/").hit().body("one").without("set-cookie");
    }
}

// The same, where the cookie comes with a 304 that says nothing of storing it.
#[test]
fn a_cookie_that_comes_with_a_304_is_not_replayed() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(61);
    cache
        .get("/")
        .origin(not_modified().with("set-cookie", "session=alice"))
        .revalidated()
        .body("one");
    cache.get("/").hit().body("one").without("set-cookie");
}

// tower-http-cache: this very response was stored for alice and replayed to bob, cookie included.
#[test]
fn a_response_for_alice_is_not_replayed_to_bob() {
    for policy in [Policy::shared(), Policy::private()] {
        let mut cache = Scenario::with(policy);
        let answer = ok("alice's")
            .cache_control("max-age=0, must-revalidate")
            .with("vary", "authorization")
            .with("set-cookie", "session=alice");
        cache
            .get("/")
            .with("authorization", "Bearer alice")
            .origin(answer)
            .miss();
        cache
            .get("/")
            .with("authorization", "Bearer bob")
            .origin(ok("bob's"))
            .miss()
            .body("bob's")
            .without("set-cookie");
    }
}

// http-cache-tower: a list of status codes left out redirections with a lifetime.
#[test]
fn redirections_with_a_lifetime_are_stored() {
    for code in [301, 302, 303, 307, 308] {
        let mut cache = Scenario::private();
        let answer = status(code).max_age(60).with("location", "/new");
        cache.get("/").origin(answer).miss().status(code);
        cache.get("/").hit().status(code).field("location", "/new");
    }
}

// tower-http-cache: an anonymous 401 was served to the authorised user.
#[test]
fn errors_about_one_caller_get_no_lifetime_of_our_own_making() {
    for policy in [Policy::shared(), Policy::private()] {
        let policy = policy.default_ttl(Duration::from_secs(60));
        for code in [400, 401, 403, 407, 409, 429, 500, 502, 503, 504] {
            let mut cache = Scenario::with(policy.clone());
            let seen = cache.get("/").origin(status(code)).miss().status(code);
            assert!(!seen.info.is_stored(), "{code}");
            cache.get("/").origin(ok("one")).miss().body("one");
        }
    }
}

// Souin and the defaults of several CDNs: what says nothing was stored.
#[test]
fn a_response_that_says_nothing_is_not_stored() {
    for answer in [
        ok("one"),
        status(404),
        status(410),
        status(501),
        status(301),
    ] {
        for policy in [Policy::shared(), Policy::private()] {
            refused(policy, answer.clone(), Reason::NoFreshness);
        }
    }
}

// Souin #615: a lifetime that was set for all responses made 404 stay.
#[test]
fn the_lifetime_of_the_policy_is_not_for_errors() {
    let mut cache = Scenario::with(Policy::private().default_ttl(Duration::from_secs(60)));
    for code in [404, 405, 410, 414, 501] {
        cache.get("/").origin(status(code)).miss().status(code);
    }
    cache.get("/").origin(ok("one")).miss().body("one");
    cache.get("/").hit();
}

// http-cache-tower: W4, a range and then the whole gave `206 "ab"`.
#[test]
fn a_part_never_answers_for_the_whole() {
    for mode in [CacheMode::Default, CacheMode::ForceCache] {
        let mut cache = Scenario::private();
        let part = status(206)
            .chunk("ab")
            .max_age(60)
            .with("content-range", "bytes 0-1/6");
        cache
            .get("/")
            .with("range", "bytes=0-1")
            .mode(mode)
            .origin(part)
            .miss()
            .status(206)
            .body("ab");
        cache
            .get("/")
            .mode(mode)
            .origin(ok("abcdef").max_age(60))
            .miss()
            .status(200)
            .body("abcdef");
    }
}

// tower-http-cache: a 416 was served to plain requests, since ranges were looked for in the response.
#[test]
fn a_range_that_cannot_be_satisfied_is_one_callers_own() {
    let mut cache = Scenario::private();
    let answer = status(416).max_age(60).with("content-range", "bytes */6");
    cache
        .get("/")
        .with("range", "bytes=999-")
        .origin(answer)
        .miss()
        .status(416)
        .not_stored(Reason::PartialContent);
    cache.get("/").origin(ok("abcdef")).miss().status(200);
}

// Partial responses stored as whole, in several caches.
#[test]
fn a_body_that_is_not_what_its_head_announced_is_not_stored() {
    let announced = |length: &str| ok("").max_age(60).with("content-length", length);
    for (answer, body) in [
        (announced("6").chunk("abc"), "abc"),
        (announced("3").chunk("abc").chunk("def"), "abcdef"),
        (announced("1").chunk(""), ""),
    ] {
        let backend = MemoryBackend::default();
        let policy = Policy::private();
        let mut cache = Scenario::over(policy.clone(), backend.clone());
        cache.get("/").origin(answer).miss().body(body);
        assert!(found(&backend, &policy, cache.clock(), &get("/")).is_empty());
        cache.get("/").origin(ok("two")).miss().body("two");
    }
}

// The same, for bodies without an announced length.
#[test]
fn a_body_that_breaks_off_is_not_stored() {
    let mut cache = Scenario::private();
    let answer = ok("abc").max_age(60).breaks_off();
    let seen = cache.get("/").origin(answer).miss().body("abc");
    assert!(seen.broke_off);
    cache.get("/").origin(ok("two")).miss().body("two");
}

// http-cache-tower-server, axum-response-cache: responses to any method were stored.
// http-cache-tower: W5, POST was keyed without its body.
#[test]
fn responses_to_other_methods_answer_nobody() {
    for method in [
        "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
    ] {
        let mut cache = Scenario::private();
        for body in ["one", "two"] {
            cache
                .send(method, "/")
                .mode(CacheMode::ForceCache)
                .origin(ok(body).max_age(60))
                .bypass()
                .body(body);
        }
        cache.get("/").origin(ok("three")).miss().body("three");
    }
}

// http-cache-tower: W5; a key does not have the content of the request, whatever its method.
#[test]
fn a_request_with_content_is_answered_by_the_origin() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("without").max_age(60)).miss();
    for body in ["one", "two"] {
        cache
            .get("/")
            .content("query")
            .origin(ok(body).max_age(60))
            .bypass()
            .body(body);
    }
    cache.get("/").hit().body("without");
}

// http-cache-semantics, http-cache-tower: no must-understand.
#[test]
fn must_understand_is_obeyed() {
    let directives = "must-understand, no-store, max-age=60";
    refused(
        Policy::private(),
        status(299).cache_control(directives),
        Reason::StatusNotUnderstood,
    );
    stored(Policy::private(), ok("one").cache_control(directives));
}

// Web cache deception: a suffix of the path decided.
#[test]
fn what_a_path_ends_with_decides_nothing() {
    for path in ["/account.css", "/account/x.js", "/account/logo.png"] {
        let mut cache = Scenario::shared();
        cache
            .get(path)
            .origin(ok("alice's"))
            .miss()
            .not_stored(Reason::NoFreshness);
        cache
            .get(path)
            .origin(ok("alice's").cache_control("private, max-age=60"))
            .miss()
            .not_stored(Reason::Private);
    }
}

// http-cache #27: ForceCache, read as "store whatever the headers say".
#[test]
fn no_mode_stores_what_must_not_be_stored() {
    for mode in [
        CacheMode::ForceCache,
        CacheMode::Reload,
        CacheMode::NoCache,
        CacheMode::Default,
    ] {
        let mut cache = Scenario::private();
        let answer = || ok("one").cache_control("no-store, max-age=60");
        for _ in 0..2 {
            cache
                .get("/")
                .mode(mode)
                .origin(answer())
                .miss()
                .not_stored(Reason::ResponseNoStore);
        }
    }
}

// http-cache-tower: W7; http-cache-semantics: S15; requests-cache and hishel: all fields of the
// request were at rest beside the response.
#[test]
fn nothing_that_a_request_said_in_confidence_is_at_rest() {
    const SECRET: &str = "hunter2";
    let backend = MemoryBackend::default();
    let policy = Policy::private();
    let request = Request::get("http://hunter2:hunter2@origin.test/?page=2&api_key=hunter2")
        .header("authorization", "Bearer hunter2")
        .header("cookie", "session=hunter2")
        .header("x-user", "hunter2")
        .header("x-unnamed", "hunter2")
        .body(Full::default())
        .expect("a request");
    let mut cache = Scenario::over(policy.clone(), backend.clone());
    let answer = ok("one").max_age(60).with("vary", "x-user, cookie");
    cache.request(request.clone()).origin(answer).miss();

    let found = found(&backend, &policy, &ManualClock::new(), &request);
    assert_eq!(found.len(), 1);
    let head = &found[0].head;
    let names: Vec<_> = head.selecting().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["cookie", "x-user"]);
    let key = head.key().as_bytes();
    let headers = head.headers().values().map(|value| value.as_bytes());
    let at_rest = [key].into_iter().chain(headers);
    for bytes in at_rest {
        let shown = String::from_utf8_lossy(bytes);
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert!(!format!("{head:?}").contains(SECRET));
    assert!(head.headers().get("x-unnamed").is_none());
}

// http-cache-semantics: S2, and the JavaScript one's CVE-2022-25881: fields that took a parser down.
#[test]
fn no_field_takes_the_cache_down() {
    let long = [
        "\"",
        ",",
        "\\",
        "=",
        " ",
        "a=\"\\\",",
        "max-age=1,",
        "\"a\" ",
    ];
    let long = long.map(|piece| piece.repeat(60_000 / piece.len()));
    let short = [
        "",
        "=",
        ",",
        "\"",
        "a=\"\\",
        "=\"",
        "W/",
        "W/\"",
        "\t",
        "99999999999999999999",
    ];
    let short = short.map(ToOwned::to_owned);
    let names = [
        "cache-control",
        "vary",
        "age",
        "date",
        "expires",
        "last-modified",
        "etag",
        "connection",
        "content-length",
        "location",
    ];
    for name in names {
        for value in long.iter().chain(&short) {
            let mut cache = Scenario::shared();
            let answer = || ok("one").max_age(60).with(name, value);
            for method in ["GET", "HEAD", "POST"] {
                let call = cache
                    .send(method, "/")
                    .with(name, value)
                    .with("if-none-match", value);
                let seen = call.origin(answer()).seen().expect("a response");
                assert!(!seen.broke_off, "{name} {value:.20}");
                cache.origin().forget();
            }
        }
    }
}

// http-cache-semantics: S3; http-cache-tower: repeated fields collapsed into one on every hit.
#[test]
fn every_line_of_a_repeated_field_is_replayed() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .cache_control("public, max-age=60")
        .with("link", "<a>")
        .with("link", "<b>")
        .with("set-cookie", "a=1")
        .with("set-cookie", "b=2")
        .with("www-authenticate", "Basic")
        .with("www-authenticate", "Bearer");
    cache.get("/").origin(answer).miss();
    cache
        .get("/")
        .hit()
        .field("link", "<a>, <b>")
        .field("set-cookie", "a=1, b=2")
        .field("www-authenticate", "Basic, Bearer");
}

// http-cache-semantics: S15, fields of the connection were stored.
#[test]
fn fields_of_the_connection_are_not_stored() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .max_age(60)
        .with("connection", "close, X-Hop")
        .with("x-hop", "1")
        .with("proxy-connection", "close")
        .with("keep-alive", "timeout=5")
        .with("proxy-authenticate", "Basic")
        .with("x-kept", "1");
    cache
        .get("/")
        .origin(answer)
        .miss()
        .field("x-hop", "1")
        .field("connection", "close, X-Hop");
    let mut seen = cache.get("/").hit().field("x-kept", "1");
    for name in [
        "connection",
        "x-hop",
        "proxy-connection",
        "keep-alive",
        "proxy-authenticate",
    ] {
        seen = seen.without(name);
    }
}

// tower-http-cache: compressed in the store, sent without `Content-Encoding` and with the length from
// before. gin-contrib/cache #69: compressed twice.
#[test]
fn what_arrived_compressed_is_replayed_as_it_arrived() {
    static GZIP: [u8; 6] = [0x1f, 0x8b, 8, 0, 0xff, 0];
    let mut cache = Scenario::private();
    let answer = ok("")
        .chunk(&GZIP[..])
        .max_age(60)
        .with("content-encoding", "gzip")
        .with("content-length", "6");
    cache.get("/").origin(answer).miss();
    let seen = cache
        .get("/")
        .hit()
        .field("content-encoding", "gzip")
        .field("content-length", "6");
    assert_eq!(seen.body, GZIP);
}
