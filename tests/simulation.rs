//! Histories of the cache, each from one seed; `scripts/simulate` runs thousands, and one of them again.

use kit::simulation::{Broken, Counts, run};

#[test]
fn no_history_has_a_response_that_it_may_not_have() {
    let mut counts = Counts::default();
    for seed in 0..300 {
        let report = run(seed, None);
        assert!(
            report.wrong.is_empty(),
            "{}\nagain: scripts/simulate 1 --seed {seed}",
            report.wrong.join("\n")
        );
        counts.add(report.counts);
    }
    // Something happened.
    for count in [
        counts.hits,
        counts.stale,
        counts.revalidated,
        counts.collapsed,
        counts.invalidations,
        counts.given_up,
        counts.broken_off,
        counts.failed,
        counts.faults,
    ] {
        assert!(count > 50, "{counts}");
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..60 {
        assert_eq!(run(seed, None), run(seed, None), "seed {seed}");
    }
}

#[test]
fn a_rule_that_is_broken_is_found() {
    for broken in Broken::ALL {
        let found = (0..100).any(|seed| !run(seed, Some(broken)).wrong.is_empty());
        assert!(found, "{broken}");
    }
}
