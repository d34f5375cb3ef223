//! Going through what is stored.

use std::fmt;
use std::sync::Arc;
use std::vec;

use cache_core::{Answer, BackendError, Batch, Entry, Listed, Manage, PrimaryKey, Progress, Walk};

use crate::backend::{MemoryBackend, Store};
use crate::slot::weight;

impl Manage for MemoryBackend {
    fn walk(&self) -> Box<dyn Walk> {
        Box::new(MemoryWalk {
            store: self.store.clone(),
            keys: None,
        })
    }

    fn open<'a>(&'a self, listed: &'a Listed) -> Answer<'a, Result<Option<Entry>, BackendError>> {
        let slot = self.store.slots.peek(listed.key());
        let is_it = |entry: &&Entry| entry.token == listed.token;
        let entry = slot.and_then(|slot| slot.entries().iter().find(is_it).cloned());
        Answer::Now(Ok(entry))
    }

    fn remove_listed<'a>(&'a self, listed: &'a [Listed]) -> Answer<'a, Result<u64, BackendError>> {
        let mut removed = 0;
        for one in listed {
            self.store.change(one.key(), |slot| {
                removed += u64::from(slot.remove(one.token));
            });
        }
        Answer::Now(Ok(removed))
    }

    fn clear<'a>(
        &'a self,
        on_progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Answer<'a, Result<Progress, BackendError>> {
        let keys = self.store.slots.len() as u64;
        self.store.slots.clear();
        let progress = Progress {
            seen: keys,
            done: keys,
        };
        on_progress(progress);
        Answer::Now(Ok(progress))
    }
}

/// A way through the keys that there were when it began.
struct MemoryWalk {
    store: Arc<Store>,
    keys: Option<vec::IntoIter<PrimaryKey>>,
}

impl Walk for MemoryWalk {
    fn next_batch(&mut self) -> Answer<'_, Result<Option<Batch>, BackendError>> {
        let Self { store, keys } = self;
        let keys = keys.get_or_insert_with(|| {
            let keys: Vec<PrimaryKey> = store.slots.iter().map(|(key, _)| key).collect();
            keys.into_iter()
        });
        if keys.len() == 0 {
            return Answer::Now(Ok(None));
        }
        // Not `get`: to be looked at is not to be used.
        let slots = keys.take(BATCH).filter_map(|key| store.slots.peek(&key));
        let listed = slots.flat_map(|slot| slot.entries().iter().map(listed).collect::<Vec<_>>());
        Answer::Now(Ok(Some(Batch::new(listed.collect(), 0))))
    }
}

impl fmt::Debug for MemoryWalk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.keys.as_ref().map(ExactSizeIterator::len);
        f.debug_struct("MemoryWalk").field("left", &left).finish()
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

/// How many keys are looked at together.
const BATCH: usize = 256;
