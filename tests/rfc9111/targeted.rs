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

#[test]
fn the_directives_that_a_targeted_field_must_have_are_obeyed() {
    let targeted = |directives: &str| {
        ok("one")
            .with("cdn-cache-control", directives)
            .cache_control("max-age=6000")
            .etag("\"1\"")
    };
    for (directives, reason) in [
        ("no-store, max-age=60", Reason::ResponseNoStore),
        ("private, max-age=60", Reason::Private),
    ] {
        let mut cache = Scenario::shared();
        let seen = cache.get("/").origin(targeted(directives)).miss();
        seen.not_stored(reason);
    }

    let mut cache = Scenario::shared();
    cache.get("/").origin(targeted("max-age=60")).miss();
    cache.wait(59);
    cache.get("/").hit();
    cache.wait(1);
    let seen = cache.get("/").origin(ok("two")).miss();
    seen.because(Reason::Stale);

    let mut cache = Scenario::shared();
    let no_cache = targeted("no-cache, max-age=60");
    cache.get("/").origin(no_cache).miss().stored();
    let seen = cache.get("/").origin(ok("two")).miss();
    seen.because(Reason::ResponseNoCache);

    let mut cache = Scenario::shared();
    let strict = targeted("must-revalidate, max-age=60, stale-if-error=600");
    cache.get("/").origin(strict).miss();
    cache.wait(60);
    cache.get("/").origin_fails().error();
}

#[test]
fn other_directives_of_a_targeted_field_are_obeyed_too() {
    let mut cache = Scenario::shared();
    let answer = ok("one").with(
        "cdn-cache-control",
        "max-age=1, s-maxage=60, stale-if-error=60;why=this, x-other=(1 2)",
    );
    cache.get("/").origin(answer).miss();
    cache.wait(59);
    cache.get("/").hit();

    let mut cache = Scenario::shared();
    let answer = ok("one").with("cdn-cache-control", "max-age=1, stale-while-revalidate=60");
    cache.get("/").origin(answer).miss();
    cache.wait(2);
    cache.get("/").origin(ok("two")).stale_hit();
    cache.settle();
}

#[test]
fn an_empty_or_malformed_targeted_field_is_as_if_it_were_absent() {
    for value in ["", " ", "max-age=60,", "Max-Age=60", "max-age=6.5"] {
        let mut cache = Scenario::shared();
        let answer = ok("one").with("cdn-cache-control", value).max_age(100);
        cache.get("/").origin(answer).miss();
        cache.wait(99);
        cache.get("/").hit();
    }
}

#[test]
fn a_field_that_is_not_on_the_list_changes_nothing_and_passes() {
    for (policy, name) in [
        (Policy::shared(), "other-cdn-cache-control"),
        (Policy::shared(), "surrogate-control"),
        (Policy::private(), "cdn-cache-control"),
    ] {
        let mut cache = Scenario::with(policy);
        let answer = ok("one").max_age(60).with(name, "no-store");
        cache.get("/").origin(answer).miss().field(name, "no-store");
        cache.get("/").hit().field(name, "no-store");
    }
}

#[test]
fn a_directive_that_means_nothing_still_takes_the_place_of_cache_control() {
    let answer = || {
        ok("one")
            .with("cdn-cache-control", "none")
            .cache_control("no-store")
            .etag("\"1\"")
    };
    let mut shared = Scenario::shared();
    shared.get("/").origin(answer()).miss().stored();
    let mut private = Scenario::private();
    let seen = private.get("/").origin(answer()).miss();
    seen.not_stored(Reason::ResponseNoStore);
}

#[test]
fn age_date_and_expires_stay_as_they_are() {
    let mut cache = Scenario::shared();
    let (now, later) = (cache.date(0), cache.date(10));
    let answer = ok("one")
        .with("cdn-cache-control", "max-age=60")
        .max_age(10)
        .with("date", &now)
        .with("expires", &later);
    cache.get("/").origin(answer).miss();
    cache.wait(30);
    let seen = cache.get("/").hit().age(30);
    seen.field("date", &now).field("expires", &later);
}
