//! The cases that are failed on purpose.

use crate::case::{Kind, Test};
use crate::score::Scores;

/// An id on a line of its own, the reason indented below it.
const LIST: &str = include_str!("../expected-failures.txt");

/// Whether all cases that count pass, with all that they stand on, but for those in the list.
pub(crate) fn only(tests: &[Test], scores: &Scores) -> bool {
    tests
        .iter()
        .filter(|test| test.kind != Kind::Check)
        .all(|test| scores.stands(test) || is_listed(test))
}

/// The ids in the list that should not be there.
pub(crate) fn outdated<'a>(tests: &'a [Test], scores: &'a Scores) -> impl Iterator<Item = &'a str> {
    tests
        .iter()
        .filter(|test| is_listed(test) && scores.passes(test))
        .map(|test| &*test.id)
}

pub(crate) fn is_listed(test: &Test) -> bool {
    LIST.lines().any(|line| line == test.id)
}
