//! Invalidation (RFC 9111 §4.4) and responses to POST (RFC 9110 §9.3.3).

use cache_core::Reason;
use kit::{Scenario, ok, status};

fn filled() -> Scenario {
    let mut cache = Scenario::private();
    for path in ["/", "/new", "/other"] {
        cache.get(path).origin(ok("one").max_age(600)).miss();
    }
    cache.wait(1);
    cache
}

#[test]
fn unsafe_and_unknown_methods_invalidate_the_target() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
        let mut cache = filled();
        cache
            .send(method, "/")
            .origin(ok("done"))
            .bypass()
            .because(Reason::Invalidated)
            .body("done");
        cache
            .get("/")
            .origin(ok("two").max_age(60))
            .miss()
            .body("two");
        cache.get("/other").hit();
    }
}

#[test]
fn an_error_invalidates_nothing() {
    for code in [400, 404, 409, 500, 503] {
        let mut cache = filled();
        cache
            .send("POST", "/")
            .origin(status(code))
            .bypass()
            .because(Reason::Method)
            .status(code);
        cache.get("/").hit();
    }
}

#[test]
fn no_response_invalidates_nothing() {
    let mut cache = filled();
    cache.send("POST", "/").origin_fails().error();
    cache.get("/").hit();
}

#[test]
fn a_redirection_invalidates() {
    let mut cache = filled();
    cache
        .send("POST", "/")
        .origin(status(303).with("location", "/new"))
        .bypass();
    cache.get("/").origin(ok("two")).miss();
    cache.get("/new").origin(ok("two")).miss();
}

#[test]
fn locations_of_the_same_origin_are_invalidated_too() {
    for name in ["location", "content-location"] {
        for reference in [
            "/new",
            "new",
            "http://origin.test/new",
            "http://ORIGIN.test:80/new",
            "/a/../new",
            "http://origin.test/a/../new",
            "//origin.test/./new",
        ] {
            let mut cache = filled();
            cache
                .send("PUT", "/")
                .origin(status(201).with(name, reference))
                .bypass();
            cache.get("/new").origin(ok("two")).miss();
            cache.get("/other").hit();
        }
    }
}

#[test]
fn a_location_is_asked_for_with_the_user_information_of_the_target() {
    for reference in ["/new", "http://origin.test/new"] {
        let mut cache = Scenario::private();
        let url = |path: &str| format!("http://u:p@origin.test{path}");
        cache.get(&url("/new")).origin(ok("one").max_age(60)).miss();
        cache
            .send("PUT", &url("/"))
            .origin(status(201).with("location", reference))
            .bypass();
        cache.get(&url("/new")).origin(ok("two")).miss();
    }
}

#[test]
fn locations_of_other_origins_are_not() {
    let mut cache = filled();
    cache
        .get("http://victim.test/")
        .origin(ok("one").max_age(600))
        .miss();
    cache
        .send("POST", "/")
        .origin(status(201).with("location", "http://victim.test/"))
        .bypass();
    cache.get("http://victim.test/").hit();
}

#[test]
fn all_variants_are_invalidated() {
    let mut cache = Scenario::private();
    for foo in ["1", "2"] {
        cache
            .get("/")
            .with("foo", foo)
            .origin(ok("one").max_age(60).with("vary", "foo"))
            .miss();
    }
    cache.wait(1);
    cache.send("POST", "/").origin(ok("")).bypass();
    for foo in ["1", "2"] {
        cache.get("/").with("foo", foo).origin(ok("two")).miss();
    }
}

#[test]
fn a_request_with_credentials_invalidates_what_is_stored_without_them() {
    let mut cache = filled();
    cache
        .send("PUT", "/")
        .with("authorization", "alice")
        .origin(ok(""))
        .bypass();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn what_is_fetched_after_an_invalidation_is_stored() {
    let mut cache = filled();
    cache.send("POST", "/").origin(ok("")).bypass();
    cache.get("/").origin(ok("two").max_age(60)).miss();
    cache.get("/").hit().body("two");
}

#[test]
fn a_request_with_no_store_invalidates() {
    let mut cache = filled();
    cache
        .send("POST", "/")
        .with("cache-control", "no-store")
        .origin(ok(""))
        .bypass();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn a_post_that_says_what_a_get_would_get_answers_it() {
    for reference in ["/", "http://origin.test/"] {
        let mut cache = filled();
        let answer = ok("made").max_age(60).with("content-location", reference);
        cache
            .send("POST", "/")
            .origin(answer)
            .miss()
            .stored()
            .body("made");
        cache.get("/").hit().body("made");
    }
}

#[test]
fn a_post_is_not_stored_otherwise() {
    for answer in [
        ok("made").max_age(60),
        ok("made").max_age(60).with("content-location", "/new"),
        ok("made").with("content-location", "/").etag("\"1\""),
        status(201).max_age(60).with("content-location", "/"),
    ] {
        let mut cache = filled();
        cache.send("POST", "/").origin(answer).bypass();
        cache.get("/").origin(ok("two")).miss();
    }
}

#[test]
fn a_put_is_never_stored() {
    let mut cache = filled();
    cache
        .send("PUT", "/")
        .origin(ok("made").max_age(60).with("content-location", "/"))
        .bypass();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn a_post_is_written_through_though_its_response_is_stored() {
    let mut cache = filled();
    let made = |body| ok(body).max_age(60).with("content-location", "/");
    cache.send("POST", "/").origin(made("one")).miss().stored();
    cache
        .send("POST", "/")
        .origin(made("two"))
        .miss()
        .body("two");
    cache.get("/").hit().body("two");
    cache.send("HEAD", "/").hit().body("");
}

#[test]
fn a_request_with_no_store_keeps_the_response_to_post_out_of_the_store() {
    let mut cache = filled();
    let asked = cache.send("POST", "/").with("cache-control", "no-store");
    let made = ok("made").max_age(60).with("content-location", "/");
    asked.origin(made).bypass();
    cache.get("/").origin(ok("two")).miss().body("two");
}

// RFC 9111 §4.4. Clients that know HTTP/2 send this with every request in the clear.
#[test]
fn a_request_that_offers_an_upgrade_invalidates() {
    let mut cache = filled();
    cache
        .send("POST", "/")
        .with("connection", "upgrade, http2-settings")
        .with("upgrade", "h2c")
        .origin(ok("done"))
        .bypass();
    cache.get("/").origin(ok("two")).miss().body("two");
}
