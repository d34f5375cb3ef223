//! `Rule`: what it matches, and what it does.

use std::time::{Duration, SystemTime};

use cache_core::{Policy, Reason, Retention, Rule, Ttl};
use cache_tower::Clock;
use http::header::{ACCEPT_LANGUAGE, COOKIE, HeaderName, USER_AGENT};
use http::{Method, StatusCode};
use kit::{Scenario, not_modified, ok, status};

const MINUTE: Duration = Duration::from_secs(60);

fn with(rules: impl IntoIterator<Item = Rule>) -> Scenario {
    Scenario::with(Policy::private().rules(rules).expect("rules"))
}

/// Whether a rule with these conditions is for a response.
#[track_caller]
fn matches(rule: Rule, target: &str, answer: kit::Answer) -> bool {
    let mut cache = with([rule.override_ttl(MINUTE)]);
    cache.get(target).origin(answer.clone()).miss();
    cache.origin().answers(answer);
    let seen = cache.get(target).seen().expect("a response");
    seen.info.is_hit()
}

#[test]
fn a_rule_without_conditions_is_for_everything() {
    assert!(matches(Rule::any(), "/", ok("one")));
}

#[test]
fn a_host_is_the_one_that_the_request_is_for() {
    for (host, target, expected) in [
        ("origin.test", "/", true),
        ("ORIGIN.test", "/", true),
        ("other.test", "/", false),
        ("*.test", "/", true),
        ("*.origin.test", "/", false),
        ("origin.test:80", "/", true),
        ("origin.test:443", "/", false),
        ("origin.test:8080", "http://origin.test:8080/", true),
        ("origin.test", "http://origin.test:8080/", true),
        ("origin.test:443", "https://origin.test/", true),
    ] {
        let rule = Rule::any().host(host);
        assert_eq!(
            matches(rule, target, ok("one")),
            expected,
            "{host} {target}"
        );
    }
}

#[test]
fn a_server_knows_the_host_from_its_field() {
    let mut cache = with([Rule::any().host("a.test").override_ttl(MINUTE)]);
    for (host, is_hit) in [("a.test", true), ("b.test", false)] {
        let request = || {
            let request = http::Request::get("/x").header("host", host);
            request.body(Default::default()).expect("a request")
        };
        cache.request(request()).origin(ok("one")).miss();
        cache.origin().answers(ok("two"));
        let seen = cache.request(request()).seen().expect("a response");
        cache.origin().forget();
        assert_eq!(seen.info.is_hit(), is_hit, "{host}");
    }
}

#[test]
fn a_path_is_matched_whole_without_the_query_and_in_one_form() {
    for (path, target, expected) in [
        ("/a/*", "/a/b?c=d", true),
        ("/a/*", "/a/b/c", false),
        ("/a/**", "/a/b/c", true),
        ("/a", "/a?b", true),
        ("/a", "/ab", false),
        ("/secret", "/%73ecret", true),
        ("/%73ecret", "/secret", true),
        ("/a%2Fb", "/a%2fb", true),
        ("/a/b", "/a%2fb", false),
    ] {
        let rule = Rule::any().path(path);
        assert_eq!(
            matches(rule, target, ok("one")),
            expected,
            "{path} {target}"
        );
    }
}

#[test]
fn a_regular_expression_is_found_anywhere_in_the_url() {
    for (expression, target, expected) in [
        (r"^http://origin\.test/a\?b=\d+$", "/a?b=12", true),
        (r"^http://origin\.test/a\?b=\d+$", "/a?b=x", false),
        ("b=1", "/a?b=1", true),
        ("password", "http://user:password@origin.test/", false),
        (r"test/$", "http://ORIGIN.test", true),
    ] {
        let rule = Rule::any().url_regex(expression);
        assert_eq!(matches(rule, target, ok("one")), expected, "{expression}");
    }
}

#[test]
fn a_method_a_status_and_a_content_type_are_what_they_say() {
    let image = || ok("one").with("content-type", "Image/PNG; q=1");
    assert!(matches(Rule::any().method(Method::GET), "/", ok("one")));
    assert!(!matches(Rule::any().method(Method::HEAD), "/", ok("one")));
    assert!(matches(Rule::any().status(404), "/", status(404)));
    assert!(!matches(Rule::any().status(404), "/", ok("one")));
    assert!(matches(Rule::any().statuses(400..=499), "/", status(403)));
    assert!(matches(Rule::any().content_type("image/*"), "/", image()));
    assert!(!matches(Rule::any().content_type("text/*"), "/", image()));
    assert!(!matches(
        Rule::any().content_type("image/*"),
        "/",
        ok("one")
    ));
    let json = || ok("{}").with("content-type", "application/problem+json");
    assert!(matches(Rule::any().content_type("*/*+json"), "/", json()));
}

