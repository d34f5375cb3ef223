//! Validation (RFC 9111 §4.3).

use cache_core::{Policy, Reason};
use kit::{Answer, Scenario, not_modified, ok, status};

/// A cache in which this answer has just become stale.
fn stale(answer: Answer) -> Scenario {
    let mut cache = Scenario::private();
    cache.get("/").origin(answer.max_age(60)).miss();
    cache.wait(60);
    cache
}

#[test]
fn both_validators_are_sent_as_they_came() {
    let changed = "Wed, 01 Jan 2020 00:00:00 GMT";
    let mut cache = stale(ok("one").etag("W/\"1\"").with("last-modified", changed));
    let seen = cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .because(Reason::Validated)
        .body("one");
    seen.sent("if-none-match", "W/\"1\"")
        .sent("if-modified-since", changed);
}

#[test]
fn an_entity_tag_that_is_none_is_sent_as_it_came() {
    stale(ok("one").etag("bare"))
        .get("/")
        .origin(not_modified())
        .revalidated()
        .sent("if-none-match", "bare");
}

#[test]
fn without_a_validator_the_request_goes_as_it_is() {
    let mut cache = stale(ok("one").with("last-modified", "never"));
    let seen = cache.get("/").origin(ok("two")).miss();
    seen.not_sent("if-none-match").not_sent("if-modified-since");
}

#[test]
fn the_fields_of_the_request_are_sent_with_a_validation() {
    let mut cache = stale(ok("one").etag("\"1\""));
    cache
        .get("/")
        .with("x-trace", "7")
        .origin(not_modified())
        .revalidated()
        .sent("x-trace", "7");
}

#[test]
fn a_304_freshens_all_fields_but_the_length_and_those_of_the_connection() {
    let mut cache = stale(
        ok("one")
            .etag("\"1\"")
            .with("content-length", "3")
            .with("kept", "old")
            .with("changed", "old")
            .with("changed", "old2"),
    );
    let answer = not_modified()
        .etag("\"1\"")
        .with("changed", "new")
        .with("added", "a")
        .with("added", "b")
        .with("content-length", "0")
        .with("content-type", "text/plain")
        .with("connection", "x-hop")
        .with("x-hop", "1")
        .max_age(120);
    for round in 0..2 {
        let seen = if round == 0 {
            cache.get("/").origin(answer.clone()).revalidated()
        } else {
            cache.get("/").hit()
        };
        seen.status(200)
            .body("one")
            .age(0)
            .field("kept", "old")
            .field("changed", "new")
            .field("added", "a, b")
            .field("content-length", "3")
            .field("content-type", "text/plain")
            .field("cache-control", "max-age=120")
            .without("connection")
            .without("x-hop");
    }
    cache.wait(119);
    cache.get("/").hit().age(119);
}

#[test]
fn a_304_sets_age_and_date_anew() {
    let mut cache = Scenario::private();
    let old = cache.date(-50);
    cache
        .get("/")
        .origin(
            ok("one")
                .max_age(60)
                .etag("\"1\"")
                .with("date", &old)
                .with("age", "50"),
        )
        .miss();
    cache.wait(60);
    let now = cache.date(0);
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .age(0)
        .field("date", &now);
    cache.wait(30);
    cache.get("/").hit().age(30).field("date", &now);
    cache.wait(30);
    cache
        .get("/")
        .origin(not_modified().with("age", "5"))
        .revalidated()
        .age(5);
    cache.get("/").hit().age(5);
}

#[test]
fn a_200_replaces_the_stored_response() {
    let mut cache = stale(ok("one").etag("\"1\"").with("old", "1"));
    cache
        .get("/")
        .origin(ok("two").etag("\"2\"").max_age(60))
        .miss()
        .because(Reason::Stale)
        .body("two");
    cache
        .get("/")
        .hit()
        .body("two")
        .field("etag", "\"2\"")
        .without("old");
}

