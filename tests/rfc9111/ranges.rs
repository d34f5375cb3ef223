//! Ranges (RFC 9110 §14, RFC 9111 §3.3 and §4).

use cache_core::{CacheMode, Reason};
use kit::{Answer, Scenario, not_modified, ok, status};

const CHANGED: &str = "Wed, 01 Jan 2020 00:00:00 GMT";

/// A cache in which the ten digits are stored.
fn filled() -> Scenario {
    let mut cache = Scenario::private();
    let digits = ok("0123")
        .chunk("456")
        .chunk("789")
        .max_age(60)
        .etag("\"1\"")
        .with("last-modified", CHANGED);
    cache
        .get("/")
        .origin(digits.with("content-length", "10").with("x-own", "1"))
        .miss();
    cache
}

fn part(range: &str, body: &'static str) -> Answer {
    status(206)
        .chunk(body)
        .max_age(60)
        .with("content-range", range)
}

#[test]
fn a_range_is_answered_from_a_complete_response() {
    for (range, content_range, body) in [
        ("bytes=0-1", "bytes 0-1/10", "01"),
        ("bytes=3-4", "bytes 3-4/10", "34"),
        ("bytes=4-", "bytes 4-9/10", "456789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
        ("bytes=0-9", "bytes 0-9/10", "0123456789"),
    ] {
        let seen = filled()
            .get("/")
            .with("range", range)
            .hit()
            .status(206)
            .body(body);
        let seen = seen
            .field("content-range", content_range)
            .field("content-length", &body.len().to_string());
        seen.field("x-own", "1").field("etag", "\"1\"").age(0);
    }
}

#[test]
fn a_range_of_no_bytes_is_416() {
    let seen = filled()
        .get("/")
        .with("range", "bytes=10-")
        .hit()
        .status(416)
        .body("");
    let seen = seen.without("cache-control").without("etag").without("age");
    seen.field("content-range", "bytes */10")
        .field("content-length", "0");
}

#[test]
fn what_is_not_one_range_of_bytes_is_answered_with_the_whole() {
    for range in ["bytes=0-1,3-4", "lines=0-1", "bytes=4-0", "odd"] {
        filled()
            .get("/")
            .with("range", range)
            .hit()
            .status(200)
            .body("0123456789")
            .without("content-range");
    }
}

#[test]
fn if_range_decides_whether_the_range_counts() {
    for (condition, expected) in [
        ("\"1\"", 206),
        ("\"2\"", 200),
        ("W/\"1\"", 200),
        (CHANGED, 206),
        ("Thu, 02 Jan 2020 00:00:00 GMT", 200),
    ] {
        filled()
            .get("/")
            .with("range", "bytes=0-1")
            .with("if-range", condition)
            .hit()
            .status(expected);
    }
}

#[test]
fn a_precondition_comes_before_a_range() {
    let mut cache = filled();
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-none-match", "\"1\"")
        .hit()
        .status(304);
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-none-match", "\"2\"")
        .hit()
        .status(206);
}

#[test]
fn a_range_means_nothing_to_head_and_to_other_status_codes() {
    filled()
        .send("HEAD", "/")
        .with("range", "bytes=0-1")
        .hit()
        .status(200)
        .field("content-length", "10");
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(status(404).chunk("gone").max_age(60))
        .miss();
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .hit()
        .status(404)
        .body("gone");
}

#[test]
fn a_part_has_no_trailers() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("0123").max_age(60).trailer("checksum", "1"))
        .miss();
    assert!(
        cache
            .get("/")
            .with("range", "bytes=0-1")
            .hit()
            .trailers
            .is_none()
    );
    assert!(cache.get("/").hit().trailers.is_some());
}

