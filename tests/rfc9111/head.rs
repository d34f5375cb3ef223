//! HEAD (RFC 9110 §9.3.2, RFC 9111 §4.3.5).

use kit::{Scenario, not_modified, ok, status};

fn filled() -> Scenario {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .origin(
            ok("one")
                .max_age(60)
                .etag("\"1\"")
                .with("content-length", "3"),
        )
        .miss();
    cache
}

#[test]
fn head_is_answered_from_a_stored_get() {
    let mut cache = filled();
    cache
        .send("HEAD", "/")
        .hit()
        .status(200)
        .body("")
        .field("content-length", "3")
        .age(0);
}

#[test]
fn get_is_not_answered_from_a_head() {
    let mut cache = Scenario::private();
    cache
        .send("HEAD", "/")
        .origin(ok("").max_age(60).with("content-length", "3"))
        .miss();
    cache
        .get("/")
        .origin(ok("one").max_age(60))
        .miss()
        .body("one");
}

#[test]
fn a_stale_get_is_validated_by_a_head() {
    let mut cache = filled();
    cache.wait(60);
    cache
        .send("HEAD", "/")
        .origin(not_modified().max_age(60))
        .revalidated()
        .status(200)
        .body("");
    cache.get("/").hit().body("one");
}

#[test]
fn head_is_written_through_and_freshens_the_stored_get_which_answers() {
    let mut cache = filled();
    cache.wait(60);
    let answer = ok("")
        .max_age(1000)
        .etag("\"1\"")
        .with("content-length", "3")
        .with("x-new", "1");
    cache
        .send("HEAD", "/")
        .origin(answer)
        .revalidated()
        .field("x-new", "1");
    cache
        .get("/")
        .hit()
        .body("one")
        .field("x-new", "1")
        .field("content-length", "3")
        .age(0);
}

#[test]
fn head_that_describes_something_else_ends_the_stored_get() {
    for answer in [
        ok("").etag("\"2\""),
        ok("").with("content-length", "4"),
        ok("").with("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT"),
        status(404),
    ] {
        let mut cache = filled();
        cache.wait(60);
        cache.send("HEAD", "/").origin(answer.max_age(60)).miss();
        cache
            .get("/")
            .origin(ok("two"))
            .miss()
            .not_sent("if-none-match");
    }
}

#[test]
fn head_is_compared_with_the_length_of_the_stored_body() {
    for (length, kept) in [("3", true), ("999", false)] {
        let mut cache = Scenario::private();
        cache.get("/").origin(ok("one").max_age(60)).miss();
        cache.wait(61);
        let asked = cache
            .send("HEAD", "/")
            .origin(ok("").max_age(60).with("content-length", length));
        if kept {
            asked.revalidated();
        } else {
            asked.miss();
        }
        let asked = cache.get("/");
        if kept {
            asked.hit();
        } else {
            asked.origin(ok("two")).miss();
        }
    }
}

#[test]
fn an_error_to_head_leaves_the_stored_get() {
    let mut cache = filled();
    cache.wait(60);
    cache
        .send("HEAD", "/")
        .origin(status(503))
        .miss()
        .status(503);
    cache.send("HEAD", "/").origin_fails().stale_hit().body("");
    // An origin that failed is spared for a while.
    cache.wait(5);
    cache
        .get("/")
        .origin(not_modified())
        .revalidated()
        .body("one");
}

#[test]
fn a_callers_precondition_on_head_is_answered_from_the_store() {
    filled()
        .send("HEAD", "/")
        .with("if-none-match", "\"1\"")
        .hit()
        .status(304);
}

#[test]
fn a_head_that_is_answered_stale_freshens_the_stored_get_in_the_background() {
    let mut cache = Scenario::private();
    let answer = ok("one").cache_control("max-age=60, stale-while-revalidate=60");
    cache.get("/").origin(answer.etag("\"1\"")).miss();
    cache.wait(60);
    let answer = ok("").max_age(60).etag("\"1\"").with("x-new", "1");
    cache.send("HEAD", "/").origin(answer).stale_hit().body("");
    assert_eq!(cache.settle().method, "HEAD");
    cache.get("/").hit().body("one").field("x-new", "1");
}

// RFC 9111 §5.2.2.4: they are for reuse after a validation, and this is none.
#[test]
fn head_does_not_release_the_fields_that_no_cache_names() {
    let mut cache = Scenario::shared();
    let directives = "max-age=60, no-cache=\"set-cookie\"";
    let answer = ok("one").cache_control(directives);
    let answer = answer.with("set-cookie", "session=alice");
    cache.get("/").origin(answer).miss();
    cache.wait(61);
    let answer = ok("").cache_control(directives);
    let asked = cache.send("HEAD", "/").origin(answer);
    asked.seen().expect("a response").without("set-cookie");
    cache.send("HEAD", "/").hit().without("set-cookie");
}

#[test]
fn a_stored_part_is_no_answer_to_a_head() {
    let mut cache = Scenario::private();
    let part = status(206)
        .chunk("hello")
        .max_age(60)
        .etag("\"1\"")
        .with("content-length", "5")
        .with("content-range", "bytes 0-4/*");
    cache
        .get("/")
        .with("range", "bytes=0-4")
        .origin(part)
        .miss();
    cache.get("/").with("range", "bytes=0-4").hit().status(206);
    cache
        .send("HEAD", "/")
        .with("range", "bytes=0-4")
        .origin(ok("").with("content-length", "10"))
        .miss()
        .status(200);
}
