//! Private, shared, and what keeps users apart.

use cache_core::{Partition, Policy, Reason};
use kit::{Scenario, ok};

#[test]
fn users_of_a_private_cache_never_share_a_response() {
    for name in [
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-api-key",
    ] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .with(name, "alice")
            .origin(ok("alice's").max_age(60))
            .miss();
        cache
            .get("/")
            .with(name, "bob")
            .origin(ok("bob's").max_age(60))
            .miss()
            .because(Reason::UriMiss);
        cache
            .get("/")
            .origin(ok("nobody's").max_age(60))
            .miss()
            .because(Reason::UriMiss);
        cache.get("/").with(name, "alice").hit().body("alice's");
        cache.get("/").with(name, "bob").hit().body("bob's");
        cache.get("/").hit().body("nobody's");
    }
}

#[test]
fn users_of_a_shared_cache_share_what_may_be_shared() {
    let mut cache = Scenario::shared();
    cache
        .get("/")
        .with("authorization", "alice")
        .origin(ok("all's").cache_control("public, max-age=60"))
        .miss();
    cache
        .get("/")
        .with("authorization", "bob")
        .hit()
        .body("all's");
}

#[test]
fn a_response_of_another_host_port_scheme_or_query_is_never_served() {
    let mut cache = Scenario::shared();
    let targets = [
        "http://a.test/x",
        "http://b.test/x",
        "https://a.test/x",
        "http://a.test:8080/x",
        "http://a.test/x?",
        "http://a.test/x?1",
        "http://a.test/X",
    ];
    for target in targets {
        cache.get(target).origin(ok("one").max_age(60)).miss();
    }
    for target in targets {
        cache.get(target).hit();
    }
}

#[test]
fn a_host_field_that_names_another_host_counts() {
    let mut cache = Scenario::shared();
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache
        .get("/")
        .with("host", "other.test")
        .origin(ok("other").max_age(60))
        .miss();
    cache.get("/").with("host", "origin.test").hit().body("one");
    cache
        .get("/")
        .with("host", "other.test")
        .hit()
        .body("other");
}

#[test]
fn tenants_can_be_told_apart_instead_of_credentials() {
    let by_tenant =
        Partition::by(|request| Some(request.headers.get("x-tenant")?.as_bytes().to_vec()));
    let mut cache = Scenario::with(Policy::private().partition(by_tenant));
    cache
        .get("/")
        .with("x-tenant", "a")
        .with("authorization", "1")
        .origin(ok("a's").max_age(60))
        .miss();
    cache
        .get("/")
        .with("x-tenant", "a")
        .with("authorization", "2")
        .hit()
        .body("a's");
    cache
        .get("/")
        .with("x-tenant", "b")
        .with("authorization", "1")
        .origin(ok("b's").max_age(60))
        .miss();
}

#[test]
fn invalidation_stays_in_its_partition() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("cookie", "alice")
        .origin(ok("one").max_age(60))
        .miss();
    cache
        .get("/")
        .with("cookie", "bob")
        .origin(ok("one").max_age(60))
        .miss();
    cache.wait(1);
    cache
        .send("POST", "/")
        .with("cookie", "alice")
        .origin(ok(""))
        .bypass();
    cache
        .get("/")
        .with("cookie", "alice")
        .origin(ok("two"))
        .miss();
    cache.get("/").with("cookie", "bob").hit();
}
