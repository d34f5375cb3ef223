//! A store that processes share: it takes its time, and it fails in every way that a store can.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, BoxFuture, Candidates, Entry,
    Lease, PrimaryKey, Query, ReadBody, Source, StoredBody, StoredHead, StoredHeadParts, Token,
};
use cache_memory::MemoryBackend;
use http::HeaderMap;
use tokio::time::{Instant, sleep};

use super::Broken;
use super::chance::Chance;
use super::world::Setting;

/// How long a lease lasts.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// Clones are the same store.
#[derive(Debug, Clone)]
pub(crate) struct SimStore {
    memory: MemoryBackend,
    chance: Chance,
    broken: Option<Broken>,
    /// It answers later; otherwise at once, and never fails.
    is_remote: bool,
    has_faults: bool,
    is_told: bool,
    known: Arc<Mutex<Known>>,
    faults: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Known {
    leases: HashMap<Vec<u8>, Held>,
    last: u128,
    away_until: Option<Instant>,
    /// What was found last, to be given for something else.
    found: Option<Candidates>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    token: Option<Token>,
    until: Instant,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails,
    Hangs,
    IsSlow,
    /// It is done, and the answer is lost.
    LosesAnswer,
}

impl SimStore {
    pub(crate) fn new(chance: &Chance, setting: &Setting) -> Self {
        Self {
            memory: MemoryBackend::default(),
            chance: chance.clone(),
            broken: setting.broken,
            is_remote: setting.is_remote || setting.has_faults,
            has_faults: setting.has_faults,
            is_told: setting.is_told,
            known: Arc::default(),
            faults: Arc::default(),
        }
    }

    /// How many leases are held.
    pub(crate) fn leases(&self) -> usize {
        let now = Instant::now();
        let known = self.lock();
        let held = known.leases.values();
        held.filter(|held| held.token.is_some() && held.until > now)
            .count()
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<Fault> {
        if !self.has_faults {
            return None;
        }
        let now = Instant::now();
        let mut known = self.lock();
        let is_away = known.away_until.is_some_and(|until| now < until);
        if !is_away && self.chance.one_in(40) {
            let millis = self.chance.below(5_000) as u64;
            known.away_until = Some(now + Duration::from_millis(millis));
        }
        let fault = match self.chance.below(40) {
            _ if is_away => Fault::Fails,
            0 => Fault::Fails,
            1 => Fault::Hangs,
            2 => Fault::IsSlow,
            3 => Fault::LosesAnswer,
            _ => return None,
        };
        self.faults.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }

    /// An operation, as this store does it.
    fn run<'a, T: Send + 'a>(
        &self,
        name: &'static str,
        operation: impl FnOnce() -> Answer<'a, Result<T, BackendError>> + Send + 'a,
    ) -> Answer<'a, Result<T, BackendError>> {
        if !self.is_remote {
            return operation();
        }
        let this = self.clone();
        Answer::later(async move {
            this.chance.pause().await;
            let fault = this.fault();
            this.tell(name, fault, "begins");
            match fault {
                Some(Fault::Fails) => return Err(failed()),
                Some(Fault::Hangs) => pending().await,
                Some(Fault::IsSlow) => sleep(Duration::from_secs(1)).await,
                Some(Fault::LosesAnswer) | None => {}
            }
            let done = operation().wait().await;
            this.tell(name, fault, "is done");
            this.chance.pause().await;
            match fault {
                Some(Fault::LosesAnswer) => Err(failed()),
                _ => done,
            }
        })
    }

    fn tell(&self, name: &str, fault: Option<Fault>, what: &str) {
        if self.is_told {
            println!("             store: {name} {what}, {fault:?}");
        }
    }

    /// What is found, with bodies that stay here; now and then, what is for something else.
    fn found(&self, key: &PrimaryKey, found: Candidates) -> Candidates {
        if !self.is_remote {
            return found;
        }
        let remote: Candidates = found.iter().map(|entry| self.hide(entry)).collect();
        if remote.is_empty() && !found.is_empty() {
            return found;
        }
        let mut known = self.lock();
        let is_mixed_up = self.has_faults && self.chance.one_in(30);
        // Of another key: what was invalidated would be a lie.
        let is_foreign = |found: &Candidates| found.iter().all(|entry| entry.head.key() != key);
        let foreign = known.found.clone().filter(is_foreign);
        match foreign.filter(|_| is_mixed_up) {
            Some(foreign) => {
                self.faults.fetch_add(1, Ordering::SeqCst);
                foreign
            }
            None => {
                if !remote.is_empty() {
                    known.found = Some(remote.clone());
                }
                remote
            }
        }
    }

