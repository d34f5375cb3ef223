//! What is stored for one key.

use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Candidates, Entry, StoredHead, Token};

/// What is stored for one key: responses, of which readers share the list.
#[derive(Clone, Default)]
pub(crate) struct Slot {
    entries: Candidates,
    /// The earliest time at which one of them is not to be kept any more.
    first_expiry: Option<SystemTime>,
    /// When all that was stored before became invalid.
    invalidated_at: Option<SystemTime>,
}

impl Slot {
    /// The responses that are kept at `now`.
    pub(crate) fn retained(&self, now: SystemTime) -> Candidates {
        match self.first_expiry {
            Some(expiry) if expiry <= now => self
                .entries
                .iter()
                .filter(|entry| is_retained(&entry.head, now))
                .cloned()
                .collect(),
            _ => self.entries.clone(),
        }
    }

    /// Adds a response, in the place of the one that was selected by the same values; whether it
    /// does, as it is not from before an invalidation.
    pub(crate) fn publish(&mut self, entry: Entry) -> bool {
        let requested_at = entry.head.requested_at();
        if self.invalidated_at.is_some_and(|at| requested_at < at) {
            return false;
        }
        let now = entry.head.received_at();
        let mut entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|old| {
                is_retained(&old.head, now) && old.head.selecting() != entry.head.selecting()
            })
            .cloned()
            .collect();
        if entries.len() >= MAX_VARIANTS {
            let oldest = entries
                .iter()
                .enumerate()
                .min_by_key(|(_, entry)| entry.head.received_at());
            if let Some((oldest, _)) = oldest {
                entries.swap_remove(oldest);
            }
        }
        entries.push(entry);
        self.set(entries);
        true
    }

    /// Replaces the head of a response, if it is still there.
    pub(crate) fn freshen(&mut self, token: Token, head: Arc<StoredHead>) {
        let mut entries = self.entries.to_vec();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.token == token) {
            entry.head = head;
            self.set(entries);
        }
    }

    /// Removes a response, if it is still there.
    pub(crate) fn remove(&mut self, token: Token) {
        let entries = self
            .entries
            .iter()
            .filter(|entry| entry.token != token)
            .cloned()
            .collect();
        self.set(entries);
    }

    /// Removes all responses, and remembers when.
    pub(crate) fn invalidate(&mut self, now: SystemTime) {
        self.set(Vec::new());
        self.invalidated_at = self.invalidated_at.max(Some(now));
    }

    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> u64 {
        let entries = self.entries.iter().map(weight).sum::<u64>();
        size_of::<Self>() as u64 + entries
    }

    fn set(&mut self, entries: Vec<Entry>) {
        self.first_expiry = entries
            .iter()
            .filter_map(|entry| entry.head.retain_until())
            .min();
        self.entries = entries.into();
    }
}

/// About how many bytes a response takes.
pub(crate) fn weight(entry: &Entry) -> u64 {
    (entry.head.weight() + size_of::<Entry>()) as u64 + entry.body.len()
}

fn is_retained(head: &StoredHead, now: SystemTime) -> bool {
    head.retain_until().is_none_or(|until| now < until)
}

/// How many responses are kept for one key; beyond, the oldest goes.
const MAX_VARIANTS: usize = 64;