#[test]
fn functions_see_request_and_response() {
    let by_field = || Rule::any().when(|request| request.headers.contains_key("x-cache-me"));
    assert!(!matches(by_field(), "/", ok("one")));
    let mut cache = with([by_field().override_ttl(MINUTE)]);
    cache
        .get("/")
        .with("x-cache-me", "1")
        .origin(ok("one"))
        .miss();
    cache.get("/").hit();

    let small = || {
        Rule::any().when_response(|request, response| {
            request.uri.path() == "/small" && response.headers.contains_key("x-small")
        })
    };
    assert!(matches(small(), "/small", ok("one").with("x-small", "1")));
    assert!(!matches(small(), "/small", ok("one")));
    assert!(!matches(small(), "/", ok("one").with("x-small", "1")));
}

#[test]
fn conditions_of_one_kind_are_alternatives_and_of_different_kinds_hold_together() {
    let rule = || Rule::any().path("/a").path("/b").status(200).status(203);
    for (target, answer, expected) in [
        ("/a", ok("one"), true),
        ("/b", status(203), true),
        ("/c", ok("one"), false),
        ("/a", status(300), false),
    ] {
        assert_eq!(matches(rule(), target, answer), expected, "{target}");
    }
}

#[test]
fn do_not_store_keeps_out_of_it_where_the_request_says_enough() {
    let mut cache = with([Rule::any().path("/private/**").do_not_store()]);
    for _ in 0..2 {
        cache
            .get("/private/x")
            .origin(ok("one").max_age(60))
            .bypass()
            .because(Reason::RuleRefuses);
    }
    cache.get("/x").origin(ok("one").max_age(60)).miss();
    cache.get("/x").hit();
}

#[test]
fn do_not_store_waits_for_the_response_where_it_is_about_that() {
    let mut cache = with([Rule::any().content_type("text/html").do_not_store()]);
    let page = ok("page").max_age(60).with("content-type", "text/html");
    cache
        .get("/")
        .origin(page)
        .miss()
        .not_stored(Reason::RuleRefuses);
    cache.get("/").origin(ok("text").max_age(60)).miss();
    cache.get("/").hit();
}

#[test]
fn a_list_of_what_may_be_stored_ends_with_a_rule_that_says_no() {
    let mut cache = with([
        Rule::any().path("/api/**").status(200).may_store(),
        Rule::any().do_not_store(),
    ]);
    cache.get("/api/x").origin(ok("one").max_age(60)).miss();
    cache.get("/api/x").hit();
    cache
        .get("/api/y")
        .origin(status(301).max_age(60))
        .miss()
        .not_stored(Reason::RuleRefuses);
    cache.get("/x").origin(ok("one").max_age(60)).bypass();
}

#[test]
fn an_unsafe_request_invalidates_even_where_nothing_is_stored_any_more() {
    let backend = kit::RecordingBackend::new(cache_memory::MemoryBackend::default());
    let rules = [Rule::any()
        .when(|request| request.headers.contains_key("x"))
        .do_not_store()];
    let policy = Policy::private().rules(rules).expect("rules");
    let mut cache = Scenario::over(policy, backend);
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache
        .send("POST", "/")
        .with("x", "1")
        .origin(ok(""))
        .bypass();
    cache.get("/").origin(ok("two").max_age(60)).miss();
}

#[test]
fn what_a_rule_refuses_when_it_is_freshened_is_removed() {
    let mut cache = with([Rule::any()
        .when_response(|_, response| response.headers.contains_key("x-gone"))
        .do_not_store()]);
    cache
        .get("/")
        .origin(ok("one").max_age(1).etag("\"1\""))
        .miss();
    cache.wait(2);
    cache
        .get("/")
        .origin(not_modified().with("x-gone", "1").max_age(60))
        .revalidated();
    cache
        .get("/")
        .origin(ok("two"))
        .miss()
        .because(Reason::UriMiss);
}

