//! What is stored for one key.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{Candidates, Entry, Source, StoredHead, Token};
use http::HeaderMap;

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
    /// All responses.
    pub(crate) fn entries(&self) -> &Candidates {
        &self.entries
    }

    /// The responses that are kept at `now`.
    pub(crate) fn retained(&self, now: SystemTime) -> Candidates {
        if self.all_are_retained(now) {
            return self.entries.clone();
        }
        let retained = self.entries.iter();
        let retained = retained.filter(|entry| is_retained(&entry.head, now));
        retained.cloned().collect()
    }

    /// Whether those are all responses.
    pub(crate) fn all_are_retained(&self, now: SystemTime) -> bool {
        self.first_expiry.is_none_or(|expiry| now < expiry)
    }

    /// Adds a response, in the place of the one that was selected by the same values, and in that of
    /// the oldest others where all would take more than `most` bytes; whether it does, as it is
    /// neither from before an invalidation nor asked for before the one that it would replace.
    pub(crate) fn publish(&mut self, entry: Entry, most: u64) -> bool {
        let requested_at = entry.head.requested_at();
        if self.invalidated_at.is_some_and(|at| requested_at < at) {
            return false;
        }
        let is_twin = |old: &Entry| is_same_variant(&old.head, &entry.head);
        if self
            .entries
            .iter()
            .any(|old| is_twin(old) && old.head.requested_at() > requested_at)
        {
            return false;
        }
        let now = entry.head.received_at();
        let mut entries: Vec<Entry> = self
            .entries
            .iter()
            .filter(|old| is_retained(&old.head, now) && !is_twin(old))
            .cloned()
            .collect();
        entries.sort_by_key(|old| old.head.received_at());
        entries.push(entry);
        let mut bytes: u64 = entries.iter().map(weight).sum();
        let mut surplus = 0;
        while bytes > most || entries.len() - surplus > MAX_VARIANTS {
            bytes -= weight(&entries[surplus]);
            surplus += 1;
        }
        self.set(entries.split_off(surplus));
        true
    }

    /// Replaces the head of a response, if it is still there.
    pub(crate) fn freshen(&mut self, token: Token, head: Arc<StoredHead>) {
        let mut entries = self.entries.to_vec();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.token == token) {
            entry.head = head.clone();
            // It may vary by other fields now, and be the same variant as another.
            entries.retain(|other| other.token == token || !is_same_variant(&other.head, &head));
            self.set(entries);
        }
    }

    /// Removes a response, if it is still there; whether it was.
    pub(crate) fn remove(&mut self, token: Token) -> bool {
        let others = self.entries.iter().filter(|entry| entry.token != token);
        let others: Vec<Entry> = others.cloned().collect();
        let was_there = others.len() < self.entries.len();
        if was_there {
            self.set(others);
        }
        was_there
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.invalidated_at.is_none()
    }

    #[cfg(test)]
    pub(crate) fn invalidated_at(&self) -> Option<SystemTime> {
        self.invalidated_at
    }

    /// Removes all responses, and remembers when.
    pub(crate) fn invalidate(&mut self, now: SystemTime) {
        self.set(Vec::new());
        self.invalidated_at = self.invalidated_at.max(Some(now));
    }

    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> u64 {
        let entries = self.entries.iter().map(weight).sum::<u64>();
        PLACE + size_of::<Self>() as u64 + entries
    }

    fn set(&mut self, entries: Vec<Entry>) {
        self.first_expiry = entries
            .iter()
            .filter_map(|entry| entry.head.retain_until())
            .min();
        self.entries = entries.into();
    }
}

/// Whether one response takes the place of the other: they were selected by the same values, and
/// are the whole or the same part.
fn is_same_variant(one: &StoredHead, other: &StoredHead) -> bool {
    one.selecting() == other.selecting() && one.part() == other.part()
}

/// About how many bytes a response takes.
pub(crate) fn weight(entry: &Entry) -> u64 {
    let pieces = match entry.body.source() {
        Source::Chunks(chunks) => chunks.len() * size_of::<Bytes>(),
        _ => 0,
    };
    let trailers = entry.body.trailers().map_or(0, trailers_weight);
    let rest = entry.head.weight() + size_of::<Entry>() + pieces + trailers;
    rest as u64 + entry.body.len()
}

fn trailers_weight(trailers: &HeaderMap) -> usize {
    trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 96)
        .sum()
}

fn is_retained(head: &StoredHead, now: SystemTime) -> bool {
    head.retain_until().is_none_or(|until| now < until)
}

/// What the table takes for each key beside this: the rest of a node, and three allocations.
const PLACE: u64 = 112;

/// How many responses are kept for one key; beyond, the oldest goes.
const MAX_VARIANTS: usize = 64;
