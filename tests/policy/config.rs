//! `PolicyConfig`: the policy from a file.

use std::time::{Duration, SystemTime};

use cache_core::{
    CacheKind, ContentConfig, PartitionConfig, PolicyConfig, Retention, RuleConfig, Ttl,
};
use http::{HeaderName, Method};
use kit::{Scenario, ok, status};
use proptest::prelude::*;

fn config(json: &str) -> PolicyConfig {
    serde_json::from_str(json).expect("a policy")
}

fn wrong(json: &str) -> String {
    match serde_json::from_str::<PolicyConfig>(json) {
        Err(error) => error.to_string(),
        Ok(config) => config.policy().expect_err("no policy").to_string(),
    }
}

#[test]
fn nothing_said_is_the_default() {
    let policy = config("{}").policy().expect("a policy");
    assert_eq!(
        format!("{policy:?}"),
        format!("{:?}", cache_core::Policy::private())
    );
    let policy = config(r#"{ "kind": "shared" }"#)
        .policy()
        .expect("a policy");
    assert_eq!(
        format!("{policy:?}"),
        format!("{:?}", cache_core::Policy::shared())
    );
}

#[test]
fn a_policy_with_rules_is_read_and_does_what_it_says() {
    let policy = config(
        r#"{
            "partition": { "field": "x-tenant" },
            "secret": "not to be seen",
            "default_ttl": "1min",
            "retention": "forever",
            "max_body_bytes": 100,
            "key_content": { "method": "POST", "normalise_json": true, "ignore": "/id" },
            "rules": [
                { "host": "*.test", "path": ["/a", "/b/**"], "status": 200, "override_ttl": "10s" },
                { "status": [404, "5xx"], "default_ttl": "2s" },
                { "url_regex": "\\?raw$", "store": false }
            ]
        }"#,
    );
    assert!(!format!("{policy:?}").contains("seen"));
    let policy = policy.policy().expect("a policy");
    let mut cache = Scenario::with(policy);
    cache.get("/b/c").origin(ok("one").max_age(60)).miss();
    cache.get("/?raw").origin(ok("one")).bypass();
    cache.get("/gone").origin(status(404)).miss();
    cache
        .get("/x")
        .with("x-tenant", "a")
        .origin(ok("one"))
        .miss();
    cache.wait(1);
    cache.get("/gone").hit();
    cache.get("/x").with("x-tenant", "a").hit();
    cache
        .get("/x")
        .with("x-tenant", "b")
        .origin(ok("one"))
        .miss();
    cache.wait(10);
    cache.get("/b/c").origin(ok("two")).miss();
    let long = "x".repeat(101);
    cache.get("/long").origin(ok("").chunk(long.clone())).miss();
    cache.get("/long").origin(ok("").chunk(long)).miss();
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_what_to_write() {
    for (json, advice) in [
        (
            r#"{ "defaultttl": "1s" }"#,
            "unknown field `defaultttl`, expected one of",
        ),
        (
            r#"{ "rules": [{ "hosts": "a" }] }"#,
            "unknown field `hosts`, expected one of `host`",
        ),
        (r#"{ "default_ttl": 60 }"#, "such as \"10min\""),
        (
            r#"{ "default_ttl": "soon" }"#,
            "\"soon\" is not right; write a duration",
        ),
        (r#"{ "max_ttl": "60" }"#, "with its unit"),
        (r#"{ "retention": "long" }"#, "or \"forever\""),
        (r#"{ "kind": "public" }"#, "expected `private` or `shared`"),
        (r#"{ "early_refresh": 80 }"#, "between 0 and 1"),
        (
            r#"{ "partition": { "field": "x y" } }"#,
            "the name of a field",
        ),
        (
            r#"{ "rules": [{ "path": "a" }] }"#,
            "rule 1: the path \"a\"",
        ),
        (
            r#"{ "rules": [{}, { "status": "4x" }] }"#,
            "rule 2: the status \"4x\"",
        ),
        (r#"{ "rules": [{ "status": 99 }] }"#, "rule 1: the status"),
        (
            r#"{ "rules": [{ "ignore_vary": "cookie" }] }"#,
            "take it off the list",
        ),
    ] {
        let problem = wrong(json);
        assert!(problem.contains(advice), "{json}: {problem}");
    }
}

#[test]
fn a_secret_is_shown_neither_in_errors_nor_in_what_is_written() {
    for json in [
        r#"{ "secret": 123454321 }"#,
        r#"{ "secret": true }"#,
        r#"{ "secret": 1.5 }"#,
    ] {
        let problem = wrong(json);
        assert!(problem.contains("has to be text"), "{problem}");
        assert!(!problem.contains("123454321"), "{problem}");
    }
    let written = serde_json::to_string(&config(r#"{ "secret": "hunter2" }"#));
    assert!(!written.expect("JSON").contains("hunter2"));
}

fn time() -> impl Strategy<Value = Duration> {
    (0..4_000_000_000_u64, 0..1_000_000_000_u32)
        .prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![
        time().prop_map(Ttl::After),
        time().prop_map(|time| Ttl::At(SystemTime::UNIX_EPOCH + time)),
        Just(Ttl::Never),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    prop_oneof![time().prop_map(Retention::Grace), Just(Retention::Forever)]
}

prop_compose! {
    fn rule()(
        host in prop::collection::vec(prop::sample::select(vec!["a.test".to_owned(), "*.b.test:81".into()]), 0..3),
        path in prop::collection::vec(prop::sample::select(vec!["/a/**".to_owned(), "**".into()]), 0..3),
        url_regex in prop::collection::vec(Just("^a".to_owned()), 0..2),
        method in prop::collection::vec(prop::sample::select(vec![Method::GET, Method::HEAD]), 0..2),
        status in prop::collection::vec(prop::sample::select(vec!["404".to_owned(), "4xx".into(), "200-299".into()]), 0..2),
        content_type in prop::collection::vec(Just("text/*".to_owned()), 0..2),
        store in any::<Option<bool>>(),
        default_ttl in prop::option::of(ttl()),
        override_ttl in prop::option::of(ttl()),
        (max_ttl, stale_if_error, retention, ignore_origin) in
            (prop::option::of(time()), prop::option::of(time()), prop::option::of(retention()), any::<Option<bool>>()),
        vary_on in prop::collection::vec(Just(HeaderName::from_static("x-a")), 0..2),
    ) -> RuleConfig {
        let is_early = status.is_empty() && content_type.is_empty();
        let ignore_parameters = if is_early { vec!["utm_*".to_owned()] } else { Vec::new() };
        RuleConfig {
            host, path, url_regex, method, status, content_type, store, default_ttl, override_ttl,
            max_ttl, ignore_origin, stale_while_revalidate: max_ttl, stale_if_error, retention,
            ignore_parameters, ignore_vary: vary_on.clone(), vary_on,
        }
    }
}

prop_compose! {
    fn whole()(
        shared in any::<bool>(),
        partition in prop::option::of(prop::sample::select(vec![
            PartitionConfig::None,
            PartitionConfig::Credentials,
            PartitionConfig::Field(HeaderName::from_static("x-a")),
        ])),
        redact_parameters in prop::option::of(prop::collection::vec(".{0,9}", 0..3)),
        (default_ttl, override_ttl) in (prop::option::of(ttl()), prop::option::of(ttl())),
        (max_ttl, heuristic_cap) in (prop::option::of(time()), prop::option::of(time())),
        retention in prop::option::of(retention()),
        (ignore_origin, always_revalidate) in any::<(bool, bool)>(),
        max_body_bytes in any::<Option<u64>>(),
        rules in prop::collection::vec(rule(), 0..4),
    ) -> PolicyConfig {
        PolicyConfig {
            kind: if shared { CacheKind::Shared } else { CacheKind::Private },
            partition,
            redact_parameters,
            targeted_cache_control: vec![HeaderName::from_static("x-cache-control")],
            default_ttl, override_ttl, ignore_origin, max_ttl, heuristic_cap, retention,
            stale_while_revalidate: heuristic_cap,
            key_content: ignore_origin.then(|| ContentConfig {
                method: vec![Method::POST],
                normalise_json: always_revalidate,
                ignore: vec!["/id".into()],
                ..ContentConfig::default()
            }),
            early_refresh: always_revalidate.then_some(0.5),
            redact_also: vec!["x".into()],
            key_salt: ignore_origin.then(|| "salt".into()),
            stale_if_error: max_ttl,
            always_revalidate, max_body_bytes, rules,
            ..PolicyConfig::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_it_was(config in whole()) {
        let written = serde_json::to_string(&config).expect("JSON");
        let read: PolicyConfig = serde_json::from_str(&written).expect("what was written");
        prop_assert_eq!(&read, &config);
        let policies = (read.policy(), config.policy());
        let policies = (policies.0.expect("a policy"), policies.1.expect("a policy"));
        prop_assert_eq!(format!("{:?}", policies.0), format!("{:?}", policies.1));
    }
}
