//! Time in milliseconds since 1970, which stands still until it is moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_tower::Clock;

/// A clock that is moved by hand; clones show the same time.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<AtomicU64>);

/// When each script begins: not on a full second, since dates are cut down to one.
pub(crate) const START: u64 = 1_780_000_000_300;

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    pub(crate) fn millis(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.millis())
    }
}

/// A time as an HTTP date.
pub(crate) fn date(millis: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis))
}
