//! The caller's own preconditions (RFC 9111 §4.3.2, RFC 9110 §13).

use cache_core::Reason;
use kit::{Answer, Scenario, not_modified, ok, status};

const CHANGED: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

fn filled(answer: Answer) -> Scenario {
    let mut cache = Scenario::private();
    cache.get("/").origin(answer.max_age(60)).miss();
    cache
}

#[test]
fn a_tag_that_matches_is_answered_304_from_the_store() {
    for (tag, precondition) in [
        ("\"1\"", "\"1\""),
        ("\"1\"", "W/\"1\""),
        ("W/\"1\"", "\"1\""),
        ("\"1\"", "\"0\", \"1\", \"2\""),
        ("\"1\"", "\"0\",\"1\""),
        ("\"1\"", "*"),
        ("bare", "bare"),
        ("\"a,b\"", "\"x\", \"a,b\""),
    ] {
        let mut cache = filled(ok("one").etag(tag));
        cache
            .get("/")
            .with("if-none-match", precondition)
            .hit()
            .status(304)
            .body("")
            .field("etag", tag);
    }
}

#[test]
fn a_tag_that_does_not_match_is_answered_200_from_the_store() {
    for (tag, precondition) in [
        ("\"1\"", "\"2\""),
        ("\"1\"", "1"),
        ("1", "\"1\""),
        ("\"a,b\"", "\"a\", \"b\""),
    ] {
        let mut cache = filled(ok("one").etag(tag));
        cache
            .get("/")
            .with("if-none-match", precondition)
            .hit()
            .status(200)
            .body("one");
    }
}

#[test]
fn a_date_is_compared_with_last_modified() {
    for (since, expected) in [
        (CHANGED, 304),
        ("Thu, 02 Jan 2020 00:00:00 GMT", 304),
        ("Tue, 31 Dec 2019 23:59:59 GMT", 200),
        ("yesterday", 200),
    ] {
        let mut cache = filled(ok("one").with("last-modified", CHANGED));
        cache
            .get("/")
            .with("if-modified-since", since)
            .hit()
            .status(expected);
    }
}

#[test]
fn without_last_modified_a_date_is_compared_with_the_date_of_the_response() {
    let mut cache = Scenario::private();
    let (earlier, now) = (cache.date(-3000), cache.date(0));
    cache
        .get("/")
        .origin(ok("one").max_age(60).with("date", &now))
        .miss();
    cache
        .get("/")
        .with("if-modified-since", &earlier)
        .hit()
        .status(200);
    cache
        .get("/")
        .with("if-modified-since", &now)
        .hit()
        .status(304);
}

#[test]
fn a_tag_counts_before_a_date() {
    let mut cache = filled(ok("one").etag("\"1\"").with("last-modified", CHANGED));
    let asked = cache
        .get("/")
        .with("if-none-match", "\"2\"")
        .with("if-modified-since", CHANGED);
    asked.hit().status(200);
}

#[test]
fn a_precondition_counts_only_for_a_success() {
    let mut cache = filled(status(404).etag("\"1\""));
    cache
        .get("/")
        .with("if-none-match", "\"1\"")
        .hit()
        .status(404);
}

#[test]
fn a_304_from_the_store_has_the_fields_that_it_must_and_none_of_the_content() {
    let mut cache = filled(
        ok("one")
            .etag("\"1\"")
            .with("last-modified", CHANGED)
            .with("content-type", "text/plain")
            .with("content-length", "3")
            .with("content-location", "/x")
            .with("vary", "foo")
            .with("x-other", "1"),
    );
    let seen = cache
        .get("/")
        .with("if-none-match", "\"1\"")
        .hit()
        .status(304);
    let seen = seen
        .field("cache-control", "max-age=60")
        .field("content-location", "/x")
        .field("vary", "foo");
    seen.field("x-other", "1")
        .age(0)
        .without("content-type")
        .without("content-length")
        .without("last-modified");
}

#[test]
fn with_nothing_stored_a_precondition_passes_untouched() {
    let mut cache = Scenario::private();
    let asked = cache
        .get("/")
        .with("if-none-match", "bare")
        .with("if-modified-since", CHANGED);
    let seen = asked
        .origin(not_modified())
        .miss()
        .status(304)
        .not_stored(Reason::CallerPrecondition);
    seen.sent("if-none-match", "bare")
        .sent("if-modified-since", CHANGED);
}

#[test]
fn a_200_to_a_precondition_is_stored() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("if-none-match", "\"0\"")
        .origin(ok("one").max_age(60))
        .miss()
        .stored();
    cache.get("/").hit().body("one");
}

#[test]
fn a_validation_sends_our_validator_in_the_place_of_the_callers() {
    let mut cache = filled(ok("one").etag("\"1\""));
    cache.wait(60);
    // The origin's current tag is ours, and it does not say so, as many do not: the caller, who has
    // something else, must not be told that it is current.
    let asked = cache
        .get("/")
        .with("if-none-match", "\"2\"")
        .with("if-none-match", "*x");
    let seen = asked
        .origin(not_modified())
        .revalidated()
        .status(200)
        .body("one");
    seen.sent("if-none-match", "\"1\"");
}