#[test]
fn a_status_has_a_lifetime_of_its_own() {
    let mut cache = with([Rule::any()
        .status(404)
        .override_ttl(Duration::from_secs(10))]);
    cache.get("/").origin(status(404)).miss().stored();
    cache.wait(9);
    cache.get("/").hit().status(404);
    cache.wait(2);
    cache.get("/").origin(ok("one")).miss();
}

#[test]
fn a_default_for_a_status_is_for_one_that_has_no_heuristic_too() {
    let mut cache = with([Rule::any().status(403).default_ttl(MINUTE)]);
    cache.get("/").origin(status(403)).miss();
    cache.get("/").hit().status(403);
    cache.get("/no").origin(status(403).max_age(0)).miss();
    cache.get("/no").origin(status(403)).miss();
}

#[test]
fn no_lifetime_is_invented_for_an_error_that_no_rule_names() {
    for rule in [
        Rule::any().override_ttl(MINUTE),
        Rule::any().default_ttl(MINUTE),
    ] {
        for code in [400, 404, 410, 500, 503] {
            let mut cache = with([rule.clone()]);
            cache.get("/").origin(status(code)).miss();
            cache.get("/").origin(status(code)).miss();
        }
    }
}

#[test]
fn what_must_never_be_stored_is_not_whatever_a_rule_says() {
    for code in [206, 304, 412, 416, 421, 429, 431, 511] {
        let mut cache = with([Rule::any().statuses(100..=999).override_ttl(MINUTE)]);
        cache.get("/").origin(status(code)).miss();
        cache.get("/").origin(status(code)).miss();
    }
    let mut cache = with([Rule::any().override_ttl(MINUTE)]);
    cache
        .get("/")
        .origin(ok("one").with("vary", "*"))
        .miss()
        .not_stored(Reason::VaryStar);
    cache
        .get("/")
        .with("cache-control", "no-store")
        .origin(ok("one"))
        .bypass();
}

#[test]
fn an_override_counts_from_the_arrival_and_comes_before_what_the_origin_says() {
    let answers = [
        ok("one").max_age(1),
        ok("one").max_age(100_000),
        ok("one").cache_control("no-cache"),
        ok("one").cache_control("no-store"),
        ok("one").cache_control("private, max-age=0, must-revalidate"),
        ok("one").with("expires", "0"),
        ok("one").max_age(60).with("age", "1000"),
        ok("one"),
    ];
    for answer in answers {
        let mut cache = with([Rule::any().override_ttl(MINUTE)]);
        cache.get("/").origin(answer.clone()).miss();
        cache.wait(59);
        cache.get("/").hit();
        cache.wait(2);
        cache.get("/").origin(answer).miss();
    }
}

#[test]
fn no_override_makes_a_shared_cache_share_what_is_for_one() {
    for (answer, reason) in [
        (ok("one").cache_control("private"), Reason::Private),
        (ok("one").cache_control("no-store"), Reason::ResponseNoStore),
        (ok("one").with("set-cookie", "a=1"), Reason::SetCookie),
    ] {
        let rules = [Rule::any().override_ttl(MINUTE).ignore_origin(true)];
        let policy = Policy::shared().rules(rules).expect("rules");
        let mut cache = Scenario::with(policy);
        cache.get("/").origin(answer).miss().not_stored(reason);
    }
    let policy = Policy::shared().override_ttl(MINUTE);
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .with("authorization", "x")
        .origin(ok("one"))
        .miss()
        .not_stored(Reason::Authorization);
}

#[test]
fn what_is_stored_against_the_will_of_the_origin_stays_in_its_partition() {
    let mut cache = with([Rule::any().override_ttl(MINUTE)]);
    let secret = ok("for alice").cache_control("no-store, private");
    cache
        .get("/")
        .with("authorization", "alice")
        .origin(secret)
        .miss();
    cache.get("/").with("authorization", "alice").hit();
    cache
        .get("/")
        .with("authorization", "bob")
        .origin(ok("for bob"))
        .miss();
    cache.get("/").origin(ok("for all")).miss();
}

#[test]
fn a_cookie_is_not_stored_because_of_an_override() {
    let mut cache = with([Rule::any().override_ttl(MINUTE)]);
    cache
        .get("/")
        .origin(ok("one").with("set-cookie", "a=1").max_age(0))
        .miss()
        .field("set-cookie", "a=1");
    cache.get("/").hit().without("set-cookie");
}

