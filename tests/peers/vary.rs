//! Which stored response was selected by what this request has.

use cache_core::{CacheMode, Partition, Policy, Reason};
use kit::{Scenario, not_modified, ok, status};

/// A private cache that everybody shares, as http-cache-tower was run.
fn without_partition() -> Scenario {
    Scenario::with(Policy::private().partition(Partition::None))
}

// http-cache-tower: W1; http-cache-stream: the same.
#[test]
fn a_response_selected_for_alice_is_never_served_to_bob_when_the_origin_fails() {
    let mut cache = without_partition();
    let answer = ok("ALICE-SECRET").max_age(60).with("vary", "authorization");
    cache
        .get("/")
        .with("authorization", "Bearer alice")
        .origin(answer)
        .miss();
    for fields in [&[("authorization", "Bearer bob")][..], &[]] {
        let mut call = cache.get("/");
        for (name, value) in fields {
            call = call.with(name, value);
        }
        call.origin_fails().error();
    }
}

// http-cache-tower: W1 in its shared mode, for any field that `Vary` names.
#[test]
fn a_response_selected_by_another_value_never_stands_in_for_an_error() {
    for (field, one, other) in [
        ("accept-language", "en", "de"),
        ("cookie", "session=alice", "session=bob"),
        ("x-tenant", "alice", "bob"),
    ] {
        let mut cache = Scenario::shared();
        let answer = ok("one")
            .cache_control("public, max-age=60, stale-if-error=600")
            .with("vary", field);
        cache.get("/").with(field, one).origin(answer).miss();
        cache.wait(61);
        cache.get("/").with(field, other).origin_fails().error();
        cache
            .get("/")
            .with(field, other)
            .origin(status(503))
            .miss()
            .status(503);
        cache
            .get("/")
            .with(field, one)
            .origin(status(503))
            .stale_hit()
            .body("one");
    }
}

// http-cache-tower: W1 together with W3, a 304 to the caller's own condition gave the body of
// another variant.
#[test]
fn a_304_to_the_caller_does_not_release_the_variant_of_another() {
    let mut cache = without_partition();
    let answer = ok("ALICE-SECRET")
        .max_age(60)
        .etag("\"a\"")
        .with("vary", "authorization");
    cache
        .get("/")
        .with("authorization", "Bearer alice")
        .origin(answer)
        .miss();
    cache
        .get("/")
        .with("authorization", "Bearer bob")
        .with("if-none-match", "\"b\"")
        .origin(not_modified().etag("\"b\""))
        .miss()
        .status(304)
        .body("")
        .sent("if-none-match", "\"b\"");
}

// http-cache-tower: W5, its modes skip all matching.
#[test]
fn no_mode_skips_the_matching() {
    let mut cache = without_partition();
    let answer = ok("ALICE-SECRET").max_age(60).with("vary", "authorization");
    cache
        .get("/")
        .with("authorization", "Bearer alice")
        .origin(answer)
        .miss();
    cache
        .get("/")
        .with("authorization", "Bearer bob")
        .mode(CacheMode::OnlyIfCached)
        .unsatisfiable();
    cache
        .get("/")
        .with("authorization", "Bearer bob")
        .mode(CacheMode::ForceCache)
        .origin(ok("bob's").cache_control("no-store"))
        .miss()
        .body("bob's");
    cache
        .get("http://other.test/")
        .with("authorization", "Bearer alice")
        .mode(CacheMode::OnlyIfCached)
        .unsatisfiable();
}

// http-cache-tower and http-cache-semantics: one variant for a key, so that two overwrite each other.
#[test]
fn variants_are_stored_side_by_side() {
    let mut cache = Scenario::shared();
    for (language, body) in [("en", "hello"), ("de", "hallo"), ("fr", "bonjour")] {
        let answer = ok(body).max_age(60).with("vary", "accept-language");
        cache
            .get("/")
            .with("accept-language", language)
            .origin(answer)
            .miss()
            .body(body);
    }
    for (language, body) in [("en", "hello"), ("de", "hallo"), ("fr", "bonjour")] {
        cache
            .get("/")
            .with("accept-language", language)
            .hit()
            .body(body);
    }
}

// http-cache-semantics: S4, only the first value was compared; HTTP/2 splits cookies.
#[test]
fn every_line_of_a_field_counts() {
    let mut cache = Scenario::shared();
    let answer = ok("alice's").max_age(60).with("vary", "cookie");
    cache
        .get("/")
        .with("cookie", "s=1")
        .with("cookie", "user=alice")
        .origin(answer)
        .miss();
    cache
        .get("/")
        .with("cookie", "s=1")
        .with("cookie", "user=bob")
        .origin(ok("bob's").max_age(60).with("vary", "cookie"))
        .miss()
        .because(Reason::VaryMiss)
        .body("bob's");
    cache
        .get("/")
        .with("cookie", "s=1; user=alice")
        .hit()
        .body("alice's");
}

