//! Storing (RFC 9111 §3).

use cache_core::{Policy, Reason, Retention};
use kit::{Scenario, not_modified, ok, status};
use std::time::Duration;

/// Fetches twice; the second time nothing is stored.
#[track_caller]
fn is_not_stored(mut cache: Scenario, answer: kit::Answer, reason: Reason) {
    cache.get("/").origin(answer).miss().not_stored(reason);
    cache
        .get("/")
        .origin(ok("second"))
        .miss()
        .because(Reason::UriMiss)
        .body("second");
}

#[track_caller]
fn is_stored(mut cache: Scenario, answer: kit::Answer) {
    cache.get("/").origin(answer).miss().stored();
    cache.get("/").hit();
}

#[test]
fn a_response_with_max_age_is_stored_and_reused_until_it_is_stale() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60))
        .miss()
        .because(Reason::UriMiss)
        .stored()
        .body("one");
    cache
        .get("/")
        .hit()
        .because(Reason::Fresh)
        .body("one")
        .age(0);
    cache.wait(59);
    cache.get("/").hit().body("one").age(59);
    cache.wait(1);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .miss()
        .because(Reason::Stale)
        .body("two");
    cache.get("/").hit().body("two");
}

#[test]
fn no_store_is_never_stored() {
    for directives in [
        "no-store",
        "max-age=60, No-Store",
        "no-store, public",
        "max-age=60, no-store=\"\"",
    ] {
        is_not_stored(
            Scenario::private(),
            ok("one").cache_control(directives),
            Reason::ResponseNoStore,
        );
    }
}

#[test]
fn no_store_on_a_line_of_its_own_counts() {
    let answer = ok("one").max_age(60).cache_control("no-store");
    is_not_stored(Scenario::private(), answer, Reason::ResponseNoStore);
}

#[test]
fn a_no_store_response_to_a_validation_is_not_stored_and_ends_the_stored_one() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(61);
    cache
        .get("/")
        .origin(ok("two").cache_control("no-store"))
        .miss()
        .not_stored(Reason::ResponseNoStore)
        .body("two");
    cache.get("/").origin_fails().error();
}

#[test]
fn must_understand_lets_no_store_pass_for_a_status_that_is_understood() {
    let directives = "max-age=60, no-store, must-understand";
    is_stored(Scenario::private(), ok("one").cache_control(directives));
    is_not_stored(
        Scenario::private(),
        status(599).cache_control(directives),
        Reason::StatusNotUnderstood,
    );
    is_not_stored(
        Scenario::private(),
        status(599).cache_control("max-age=60, must-understand"),
        Reason::StatusNotUnderstood,
    );
}

#[test]
fn private_is_stored_by_a_private_cache_only() {
    for directives in [
        "private, max-age=60",
        "max-age=60, private=\"\"",
        "private=, max-age=60",
    ] {
        is_stored(Scenario::private(), ok("one").cache_control(directives));
        is_not_stored(
            Scenario::shared(),
            ok("one").cache_control(directives),
            Reason::Private,
        );
    }
}

#[test]
fn the_fields_that_private_names_are_not_stored_by_a_shared_cache() {
    let answer = || {
        ok("one")
            .cache_control("max-age=60, private=\"x-user\"")
            .with("x-user", "alice")
    };
    let mut shared = Scenario::shared();
    shared
        .get("/")
        .origin(answer())
        .miss()
        .field("x-user", "alice");
    shared.get("/").hit().without("x-user");
    let mut private = Scenario::private();
    private.get("/").origin(answer()).miss();
    private.get("/").hit().field("x-user", "alice");
}

#[test]
fn a_shared_cache_stores_a_response_to_credentials_only_where_it_is_permitted() {
    for (directives, permitted) in [
        ("max-age=60", false),
        ("max-age=60, public", true),
        ("s-maxage=60", true),
        ("max-age=60, must-revalidate", true),
        ("max-age=60, proxy-revalidate", false),
    ] {
        let mut cache = Scenario::shared();
        let asked = cache.get("/").with("authorization", "alice");
        let seen = asked.origin(ok("one").cache_control(directives)).miss();
        if permitted {
            seen.stored();
            cache.get("/").hit();
        } else {
            seen.not_stored(Reason::Authorization);
        }
    }
}

