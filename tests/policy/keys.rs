//! What keys are made of, where the policy or a rule says so.

use cache_core::{ContentKey, Policy, Reason, Rule, Secret};
use http::header::HeaderName;
use kit::{Scenario, ok};
use proptest::prelude::*;

/// Whether requests for both share a response.
fn share(policy: &Policy, one: &str, other: &str) -> bool {
    let mut cache = Scenario::with(policy.clone());
    cache.get(one).origin(ok("one").max_age(60)).miss();
    cache.origin().answers(ok("two").max_age(60));
    cache.get(other).seen().expect("a response").info.is_hit()
}

#[test]
fn ignored_parameters_do_not_count_and_reach_the_origin() {
    let policy = Policy::private().ignore_parameters(["utm_*", "session"]);
    for (one, other, expected) in [
        ("/?a=1&utm_source=x", "/?a=1", true),
        ("/?utm_source=x&a=1&utm_medium=y", "/?a=1&session=7", true),
        ("/?utm_source=x", "/", true),
        ("/?ut%6d_source=x", "/", true),
        ("/?session", "/", true),
        ("/?sessions=1", "/", false),
        ("/?Session=1", "/", false),
        ("/?a=1&utm_source=x", "/?a=2", false),
        ("/?a=utm_source", "/", false),
        ("/?", "/", false),
        ("/?a=1;utm_source=x", "/?a=1", false),
    ] {
        assert_eq!(share(&policy, one, other), expected, "{one} {other}");
    }
    let mut cache = Scenario::with(policy);
    cache.get("/?a=1&utm_source=x").origin(ok("one")).miss();
    let sent = cache.origin().sent().pop().expect("a request");
    assert_eq!(sent.uri.query(), Some("a=1&utm_source=x"));
}

#[test]
fn a_sorted_query_is_one_whatever_its_order() {
    let policy = Policy::private().sort_query(true);
    for (one, other, expected) in [
        ("/?a=1&b=2", "/?b=2&a=1", true),
        ("/?a=1&a=2", "/?a=2&a=1", false),
        ("/?a=1&b=1&a=2", "/?b=1&a=1&a=2", true),
        ("/?a&b", "/?b&a", true),
        ("/?a=1&b=2", "/?a=2&b=1", false),
    ] {
        assert_eq!(share(&policy, one, other), expected, "{one} {other}");
    }
    assert!(!share(&Policy::private(), "/?a=1&b=2", "/?b=2&a=1"));
}

#[test]
fn parameters_are_ignored_where_a_rule_says_so() {
    let rules = [
        Rule::any().path("/all").ignore_parameters(["*"]),
        Rule::any().path("/none").ignore_parameters([""; 0]),
        Rule::any().ignore_parameters(["a"]),
    ];
    let policy = Policy::private()
        .ignore_parameters(["b"])
        .rules(rules)
        .expect("rules");
    for (one, other, expected) in [
        ("/all?x=1", "/all?y=2", true),
        ("/none?a=1", "/none?a=2", false),
        ("/?a=1", "/?a=2", true),
        ("/?b=1", "/?b=2", false),
    ] {
        assert_eq!(share(&policy, one, other), expected, "{one} {other}");
    }
    let late = Rule::any().status(200).ignore_parameters(["a"]);
    let problem = Policy::private()
        .rules([late])
        .expect_err("too late")
        .to_string();
    assert!(
        problem.contains("write conditions about the request alone"),
        "{problem}"
    );
}

#[test]
fn an_unsafe_request_invalidates_what_has_the_same_key() {
    let policy = Policy::private()
        .ignore_parameters(["utm_*"])
        .sort_query(true)
        .key_salt("2");
    let mut cache = Scenario::with(policy);
    cache.get("/?a=1&b=2").origin(ok("one").max_age(60)).miss();
    cache
        .send("POST", "/?b=2&utm_source=x&a=1")
        .origin(ok(""))
        .bypass();
    cache.get("/?a=1&b=2").origin(ok("two")).miss();
}

#[test]
fn a_salt_makes_another_cache() {
    use std::sync::Arc;
    let store = Arc::new(cache_memory::MemoryBackend::default());
    for salt in ["1", "2"] {
        let mut cache = Scenario::over(Policy::private().key_salt(salt), store.clone());
        cache.get("/").origin(ok("one").max_age(60)).miss();
        cache.get("/").hit();
    }
    Scenario::over(Policy::private(), store)
        .get("/")
        .origin(ok("one"))
        .miss();
}