#[test]
fn a_stale_response_is_validated_for_a_range_of_it() {
    let mut cache = filled();
    cache.wait(61);
    let asked = cache.get("/").with("range", "bytes=0-1");
    let seen = asked
        .origin(not_modified().max_age(60))
        .revalidated()
        .status(206)
        .body("01");
    seen.sent("if-none-match", "\"1\"")
        .sent("range", "bytes=0-1");
    cache.wait(61);
    let asked = cache.get("/").with("range", "bytes=0-1");
    asked
        .origin(part("bytes 0-1/4", "ab").etag("\"2\""))
        .miss()
        .status(206)
        .body("ab");
}

#[test]
fn a_background_validation_asks_for_the_whole() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(ok("0123").cache_control("max-age=60, stale-while-revalidate=60"))
        .miss();
    cache.wait(61);
    let asked = cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-range", "x")
        .with("if-none-match", "\"x\"");
    asked.origin(ok("4567").max_age(60)).stale_hit();
    let sent = cache.settle();
    for name in ["range", "if-range", "if-none-match"] {
        assert!(!sent.headers.contains_key(name), "{name}");
    }
    cache.get("/").hit().body("4567");
}

#[test]
fn a_part_is_stored_and_answers_the_ranges_that_it_has() {
    let mut cache = Scenario::private();
    let asked = cache.get("/").with("range", "bytes=4-9");
    asked
        .origin(part("bytes 4-9/12", "456789").etag("\"1\""))
        .miss()
        .status(206)
        .stored()
        .sent("range", "bytes=4-9");
    for (range, content_range, body) in [
        ("bytes=4-9", "bytes 4-9/12", "456789"),
        ("bytes=5-6", "bytes 5-6/12", "56"),
    ] {
        let seen = cache
            .get("/")
            .with("range", range)
            .hit()
            .status(206)
            .body(body);
        seen.field("content-range", content_range)
            .field("content-length", &body.len().to_string());
    }
    let suffix = cache
        .get("/")
        .with("range", "bytes=-3")
        .origin(part("bytes 9-11/12", "9ab"));
    suffix.miss().body("9ab");
}

#[test]
fn parts_are_kept_side_by_side() {
    let mut cache = Scenario::private();
    for (range, content_range, body) in [
        ("bytes=0-3", "bytes 0-3/12", "0123"),
        ("bytes=4-7", "bytes 4-7/12", "4567"),
    ] {
        let answer = part(content_range, body).etag("\"1\"");
        cache.get("/").with("range", range).origin(answer).miss();
    }
    cache.get("/").with("range", "bytes=1-2").hit().body("12");
    cache.get("/").with("range", "bytes=5-6").hit().body("56");
    // One that spans both is asked for: parts are not put together.
    let spanning = part("bytes 3-4/12", "34").etag("\"1\"");
    cache
        .get("/")
        .with("range", "bytes=3-4")
        .origin(spanning)
        .miss()
        .body("34");
}

#[test]
fn freshening_one_of_several_leaves_the_others() {
    let mut cache = Scenario::private();
    for (range, content_range, body) in [
        ("bytes=0-3", "bytes 0-3/12", "0123"),
        ("bytes=4-7", "bytes 4-7/12", "4567"),
    ] {
        let answer = part(content_range, body).max_age(600).etag("\"1\"");
        cache.get("/").with("range", range).origin(answer).miss();
    }
    let asked = cache
        .get("/")
        .with("range", "bytes=0-3")
        .mode(CacheMode::NoCache);
    asked
        .origin(not_modified().etag("\"1\""))
        .revalidated()
        .body("0123");
    cache.get("/").with("range", "bytes=4-7").hit().body("4567");
    cache.get("/").with("range", "bytes=0-3").hit().body("0123");
}

#[test]
fn a_part_never_answers_for_the_whole() {
    let mut cache = Scenario::private();
    let part = || part("bytes 0-3/4", "0123");
    cache
        .get("/")
        .with("range", "bytes=0-3")
        .origin(part())
        .miss();
    cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
    cache.send("HEAD", "/").origin(ok("")).miss();
    cache
        .get("/")
        .origin(ok("whole").max_age(60))
        .miss()
        .because(Reason::PartialMiss)
        .body("whole");
    cache.get("/").hit().status(200).body("whole");
    // Both are there, and the whole one is preferred.
    cache.get("/").with("range", "bytes=0-1").hit().body("wh");
}