// http-cache-tower-server: another variant was served where no max-age is given. Hono
// CVE-2026-44457, Django CVE-2026-35193: `Vary` on credentials was dropped. tower-http-cache,
// axum-response-cache: `Vary` is not read.
#[test]
fn vary_counts_for_credentials_and_whatever_the_lifetime_comes_from() {
    for field in ["authorization", "cookie"] {
        let mut cache = Scenario::shared();
        let modified = cache.date(-864_000);
        let answer = |body| {
            ok(body)
                .cache_control("public")
                .with("last-modified", &modified)
                .with("vary", field)
        };
        let (alices, bobs, nobodys) = (answer("alice's"), answer("bob's"), answer("nobody's"));
        cache.get("/").with(field, "alice").origin(alices).miss();
        cache.get("/").with(field, "bob").origin(bobs).miss();
        cache.get("/").origin(nobodys).miss();
        cache.get("/").with(field, "alice").hit().body("alice's");
        cache.get("/").with(field, "bob").hit().body("bob's");
        cache.get("/").hit().body("nobody's");
    }
}

// requests-cache, fixed in 1.3.2: a field that `Vary` names was left out of the comparison.
#[test]
fn an_absent_field_is_not_an_empty_one() {
    let mut cache = Scenario::shared();
    let answer = |body| ok(body).max_age(60).with("vary", "x-user");
    cache.get("/").origin(answer("absent")).miss();
    cache
        .get("/")
        .with("x-user", "")
        .origin(answer("empty"))
        .miss();
    cache.get("/").hit().body("absent");
    cache.get("/").with("x-user", "").hit().body("empty");
}

// hitbox #211: values that could not be read all counted as one.
#[test]
fn values_that_cannot_be_read_are_equal_only_to_themselves() {
    let values = ["en;q=x", "en;q=y", "en;q=", "en;q=1.5", "\"en", "en;q=0"];
    let mut cache = Scenario::shared();
    for value in values {
        let answer = ok("")
            .max_age(60)
            .with("vary", "accept-language")
            .chunk(value.as_bytes());
        cache
            .get("/")
            .with("accept-language", value)
            .origin(answer)
            .miss();
    }
    for value in values {
        cache
            .get("/")
            .with("accept-language", value)
            .hit()
            .body(value);
    }
}

// requests-cache: other versions of a library sent other spellings of `Accept-Encoding`, and nobody
// knew why nothing hit.
#[test]
fn spellings_of_one_accept_encoding_are_one_variant() {
    let mut cache = Scenario::private();
    let answer = ok("one").max_age(60).with("vary", "Accept-Encoding");
    cache
        .get("/")
        .with("accept-encoding", "gzip, deflate")
        .origin(answer)
        .miss();
    for same in ["deflate,gzip", "GZIP, deflate;q=1.0"] {
        cache.get("/").with("accept-encoding", same).hit();
    }
    cache
        .get("/")
        .with("accept-encoding", "gzip, deflate;q=0")
        .origin(ok("two"))
        .miss();
}

// tower-http-cache, hitbox, axum-response-cache: nothing is read, so not this either.
#[test]
fn a_response_that_varies_by_everything_is_not_stored() {
    let mut cache = Scenario::private();
    for line in ["*", "accept, *"] {
        let answer = ok("one").max_age(60).with("vary", line);
        cache
            .get("/")
            .origin(answer)
            .miss()
            .not_stored(Reason::VaryStar);
    }
}

// pingora: the `Vary` of a 304 was ignored on purpose.
#[test]
fn the_vary_of_a_304_counts() {
    let mut cache = Scenario::shared();
    let answer = ok("hello").max_age(60).etag("\"1\"");
    cache
        .get("/")
        .with("accept-language", "en")
        .origin(answer)
        .miss();
    cache.wait(61);
    let freshened = not_modified()
        .etag("\"1\"")
        .max_age(60)
        .with("vary", "accept-language");
    cache
        .get("/")
        .with("accept-language", "en")
        .origin(freshened)
        .revalidated();
    cache.get("/").with("accept-language", "en").hit();
    cache
        .get("/")
        .with("accept-language", "de")
        .origin(ok("hallo"))
        .miss()
        .because(Reason::VaryMiss);
}
