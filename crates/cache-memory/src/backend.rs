//! `MemoryBackend`.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::SystemTime;

use cache_core::{
    Answer, Backend, BackendError, BodyWriter, Candidates, Entry, Manage, PrimaryKey, Query,
    StoredHead, Token,
};
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::slot::Slot;
use crate::writer::MemoryWriter;

/// A store in this process's memory; cloning shares it.
///
/// ```
/// use cache_memory::MemoryBackend;
///
/// let backend = MemoryBackend::default(); // 128 MiB
/// let smaller = MemoryBackend::with_capacity(16 << 20)?;
/// # let _ = (backend, smaller);
/// # Ok::<(), cache_memory::InvalidCapacity>(())
/// ```
#[derive(Clone)]
pub struct MemoryBackend {
    pub(crate) store: Arc<Store>,
}

/// What all clones share.
pub(crate) struct Store {
    pub(crate) slots: Cache<PrimaryKey, Slot, Bytes>,
    /// What is stored for one key takes no more bytes than this: a little less than a shard, part
    /// of which is kept for what is seldom used.
    pub(crate) largest: u64,
    next_token: AtomicU64,
}

impl MemoryBackend {
    /// A store that holds about this many bytes of responses, heads and keys included. What is used
    /// least goes first when it is full.
    ///
    /// The bytes are divided among a few shards; a response larger than a shard, an eighth of the
    /// capacity at the least, is not stored.
    ///
    /// # Errors
    ///
    /// Where the capacity is smaller than [`MINIMUM`](Self::MINIMUM).
    pub fn with_capacity(bytes: u64) -> Result<Self, InvalidCapacity> {
        if bytes < Self::MINIMUM {
            return Err(InvalidCapacity { bytes });
        }
        let cores = available_parallelism().map_or(1, usize::from);
        let shards = usize::try_from(bytes / SHARD_BYTES)
            .unwrap_or(usize::MAX)
            .clamp(1, (cores * 2).min(8));
        let expected = usize::try_from(bytes / EXPECTED_BYTES)
            .unwrap_or(usize::MAX)
            .max(16);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected)
            .weight_capacity(bytes)
            .shards(shards)
            .build()
            .map_err(|_| InvalidCapacity { bytes })?;
        let slots = Cache::with_options(
            options,
            Bytes,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Ok(Self {
            store: Arc::new(Store {
                largest: slots.shard_capacity() / 10 * 9,
                slots,
                next_token: AtomicU64::new(0),
            }),
        })
    }

    /// The smallest capacity, in bytes: 64 KiB.
    pub const MINIMUM: u64 = 64 << 10;

    /// How many bytes of responses are stored, about.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.store.slots.weight()
    }

    /// How many bytes of responses can be stored, about.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.store.slots.capacity()
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.store.slots.clear();
    }
}

impl Default for MemoryBackend {
    /// A store of 128 MiB.
    fn default() -> Self {
        Self::with_capacity(128 << 20).expect("128 MiB is more than the minimum")
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend")
            .field("capacity", &self.capacity())
            .field("weight", &self.weight())
            .finish()
    }
}

impl Backend for MemoryBackend {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        let slot = self.store.slots.get(query.key());
        Answer::Now(Ok(
            slot.map_or_else(Candidates::default, |slot| slot.retained(now))
        ))
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(MemoryWriter::new(self.store.clone(), head))
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        _now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.store
            .change(entry.head.key(), |slot| slot.freshen(entry.token, head));
        Answer::Now(Ok(()))
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.store.change(entry.head.key(), |slot| {
            slot.remove(entry.token);
        });
        Answer::Now(Ok(()))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.store
            .change_or_insert(key, |slot| slot.invalidate(now));
        Answer::Now(Ok(()))
    }

    fn manage(&self) -> Option<&dyn Manage> {
        Some(self)
    }
}

impl Store {
    /// Changes what is stored for a key, if anything is.
    pub(crate) fn change(&self, key: &PrimaryKey, change: impl FnOnce(&mut Slot)) {
        // A vacant slot's guard is dropped, which leaves it vacant.
        self.slots.entry(key, None, |_, slot| {
            change(slot);
            if slot.is_empty() {
                EntryAction::Remove
            } else {
                EntryAction::Retain(())
            }
        });
    }

    /// Changes what is stored for a key, or was not until now.
    ///
    /// What becomes heavier is taken out and put in again: only what comes in makes room for itself.
    /// A lookup in between finds nothing.
    pub(crate) fn change_or_insert<T>(
        &self,
        key: &PrimaryKey,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        // Only one of the two ways is taken, but the borrow checker cannot see that.
        let mut change = Some(change);
        let mut changed = None;
        let mut grown = Slot::default();
        let result = self.slots.entry(key, None, |_, slot| {
            let weight = slot.weight();
            changed = change.take().map(|change| change(slot));
            if slot.weight() > weight {
                grown = slot.clone();
                EntryAction::ReplaceWithGuard
            } else {
                EntryAction::Retain(())
            }
        });
        match result {
            EntryResult::Replaced(guard, _) => {
                // Refused only where another thread removed the place meanwhile: then it is gone.
                let _ = guard.insert(grown);
            }
            EntryResult::Vacant(guard) => {
                changed = change.take().map(|change| change(&mut grown));
                let _ = guard.insert(grown);
            }
            _ => {}
        }
        changed
    }

    /// A token that no other response of this store has.
    pub(crate) fn token(&self) -> Token {
        Token(u128::from(self.next_token.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Weighs a slot in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Bytes;

impl Weighter<PrimaryKey, Slot> for Bytes {
    fn weight(&self, key: &PrimaryKey, slot: &Slot) -> u64 {
        key.as_bytes().len() as u64 + slot.weight()
    }
}

/// The capacity is too small to hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCapacity {
    bytes: u64,
}

impl fmt::Display for InvalidCapacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minimum = MemoryBackend::MINIMUM;
        write!(
            f,
            "a capacity of {} bytes holds nothing; write {minimum} or more",
            self.bytes
        )
    }
}

impl StdError for InvalidCapacity {}

/// A shard is not made smaller than this, so that large bodies fit.
const SHARD_BYTES: u64 = 32 << 20;

/// A guess at the size of a response, for the tables to start with.
const EXPECTED_BYTES: u64 = 16 << 10;
