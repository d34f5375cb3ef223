//! What is printed.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::case::{Kind, Test};
use crate::expected_failures;
use crate::options::{BackendKind, CacheKind, Options};
use crate::score::Scores;

const KINDS: [(Kind, &str); 3] = [
    (Kind::Required, "required"),
    (Kind::Optimal, "optimal"),
    (Kind::Check, "check"),
];

/// Tells what does not pass, and the scores.
pub(crate) fn text(tests: &[Test], scores: &Scores, options: &Options, took: Duration) {
    for (kind, name) in KINDS {
        for test in tests.iter().filter(|test| test.kind == kind) {
            if let Some(reason) = shortcoming(test, scores, options.cache) {
                println!("{name:<8} {:<58} {reason}", test.id);
            }
        }
    }
    println!();
    println!("{:<10} {:>5} {:>5} {:>7}", "", "cases", "pass", "strict");
    for (kind, name) in KINDS {
        let score = scores.score(tests, kind);
        let (all, raw, strict) = (score.all, score.raw, score.strict);
        println!("{name:<10} {all:>5} {raw:>5} {strict:>7}");
    }
    println!();
    println!(
        "{}, {}, {}, in {:.1} s. Strict: passes, and so does all that it stands on.",
        cache(options),
        backend(options),
        time(options),
        took.as_secs_f64()
    );
    for id in expected_failures::outdated(tests, scores, options.cache) {
        println!("{id} passes, and is in the list of those that fail.");
    }
}

fn shortcoming(test: &Test, scores: &Scores, cache: CacheKind) -> Option<String> {
    let is_expected = expected_failures::is_listed(test, cache);
    match scores.verdict(test) {
        Err(_) if is_expected => Some("fails on purpose".to_owned()),
        Err(failure) => Some(failure.to_string()),
        Ok(()) if !scores.stands(test) => Some("passes, but stands on what fails".to_owned()),
        Ok(()) => None,
    }
}

/// The scores, and the result of each test: `true`, or class and message.
pub(crate) fn json(tests: &[Test], scores: &Scores, options: &Options) {
    let by_kind = KINDS.map(|(kind, name)| {
        let score = scores.score(tests, kind);
        let score = json!({ "cases": score.all, "raw": score.raw, "strict": score.strict });
        (name.to_owned(), score)
    });
    let results = tests.iter().map(|test| {
        let result = match scores.verdict(test) {
            Ok(()) => Value::Bool(true),
            Err(failure) => json!([failure.class, failure.message]),
        };
        (test.id.clone(), result)
    });
    let report = json!({
        "cache": cache(options),
        "backend": backend(options),
        "time": time(options),
        "scores": Map::from_iter(by_kind),
        "results": Map::from_iter(results),
    });
    println!("{report:#}");
}

fn cache(options: &Options) -> &'static str {
    match options.cache {
        CacheKind::Shared => "shared cache",
        CacheKind::Private => "private cache",
        CacheKind::None => "no cache",
    }
}

fn backend(options: &Options) -> &'static str {
    match (options.cache, options.backend) {
        (CacheKind::None, _) => "no store",
        (_, BackendKind::Memory) => "in memory",
        (_, BackendKind::Redis) => "in Redis",
    }
}

fn time(options: &Options) -> &'static str {
    if options.real_time {
        "real time"
    } else {
        "manual time"
    }
}
