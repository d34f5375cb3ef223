//! `Stats`.

use std::collections::HashSet;
use std::time::SystemTime;

use cache_core::{Digest, Listed};

/// What is stored, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Stored responses.
    pub entries: u64,
    /// Keys that they are stored under.
    pub keys: u64,
    /// Those of the responses that are fresh.
    pub fresh: u64,
    /// Those that are stale, but kept.
    pub stale: u64,
    /// Those that are kept no longer, and that the store has not removed yet.
    pub expired: u64,
    /// Bytes of bodies.
    pub body_bytes: u64,
    /// Bytes that all take in the store, about.
    pub bytes: u64,
    /// Values that cannot be read: another version's, another application's, or damaged ones.
    pub unreadable: u64,
}

/// Stats in the making.
#[derive(Default)]
pub(super) struct Counting {
    stats: Stats,
    keys: HashSet<Digest>,
}

impl Counting {
    pub(super) fn count(&mut self, listed: &Listed, now: SystemTime) {
        let stats = &mut self.stats;
        stats.entries += 1;
        stats.body_bytes = stats.body_bytes.saturating_add(listed.body_length);
        stats.bytes = stats.bytes.saturating_add(listed.bytes);
        let is_kept = listed.head.retain_until().is_none_or(|until| now < until);
        if !is_kept {
            stats.expired += 1;
        } else if listed.head.remaining(now).is_zero() {
            stats.stale += 1;
        } else {
            stats.fresh += 1;
        }
        self.keys.insert(listed.key().digest());
    }

    pub(super) fn finish(self, unreadable: u64) -> Stats {
        Stats {
            keys: self.keys.len() as u64,
            unreadable,
            ..self.stats
        }
    }
}
