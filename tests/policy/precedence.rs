//! Which of several settings counts: `docs/rules.md`.

use std::time::Duration;

use cache_core::{Policy, Rule};
use kit::{Scenario, ok};
use proptest::prelude::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long a response is fresh, asked for second by second.
#[track_caller]
fn lifetime(policy: Policy, answer: kit::Answer) -> u64 {
    let mut cache = Scenario::with(policy);
    cache.get("/").origin(answer).seen().expect("a response");
    let mut lifetime = 0;
    loop {
        cache.origin().forget();
        cache.origin().answers(ok("").cache_control("no-store"));
        if !cache.get("/").seen().expect("a response").info.is_hit() {
            return lifetime;
        }
        cache.wait(1);
        lifetime += 1;
    }
}

#[test]
fn of_each_action_the_first_rule_counts_that_has_it() {
    let policy = Policy::private()
        .default_ttl(seconds(9))
        .rules([
            Rule::any().path("/other").default_ttl(seconds(1)),
            Rule::any().max_ttl(seconds(7)),
            Rule::any().default_ttl(seconds(8)).max_ttl(seconds(2)),
            Rule::any().default_ttl(seconds(3)),
        ])
        .expect("rules");
    assert_eq!(lifetime(policy.clone(), ok("one")), 7);
    assert_eq!(lifetime(policy, ok("one").max_age(5)), 5);
}

#[test]
fn an_override_comes_before_the_origin_and_that_before_a_default() {
    let policy = Policy::private().default_ttl(seconds(3));
    assert_eq!(lifetime(policy.clone(), ok("one")), 3);
    assert_eq!(lifetime(policy.clone(), ok("one").max_age(5)), 5);
    let policy = policy.override_ttl(seconds(7));
    assert_eq!(lifetime(policy.clone(), ok("one").max_age(5)), 7);
    let rules = [Rule::any().override_ttl(seconds(4))];
    let policy = policy.rules(rules).expect("rules");
    assert_eq!(lifetime(policy.clone(), ok("one").max_age(5)), 4);
    assert_eq!(
        lifetime(policy.max_ttl(seconds(2)), ok("one").max_age(5)),
        2
    );
}

#[test]
fn what_no_rule_says_is_as_the_policy_says() {
    let policy = Policy::private()
        .default_ttl(seconds(3))
        .rules([Rule::any().stale_if_error(seconds(60))])
        .expect("rules");
    assert_eq!(lifetime(policy, ok("one")), 3);
}

fn permissive() -> impl Strategy<Value = Rule> {
    let paths = prop::sample::select(vec!["/**", "/", "/x", "/?"]);
    let ttl = prop_oneof![Just(0_u64), 1..5_u64, Just(1000)];
    (
        paths,
        prop::option::of(ttl.clone()),
        prop::option::of(ttl),
        any::<bool>(),
    )
        .prop_map(|(path, default, forced, ignores)| {
            let mut rule = Rule::any().path(path);
            if let Some(time) = default {
                rule = rule.default_ttl(seconds(time));
            }
            if let Some(time) = forced {
                rule = rule.override_ttl(seconds(time));
            }
            if ignores {
                rule = rule.ignore_origin(true);
            }
            rule
        })
}

fn prohibiting() -> impl Strategy<Value = Rule> {
    prop_oneof![
        Just(Rule::any().do_not_store()),
        Just(Rule::any().path("/x").do_not_store()),
        Just(Rule::any().status(200).do_not_store()),
        (0..5_u64).prop_map(|time| Rule::any().max_ttl(seconds(time))),
        Just(Rule::any().vary_on([http::header::ACCEPT_LANGUAGE])),
    ]
}

/// What becomes of a few requests, each with the same answers.
fn hits(rules: Vec<Rule>, answer: &kit::Answer) -> Vec<bool> {
    let policy = Policy::private().rules(rules).expect("rules");
    let mut cache = Scenario::with(policy);
    let mut hits = Vec::new();
    for (target, language, wait) in [
        ("/", "de", 0),
        ("/", "de", 0),
        ("/", "en", 1),
        ("/x", "de", 0),
        ("/x", "de", 3),
        ("/", "de", 0),
    ] {
        cache.wait(wait);
        cache.origin().forget();
        cache.origin().answers(answer.clone());
        let call = cache.get(target).with("accept-language", language);
        hits.push(call.seen().expect("a response").info.is_hit());
    }
    hits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    // With an answer that is the same each time and without a validator, a hit without the
    // prohibition is what there may be at most with it: where less is stored, less is stale, too.
    #[test]
    fn a_prohibition_never_makes_more_reusable_at_once(
        rules in prop::collection::vec(permissive(), 0..3),
        prohibition in prohibiting(),
        control in prop::sample::select(vec!["max-age=60", "max-age=2", "no-store", "no-cache", "x", "private"]),
        place in 0_usize..4,
    ) {
        let answer = ok("one").cache_control(control);
        let without = hits(rules.clone(), &answer);
        let mut with = rules;
        // Before a permission of the same kind it counts, and behind one it does not: never more.
        with.insert(place.min(with.len()), prohibition);
        let with = hits(with, &answer);
        // The second request is the first that can be a hit; later ones depend on what was forwarded.
        prop_assert!(without[1] || !with[1]);
        if !without.contains(&true) {
            prop_assert!(!with.contains(&true), "{with:?}");
        }
    }
}