#[test]
fn final_status_codes_with_a_lifetime_are_stored() {
    for code in [
        200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 414, 451, 499, 500, 501, 502,
        503, 504, 599,
    ] {
        let mut cache = Scenario::private();
        cache.get("/").origin(status(code).max_age(60)).miss();
        cache.get("/").hit().status(code);
    }
}

#[test]
fn responses_about_one_exchange_are_not_stored() {
    for (code, reason) in [
        (206, Reason::PartialContent),
        (304, Reason::CallerPrecondition),
        (407, Reason::AboutOneExchange),
        (412, Reason::CallerPrecondition),
        (416, Reason::PartialContent),
        (425, Reason::AboutOneExchange),
        (428, Reason::AboutOneExchange),
        (429, Reason::AboutOneExchange),
        (431, Reason::AboutOneExchange),
        (511, Reason::AboutOneExchange),
    ] {
        is_not_stored(Scenario::private(), status(code).max_age(60), reason);
    }
}

#[test]
fn heuristic_freshness_is_for_some_status_codes() {
    for (code, expected) in [
        (200, true),
        (404, true),
        (301, true),
        (201, false),
        (302, false),
        (403, false),
        (500, false),
    ] {
        let mut cache = Scenario::private();
        let (now, changed) = (cache.date(0), cache.date(-1000));
        let answer = status(code)
            .with("date", &now)
            .with("last-modified", &changed);
        let seen = cache.get("/").origin(answer).miss();
        if expected {
            seen.stored();
            cache.wait(99);
            cache.get("/").hit();
        } else {
            seen.not_stored(Reason::NoFreshness);
        }
    }
}

#[test]
fn a_response_without_lifetime_or_validator_is_not_stored() {
    is_not_stored(Scenario::private(), ok("one"), Reason::NoFreshness);
    is_not_stored(
        Scenario::private(),
        ok("one").max_age(0),
        Reason::NoFreshness,
    );
    is_not_stored(
        Scenario::private(),
        ok("one").cache_control("public"),
        Reason::NoFreshness,
    );
}

#[test]
fn a_response_without_lifetime_but_with_a_validator_is_stored_and_validated() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").etag("\"1\""))
        .miss()
        .stored();
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("one");
}

#[test]
fn a_403_without_lifetime_is_not_stored_even_with_a_validator() {
    is_not_stored(
        Scenario::private(),
        status(403).etag("\"1\""),
        Reason::NoFreshness,
    );
}

#[test]
fn a_request_with_no_store_is_neither_answered_from_the_store_nor_stored() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    let asked = cache.get("/").with("cache-control", "no-store");
    asked
        .origin(ok("two").max_age(60))
        .bypass()
        .because(Reason::RequestNoStore)
        .body("two");
    cache.get("/").hit().body("one");
}

#[test]
fn a_cookie_is_stored_only_where_the_origin_says_that_it_may_be() {
    let heuristic = |cache: &Scenario| {
        ok("one")
            .with("last-modified", &cache.date(-1000))
            .with("set-cookie", "a=1")
    };
    let explicit = || {
        ok("one")
            .max_age(60)
            .with("set-cookie", "a=1")
            .with("set-cookie", "b=2")
    };

    let shared = Scenario::shared();
    let answer = heuristic(&shared);
    is_not_stored(shared, answer, Reason::SetCookie);

    let mut private = Scenario::private();
    let answer = heuristic(&private);
    private
        .get("/")
        .origin(answer)
        .miss()
        .field("set-cookie", "a=1");
    private.get("/").hit().without("set-cookie");

    for mut cache in [Scenario::shared(), Scenario::private()] {
        cache.get("/").origin(explicit()).miss();
        cache.get("/").hit().field("set-cookie", "a=1, b=2");
    }
}

#[test]
fn fields_of_the_connection_are_not_stored() {
    let mut cache = Scenario::private();
    let mut answer = ok("one")
        .max_age(60)
        .with("connection", "a, B")
        .with("a", "1")
        .with("b", "2")
        .with("c", "3");
    for name in [
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ] {
        answer = answer.with(name, "x");
    }
    cache
        .get("/")
        .origin(answer)
        .miss()
        .field("a", "1")
        .field("keep-alive", "x");
    let mut seen = cache.get("/").hit().field("c", "3");
    for name in [
        "a",
        "b",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ] {
        seen = seen.without(name);
    }
}

