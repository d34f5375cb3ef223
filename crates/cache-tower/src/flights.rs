//! Requests that are under way to the origin, so that others for the same response wait for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Digest, Entry, PrimaryKey, StoredHead};
use foldhash::fast::RandomState;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lease::{HeldLease, USELESS};
use crate::transfer::Transfer;

/// What a flight is for: a key, and once it is known what the response varies by, the digest of what
/// the request has in those fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FlightKey {
    pub(crate) key: PrimaryKey,
    pub(crate) variant: Option<Digest>,
}

/// All flights of a layer.
pub(crate) struct Flights {
    known: Mutex<Known>,
    hasher: RandomState,
    /// Counts flights that ended: all of them, and by a hash of their key.
    all_ended: AtomicU64,
    ended: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Known {
    running: HashMap<FlightKey, Arc<Flight>>,
    /// Hashes of keys whose responses could not be shared, and when it is tried again.
    solitary: HashMap<u64, Instant>,
}

/// One request that is under way.
#[derive(Debug)]
pub(crate) struct Flight {
    progress: Mutex<Progress>,
    changed: Notify,
    since: Instant,
    waiting: Waiting,
}

/// How many wait for a flight and have not looked yet, or not yet taken what they were told.
pub(crate) type Waiting = Arc<AtomicUsize>;

/// One who waits for a flight.
#[derive(Debug)]
pub(crate) struct Waiter {
    flight: Arc<Flight>,
}

/// How far a flight has come.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// There is no response yet.
    Asking,
    /// There is one that can be shared, and its body is on its way.
    Arriving(Arc<StoredHead>, Arc<Transfer>),
    /// This is stored: it was validated, or another process has stored it.
    Stored(Entry),
    /// The response is for the one who asked only.
    Solitary,
    /// It ended without a response.
    Abandoned,
}

/// The place of a request among those for the same response.
#[derive(Debug)]
pub(crate) enum Place {
    /// It is to ask the origin, and to tell the others.
    Leader(Lead),
    /// Another has asked.
    Waiter(Waiter),
    /// It is not worth waiting for others.
    Alone,
}

/// Held by the one who asks the origin, then by the body that arrives, then by what stores it.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: FlightKey,
    flight: Arc<Flight>,
    lease: Option<HeldLease>,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            hasher: RandomState::default(),
            all_ended: AtomicU64::new(0),
            ended: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.lock();
        f.debug_struct("Flights")
            .field("running", &known.running.len())
            .field("solitary", &known.solitary.len())
            .finish_non_exhaustive()
    }
}

impl Flights {
    /// Joins the flight for this key, or begins it. One that is older than `hold` is left to those
    /// who wait for it already.
    pub(crate) fn join(self: &Arc<Self>, key: FlightKey, hold: Duration) -> Place {
        let hash = self.hasher.hash_one(&key.key);
        let mut known = self.lock();
        match known.solitary.get(&hash) {
            Some(until) if *until > Instant::now() => return Place::Alone,
            Some(_) => {
                known.solitary.remove(&hash);
            }
            None => {}
        }
        let flight = Arc::new(Flight {
            progress: Mutex::new(Progress::Asking),
            changed: Notify::new(),
            since: Instant::now(),
            waiting: Waiting::default(),
        });
        match known.running.entry(key.clone()) {
            Slot::Occupied(slot) if slot.get().since.elapsed() < hold => {
                return Place::Waiter(Waiter::new(slot.get().clone()));
            }
            Slot::Occupied(mut slot) => {
                slot.insert(flight.clone());
            }
            Slot::Vacant(slot) => {
                slot.insert(flight.clone());
            }
        }
        Place::Leader(Lead {
            flights: self.clone(),
            key,
            flight,
            lease: None,
        })
    }

    /// Closes the flights for a key: who asks from now on is not given what was asked for before.
    pub(crate) fn close(&self, key: &PrimaryKey) {
        self.lock().running.retain(|flight, _| flight.key != *key);
    }

    /// Changes when a flight ends.
    pub(crate) fn all_ended(&self) -> u64 {
        self.all_ended.load(Ordering::Acquire)
    }

    /// Changes when a flight for this key ends; a flight that is not found may have ended since an
    /// earlier look into the store.
    pub(crate) fn ended(&self, key: &PrimaryKey) -> u64 {
        self.ended[self.slot(key)].load(Ordering::Acquire)
    }

    fn slot(&self, key: &PrimaryKey) -> usize {
        let hash = self.hasher.hash_one(key);
        usize::try_from(hash % SLOTS as u64).unwrap_or_default()
    }

    /// Remembers that responses for this key cannot be shared.
    fn remember(&self, key: &PrimaryKey) {
        let hash = self.hasher.hash_one(key);
        let now = Instant::now();
        let mut known = self.lock();
        if known.solitary.len() >= MOST_SOLITARY {
            known.solitary.retain(|_, until| *until > now);
        }
        if known.solitary.len() < MOST_SOLITARY {
            known.solitary.insert(hash, now + USELESS);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Inserting and removing leave nothing half done, so poison means nothing.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        // It is replaced in one step, so poison means nothing.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn new(flight: Arc<Flight>) -> Self {
        flight.waiting.fetch_add(1, Ordering::Relaxed);
        Self { flight }
    }

    /// What the one who asks tells, as soon as that is anything.
    pub(crate) async fn told(&self) -> Progress {
        loop {
            // Before the look: whatever is told from here on wakes it.
            let changed = self.flight.changed.notified();
            let progress = self.flight.lock().clone();
            if !matches!(progress, Progress::Asking) {
                return progress;
            }
            changed.await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flight.waiting.fetch_sub(1, Ordering::Relaxed);
        let progress = self.flight.lock().clone();
        if let Progress::Arriving(_, transfer) = progress {
            transfer.is_awaited_by_one_less();
        }
    }
}

impl Lead {
    /// The same among all who share the store.
    pub(crate) fn with_lease(mut self, lease: Option<HeldLease>) -> Self {
        self.lease = lease;
        self
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> &Waiting {
        &self.flight.waiting
    }

    /// Tells those who wait. What they do then they decide for themselves.
    pub(crate) fn tell(&self, progress: Progress) {
        if matches!(progress, Progress::Solitary) {
            self.flights.remember(&self.key.key);
            if let Some(lease) = &self.lease {
                lease.is_useless();
            }
        }
        *self.flight.lock() = progress;
        self.flight.changed.notify_waiters();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // In this order: whoever finds no flight any more sees that one ended.
        let ended = &self.flights.ended[self.flights.slot(&self.key.key)];
        ended.fetch_add(1, Ordering::Release);
        self.flights.all_ended.fetch_add(1, Ordering::Release);
        let mut known = self.flights.lock();
        if let Slot::Occupied(slot) = known.running.entry(self.key.clone()) {
            if Arc::ptr_eq(slot.get(), &self.flight) {
                slot.remove();
            }
        }
        drop(known);
        let mut progress = self.flight.lock();
        if matches!(*progress, Progress::Asking) {
            *progress = Progress::Abandoned;
            drop(progress);
            self.flight.changed.notify_waiters();
        }
    }
}

/// How many hashes are told apart.
const SLOTS: usize = 4096;

/// How many keys are remembered whose responses cannot be shared.
const MOST_SOLITARY: usize = 65_536;
