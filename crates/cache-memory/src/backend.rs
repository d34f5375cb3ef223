//! `MemoryBackend`.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use cache_core::{
    Answer, Backend, BackendError, BodyWriter, Candidates, Entry, Manage, PrimaryKey, Query,
    StoredHead, Token,
};

use crate::table::Table;
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
    pub(crate) table: Table,
    /// What is stored for one key takes no more bytes than this.
    pub(crate) largest: u64,
    next_token: AtomicU64,
}

impl MemoryBackend {
    /// A store that holds about this many bytes of responses, heads and keys included. What is used
    /// least goes first when it is full.
    ///
    /// A response that takes more than nine tenths of it is not stored. The table itself takes four bytes
    /// for each KiB, at once, and no more than 272 MiB.
    ///
    /// # Errors
    ///
    /// Where the capacity is smaller than [`MINIMUM`](Self::MINIMUM).
    pub fn with_capacity(bytes: u64) -> Result<Self, InvalidCapacity> {
        if bytes < Self::MINIMUM {
            return Err(InvalidCapacity { bytes });
        }
        Ok(Self {
            store: Arc::new(Store {
                table: Table::new(bytes),
                largest: bytes / 10 * 9,
                next_token: AtomicU64::new(0),
            }),
        })
    }

    /// The smallest capacity, in bytes: 64 KiB.
    pub const MINIMUM: u64 = 64 << 10;

    /// How many bytes of responses are stored, about.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.store.table.weight()
    }

    /// How many bytes of responses can be stored, about.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.store.table.capacity()
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.store.table.clear();
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
        let table = &self.store.table;
        let found = table.read(query.key(), |slot| slot.retained(now));
        Answer::Now(Ok(found.unwrap_or_default()))
    }

    fn lookup_now(
        &self,
        query: Query<'_>,
        now: SystemTime,
        see: &mut dyn FnMut(Result<&Candidates, BackendError>),
    ) {
        let shown = self
            .store
            .table
            .read(query.key(), |slot| match slot.all_are_retained(now) {
                true => see(Ok(slot.entries())),
                false => see(Ok(&slot.retained(now))),
            });
        if shown.is_none() {
            see(Ok(&Candidates::default()));
        }
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
        let table = &self.store.table;
        table.change(entry.head.key(), |slot| slot.freshen(entry.token, head));
        Answer::Now(Ok(()))
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        let table = &self.store.table;
        table.change(entry.head.key(), |slot| slot.remove(entry.token));
        Answer::Now(Ok(()))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        let table = &self.store.table;
        table.change_or_insert(key, |slot| slot.invalidate(now));
        Answer::Now(Ok(()))
    }

    fn manage(&self) -> Option<&dyn Manage> {
        Some(self)
    }
}

impl Store {
    /// A token that no other response of this store has.
    pub(crate) fn token(&self) -> Token {
        Token(u128::from(self.next_token.fetch_add(1, Ordering::Relaxed)))
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