#[test]
fn fields_of_the_connection_are_not_stored_from_trailers_either() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).trailer("keep-alive", "x");
    cache.get("/").origin(answer).miss();
    assert_eq!(cache.get("/").hit().trailers, None);
}

#[test]
fn all_other_fields_are_stored_line_by_line() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .max_age(60)
        .with("link", "<a>")
        .with("link", "<b>")
        .with("content-range", "odd");
    cache.get("/").origin(answer).miss();
    let seen = cache.get("/").hit().field("content-range", "odd");
    assert_eq!(
        seen.headers.get_all("link").iter().collect::<Vec<_>>(),
        ["<a>", "<b>"]
    );
}

#[test]
fn bytes_beyond_ascii_are_kept() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("x-name", "M\u{fc}ller");
    cache.get("/").origin(answer).miss();
    let seen = cache.get("/").hit();
    assert_eq!(seen.headers["x-name"].as_bytes(), "M\u{fc}ller".as_bytes());
}

#[test]
fn a_date_is_added_only_where_there_is_none() {
    let mut cache = Scenario::private();
    let (now, earlier) = (cache.date(0), cache.date(-7));
    cache.get("/none").origin(ok("one").max_age(60)).miss();
    cache
        .get("/dated")
        .origin(ok("one").max_age(60).with("date", &earlier))
        .miss();
    cache.wait(5);
    cache.get("/none").hit().field("date", &now).age(5);
    cache.get("/dated").hit().field("date", &earlier).age(12);
}

#[test]
fn a_body_that_breaks_off_is_not_stored() {
    let mut cache = Scenario::private();
    let answer = ok("half").max_age(60).breaks_off();
    assert!(cache.get("/").origin(answer).miss().broke_off);
    cache
        .get("/")
        .origin(ok("one").max_age(60))
        .miss()
        .because(Reason::UriMiss);
}

#[test]
fn a_body_of_another_length_than_announced_is_not_stored() {
    for announced in ["2", "4"] {
        let mut cache = Scenario::private();
        let answer = ok("one").max_age(60).with("content-length", announced);
        cache.get("/").origin(answer).miss().body("one");
        cache
            .get("/")
            .origin(ok("two").max_age(60))
            .miss()
            .because(Reason::UriMiss);
    }
}

#[test]
fn a_body_that_is_too_long_passes_and_is_not_stored() {
    let limited = || Scenario::with(Policy::private().max_body_bytes(3));
    let mut cache = limited();
    let announced = ok("four").max_age(60).with("content-length", "4");
    cache
        .get("/")
        .origin(announced)
        .miss()
        .not_stored(Reason::BodyTooLarge)
        .body("four");
    let mut cache = limited();
    cache
        .get("/")
        .origin(ok("four").max_age(60))
        .miss()
        .body("four");
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .miss()
        .because(Reason::UriMiss)
        .body("two");
    cache.get("/").hit().body("two");
}

#[test]
fn a_header_section_that_is_too_large_is_not_stored() {
    let cache = Scenario::with(Policy::private().max_head_bytes(1000));
    let answer = ok("one").max_age(60).with("x", &"x".repeat(1000));
    is_not_stored(cache, answer, Reason::HeadTooLarge);
}

#[test]
fn a_key_that_is_too_long_is_not_looked_up() {
    let mut cache = Scenario::with(Policy::private().max_head_bytes(1000));
    let path = format!("/{}", "x".repeat(1000));
    cache
        .get(&path)
        .origin(ok("one").max_age(60))
        .bypass()
        .because(Reason::KeyTooLong);
}

#[test]
fn an_empty_body_is_stored() {
    is_stored(Scenario::private(), status(204).max_age(60));
    is_stored(
        Scenario::private(),
        ok("").max_age(60).with("content-length", "0"),
    );
}

#[test]
fn trailers_pass_and_are_stored() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).trailer("checksum", "1");
    let seen = cache.get("/").origin(answer).miss();
    assert_eq!(seen.trailers.expect("trailers")["checksum"], "1");
    assert_eq!(
        cache.get("/").hit().trailers.expect("trailers")["checksum"],
        "1"
    );
}