#[test]
fn what_never_expires_is_fresh_in_a_hundred_years() {
    let mut cache = with([Rule::any().override_ttl(Ttl::Never)]);
    cache
        .get("/")
        .origin(ok("one").max_age(1).with("age", "9"))
        .miss();
    cache.wait(100 * 365 * 24 * 60 * 60);
    cache.get("/").hit();
}

#[test]
fn an_absolute_time_is_the_same_whenever_the_response_comes() {
    let clock = Scenario::private().clock().now();
    let rules = [
        Rule::any()
            .path("/over")
            .override_ttl(SystemTime::UNIX_EPOCH),
        Rule::any()
            .path("/default")
            .default_ttl(clock + Duration::from_secs(100)),
        Rule::any().override_ttl(clock + Duration::from_secs(100)),
    ];
    for target in ["/x", "/default"] {
        let mut cache = with(rules.clone());
        cache.wait(90);
        cache.get(target).origin(ok("one").with("age", "50")).miss();
        cache.wait(9);
        cache.get(target).hit();
        cache.wait(2);
        cache.get(target).origin(ok("one")).miss();
    }
    let mut cache = with(rules);
    cache.get("/over").origin(ok("one").etag("\"1\"")).miss();
    cache.get("/over").origin(not_modified()).revalidated();
}

#[test]
fn max_ttl_is_the_longest_of_all() {
    let mut cache = with([
        Rule::any().path("/a").max_ttl(Duration::from_secs(5)),
        Rule::any().path("/a").override_ttl(Ttl::Never),
        Rule::any().path("/b").max_ttl(Duration::from_secs(5)),
    ]);
    for target in ["/a", "/b"] {
        cache.get(target).origin(ok("one").max_age(60)).miss();
        cache.wait(4);
        cache.get(target).hit();
        cache.wait(2);
        cache.get(target).origin(ok("one")).miss();
    }
}

#[test]
fn an_origin_that_is_ignored_gives_no_lifetime_and_forbids_nothing_in_its_partition() {
    let policy = Policy::private()
        .default_ttl(MINUTE)
        .rules([Rule::any().path("/ignored").ignore_origin(true)])
        .expect("rules");
    for answer in [
        ok("one").max_age(100_000),
        ok("one").cache_control("no-store"),
        ok("one").cache_control("no-cache, must-revalidate"),
        ok("one").with("expires", "0"),
    ] {
        let mut cache = Scenario::with(policy.clone());
        cache.get("/ignored").origin(answer).miss();
        cache.wait(59);
        cache.get("/ignored").hit();
        cache.wait(2);
        cache.get("/ignored").origin(ok("two")).miss();
    }
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .origin(ok("one").cache_control("no-store"))
        .miss();
    cache.get("/").origin(ok("two")).miss();
}

#[test]
fn stale_windows_and_retention_are_those_of_the_rule() {
    let mut cache = with([
        Rule::any()
            .path("/swr")
            .stale_while_revalidate(MINUTE)
            .retention(Retention::Forever),
        Rule::any().path("/sie").stale_if_error(MINUTE),
    ]);
    cache.get("/swr").origin(ok("one").max_age(1)).miss();
    cache.get("/sie").origin(ok("one").max_age(1)).miss();
    cache.get("/").origin(ok("one").max_age(1)).miss();
    cache.wait(2);
    cache.get("/sie").origin(status(503)).stale_hit();
    cache.get("/").origin(status(503)).miss().status(503);
    cache.origin().answers(ok("two").max_age(1));
    cache.get("/swr").stale_hit();
    cache.settle();
}

#[test]
fn responses_are_selected_by_further_fields() {
    let tenant = HeaderName::from_static("x-tenant");
    let mut cache = with([Rule::any().vary_on([tenant, ACCEPT_LANGUAGE])]);
    let answer = || ok("a").max_age(60).with("vary", "accept-encoding");
    cache.get("/").with("x-tenant", "a").origin(answer()).miss();
    cache.get("/").with("x-tenant", "a").hit();
    cache.get("/").with("x-tenant", "b").origin(answer()).miss();
    cache
        .get("/")
        .with("x-tenant", "a")
        .with("accept-language", "de")
        .origin(answer())
        .miss();
    cache
        .get("/")
        .with("x-tenant", "a")
        .with("accept-encoding", "br")
        .origin(answer())
        .miss();
    cache.get("/").with("x-tenant", "b").hit();
}