#[test]
fn a_304_with_another_tag_does_not_label_the_stored_body_with_it() {
    let mut cache = stale(ok("one").etag("\"1\""));
    cache
        .get("/")
        .origin(not_modified().etag("\"2\""))
        .revalidated()
        .because(Reason::ForeignNotModified)
        .body("one")
        .field("etag", "\"1\"");
    cache
        .get("/")
        .origin(ok("two").etag("\"2\"").max_age(60))
        .miss()
        .not_sent("if-none-match");
}

#[test]
fn a_304_with_the_weak_form_of_the_tag_is_for_it() {
    stale(ok("one").etag("\"1\""))
        .get("/")
        .origin(not_modified().etag("W/\"1\""))
        .revalidated()
        .because(Reason::Validated);
}

#[test]
fn a_304_with_the_strong_form_of_the_tag_does_not_make_the_stored_one_strong() {
    let mut cache = stale(ok("one").etag("W/\"1\""));
    cache
        .get("/")
        .origin(not_modified().etag("\"1\"").max_age(60))
        .revalidated()
        .field("etag", "W/\"1\"");
    cache.get("/").hit().field("etag", "W/\"1\"");
}

#[test]
fn the_caller_gets_all_fields_of_a_304_and_the_store_those_that_it_may_have() {
    // A cookie that came with the 304 alone: the stored lifetime was not given for it.
    let mut cache = Scenario::shared();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(61);
    let rotated = not_modified().with("set-cookie", "session=alice");
    cache
        .get("/")
        .origin(rotated)
        .revalidated()
        .field("set-cookie", "session=alice");
    cache.get("/").hit().without("set-cookie");

    // A field that is for this caller.
    let mut cache = Scenario::shared();
    let mine = "max-age=60, private=\"x-me\"";
    cache
        .get("/")
        .origin(
            ok("one")
                .cache_control(mine)
                .etag("\"1\"")
                .with("x-me", "alice"),
        )
        .miss();
    cache.wait(61);
    let answer = not_modified().cache_control(mine).with("x-me", "bob");
    cache
        .get("/")
        .origin(answer)
        .revalidated()
        .field("x-me", "bob");
    cache.get("/").hit().without("x-me");
}

#[test]
fn a_304_to_a_request_with_credentials_leaves_a_public_response() {
    let mut cache = Scenario::shared();
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.wait(61);
    cache
        .get("/")
        .with("authorization", "alice")
        .origin(not_modified())
        .revalidated()
        .body("one");
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("one")
        .sent("if-none-match", "\"1\"");
}

#[test]
fn a_304_with_the_weak_form_of_the_tag_leaves_the_strong_one() {
    let mut cache = stale(ok("one").etag("\"1\""));
    cache
        .get("/")
        .origin(not_modified().etag("W/\"1\"").max_age(60))
        .revalidated()
        .field("etag", "\"1\"");
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-range", "\"1\"")
        .hit()
        .status(206);
}

#[test]
fn a_304_that_varies_by_anything_still_freshens_the_answer() {
    let mut cache = stale(ok("one").etag("\"1\"").with("age", "7"));
    cache.wait(100);
    let now = cache.date(0);
    let answer = not_modified().max_age(60).with("vary", "*");
    cache
        .get("/")
        .origin(answer)
        .revalidated()
        .age(0)
        .field("date", &now);
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-none-match");
}

#[test]
fn the_age_is_sent_even_where_no_cache_names_it() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("one").cache_control("max-age=60, no-cache=\"age\""))
        .miss();
    cache.get("/").hit().age(0);
}

#[test]
fn a_304_for_another_date_is_not_for_it() {
    let mut cache = stale(ok("one").with("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT"));
    let other = not_modified().with("last-modified", "Thu, 02 Jan 2020 00:00:00 GMT");
    cache
        .get("/")
        .origin(other)
        .revalidated()
        .because(Reason::ForeignNotModified);
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-modified-since");
}

