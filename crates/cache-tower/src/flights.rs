//! Requests that are under way to the origin, so that others for the same response wait for it.

use std::collections::HashMap;
use std::collections::hash_map::{Entry as Slot, RandomState};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cache_core::{Digest, Entry, PrimaryKey, StoredHead};
use tokio::sync::watch;
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
#[derive(Debug)]
pub(crate) struct Flights {
    running: Mutex<HashMap<FlightKey, Arc<Flight>>>,
    hasher: RandomState,
    /// Counts flights that ended: all of them, and by a hash of their key.
    all_ended: AtomicU64,
    ended: Box<[AtomicU64]>,
    /// Keys whose responses could not be shared, by a hash, each with the time in milliseconds from
    /// which on it is tried again. A collision costs a request that might have been saved.
    solitary: Box<[AtomicU64]>,
    born: Instant,
}

/// One request that is under way.
#[derive(Debug)]
pub(crate) struct Flight {
    progress: watch::Sender<Progress>,
    since: Instant,
}

/// How far a flight has come.
#[derive(Debug, Clone)]
pub(crate) enum Progress {
    /// There is no response yet.
    Asking,
    /// There is one that can be shared, and its body is on its way.
    Arriving(Arc<StoredHead>, Weak<Transfer>),
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
    Waiter(watch::Receiver<Progress>),
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
        let slots = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self {
            running: Mutex::default(),
            hasher: RandomState::new(),
            all_ended: AtomicU64::new(0),
            ended: slots(),
            solitary: slots(),
            born: Instant::now(),
        }
    }
}

impl Flights {
    /// Joins the flight for this key, or begins it. One that is older than `hold` is left to those
    /// who wait for it already.
    pub(crate) fn join(self: &Arc<Self>, key: FlightKey, hold: Duration) -> Place {
        if self.solitary[self.slot(&key.key)].load(Ordering::Relaxed) > self.millis() {
            return Place::Alone;
        }
        let mut running = self.lock();
        let flight = Arc::new(Flight {
            progress: watch::Sender::new(Progress::Asking),
            since: Instant::now(),
        });
        match running.entry(key.clone()) {
            Slot::Occupied(slot) if slot.get().since.elapsed() < hold => {
                return Place::Waiter(slot.get().progress.subscribe());
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
        self.lock().retain(|flight, _| flight.key != *key);
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

    fn millis(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Arc<Flight>>> {
        // Inserting and removing leave nothing half done, so poison means nothing.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The same among all who share the store.
    pub(crate) fn with_lease(mut self, lease: Option<HeldLease>) -> Self {
        self.lease = lease;
        self
    }

    /// Tells those who wait. What they do then they decide for themselves.
    pub(crate) fn tell(&self, progress: Progress) {
        if matches!(progress, Progress::Solitary) {
            let slot = &self.flights.solitary[self.flights.slot(&self.key.key)];
            let until = self
                .flights
                .millis()
                .saturating_add(USELESS.as_secs() * 1000);
            slot.store(until, Ordering::Relaxed);
            if let Some(lease) = &self.lease {
                lease.is_useless();
            }
        }
        self.flight.progress.send_replace(progress);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // In this order: whoever finds no flight any more sees that one ended.
        let ended = &self.flights.ended[self.flights.slot(&self.key.key)];
        ended.fetch_add(1, Ordering::Release);
        self.flights.all_ended.fetch_add(1, Ordering::Release);
        let mut running = self.flights.lock();
        if let Slot::Occupied(slot) = running.entry(self.key.clone()) {
            if Arc::ptr_eq(slot.get(), &self.flight) {
                slot.remove();
            }
        }
        drop(running);
        self.flight.progress.send_if_modified(|progress| {
            let is_asking = matches!(progress, Progress::Asking);
            if is_asking {
                *progress = Progress::Abandoned;
            }
            is_asking
        });
    }
}

/// How many hashes are told apart.
const SLOTS: usize = 4096;