    fn hide(&self, entry: &Entry) -> Entry {
        let mut bytes = BytesMut::new();
        match entry.body.source() {
            Source::Whole(whole) => bytes.extend_from_slice(whole),
            Source::Chunks(chunks) => chunks
                .iter()
                .for_each(|chunk| bytes.extend_from_slice(chunk)),
            Source::Remote(_) => return entry.clone(),
        }
        let length = bytes.len() as u64;
        let body = SimStored {
            bytes: bytes.freeze(),
            window: self.chance.of(&[700, 4_000, 100_000]),
            is_known: self.chance.one_in(2),
            store: self.clone(),
        };
        let trailers = entry.body.trailers().cloned();
        Entry {
            body: StoredBody::remote(Arc::new(body), length).with_trailers(trailers),
            ..entry.clone()
        }
    }
}

fn failed() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "working").with_source("a fault was injected")
}

impl Backend for SimStore {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        self.run("lookup", move || match self.memory.lookup(query, now) {
            Answer::Now(found) => Answer::Now(found.map(|found| self.found(query.key(), found))),
            later @ Answer::Later(_) => later,
        })
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        let head = match self.broken {
            Some(Broken::Selecting) => unselected(&head),
            _ => head,
        };
        Box::new(SimWriter {
            writer: self.memory.writer(head),
            last: None,
            store: self.clone(),
        })
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.run("freshen", move || self.memory.freshen(entry, head, now))
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.run("remove", move || self.memory.remove(entry))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        if self.broken == Some(Broken::Invalidation) {
            return Answer::Now(Ok(()));
        }
        self.run("invalidate", move || self.memory.invalidate(key, now))
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        self.run("lease", move || {
            let now = Instant::now();
            let mut known = self.lock();
            if let Some(held) = known.leases.get(key.as_bytes())
                && held.until > now
            {
                return Answer::Now(Ok(match held.token {
                    Some(_) => Lease::Taken,
                    None => Lease::Useless,
                }));
            }
            known.last += 1;
            let token = Token(known.last);
            let held = Held {
                token: Some(token),
                until: now + time,
            };
            known.leases.insert(key.as_bytes().to_vec(), held);
            Answer::Now(Ok(Lease::Granted(token)))
        })
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.run("end_lease", move || {
            let mut known = self.lock();
            let held = known.leases.get(key.as_bytes());
            if held.is_some_and(|held| held.token == Some(token)) {
                known.leases.remove(key.as_bytes());
                if let Some(time) = useless_for {
                    let until = Instant::now() + time;
                    let held = Held { token: None, until };
                    known.leases.insert(key.as_bytes().to_vec(), held);
                }
            }
            Answer::Now(Ok(()))
        })
    }
}

fn unselected(head: &StoredHead) -> StoredHead {
    StoredHead::from(StoredHeadParts {
        key: head.key().clone(),
        status: head.status(),
        version: head.version(),
        headers: head.headers().clone(),
        selecting: Vec::new(),
        requested_at: head.requested_at(),
        received_at: head.received_at(),
        freshness: head.freshness().clone(),
        part: head.part().cloned(),
    })
}

struct SimWriter {
    writer: Box<dyn BodyWriter>,
    /// Kept back, so that it can be lost.
    last: Option<Bytes>,
    store: SimStore,
}

impl BodyWriter for SimWriter {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        if self.store.has_faults && self.store.chance.one_in(100) {
            self.store.faults.fetch_add(1, Ordering::SeqCst);
            return Err(failed());
        }
        match self.last.replace(chunk) {
            Some(before) => self.writer.write(before),
            None => Ok(()),
        }
    }

    fn publish(
        mut self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let last = self.last.take();
        if let Some(last) = last.filter(|_| self.store.broken != Some(Broken::Bodies))
            && let Err(error) = self.writer.write(last)
        {
            return Answer::Now(Err(error));
        }
        let Self { writer, store, .. } = *self;
        store.run("publish", move || writer.publish(trailers))
    }
}

/// A body that stays in the store until it is read.
#[derive(Debug)]
struct SimStored {
    bytes: Bytes,
    window: usize,
    is_known: bool,
    store: SimStore,
}

impl ReadBody for SimStored {
    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = self.bytes.len().min(start.saturating_add(self.window));
        let bytes = match start < end {
            true => self.bytes.slice(start..end),
            false => Bytes::new(),
        };
        let store = self.store.clone();
        let reading = self.store.run("read", move || {
            let length = bytes.len();
            Answer::Now(Ok(match store.has_faults && store.chance.one_in(20) {
                true => bytes.slice(..store.chance.below(length.max(1))),
                false => bytes,
            }))
        });
        Box::pin(reading.wait())
    }

    fn window_end(&self, start: u64) -> Option<u64> {
        let end = start.saturating_add(self.window as u64);
        self.is_known.then(|| end.min(self.bytes.len() as u64))
    }
}
