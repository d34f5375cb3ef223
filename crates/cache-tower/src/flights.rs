//! Requests that are under way to the origin, so that others for the same response wait for it.

use std::collections::HashMap;
use std::collections::hash_map::{Entry as Slot, RandomState};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    progress: watch::Sender<Progress>,
    since: Instant,
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
        Self {
            known: Mutex::default(),
            hasher: RandomState::new(),
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
            progress: watch::Sender::new(Progress::Asking),
            since: Instant::now(),
        });
        match known.running.entry(key.clone()) {
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

impl Lead {
    /// The same among all who share the store.
    pub(crate) fn with_lease(mut self, lease: Option<HeldLease>) -> Self {
        self.lease = lease;
        self
    }

    /// Whether somebody waits.
    pub(crate) fn is_awaited(&self) -> bool {
        self.flight.progress.receiver_count() > 0
    }

    /// Tells those who wait. What they do then they decide for themselves.
    pub(crate) fn tell(&self, progress: Progress) {
        if matches!(progress, Progress::Solitary) {
            self.flights.remember(&self.key.key);
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
        let mut known = self.flights.lock();
        if let Slot::Occupied(slot) = known.running.entry(self.key.clone()) {
            if Arc::ptr_eq(slot.get(), &self.flight) {
                slot.remove();
            }
        }
        drop(known);
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

/// How many keys are remembered whose responses cannot be shared.
const MOST_SOLITARY: usize = 65_536;
