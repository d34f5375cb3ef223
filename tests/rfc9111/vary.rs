//! Selection (RFC 9111 §4.1).

use cache_core::{CacheMode, Reason};
use kit::{Answer, Scenario, ok};

fn varying(body: &'static str, vary: &str) -> Answer {
    ok(body).max_age(60).with("vary", vary)
}

#[test]
fn a_response_is_reused_for_the_fields_it_was_selected_by() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("foo", "1")
        .origin(varying("one", "Foo"))
        .miss();
    cache.get("/").with("foo", "1").hit().body("one");
    cache
        .get("/")
        .with("foo", "2")
        .origin(varying("two", "Foo"))
        .miss()
        .because(Reason::VaryMiss)
        .body("two");
    cache
        .get("/")
        .origin(varying("none", "Foo"))
        .miss()
        .because(Reason::VaryMiss)
        .body("none");
    cache.get("/").with("foo", "1").hit().body("one");
    cache.get("/").with("foo", "2").hit().body("two");
    cache.get("/").hit().body("none");
    cache
        .get("/")
        .with("foo", "")
        .origin(varying("empty", "Foo"))
        .miss()
        .because(Reason::VaryMiss);
}

#[test]
fn all_fields_that_vary_names_count() {
    let mut cache = Scenario::private();
    let both = |cache: &mut Scenario, foo, bar, body| {
        let answer = ok(body)
            .max_age(60)
            .with("vary", "Foo")
            .with("vary", "BAR, foo");
        cache
            .get("/")
            .with("foo", foo)
            .with("bar", bar)
            .origin(answer)
            .miss();
    };
    both(&mut cache, "1", "1", "11");
    both(&mut cache, "1", "2", "12");
    cache
        .get("/")
        .with("bar", "1")
        .with("foo", "1")
        .hit()
        .body("11");
    cache
        .get("/")
        .with("bar", "2")
        .with("foo", "1")
        .hit()
        .body("12");
}

#[test]
fn values_cannot_be_shifted_between_fields() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("foo", "1")
        .with("bar", "23")
        .origin(varying("a", "foo, bar"))
        .miss();
    cache
        .get("/")
        .with("foo", "12")
        .with("bar", "3")
        .origin(varying("b", "foo, bar"))
        .miss();
}

#[test]
fn a_star_is_never_reused() {
    for vary in ["*", "*, *", "foo, *", "foo bar"] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .origin(varying("one", vary))
            .miss()
            .not_stored(Reason::VaryStar);
        cache.get("/").origin(varying("two", vary)).miss();
    }
}

#[test]
fn repeated_request_fields_are_compared_whole() {
    let mut cache = Scenario::private();
    let cookies = |cache: &mut Scenario, user: &'static str| {
        let asked = cache
            .get("/")
            .with("x-cookie", "s=1")
            .with("x-cookie", user);
        asked.origin(varying(user, "x-cookie")).miss();
    };
    cookies(&mut cache, "user=alice");
    cookies(&mut cache, "user=bob");
    cache
        .get("/")
        .with("x-cookie", "s=1, user=alice")
        .hit()
        .body("user=alice");
}

#[test]
fn values_of_the_same_meaning_select_the_same_response() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("accept-language", "en, de")
        .origin(varying("one", "accept-language"))
        .miss();
    for same in ["de, en", "eN, De", " en ,   de", "en;q=1.0,de"] {
        cache.get("/").with("accept-language", same).hit();
    }
    cache
        .get("/")
        .with("accept-language", "en, de;q=0.5")
        .origin(varying("two", "accept-language"))
        .miss();
}

#[test]
fn of_several_matching_responses_the_most_recent_is_reused() {
    let mut cache = Scenario::private();
    // Two that both match a request without either field: selected by different fields.
    cache.get("/").origin(varying("old", "foo")).miss();
    cache.wait(1);
    cache
        .get("/")
        .mode(CacheMode::Reload)
        .origin(varying("new", "bar"))
        .miss();
    cache.get("/").hit().body("new");
    cache.get("/").with("bar", "1").hit().body("old");
}

