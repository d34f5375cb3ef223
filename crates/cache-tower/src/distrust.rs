//! What the store failed to invalidate, and this process therefore does not serve.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// The keys whose invalidation failed.
    keys: HashMap<PrimaryKey, Invalid>,
    /// There were more than are remembered: nothing from before this time is trusted.
    everything_before: Option<SystemTime>,
    /// When it was last tried to invalidate them again.
    retried_at: Option<SystemTime>,
    is_retrying: bool,
}

#[derive(Debug, Clone, Copy)]
struct Invalid {
    /// What was asked for before is invalid.
    before: SystemTime,
    /// When the store was told. What it gave until then may still be on its way.
    told_at: Option<SystemTime>,
}

impl Distrust {
    /// What is stored for this key from before `now` is invalid.
    pub(crate) fn add(&self, key: PrimaryKey, now: SystemTime) {
        let mut known = self.lock();
        if known.keys.len() >= MOST_KEYS {
            let before = known.keys.values().map(|invalid| invalid.before).max();
            known.everything_before = known.everything_before.max(before).max(Some(now));
            known.keys.clear();
        }
        // One that took long to fail says nothing about what has come after it.
        let known = known.keys.entry(key).or_insert(Invalid {
            before: now,
            told_at: None,
        });
        if known.before < now {
            *known = Invalid {
                before: now,
                told_at: None,
            };
        }
        self.is_needed.store(true, Ordering::Release);
    }

    /// The candidates that are not known to be invalid; `None`: all of them.
    pub(crate) fn filter(&self, key: &PrimaryKey, found: &Candidates) -> Option<Candidates> {
        if found.is_empty() || !self.is_needed.load(Ordering::Acquire) {
            return None;
        }
        let invalid_before = {
            let known = self.lock();
            let before = known.keys.get(key).map(|invalid| invalid.before);
            before.max(known.everything_before)
        };
        invalid_before.map(|at| {
            let trusted = found.iter();
            let trusted = trusted.filter(|entry| entry.head.requested_at() >= at);
            trusted.cloned().collect()
        })
    }

    /// The keys that are to be invalidated again, each as of when, the first of them; `None`: there are none,
    /// or it is too early, or that is being done.
    pub(crate) fn retry(self: &Arc<Self>, now: SystemTime) -> Option<Retry> {
        if !self.is_needed.load(Ordering::Acquire) {
            return None;
        }
        let mut known = self.lock();
        let is_early = known.retried_at.is_some_and(|at| {
            now.duration_since(at)
                .is_ok_and(|elapsed| elapsed < RETRY_AFTER)
        });
        if is_early || known.is_retrying {
            return None;
        }
        known.retried_at = Some(now);
        known.keys.retain(|_, invalid| {
            let told = invalid.told_at.map(|at| now.duration_since(at));
            !told.is_some_and(|told| told.is_ok_and(|elapsed| elapsed >= KEPT))
        });
        if known.keys.is_empty() && known.everything_before.is_none() {
            self.is_needed.store(false, Ordering::Release);
        }
        let untold = known.keys.iter();
        let untold = untold.filter(|(_, invalid)| invalid.told_at.is_none());
        let mut untold: Vec<_> = untold.map(|(key, invalid)| (invalid.before, key)).collect();
        if untold.len() > MOST_RETRIED {
            untold.select_nth_unstable(MOST_RETRIED);
            untold.truncate(MOST_RETRIED);
        }
        untold.sort_unstable();
        let keys: Vec<_> = untold
            .into_iter()
            .map(|(before, key)| (key.clone(), before))
            .collect();
        if keys.is_empty() {
            return None;
        }
        known.is_retrying = true;
        Some(Retry {
            keys,
            all: self.clone(),
        })
    }

    /// The store was told that what is from before `before` is invalid.
    pub(crate) fn note_told(&self, key: &PrimaryKey, before: SystemTime, now: SystemTime) {
        let mut known = self.lock();
        let known = known.keys.get_mut(key);
        if let Some(invalid) = known.filter(|invalid| invalid.before == before) {
            invalid.told_at = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change is one step, so poison means nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Invalidations that are tried again; no others are until it is dropped.
#[derive(Debug)]
pub(crate) struct Retry {
    pub(crate) keys: Vec<(PrimaryKey, SystemTime)>,
    all: Arc<Distrust>,
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.all.lock().is_retrying = false;
    }
}

/// How many are tried again at once.
const MOST_RETRIED: usize = 1024;

/// How long to wait before invalidations are tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// No lookup takes as long.
const KEPT: Duration = Duration::from_secs(60);

/// More keys than this are not remembered one by one.
const MOST_KEYS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_told_is_tried_again_by_one_at_a_time_and_not_all_at_once() {
        let all = Arc::new(Distrust::default());
        let start = SystemTime::UNIX_EPOCH;
        let key = |number: usize| PrimaryKey::from_bytes(&number.to_be_bytes());
        for number in 0..MOST_RETRIED + 6 {
            all.add(key(number), start);
        }
        let first = all.retry(start).expect("they are to be told");
        assert_eq!(first.keys.len(), MOST_RETRIED);
        assert_eq!(first.keys[0].0, key(0));
        let later = start + RETRY_AFTER;
        assert!(all.retry(later).is_none());
        for (key, before) in &first.keys {
            all.note_told(key, *before, later);
        }
        drop(first);
        let rest = all.retry(later).expect("there are more");
        assert_eq!(rest.keys.len(), 6);
    }
}
