//! Targeted cache control (RFC 9213).

use cache_core::{Policy, Reason};
use http::HeaderName;
use kit::{Scenario, ok};

#[test]
fn a_shared_cache_obeys_cdn_cache_control_and_a_private_one_does_not() {
    let answer = |cache: &Scenario| {
        let past = cache.date(-100);
        ok("one")
            .with("cdn-cache-control", "max-age=60")
            .cache_control("no-store")
            .with("expires", &past)
    };
    let mut shared = Scenario::shared();
    let answered = answer(&shared);
    shared
        .get("/")
        .origin(answered)
        .miss()
        .field("cdn-cache-control", "max-age=60");
    shared
        .get("/")
        .hit()
        .field("cdn-cache-control", "max-age=60");
    let mut private = Scenario::private();
    let answered = answer(&private);
    private
        .get("/")
        .origin(answered)
        .miss()
        .not_stored(Reason::ResponseNoStore);
}

#[test]
fn expires_does_not_count_beside_a_targeted_field() {
    let mut cache = Scenario::shared();
    let future = cache.date(100);
    let answer = ok("one")
        .with("cdn-cache-control", "max-age=0")
        .with("expires", &future)
        .etag("\"1\"");
    cache.get("/").origin(answer).miss();
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::Stale);
}

#[test]
fn an_invalid_targeted_field_is_as_if_it_were_absent() {
    let mut cache = Scenario::shared();
    let answer = ok("one")
        .with("cdn-cache-control", "max-age=\"60\"")
        .cache_control("no-store");
    cache
        .get("/")
        .origin(answer)
        .miss()
        .not_stored(Reason::ResponseNoStore);
}

#[test]
fn the_list_of_targets_is_the_policys() {
    let targets = ["my-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    let mut cache = Scenario::with(Policy::private().targeted_cache_control(targets));
    let answer = ok("one")
        .with("cdn-cache-control", "no-store")
        .with("my-cache-control", "max-age=60");
    cache.get("/").origin(answer).miss();
    cache.get("/").hit();
}
