//! The cases that are failed on purpose.

use crate::case::{Kind, Test};
use crate::options::CacheKind;
use crate::score::Scores;

/// An id on a line of its own, the reason indented below it.
const LIST: &str = include_str!("../expected-failures.txt");

/// Those that a private cache fails beside them.
const PRIVATE: &str = include_str!("../expected-failures-private.txt");

/// Whether all cases that count pass, with all that they stand on, but for those in the list, and
/// of these none.
pub(crate) fn only(tests: &[Test], scores: &Scores, cache: CacheKind) -> bool {
    tests
        .iter()
        .filter(|test| test.kind != Kind::Check)
        .all(|test| scores.stands(test) != is_listed(test, cache))
}

/// The ids in the list that should not be there.
pub(crate) fn outdated<'a>(
    tests: &'a [Test],
    scores: &'a Scores,
    cache: CacheKind,
) -> impl Iterator<Item = &'a str> {
    tests
        .iter()
        .filter(move |test| is_listed(test, cache) && scores.stands(test))
        .map(|test| &*test.id)
}

pub(crate) fn is_listed(test: &Test, cache: CacheKind) -> bool {
    let is_in = |list: &str| list.lines().any(|line| line == test.id);
    is_in(LIST) || cache == CacheKind::Private && is_in(PRIVATE)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::verdict::{Class, Failure};

    const REFUSED: &str = "conditional-lm-fresh-no-lm";
    const FOR_SHARED: &str = "cdn-private";

    /// Whether it is as it should be that `failing` fails, and the others of these pass.
    fn is_expected(failing: &[&str], cache: CacheKind) -> bool {
        let tests = [REFUSED, FOR_SHARED, "another"].map(|id| Test {
            id: id.to_owned(),
            name: String::new(),
            kind: Kind::Required,
            steps: Vec::new(),
            script: Value::Null,
            depends_on: Vec::new(),
        });
        let verdict = |id: &str| match failing.contains(&id) {
            true => Err(Failure::new(Class::Assertion, "")),
            false => Ok(()),
        };
        let verdicts = tests
            .iter()
            .map(|test| (test.id.clone(), verdict(&test.id)));
        let scores = Scores::of(&tests, verdicts.collect());
        only(&tests, &scores, cache)
    }

    #[test]
    fn what_is_listed_fails_and_nothing_else() {
        assert!(is_expected(&[REFUSED], CacheKind::Shared));
        assert!(!is_expected(&[REFUSED, "another"], CacheKind::Shared));
        assert!(!is_expected(&[], CacheKind::Shared));
    }

    #[test]
    fn a_private_cache_has_a_list_of_its_own_beside() {
        assert!(is_expected(&[REFUSED, FOR_SHARED], CacheKind::Private));
        assert!(!is_expected(&[REFUSED], CacheKind::Private));
        assert!(!is_expected(&[REFUSED, FOR_SHARED], CacheKind::Shared));
    }
}
