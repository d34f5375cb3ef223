//! What the cache did with one request.

use std::fmt;
use std::time::Duration;

use crate::reason::Reason;

/// What the cache did with one request, in the extensions of every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheInfo {
    /// What became of the request.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Whether the response is in the store.
    pub storing: Storing,
    /// The age of the stored response that answered; `None` where the origin did.
    pub age: Option<Duration>,
    /// How long that response is still fresh; zero: it is stale.
    pub remaining: Option<Duration>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store, stale.
    StaleHit,
    /// Answered from the store after the origin validated it.
    Revalidated,
    /// Answered by the origin.
    Miss,
    /// The cache kept out of it.
    Bypass,
    /// Answered 504: nothing stored satisfies the request, and it wants nothing else.
    Unsatisfiable,
}

impl Outcome {
    /// A word for tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::StaleHit => "stale hit",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Unsatisfiable => "unsatisfiable",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a response is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storing {
    /// It came from there.
    Stored,
    /// It will be, once its body has been read to its end.
    Accepted,
    /// It is not, and this is why.
    Refused(Reason),
}

impl CacheInfo {
    /// A request that the origin answered.
    #[must_use]
    pub const fn forwarded(outcome: Outcome, reason: Reason, storing: Storing) -> Self {
        Self {
            outcome,
            reason,
            storing,
            age: None,
            remaining: None,
        }
    }

    /// Whether the response came from the store, validated or not.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Hit | Outcome::StaleHit | Outcome::Revalidated
        )
    }

    /// Whether the response is in the store, or will be once its body has been read to its end.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self.storing, Storing::Stored | Storing::Accepted)
    }
}

impl fmt::Display for CacheInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.reason)?;
        if let (Some(age), Some(remaining)) = (self.age, self.remaining) {
            write!(
                f,
                "; age {} s, fresh for {} s",
                age.as_secs(),
                remaining.as_secs()
            )?;
        }
        match self.storing {
            Storing::Refused(reason) if reason != self.reason => {
                write!(f, "; not stored: {reason}")
            }
            _ => Ok(()),
        }
    }
}
