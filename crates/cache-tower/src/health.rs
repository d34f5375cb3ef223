//! Whether the store does its part: told once per change that lasts, and left alone for a while where it does
//! not.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{BackendError, BackendErrorKind};
use tracing::{debug, info, warn};

/// Whether the store does its part. It can be read while it cannot be written: full, or a replica.
///
/// After a few failures in a row it is asked nothing for a while; then one request tries, for all.
#[derive(Debug, Default)]
pub(crate) struct Health {
    reading: State,
    writing: State,
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when nothing is asked of it, in milliseconds since 1970; zero: it is asked.
    rests_until: AtomicU64,
}

/// What was told of it.
#[derive(Debug, Default)]
struct State {
    fails: AtomicBool,
    /// When it failed last, in milliseconds since 1970.
    failed_at: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing {
    Reading,
    Writing,
}

impl Health {
    /// Whether the store need not be left alone, nor was a moment ago.
    pub(crate) fn is_well(&self) -> bool {
        self.rests_until.load(Ordering::Relaxed) == 0
    }

    /// Whether the store is to be left alone.
    pub(crate) fn rests(&self, now: SystemTime) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        // A clock that was set back does not prolong it.
        until != 0 && (until.saturating_sub(PAUSE_MILLIS)..until).contains(&millis(now))
    }

    /// Whether the store may be asked by this request: it does not rest, or it is time that one of
    /// all requests tries.
    pub(crate) fn may_ask(&self, now: SystemTime) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        if self.rests(now) {
            return false;
        }
        let again = millis(now).saturating_add(PAUSE_MILLIS);
        self.rests_until
            .compare_exchange(until, again, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes note of how an operation ended.
    pub(crate) fn note<T>(&self, doing: Doing, done: &Result<T, BackendError>, now: SystemTime) {
        let state = match doing {
            Doing::Reading => &self.reading,
            Doing::Writing => &self.writing,
        };
        match done {
            Ok(_) => {
                // Loaded first: a store that does its part is the rule, and nobody then writes.
                // That it takes responses does not say that it can be read.
                if matches!(doing, Doing::Reading) && self.failures.load(Ordering::Relaxed) != 0 {
                    self.failures.store(0, Ordering::Relaxed);
                    self.rests_until.store(0, Ordering::Relaxed);
                }
                if state.fails.load(Ordering::Relaxed) && state.is_over(now) {
                    info!(?doing, "the store does its part again");
                }
            }
            Err(error) if error.kind() == BackendErrorKind::Declined => {
                debug!(error = error as &dyn Error, "not stored");
            }
            Err(error) => {
                // One that refuses to write can still be read.
                let is_away =
                    matches!(doing, Doing::Reading) || error.kind() == BackendErrorKind::TimedOut;
                if is_away && self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
                    let until = millis(now).saturating_add(PAUSE_MILLIS);
                    self.rests_until.store(until, Ordering::Relaxed);
                }
                let error = error as &dyn Error;
                state.failed_at.store(millis(now), Ordering::Relaxed);
                if state.fails.swap(true, Ordering::Relaxed) {
                    debug!(error, ?doing, "the store does not do its part");
                } else {
                    warn!(
                        error,
                        ?doing,
                        "the store does not do its part; requests go on without it"
                    );
                }
            }
        }
    }
}

impl State {
    /// Whether it has not failed for so long that it can be told to one, who is to log it.
    fn is_over(&self, now: SystemTime) -> bool {
        let since = millis(now).saturating_sub(self.failed_at.load(Ordering::Relaxed));
        since >= STEADY_MILLIS && self.fails.swap(false, Ordering::Relaxed)
    }
}

fn millis(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// After how many failures in a row the store is left alone.
const FAILURES: u32 = 5;

/// A store that fails now and then would otherwise be told of at each turn.
const STEADY_MILLIS: u64 = 5_000;

/// For how long.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MILLIS: u64 = 1_000;
