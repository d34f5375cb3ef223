//! Where the time comes from.

use std::fmt::Debug;
use std::time::SystemTime;
#[cfg(target_os = "linux")]
use std::time::{Duration, UNIX_EPOCH};

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from; tests bring their own.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;

    /// The time a few milliseconds ago at most, if that is told faster: hits in memory are judged by it, and nothing
    /// is ordered by it. It goes back where [`now`](Self::now) does, and else never. Default: `now`.
    fn recent(&self) -> SystemTime {
        self.now()
    }
}

/// The clock of the system. What is recent is what Linux knows without asking the hardware: as of its last tick, of
/// which there are 100 to 1,000 in a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    #[cfg(target_os = "linux")]
    fn recent(&self) -> SystemTime {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        Duration::try_from(time)
            .ok()
            .and_then(|since| UNIX_EPOCH.checked_add(since))
            .unwrap_or_else(|| self.now())
    }
}
