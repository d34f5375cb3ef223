//! The time in which a test happens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_tower::{Clock, SystemClock};
use kit::ManualClock;

/// The time in which a test happens: of origin, cache and client.
#[derive(Debug, Clone)]
pub(crate) enum Timeline {
    /// That of the system, in which waiting takes time.
    Real,
    /// That of a clock that is moved where a test says to wait.
    Manual(ManualClock),
}

impl Timeline {
    /// One that starts so many milliseconds after a full second, and is moved.
    pub(crate) fn manual(millis: u64) -> Self {
        let clock = ManualClock::new();
        let now = Self::Manual(clock.clone()).millis().unsigned_abs() % 1000;
        clock.advance(Duration::from_millis(1000 + millis - now));
        Self::Manual(clock)
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        let since = self.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Lets this time pass.
    pub(crate) async fn wait(&self, time: Duration) {
        match self {
            Self::Real => tokio::time::sleep(time).await,
            Self::Manual(clock) => clock.advance(time),
        }
    }
}

impl Clock for Timeline {
    fn now(&self) -> SystemTime {
        match self {
            Self::Real => SystemClock.now(),
            Self::Manual(clock) => clock.now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_one_starts_where_it_is_told_to() {
        assert_eq!(Timeline::manual(0).millis() % 1000, 0);
        assert_eq!(Timeline::manual(900).millis() % 1000, 900);
    }
}
