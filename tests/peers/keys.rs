//! What is one resource, and what is another.

use std::sync::Mutex;

use bytes::Bytes;
use cache_core::{Candidates, Partition, Policy, Reason};
use http::{HeaderName, HeaderValue, Request};
use http_body_util::Full;
use kit::{Scenario, ok};

use crate::altered::Altered;

fn get(uri: &str, fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let request = Request::get(uri).body(Full::default());
    let mut request = request.expect("a request");
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        request.headers_mut().append(name, value);
    }
    request
}

/// Each of these requests has a response of its own, the first time and the second.
#[track_caller]
fn are_kept_apart(policy: Policy, requests: &[Request<Full<Bytes>>]) {
    let mut cache = Scenario::with(policy);
    for (number, request) in requests.iter().enumerate() {
        let answer = ok("").max_age(60).chunk(number.to_string());
        cache.request(request.clone()).origin(answer).miss();
    }
    for (number, request) in requests.iter().enumerate() {
        let seen = cache.request(request.clone()).hit();
        assert_eq!(seen.body, number.to_string().as_bytes(), "{request:?}");
    }
}

// tower-http-cache: `evil.test/x` answered `bank.test/x`. pingora: CVE-2026-2836, a default key
// without the host. hitbox: host and scheme only where they are extracted by hand.
#[test]
fn one_path_on_two_schemes_hosts_or_ports_is_two_resources() {
    let requests = [
        get("http://evil.test/x", &[]),
        get("http://bank.test/x", &[]),
        get("https://bank.test/x", &[]),
        get("http://bank.test:8080/x", &[]),
        get("https://bank.test:8080/x", &[]),
    ];
    are_kept_apart(Policy::shared(), &requests);
    are_kept_apart(Policy::private(), &requests);
}

// Fiber: CVE-2026-30246, and http-cache-tower-server: keys without the query.
#[test]
fn the_query_tells_resources_apart() {
    are_kept_apart(
        Policy::shared(),
        &[
            get("http://origin.test/x", &[]),
            get("http://origin.test/x?", &[]),
            get("http://origin.test/x?user=alice", &[]),
            get("http://origin.test/x?user=bob", &[]),
            get("http://origin.test/x?token=alice", &[]),
            get("http://origin.test/x?token=bob", &[]),
            get("http://origin.test/x?token=bob&page=2", &[]),
        ],
    );
}

// http-cache-tower: the default key of an origin-form target lacks `Host`. rpxy #639: the key was
// not the URI that the client asked for.
#[test]
fn targets_without_an_authority_are_told_apart_by_host() {
    are_kept_apart(
        Policy::shared(),
        &[
            get("/x", &[("host", "evil.test")]),
            get("/x", &[("host", "bank.test")]),
            get("/x", &[("host", "bank.test:8080")]),
        ],
    );
}

// rpxy #639, and the Host header attacks of rack and Ratpack: an origin believes `Host`.
#[test]
fn a_host_field_that_names_another_host_than_the_target_makes_another_resource() {
    are_kept_apart(
        Policy::shared(),
        &[
            get("http://bank.test/x", &[]),
            get("http://bank.test/x", &[("host", "evil.test")]),
            get("http://evil.test/x", &[]),
        ],
    );
}

// tower-http-cache and http-cache-tower: a key of the path alone where there is no host.
#[test]
fn a_request_that_names_no_host_is_not_cached() {
    let mut cache = Scenario::shared();
    for body in ["one", "two"] {
        cache
            .request(get("/x", &[]))
            .origin(ok(body).max_age(60))
            .bypass()
            .because(Reason::NoAuthority)
            .body(body);
    }
}

// tower-http-cache: HEAD stored an empty body that answered GET.
#[test]
fn the_response_to_head_is_not_that_to_get() {
    let head = || ok("").max_age(60);
    for head in [head(), head().with("content-length", "3")] {
        let mut cache = Scenario::shared();
        cache.send("HEAD", "/").origin(head).miss().body("");
        cache
            .get("/")
            .origin(ok("one").max_age(60))
            .miss()
            .body("one");
    }
}

// OpenFGA CVE-2026-48096, titus #327, bun #34757, pingora's namespaces: fields that could be moved
// over a delimiter. Here every field is framed by its length.
#[test]
fn nothing_in_one_part_of_a_key_reads_as_another_part() {
    let policy = Policy::private().partition(Partition::by(|request| {
        let tenant = request.headers.get("x-tenant")?;
        Some(tenant.as_bytes().to_vec())
    }));
    are_kept_apart(
        policy,
        &[
            get("http://a.test/b?c", &[]),
            get("http://a.test/b%3Fc", &[]),
            get("http://a.testb/?c", &[]),
            get("http://a.test/b", &[]),
            get("http://a.test/b", &[("x-tenant", "")]),
            get("http://a.test/b", &[("x-tenant", "?c")]),
            get("http://a.test/b?", &[("x-tenant", "c")]),
            get("http://a.test/b?c", &[("x-tenant", "d")]),
            get("http://a.test/b", &[("x-tenant", "?cd")]),
            get("http://a.test/b", &[("host", "c")]),
            get("http://a.test/b", &[("host", "c"), ("x-tenant", "d")]),
            get("http://a.test/b", &[("host", "cd")]),
            get("http://a.test/bc", &[]),
            get("http://a.test/bcd", &[]),
            get("http://a.test/b?", &[("host", "c")]),
        ],
    );
}