#[test]
fn fields_that_are_ignored_select_nothing() {
    let mut cache = with([Rule::any().ignore_vary([USER_AGENT])]);
    let answer = || {
        ok("a")
            .max_age(60)
            .with("vary", "user-agent, accept-language")
    };
    cache
        .get("/")
        .with("user-agent", "a")
        .origin(answer())
        .miss();
    cache.get("/").with("user-agent", "b").hit();
    cache
        .get("/")
        .with("user-agent", "b")
        .with("accept-language", "de")
        .origin(answer())
        .miss();
}

#[test]
fn a_rule_that_cannot_be_used_says_which_it_is_and_what_to_write() {
    let problem = |rule: Rule| {
        let rules = [Rule::any(), rule];
        Policy::private()
            .rules(rules)
            .expect_err("no rule")
            .to_string()
    };
    for (rule, advice) in [
        (Rule::any().path("a"), "write \"/a\""),
        (Rule::any().path("/{a,b}"), "use a regular expression"),
        (Rule::any().host("https://a.test/"), "and the path apart"),
        (Rule::any().host("a.test:http"), "no number from 0 to 65535"),
        (Rule::any().content_type("html"), "write \"text/html\""),
        (Rule::any().status(40), "write codes from 100 to 999"),
        (Rule::any().url_regex("("), "cannot be read"),
        (Rule::any().ignore_vary([COOKIE]), "take it off the list"),
    ] {
        let problem = problem(rule);
        assert!(problem.starts_with("rule 2: "), "{problem}");
        assert!(problem.contains(advice), "{problem}");
    }
}

#[test]
fn the_status_of_a_freshened_response_is_its_own() {
    let mut cache = with([Rule::any().status(200).override_ttl(MINUTE)]);
    cache.get("/").origin(ok("one").etag("\"1\"")).miss();
    cache.wait(61);
    cache
        .get("/")
        .origin(not_modified().max_age(0))
        .revalidated();
    cache.wait(59);
    assert_eq!(cache.get("/").hit().status, StatusCode::OK);
}

/// What is stored is the answer to a GET.
#[test]
fn parameters_that_a_rule_for_get_ignores_are_ignored_for_head_and_where_it_is_invalidated() {
    let mut cache = with([Rule::any().method(Method::GET).ignore_parameters(["utm_*"])]);
    cache.get("/?utm_a=1").origin(ok("one").max_age(60)).miss();
    cache.send("HEAD", "/?utm_a=2").hit();
    cache.send("POST", "/?utm_a=1").origin(ok("")).bypass();
    cache.get("/?utm_a=1").origin(ok("two").max_age(60)).miss();
}

/// What is stored is the answer to a GET, also where a HEAD freshens it, or a POST is answered with it.
#[test]
fn a_rule_for_get_holds_for_what_a_head_or_a_post_leaves_for_get() {
    let tenant = HeaderName::from_static("x-tenant");
    let rules = || {
        let rule = Rule::any().method(Method::GET).vary_on([tenant.clone()]);
        [rule.max_ttl(Duration::from_secs(30))]
    };
    let mut cache = with(rules());
    let answer = || ok("alice").max_age(10).etag("\"1\"");
    cache
        .get("/")
        .with("x-tenant", "alice")
        .origin(answer())
        .miss();
    cache.wait(11);
    let fresh = ok("").max_age(1000).etag("\"1\"");
    cache
        .send("HEAD", "/")
        .with("x-tenant", "alice")
        .origin(fresh)
        .revalidated();
    cache
        .get("/")
        .with("x-tenant", "bob")
        .origin(ok("bob"))
        .miss();
    cache.get("/").with("x-tenant", "alice").hit().body("alice");
    cache.wait(31);
    cache
        .get("/")
        .with("x-tenant", "alice")
        .origin(answer())
        .miss();

    let mut cache = with(rules());
    let made = ok("alice").max_age(60).with("content-location", "/");
    cache
        .send("POST", "/")
        .with("x-tenant", "alice")
        .origin(made)
        .miss();
    cache
        .get("/")
        .with("x-tenant", "bob")
        .origin(ok("bob"))
        .miss();
}

#[test]
fn a_rule_that_keeps_post_out_of_the_store_does_so_for_what_a_get_would_get() {
    let mut cache = with([Rule::any().method(Method::POST).do_not_store()]);
    let made = ok("made").max_age(60).with("content-location", "/");
    cache.send("POST", "/").origin(made).bypass();
    cache.get("/").origin(ok("one")).miss();
}
