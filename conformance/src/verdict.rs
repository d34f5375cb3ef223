//! What comes out of a test.

use std::fmt;

use serde::Serialize;

use crate::case::Step;

pub(crate) type Verdict = Result<(), Failure>;

/// Why a test does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Class {
    /// The cache did the wrong thing.
    Assertion,
    /// The test could not be carried out.
    Setup,
    /// The gateway did not answer, or the test itself broke.
    Broken,
}

impl Failure {
    pub(crate) fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.class, self.message)
    }
}

/// Fails with the message where it does not hold.
pub(crate) fn check(holds: bool, class: Class, message: impl FnOnce() -> String) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(class, message()))
    }
}

impl Step {
    /// The class of a failure of what this member expects.
    pub(crate) fn class(&self, member: &str) -> Class {
        if self.setup || self.setup_tests.iter().any(|name| name == member) {
            Class::Setup
        } else {
            Class::Assertion
        }
    }
}