#[test]
fn a_416_is_not_given_to_others() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("range", "bytes=999-")
        .origin(status(416).max_age(60))
        .miss()
        .status(416);
    cache
        .get("/")
        .origin(ok("abcd").max_age(60))
        .miss()
        .status(200);
}

#[test]
fn what_is_past_its_grace_is_gone() {
    let mut cache = Scenario::with(Policy::private().grace(Duration::from_secs(10)));
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(69);
    cache
        .get("/")
        .origin(not_modified().max_age(60))
        .revalidated();
    cache.wait(71);
    cache
        .get("/")
        .origin(ok("two").max_age(60))
        .miss()
        .because(Reason::UriMiss)
        .not_sent("if-none-match");
}

#[test]
fn what_is_kept_for_ever_can_be_validated_much_later() {
    let mut cache = Scenario::with(Policy::private().retention(Retention::Forever));
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(10 * 365 * 24 * 60 * 60);
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("one");
}

#[test]
fn a_method_that_is_not_understood_passes() {
    for method in ["OPTIONS", "TRACE", "PROPFIND"] {
        let mut cache = Scenario::private();
        cache.get("/").origin(ok("one").max_age(60)).miss();
        cache
            .send(method, "/")
            .origin(ok("two").max_age(60))
            .bypass()
            .because(Reason::Method);
        cache.get("/").hit().body("one");
    }
}

#[test]
fn a_get_with_content_passes() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    let asked = cache.get("/").content("a query");
    asked
        .origin(ok("two").max_age(60))
        .bypass()
        .because(Reason::RequestContent)
        .body("two");
    let asked = cache.get("/").with("transfer-encoding", "chunked");
    asked
        .origin(ok("two").max_age(60))
        .bypass()
        .because(Reason::RequestContent);
    cache.get("/").with("content-length", "0").hit().body("one");
}

#[test]
fn an_upgrade_passes() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    let asked = cache
        .get("/")
        .with("connection", "upgrade")
        .with("upgrade", "websocket");
    asked
        .origin(status(101))
        .bypass()
        .because(Reason::Upgrade)
        .status(101);
    cache
        .send("CONNECT", "http://origin.test/")
        .origin(ok(""))
        .bypass()
        .because(Reason::Method);
    cache.get("/").hit();
}

#[test]
fn trailers_that_are_for_one_caller_are_not_stored() {
    for (directives, name) in [
        ("max-age=60", "set-cookie"),
        ("max-age=60, private=\"x-me\"", "x-me"),
        ("max-age=60, no-cache=\"x-me\"", "x-me"),
    ] {
        let mut cache = Scenario::shared();
        let answer = ok("one").cache_control(directives).trailer(name, "alice");
        assert!(cache.get("/").origin(answer).miss().trailers.is_some());
        assert_eq!(cache.get("/").hit().trailers, None, "{name}");
    }
}

#[test]
fn a_slow_response_does_not_replace_one_that_was_asked_for_later() {
    // The slow one's body is read only after the other was stored.
    let origin = kit::Origin::new();
    let clock = kit::ManualClock::new();
    let layer = cache_tower::CacheLayer::new(cache_memory::MemoryBackend::default());
    let cache = tower_layer::Layer::layer(&layer.clock(clock.clone()), origin.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        use cache_tower::{CacheInfo, CacheMode};
        use http_body_util::{BodyExt, Empty};
        use tower::ServiceExt;
        let get = |mode: CacheMode| {
            let request = http::Request::get("http://origin.test/").extension(mode);
            request
                .body(Empty::<bytes::Bytes>::new())
                .expect("a request")
        };
        origin.answers(ok("old").max_age(60));
        origin.answers(ok("new").max_age(60));
        let slow = cache
            .clone()
            .oneshot(get(CacheMode::Default))
            .await
            .expect("a response");
        clock.advance(Duration::from_secs(5));
        let quick = cache
            .clone()
            .oneshot(get(CacheMode::Reload))
            .await
            .expect("a response");
        quick.into_body().collect().await.expect("a body");
        slow.into_body().collect().await.expect("a body");
        let hit = cache
            .oneshot(get(CacheMode::Default))
            .await
            .expect("a response");
        assert!(
            hit.extensions()
                .get::<CacheInfo>()
                .expect("a CacheInfo")
                .is_hit()
        );
        assert_eq!(
            hit.into_body().collect().await.expect("a body").to_bytes(),
            "new"
        );
    });
}