#[test]
fn the_date_decides_which_response_is_more_recent() {
    let mut cache = Scenario::private();
    let (now, earlier) = (cache.date(0), cache.date(-20));
    cache
        .get("/")
        .origin(varying("newer", "foo").with("date", &now))
        .miss();
    cache.wait(1);
    let older = varying("older", "bar").with("date", &earlier);
    cache.get("/").mode(CacheMode::Reload).origin(older).miss();
    cache.get("/").hit().body("newer");
}

#[test]
fn a_mode_that_takes_stale_responses_does_not_take_other_variants() {
    for mode in [CacheMode::ForceCache, CacheMode::OnlyIfCached] {
        let mut cache = Scenario::private();
        cache
            .get("/")
            .with("foo", "1")
            .origin(varying("one", "foo"))
            .miss();
        let asked = cache.get("/").with("foo", "2").mode(mode);
        if mode == CacheMode::OnlyIfCached {
            asked.unsatisfiable();
        } else {
            asked.origin(varying("two", "foo")).miss().body("two");
        }
    }
}

#[test]
fn another_variant_never_stands_in() {
    let mut cache = Scenario::shared();
    let answer = varying("alice's", "x-user").cache_control("public, stale-if-error=600");
    cache.get("/").with("x-user", "alice").origin(answer).miss();
    cache.wait(61);
    cache.get("/").with("x-user", "bob").origin_fails().error();
}

#[test]
fn a_response_that_was_selected_comes_before_one_without_vary() {
    let mut cache = Scenario::private();
    cache
        .get("/")
        .with("foo", "1")
        .origin(varying("one", "foo"))
        .miss();
    cache.wait(1);
    cache.get("/").origin(ok("default").max_age(60)).miss();
    cache.get("/").with("foo", "1").hit().body("one");
    cache.get("/").hit().body("default");
}

#[test]
fn vary_counts_even_where_it_is_not_stored() {
    for (name, value) in [
        ("connection", "vary"),
        ("cache-control", "public, private=\"vary\""),
    ] {
        let mut cache = Scenario::shared();
        let answer = |body| varying(body, "x-user").with(name, value);
        cache
            .get("/")
            .with("x-user", "alice")
            .origin(answer("alice's"))
            .miss();
        cache
            .get("/")
            .with("x-user", "bob")
            .origin(answer("bob's"))
            .miss()
            .body("bob's");
    }
}

// The public suite's client joins lines before it sends them.
#[test]
fn lines_of_a_request_field_and_one_joined_line_are_the_same() {
    let lines = |mut call: kit::Call<'_>, lines: &[&str]| -> kit::Seen {
        for line in lines {
            call = call.with("foo", line);
        }
        call.hit()
    };
    for stored in [&["1, 2, 3"][..], &["1", "2", "3"], &["1,2", "3"]] {
        let mut cache = Scenario::shared();
        let call = stored
            .iter()
            .fold(cache.get("/"), |call, line| call.with("foo", line));
        call.origin(varying("one", "foo")).miss();
        for same in [
            &["1, 2, 3"][..],
            &["1,2,3"],
            &["1", "2", "3"],
            &["1", "2 , 3"],
        ] {
            lines(cache.get("/"), same).body("one");
        }
        for other in [&["1, 2"][..], &["1", "3", "2"], &["1", "2"], &["1 2 3"]] {
            let call = other
                .iter()
                .fold(cache.get("/"), |call, line| call.with("foo", line));
            let seen = call.origin(ok("other").cache_control("no-store")).miss();
            seen.because(Reason::VaryMiss);
        }
    }
}

#[test]
fn the_tags_of_other_variants_are_not_sent() {
    let mut cache = Scenario::private();
    let answer = varying("one", "foo").etag("\"1\"");
    cache.get("/").with("foo", "1").origin(answer).miss();
    cache
        .get("/")
        .with("foo", "2")
        .origin(varying("two", "foo"))
        .miss()
        .not_sent("if-none-match");
}