#[test]
fn a_part_with_another_if_range_is_not_used() {
    let mut cache = Scenario::private();
    let first = cache.get("/").with("range", "bytes=0-3");
    first
        .origin(part("bytes 0-3/8", "0123").etag("\"1\""))
        .miss();
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-range", "\"1\"")
        .hit()
        .status(206);
    let other = cache
        .get("/")
        .with("range", "bytes=0-1")
        .with("if-range", "\"2\"");
    other.origin(ok("whole").max_age(60)).miss().status(200);
}

#[test]
fn a_part_whose_label_and_length_disagree_answers_only_the_very_same_request() {
    let mut cache = Scenario::private();
    let odd = || part("bytes 4-9/10", "01234").with("content-length", "5");
    cache
        .get("/")
        .with("range", "bytes=-5")
        .origin(odd())
        .miss()
        .stored();
    cache
        .get("/")
        .with("range", "bytes=-5")
        .hit()
        .status(206)
        .body("01234")
        .field("content-range", "bytes 4-9/10");
    for range in ["bytes=-1", "bytes=4-", "bytes=6-", "bytes=4-9"] {
        cache
            .get("/")
            .with("range", range)
            .origin(status(503))
            .miss();
    }
    cache
        .get("/")
        .with("range", "bytes=-5")
        .with("if-range", "\"1\"")
        .origin(status(503))
        .miss();
    cache.get("/").origin(ok("whole")).miss();
}

#[test]
fn a_part_of_unknown_length_that_is_cut_short_is_not_used() {
    let mut cache = Scenario::private();
    // No length is announced, so that only the label shows it.
    cache
        .get("/")
        .with("range", "bytes=0-3")
        .origin(part("bytes 0-3/8", "01"))
        .miss();
    cache
        .get("/")
        .with("range", "bytes=0-1")
        .origin(status(503))
        .miss();
}

#[test]
fn several_parts_are_not_stored() {
    let mut cache = Scenario::private();
    let parts = status(206)
        .chunk("--x")
        .max_age(60)
        .with("content-type", "multipart/byteranges; boundary=x");
    cache
        .get("/")
        .with("range", "bytes=0-1,3-4")
        .origin(parts)
        .miss()
        .not_stored(Reason::PartialContent);
    let odd = part("bytes 0-1/4", "01");
    cache
        .get("/")
        .origin(odd)
        .miss()
        .not_stored(Reason::PartialContent);
}

#[test]
fn a_stale_part_is_validated() {
    let mut cache = Scenario::private();
    let first = cache.get("/").with("range", "bytes=0-3");
    first
        .origin(part("bytes 0-3/8", "0123").etag("\"1\""))
        .miss();
    cache.wait(61);
    let asked = cache.get("/").with("range", "bytes=1-2");
    let seen = asked
        .origin(not_modified().etag("\"1\"").max_age(60))
        .revalidated()
        .status(206)
        .body("12");
    seen.sent("if-none-match", "\"1\"")
        .sent("range", "bytes=1-2");
    cache
        .get("/")
        .with("range", "bytes=0-3")
        .hit()
        .body("0123")
        .field("content-range", "bytes 0-3/8");
}