#[test]
fn a_function_makes_the_key_of_what_it_would_be_made_of() {
    let policy = Policy::private().key_by(|request, key| {
        if request.uri.path() == "/never" {
            return None;
        }
        let version = request.headers.get("x-version");
        let version = version.map_or(&b""[..], |value| value.as_bytes());
        let uri = key.uri().to_string().replace("://mirror.", "://origin.");
        Some(key.with_uri(uri.parse().ok()?).with(version))
    });
    assert!(share(&policy, "http://mirror.test/", "http://origin.test/"));
    assert!(!share(&policy, "http://other.test/", "http://origin.test/"));
    let mut cache = Scenario::with(policy);
    cache
        .get("/")
        .with("x-version", "1")
        .origin(ok("one").max_age(60))
        .miss();
    cache
        .get("/")
        .with("x-version", "2")
        .origin(ok("two").max_age(60))
        .miss();
    cache.get("/").with("x-version", "1").hit().body("one");
    cache.get("/never").origin(ok("one").max_age(60)).bypass();
    cache
        .send("POST", "http://mirror.test/")
        .with("x-version", "1")
        .origin(ok(""))
        .bypass();
    cache
        .get("/")
        .with("x-version", "1")
        .origin(ok("three"))
        .miss();
    cache.get("/").with("x-version", "2").hit();
}

#[test]
fn further_fields_hold_credentials() {
    let field = HeaderName::from_static("x-custom-token");
    let mut cache = Scenario::with(Policy::private().credential_fields([field]));
    cache
        .get("/")
        .with("x-custom-token", "a")
        .origin(ok("a").max_age(60))
        .miss();
    cache
        .get("/")
        .with("x-custom-token", "b")
        .origin(ok("b").max_age(60))
        .miss();
    cache.get("/").origin(ok("c").max_age(60)).miss();
    cache.get("/").with("x-custom-token", "a").hit().body("a");
    cache
        .get("/")
        .with("x-custom-token", "a")
        .with("authorization", "x")
        .origin(ok("d"))
        .miss();
}

#[test]
fn nothing_that_is_secret_is_shown_by_what_a_policy_says_of_itself() {
    let policy = Policy::private()
        .secret(Secret::new(b"hunter2"))
        .key_salt("hunter2")
        .key_content(ContentKey::query());
    assert!(!format!("{policy:?}").contains("hunter"));
}

#[test]
fn parameters_that_hold_secrets_are_added_to_the_list_or_put_in_its_place() {
    let request = http::Request::get("http://a.test/?session=hunter2&token=hunter2").body(());
    let request = request.expect("a request");
    let url = |policy: &Policy| {
        let key = cache_core::PrimaryKey::of(policy, &(&request).into()).expect("a key");
        key.url().expect("a URL")
    };
    let also = url(&Policy::private().redact_also(["Session"]));
    assert_eq!(also, "http://a.test/?session=[redacted]&token=[redacted]");
    let instead = url(&Policy::private().redact_parameters(["session"]));
    assert_eq!(instead, "http://a.test/?session=[redacted]&token=hunter2");
}

#[test]
fn a_key_that_cannot_be_made_keeps_the_cache_out_of_it() {
    let mut cache = Scenario::with(Policy::private().key_by(|_, _| None));
    cache
        .get("/")
        .origin(ok("one").max_age(60))
        .bypass()
        .because(Reason::NoAuthority);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // What is left of a query without what is ignored decides.
    #[test]
    fn requests_share_responses_exactly_where_they_differ_in_what_is_ignored(
        one in prop::collection::vec(("[abx]", "[12&;=%]{0,2}"), 0..4),
        other in prop::collection::vec(("[abx]", "[12&;=%]{0,2}"), 0..4),
    ) {
        let text = |parameters: &[(String, String)]| {
            let parameters: Vec<_> =
                parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            parameters.join("&")
        };
        fn left(text: &str) -> Vec<&str> {
            let is_left = |parameter: &&str| parameter.split('=').next() != Some("x");
            let mut parameters: Vec<&str> = text.split('&').filter(is_left).collect();
            parameters.sort_by_key(|parameter| parameter.split('=').next());
            parameters
        }
        let (one, other) = (text(&one), text(&other));
        prop_assume!(!one.is_empty() && !other.is_empty());
        let policy = Policy::private().ignore_parameters(["x"]).sort_query(true);
        let expected = left(&one) == left(&other);
        prop_assert_eq!(share(&policy, &format!("/?{one}"), &format!("/?{other}")), expected);
    }
}