#[test]
fn a_caller_gets_the_new_response_whatever_it_has() {
    let mut cache = filled(ok("one").etag("\"1\""));
    cache.wait(60);
    let asked = cache.get("/").with("if-none-match", "\"2\"");
    let seen = asked.origin(ok("two").etag("\"2\"").max_age(60)).miss();
    seen.status(200).body("two").sent("if-none-match", "\"1\"");
    cache
        .get("/")
        .with("if-none-match", "\"2\"")
        .hit()
        .status(304);
}

#[test]
fn a_caller_that_has_what_is_stored_gets_304_after_a_validation() {
    let mut cache = filled(ok("one").etag("\"1\"").with("last-modified", CHANGED));
    cache.wait(60);
    let asked = cache.get("/").with("if-none-match", "\"1\"");
    asked
        .origin(not_modified().max_age(60))
        .revalidated()
        .status(304)
        .body("")
        .sent("if-none-match", "\"1\"");
    let asked = cache.get("/").with("if-modified-since", CHANGED);
    asked.hit().status(304);
}

#[test]
fn a_callers_date_is_replaced_by_our_validators() {
    let mut cache = filled(ok("one").etag("\"1\""));
    cache.wait(60);
    let asked = cache.get("/").with("if-modified-since", CHANGED);
    let seen = asked
        .origin(not_modified())
        .revalidated()
        .status(200)
        .body("one");
    seen.sent("if-none-match", "\"1\"")
        .not_sent("if-modified-since");
}

#[test]
fn preconditions_for_the_origin_go_to_the_origin() {
    for (name, value) in [("if-match", "\"1\""), ("if-unmodified-since", CHANGED)] {
        let mut cache = filled(ok("one").etag("\"1\""));
        let asked = cache.get("/").with(name, value);
        let seen = asked
            .origin(status(412).max_age(60))
            .miss()
            .because(Reason::OriginPrecondition)
            .status(412);
        seen.sent(name, value);
        cache.get("/").hit().body("one");
    }
}

#[test]
fn tags_are_compared_over_all_lines_of_the_field() {
    for (tag, lines, expected) in [
        ("\"1\"", &["\"0\"", "W/\"1\", \"2\""][..], 304),
        ("W/\"1\"", &["\"0\"", "\"1\""], 304),
        ("W/\"1\"", &["W/\"0\"", "W/\"1\""], 304),
        ("\"1\"", &["\"0\"", "W/\"2\""], 200),
        ("\"1\"", &["\"\"", "\"1", "1\""], 200),
    ] {
        let mut cache = filled(ok("one").etag(tag));
        let call = lines.iter().fold(cache.get("/"), |call, line| {
            call.with("if-none-match", line)
        });
        call.hit().status(expected);
    }
}

#[test]
fn a_star_matches_whatever_is_stored_and_passes_where_nothing_is() {
    for answer in [ok("one"), ok("one").etag("W/\"1\""), ok("one").etag("x")] {
        let mut cache = filled(answer);
        cache.get("/").with("if-none-match", "*").hit().status(304);
        let asked = cache.send("HEAD", "/").with("if-none-match", "*");
        asked.hit().status(304);
        let asked = cache.get("/other").with("if-none-match", "*");
        asked.origin(ok("other")).miss().sent("if-none-match", "*");
    }
}

#[test]
fn a_date_that_is_none_does_not_count() {
    for lines in [&["yesterday"][..], &[CHANGED, CHANGED], &[""], &["0"]] {
        let mut cache = filled(ok("one").with("last-modified", CHANGED));
        let call = lines.iter().fold(cache.get("/"), |call, line| {
            call.with("if-modified-since", line)
        });
        call.hit().status(200);
    }
}

#[test]
fn a_304_from_the_store_has_every_field_that_it_must() {
    let mut cache = Scenario::private();
    let (now, later) = (cache.date(0), cache.date(60));
    let fields = [
        ("cache-control", "max-age=60"),
        ("content-location", "/x"),
        ("date", &now),
        ("etag", "\"1\""),
        ("expires", &later),
        ("vary", "foo"),
    ];
    let answer = fields
        .iter()
        .fold(ok("one"), |answer, (name, value)| answer.with(name, value));
    cache.get("/").origin(answer).miss();
    let seen = cache.get("/").with("if-none-match", "\"1\"").hit();
    fields
        .iter()
        .fold(seen, |seen, (name, value)| seen.field(name, value))
        .status(304);
}

#[test]
fn the_preconditions_of_other_methods_are_for_the_origin() {
    for method in ["PUT", "POST", "OPTIONS"] {
        let mut cache = filled(ok("one").etag("\"1\"").with("last-modified", CHANGED));
        let call = cache
            .send(method, "/")
            .with("if-none-match", "*")
            .with("if-modified-since", CHANGED);
        let seen = call.origin(status(412)).bypass().status(412);
        seen.sent("if-none-match", "*")
            .sent("if-modified-since", CHANGED);
        cache.get("/").hit();
    }
}
