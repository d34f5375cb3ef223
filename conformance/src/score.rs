//! Scores.

use std::collections::{HashMap, HashSet};

use crate::case::{Kind, Test};
use crate::run::Verdicts;
use crate::verdict::Verdict;

/// The verdicts, and what they are worth.
#[derive(Debug)]
pub(crate) struct Scores {
    pub(crate) verdicts: Verdicts,
    /// The tests that pass, and so do all that they stand on.
    strict: HashSet<String>,
}

/// How many tests of a kind pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) all: usize,
    pub(crate) raw: usize,
    pub(crate) strict: usize,
}

impl Scores {
    pub(crate) fn of(tests: &[Test], verdicts: Verdicts) -> Self {
        let dependencies: HashMap<_, _> = tests
            .iter()
            .map(|test| (&*test.id, &*test.depends_on))
            .collect();
        let strict = tests
            .iter()
            .filter(|test| stands(&test.id, &dependencies, &verdicts, &mut HashSet::new()))
            .map(|test| test.id.clone())
            .collect();
        Self { verdicts, strict }
    }

    pub(crate) fn score(&self, tests: &[Test], kind: Kind) -> Score {
        let of_kind = || tests.iter().filter(|test| test.kind == kind);
        Score {
            all: of_kind().count(),
            raw: of_kind().filter(|test| self.passes(test)).count(),
            strict: of_kind().filter(|test| self.stands(test)).count(),
        }
    }

    pub(crate) fn verdict(&self, test: &Test) -> &Verdict {
        &self.verdicts[&test.id]
    }

    pub(crate) fn passes(&self, test: &Test) -> bool {
        self.verdict(test).is_ok()
    }

    /// Whether it passes, and so do all that it stands on.
    pub(crate) fn stands(&self, test: &Test) -> bool {
        self.strict.contains(&test.id)
    }
}

fn stands<'a>(
    id: &'a str,
    dependencies: &HashMap<&'a str, &'a [String]>,
    verdicts: &Verdicts,
    seen: &mut HashSet<&'a str>,
) -> bool {
    // What was seen before is judged there.
    !seen.insert(id)
        || verdicts.get(id).is_some_and(Result::is_ok)
            && dependencies.get(id).is_some_and(|ids| {
                ids.iter()
                    .all(|id| stands(id, dependencies, verdicts, seen))
            })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::verdict::{Class, Failure};

    fn test(id: &str, kind: Kind, depends_on: &[&str]) -> Test {
        Test {
            id: id.to_owned(),
            name: String::new(),
            kind,
            steps: Vec::new(),
            script: Value::Null,
            depends_on: depends_on.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn strict_counts_what_passes_with_all_that_it_stands_on() {
        let tests = [
            test("a", Kind::Required, &["b"]),
            test("b", Kind::Required, &["c"]),
            test("c", Kind::Check, &[]),
            test("d", Kind::Required, &[]),
        ];
        let failure = Failure::new(Class::Assertion, "");
        let verdict = |id| {
            if id == "c" {
                Err(failure.clone())
            } else {
                Ok(())
            }
        };
        let verdicts = ["a", "b", "c", "d"].map(|id| (id.to_owned(), verdict(id)));
        let scores = Scores::of(&tests, verdicts.into_iter().collect());
        let score = scores.score(&tests, Kind::Required);
        assert_eq!((score.all, score.raw, score.strict), (3, 3, 1));
    }
}
