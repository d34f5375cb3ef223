//! How long a response is fresh.

use std::time::{Duration, SystemTime};

/// How long a response is fresh: what [`default_ttl`](crate::Policy::default_ttl) and
/// [`override_ttl`](crate::Policy::override_ttl) take.
///
/// ```
/// use cache_core::{Policy, Ttl};
/// use std::time::{Duration, SystemTime};
///
/// let minute = Policy::private().default_ttl(Duration::from_secs(60));
/// let never_stale = Policy::private().default_ttl(Ttl::Never);
/// let until = Policy::private().default_ttl(SystemTime::UNIX_EPOCH);
/// # let _ = (minute, never_stale, until);
/// ```
#[doc(alias = "expire_after")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ttl {
    /// For this long. Zero: it is stored, and validated before each use.
    After(Duration),
    /// Until this time; one that is over is zero.
    At(SystemTime),
    /// For ever, if the store keeps it.
    #[doc(alias = "NEVER_EXPIRE")]
    Never,
}

impl From<Duration> for Ttl {
    fn from(time: Duration) -> Self {
        Self::After(time)
    }
}

impl From<SystemTime> for Ttl {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}