#[test]
fn a_304_that_forbids_storing_ends_the_stored_response() {
    let mut cache = stale(ok("one").etag("\"1\""));
    cache
        .get("/")
        .origin(not_modified().cache_control("no-store"))
        .revalidated()
        .body("one");
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .not_sent("if-none-match");
}

#[test]
fn no_cache_is_stored_and_validated_every_time() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(
            ok("one")
                .cache_control("max-age=60, no-cache")
                .etag("\"1\""),
        )
        .miss()
        .stored();
    for _ in 0..2 {
        cache
            .get("/")
            .origin(not_modified())
            .revalidated()
            .body("one")
            .sent("if-none-match", "\"1\"");
    }
}

#[test]
fn the_fields_that_no_cache_names_are_left_out_until_they_are_validated() {
    let mut cache = Scenario::private();
    let answer = ok("one")
        .cache_control("max-age=60, no-cache=\"a, b\"")
        .with("a", "1")
        .with("b", "2")
        .with("c", "3");
    cache
        .get("/")
        .origin(answer.etag("\"1\""))
        .miss()
        .field("a", "1");
    cache
        .get("/")
        .hit()
        .without("a")
        .without("b")
        .field("c", "3");
    cache.wait(60);
    cache
        .get("/")
        .origin(not_modified().with("a", "new"))
        .revalidated()
        .field("a", "new")
        .field("b", "2")
        .field("c", "3");
    cache.get("/").hit().without("a").without("b");
}

#[test]
fn responses_that_speak_of_the_resource_end_the_stored_one_and_others_do_not() {
    for (code, ends) in [
        (200, true),
        (301, true),
        (404, true),
        (410, true),
        (401, false),
        (403, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        let mut cache = stale(ok("one").etag("\"1\""));
        cache.get("/").origin(status(code)).miss().status(code);
        let seen = cache.get("/").origin(ok("two")).miss();
        if ends {
            seen.not_sent("if-none-match");
        } else {
            seen.sent("if-none-match", "\"1\"");
        }
    }
}

#[test]
fn immutable_is_not_validated_while_fresh_by_a_policy_that_always_validates() {
    let policy = || Policy::private().always_revalidate(true);
    let mut cache = Scenario::with(policy());
    cache
        .get("/")
        .origin(ok("one").max_age(60).etag("\"1\""))
        .miss();
    cache.get("/").origin(not_modified()).revalidated();
    let mut cache = Scenario::with(policy());
    cache
        .get("/")
        .origin(
            ok("one")
                .cache_control("max-age=60, immutable")
                .etag("\"1\""),
        )
        .miss();
    cache.get("/").hit();
    cache.wait(60);
    cache.get("/").origin(not_modified()).revalidated();
}

#[test]
fn validating_a_variant_leaves_the_others() {
    let mut cache = Scenario::private();
    let variant = |body, tag| ok(body).max_age(60).etag(tag).with("vary", "foo");
    cache
        .get("/")
        .with("foo", "1")
        .origin(variant("one", "\"1\""))
        .miss();
    cache
        .get("/")
        .with("foo", "2")
        .origin(variant("two", "\"2\""))
        .miss();
    cache.wait(60);
    let seen = cache
        .get("/")
        .with("foo", "1")
        .origin(not_modified().etag("\"1\""))
        .revalidated();
    seen.body("one").sent("if-none-match", "\"1\"");
    cache.get("/").with("foo", "1").hit().body("one");
    let seen = cache
        .get("/")
        .with("foo", "2")
        .origin(not_modified().etag("\"2\""))
        .revalidated();
    seen.body("two").sent("if-none-match", "\"2\"");
}

#[test]
fn no_cache_is_why_the_origin_was_asked_however_fresh() {
    let mut cache = Scenario::private();
    let answer = ok("one").cache_control("max-age=60, no-cache");
    cache.get("/").origin(answer).miss().stored();
    let seen = cache.get("/").origin(ok("two")).miss().body("two");
    seen.because(Reason::ResponseNoCache);
}
