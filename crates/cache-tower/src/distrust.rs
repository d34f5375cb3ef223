//! What the store failed to invalidate, and this process therefore does not serve.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cache_core::{Candidates, PrimaryKey};

#[derive(Debug, Default)]
pub(crate) struct Distrust {
    /// Whether there is anything to know; a hit reads no more than this.
    is_needed: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The keys whose invalidation failed, and when.
    keys: HashMap<PrimaryKey, SystemTime>,
    /// There were more than are remembered: nothing from before this time is trusted.
    everything_before: Option<SystemTime>,
    /// When it was last tried to invalidate them again.
    retried_at: Option<SystemTime>,
}

impl Distrust {
    /// What is stored for this key from before `now` is invalid.
    pub(crate) fn add(&self, key: PrimaryKey, now: SystemTime) {
        let mut known = self.lock();
        if known.keys.len() >= MOST_KEYS {
            known.keys.clear();
            known.everything_before = Some(now);
        }
        known.keys.insert(key, now);
        self.is_needed.store(true, Ordering::Release);
    }

    /// The candidates that are not known to be invalid.
    pub(crate) fn filter(&self, key: &PrimaryKey, found: Candidates) -> Candidates {
        if found.is_empty() || !self.is_needed.load(Ordering::Acquire) {
            return found;
        }
        let invalid_before = {
            let known = self.lock();
            known.keys.get(key).copied().max(known.everything_before)
        };
        match invalid_before {
            None => found,
            Some(at) => found
                .iter()
                .filter(|entry| entry.head.requested_at() >= at)
                .cloned()
                .collect(),
        }
    }

    /// The keys that are to be invalidated again, each as of when; `None`: there are none, or it is too
    /// early.
    pub(crate) fn retry(&self, now: SystemTime) -> Option<Vec<(PrimaryKey, SystemTime)>> {
        if !self.is_needed.load(Ordering::Acquire) {
            return None;
        }
        let mut known = self.lock();
        let is_early = known.retried_at.is_some_and(|at| {
            now.duration_since(at)
                .is_ok_and(|elapsed| elapsed < RETRY_AFTER)
        });
        if is_early || known.keys.is_empty() {
            return None;
        }
        known.retried_at = Some(now);
        Some(
            known
                .keys
                .iter()
                .map(|(key, at)| (key.clone(), *at))
                .collect(),
        )
    }

    /// The store knows now that what is from before `at` is invalid.
    pub(crate) fn forget(&self, key: &PrimaryKey, at: SystemTime) {
        let mut known = self.lock();
        if known.keys.get(key) == Some(&at) {
            known.keys.remove(key);
        }
        if known.keys.is_empty() && known.everything_before.is_none() {
            self.is_needed.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is one step, so poison means nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait before invalidations are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// More keys than this are not remembered one by one.
const MOST_KEYS: usize = 1024;
