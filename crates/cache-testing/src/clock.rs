//! A clock that stands still until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_tower::Clock;

/// A clock that stands still until it is moved; clones show the same time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    millis: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows a time in the year 2026, 300 ms after a full second: dates are cut down
    /// to seconds, and tests should meet that.
    #[must_use]
    pub fn new() -> Self {
        Self {
            millis: Arc::new(AtomicU64::new(1_780_000_000_300)),
        }
    }

    /// A clock that shows this time, to the millisecond.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(millis.as_millis()).unwrap_or(u64::MAX);
        Self {
            millis: Arc::new(AtomicU64::new(millis)),
        }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).expect("a short time");
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// The time now as an HTTP date, this many seconds later.
    #[must_use]
    pub fn date(&self, seconds: i64) -> String {
        let now = self.now();
        let by = Duration::from_secs(seconds.unsigned_abs());
        httpdate::fmt_http_date(if seconds < 0 { now - by } else { now + by })
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }
}