// The public suite compares no field of it.
#[test]
fn a_part_of_a_stored_response_has_all_its_fields() {
    let mut cache = Scenario::private();
    let (now, later) = (cache.date(0), cache.date(60));
    let fields = [
        ("accept-ranges", "bytes"),
        ("cache-control", "max-age=60"),
        ("content-encoding", "x"),
        ("content-language", "en"),
        ("content-location", "/x"),
        ("content-type", "text/plain"),
        ("date", &now),
        ("etag", "\"1\""),
        ("expires", &later),
        ("last-modified", CHANGED),
        ("link", "<a>, <b>"),
        ("vary", "foo"),
        ("x-unknown", "1"),
    ];
    let answer = fields
        .iter()
        .fold(ok("0123456789"), |to, (name, value)| to.with(name, value));
    cache
        .get("/")
        .origin(answer.with("content-length", "10"))
        .miss();
    cache.wait(7);
    let seen = cache.get("/").with("range", "bytes=2-5").hit();
    fields
        .iter()
        .fold(seen, |seen, (name, value)| seen.field(name, value))
        .status(206)
        .body("2345")
        .field("content-range", "bytes 2-5/10")
        .field("content-length", "4")
        .age(7);
}

#[test]
fn if_range_without_a_range_means_nothing() {
    for condition in ["\"1\"", "\"2\"", CHANGED] {
        let mut cache = filled();
        let asked = cache.get("/").with("if-range", condition);
        asked.hit().status(200).body("0123456789");
    }
}

#[test]
fn a_range_that_is_answered_with_the_whole_is_stored_as_the_whole() {
    let mut cache = Scenario::private();
    let asked = cache.get("/").with("range", "bytes=0-1");
    asked.origin(ok("0123").max_age(60)).miss().stored();
    cache.get("/").hit().status(200).body("0123");
    let asked = cache.get("/").with("range", "bytes=2-3");
    asked.hit().status(206).body("23");
}

#[test]
fn an_invalid_content_range_is_never_cut_from() {
    for range in ["bytes 9-4/10", "bytes 4-9/9", "bytes 4-9/*", "odd"] {
        let mut cache = Scenario::private();
        let asked = cache.get("/").with("range", "bytes=4-9");
        asked.origin(part(range, "456789")).miss();
        let asked = cache.get("/").with("range", "bytes=5-6");
        asked.origin(status(503)).miss();
    }
}

#[test]
fn a_part_in_a_unit_that_is_not_understood_is_not_stored() {
    let mut cache = Scenario::private();
    let asked = cache.get("/").with("range", "lines=0-1");
    let seen = asked.origin(part("lines 0-1/4", "01")).miss().status(206);
    seen.not_stored(Reason::PartialContent);
}

// RFC 9111 §3.3.
#[test]
fn nor_is_one_where_bytes_were_asked_for() {
    let mut cache = Scenario::private();
    let asked = cache.get("/").with("range", "bytes=0-1");
    let seen = asked.origin(part("lines 0-1/4", "01")).miss().status(206);
    seen.not_stored(Reason::PartialContent);
}

// RFC 9110 §14.1.2: the last bytes of nothing are nothing, and that is satisfiable.
#[test]
fn the_end_of_an_empty_response_is_no_416() {
    let mut cache = Scenario::private();
    cache.get("/").origin(ok("").max_age(60)).miss();
    let asked = cache.get("/").with("range", "bytes=-5");
    asked.hit().status(200).body("");
}

// RFC 9111 §4: the most recent of what is suitable, and what is stale is not.
#[test]
fn a_fresh_part_comes_before_a_stale_whole() {
    let mut cache = filled();
    cache.wait(61);
    let new = || part("bytes 0-1/4", "ab").etag("\"2\"");
    let asked = cache.get("/").with("range", "bytes=0-1");
    asked.origin(new()).miss().stored();
    cache.get("/").with("range", "bytes=0-1").hit().body("ab");
}

#[test]
fn a_part_comes_before_an_older_whole() {
    let mut cache = filled();
    cache.wait(1);
    let asked = cache
        .get("/")
        .with("range", "bytes=0-1")
        .mode(CacheMode::Reload);
    let new = part("bytes 0-1/4", "ab").etag("\"2\"");
    asked.origin(new).miss().stored();
    cache.get("/").with("range", "bytes=0-1").hit().body("ab");
}