// hitbox #211: what could not be normalised had one key. CVE-2021-23336: `;` taken for a separator.
// Several CDNs: `%2F` decoded.
#[test]
fn what_cannot_be_normalised_safely_stays_as_it_is() {
    are_kept_apart(
        Policy::shared(),
        &[
            get("http://origin.test/a/b", &[]),
            get("http://origin.test/a%2Fb", &[]),
            get("http://origin.test/a//b", &[]),
            get("http://origin.test/%zz", &[]),
            get("http://origin.test/%zy", &[]),
            get("http://origin.test/%", &[]),
            get("http://origin.test/?a=1&b=2", &[]),
            get("http://origin.test/?a=1;b=2", &[]),
            get("http://origin.test/?b=2&a=1", &[]),
        ],
    );
}

// requests-cache and hishel: the response to `Authorization: A` answered `Authorization: B` where
// the origin sent no `Vary`. tina4: a session cookie was no part of the key.
#[test]
fn requests_with_other_credentials_share_nothing_by_default() {
    are_kept_apart(
        Policy::default(),
        &[
            get("http://origin.test/me", &[]),
            get(
                "http://origin.test/me",
                &[("authorization", "Bearer alice")],
            ),
            get("http://origin.test/me", &[("authorization", "Bearer bob")]),
            get("http://origin.test/me", &[("cookie", "session=alice")]),
            get("http://origin.test/me", &[("cookie", "session=bob")]),
            get("http://origin.test/me", &[("x-api-key", "carol")]),
            get("http://carol@origin.test/me", &[]),
        ],
    );
}

// hishel #224, #399, undici: shared rules in a client of one user, so nothing was ever cached.
#[test]
fn a_client_with_one_token_gets_hits_by_default() {
    let mut cache = Scenario::with(Policy::default());
    let answer = ok("mine").cache_control("private, max-age=60");
    let token = ("authorization", "Bearer alice");
    let me = get("http://origin.test/me", &[token]);
    cache.request(me.clone()).origin(answer).miss().stored();
    cache.request(me).hit().body("mine");
}

// rack #1809, Ratpack CVE-2021-29479, Ghost CVE-2026-53943: the origin reads a field that a proxy
// added and that nobody keyed.
#[test]
fn a_partition_counts_what_the_origin_reads_and_no_vary_names() {
    let policy = Policy::shared().partition(Partition::by(|request| {
        let host = request.headers.get("x-forwarded-host")?;
        Some(host.as_bytes().to_vec())
    }));
    are_kept_apart(
        policy,
        &[
            get("http://origin.test/", &[]),
            get("http://origin.test/", &[("x-forwarded-host", "bank.test")]),
            get("http://origin.test/", &[("x-forwarded-host", "evil.test")]),
        ],
    );
}

// OpenAI, 20 March 2023: a confused connection gave one user the reply to another's command.
// axios-cache-interceptor #795: a hash of 32 bits collided.
#[test]
fn what_the_store_returns_for_another_key_is_not_believed() {
    // Having found something once, it finds that whatever is looked for.
    let first = Mutex::new(None);
    let confused = Altered::finding(move |found| {
        let mut first = first.lock().expect("unpoisoned");
        match (&*first, found.is_empty()) {
            (Some(first), _) => Candidates::clone(first),
            (None, true) => found,
            (None, false) => first.insert(found).clone(),
        }
    });
    let mut cache = Scenario::over(Policy::private(), confused);
    let answer = ok("ALICE-SECRET").max_age(60);
    let alice = get(
        "http://origin.test/me",
        &[("authorization", "Bearer alice")],
    );
    cache.request(alice.clone()).origin(answer).miss();
    cache.request(alice).hit().body("ALICE-SECRET");
    for other in [
        get("http://origin.test/me", &[("authorization", "Bearer bob")]),
        get("http://origin.test/me", &[]),
        get("http://other.test/me", &[("authorization", "Bearer alice")]),
    ] {
        let answer = ok("another").cache_control("no-store");
        cache
            .request(other.clone())
            .origin(answer)
            .miss()
            .body("another");
        cache.request(other).origin_fails().error();
    }
}

#[test]
fn a_host_field_with_the_default_port_names_the_same_host() {
    let mut cache = Scenario::private();
    cache
        .get("http://a.test/")
        .with("host", "a.test:80")
        .origin(ok("one").max_age(60))
        .miss();
    cache.get("http://a.test:80/").with("host", "a.test").hit();
    cache.get("http://a.test/").hit();
    cache
        .get("http://a.test/")
        .with("host", "a.test:443")
        .origin(ok("two"))
        .miss();
}
