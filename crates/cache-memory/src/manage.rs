//! Going through what is stored.

use std::fmt;
use std::sync::Arc;

use cache_core::{Answer, BackendError, Batch, Entry, Listed, Manage, Progress, Walk};

use crate::backend::{MemoryBackend, Store};
use crate::slot::weight;

impl Manage for MemoryBackend {
    fn walk(&self) -> Box<dyn Walk> {
        Box::new(MemoryWalk {
            store: self.store.clone(),
            cell: 0,
        })
    }

    fn open<'a>(&'a self, listed: &'a Listed) -> Answer<'a, Result<Option<Entry>, BackendError>> {
        let is_it = |entry: &&Entry| entry.token == listed.token;
        // To be looked at is not to be used.
        let entry = self.store.table.peek(listed.key(), |slot| {
            slot.entries().iter().find(is_it).cloned()
        });
        Answer::Now(Ok(entry.flatten()))
    }

    fn remove_listed<'a>(&'a self, listed: &'a [Listed]) -> Answer<'a, Result<u64, BackendError>> {
        let mut removed = 0;
        for one in listed {
            let table = &self.store.table;
            let was_there = table.change(one.key(), |slot| slot.remove(one.token));
            removed += u64::from(was_there == Some(true));
        }
        Answer::Now(Ok(removed))
    }

    fn clear<'a>(
        &'a self,
        on_progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Answer<'a, Result<Progress, BackendError>> {
        let keys = self.store.table.clear();
        let progress = Progress {
            seen: keys,
            done: keys,
        };
        on_progress(progress);
        Answer::Now(Ok(progress))
    }
}

/// A way through the cells: what stays where it is while it goes on is met once.
struct MemoryWalk {
    store: Arc<Store>,
    cell: usize,
}

impl Walk for MemoryWalk {
    fn next_batch(&mut self) -> Answer<'_, Result<Option<Batch>, BackendError>> {
        let table = &self.store.table;
        let end = table.cells().min(self.cell + CELLS);
        if self.cell == end {
            return Answer::Now(Ok(None));
        }
        let mut batch = Vec::new();
        while self.cell < end && batch.len() < BATCH {
            table.each(self.cell, |slot| {
                batch.extend(slot.entries().iter().map(listed));
            });
            self.cell += 1;
        }
        Answer::Now(Ok(Some(Batch::new(batch, 0))))
    }
}

impl fmt::Debug for MemoryWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWalk")
            .field("cell", &self.cell)
            .finish()
    }
}

fn listed(entry: &Entry) -> Listed {
    Listed {
        head: entry.head.clone(),
        body_length: entry.body.len(),
        bytes: weight(entry),
        trailers: entry.body.trailers().cloned(),
        token: entry.token,
    }
}

/// How many cells are looked at together: most may be empty.
const CELLS: usize = 4096;

/// How many responses are listed together, or a few more.
const BATCH: usize = 256;