#[test]
fn a_response_that_is_not_final_is_not_stored() {
    is_not_stored(
        Scenario::private(),
        status(103).max_age(60),
        Reason::StatusNotUnderstood,
    );
}

// In the public suite the stored response is fresh, so that the one with no-store is never sent.
#[test]
fn a_no_store_response_that_arrives_is_not_stored_and_ends_the_stored_one() {
    for directives in ["no-store", "no-store, max-age=10000"] {
        let no_store = || ok("two").cache_control(directives);

        let mut cache = Scenario::shared();
        cache.get("/").origin(ok("one").max_age(60)).miss();
        cache.wait(61);
        let seen = cache.get("/").origin(no_store()).miss().body("two");
        seen.not_stored(Reason::ResponseNoStore);
        cache.get("/").origin_fails().error();

        let mut cache = Scenario::shared();
        cache.get("/").origin(ok("one").max_age(60)).miss();
        let asked = cache.get("/").with("cache-control", "no-cache");
        let seen = asked.origin(no_store()).miss().body("two");
        seen.not_stored(Reason::ResponseNoStore);
        let seen = cache.get("/").origin(ok("three")).miss().body("three");
        seen.because(Reason::UriMiss);
    }
}

#[test]
fn public_lets_any_final_status_have_a_heuristic_lifetime() {
    for code in [201, 302, 403, 500, 599] {
        let mut cache = Scenario::shared();
        let (now, changed) = (cache.date(0), cache.date(-1000));
        let answer = status(code).cache_control("public").with("date", &now);
        let answer = answer.with("last-modified", &changed);
        cache.get("/").origin(answer).miss().stored();
        cache.wait(99);
        cache.get("/").hit().status(code);
    }
}

#[test]
fn private_lets_a_private_cache_store_any_final_status() {
    let answer = || status(403).cache_control("private").etag("\"1\"");
    let mut cache = Scenario::private();
    cache.get("/").origin(answer()).miss().stored();
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .status(403);
    is_not_stored(Scenario::shared(), answer(), Reason::Private);
}

#[test]
fn directives_that_are_not_known_are_ignored() {
    for directives in [
        "max-age=60, community=\"UCI\"",
        "foo, max-age=60, bar=1",
        "max-age=60, x=\"no-store, private\"",
        "no-transform, max-age=60",
        "max-age=60, no-stored, x-no-store",
    ] {
        is_stored(Scenario::shared(), ok("one").cache_control(directives));
    }
    is_not_stored(
        Scenario::shared(),
        ok("one").cache_control("private, community=\"UCI\", max-age=60"),
        Reason::Private,
    );
}

#[test]
fn behind_a_quote_that_is_never_closed_nothing_permits_a_shared_cache_to_store() {
    for permission in ["public", "must-revalidate", "s-maxage=60"] {
        let directives = format!("max-age=60, note=\"x, {permission}");
        let mut cache = Scenario::shared();
        let asked = cache.get("/").with("authorization", "alice");
        asked
            .origin(ok("alice's").cache_control(&directives))
            .miss()
            .not_stored(Reason::Authorization);
        let asked = cache.get("/").with("authorization", "bob");
        asked.origin(ok("bob's")).miss().body("bob's");
    }
}

#[test]
fn expires_lets_any_final_status_be_stored() {
    for code in [302, 403, 500] {
        let mut cache = Scenario::private();
        let expires = cache.date(60);
        let answer = status(code).with("expires", &expires);
        cache.get("/").origin(answer).miss().stored();
        cache.get("/").hit().status(code);
    }
}

#[test]
fn s_maxage_lets_a_shared_cache_store_any_final_status_and_no_private_one() {
    let answer = || status(302).cache_control("s-maxage=60").etag("\"1\"");
    is_stored(Scenario::shared(), answer());
    is_not_stored(Scenario::private(), answer(), Reason::NoFreshness);
}
