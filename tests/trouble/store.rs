//! A store that does what a test wants: fail, hang, take its time, swallow, and lose bodies.

use std::collections::HashMap;
use std::future::pending;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, BoxFuture, Candidates, Entry,
    Lease, PrimaryKey, Query, ReadBody, Source, StoredBody, StoredHead, Token,
};
use cache_memory::MemoryBackend;
use http::HeaderMap;
use kit::Operation;

/// A store that does what a test wants; clones are the same store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    memory: MemoryBackend,
    is_late: bool,
    keeps_nothing: bool,
    leases: Option<Arc<Mutex<Leases>>>,
    script: Arc<Mutex<Script>>,
    reads: Option<Reads>,
}

/// The tokens of the leases that are held, and the last one that was given.
#[derive(Debug, Default)]
struct Leases {
    held: HashMap<Vec<u8>, Token>,
    last: u128,
}

#[derive(Debug, Default)]
struct Script {
    faults: Vec<(Operation, Fault)>,
    asked: Vec<Operation>,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Fails(BackendErrorKind),
    Hangs,
    Takes(Duration),
}

pub(crate) const UNAVAILABLE: Fault = Fault::Fails(BackendErrorKind::Unavailable);

impl Store {
    /// One that answers at once.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One that answers later, as one over a network does.
    pub(crate) fn later() -> Self {
        Self {
            is_late: true,
            ..Self::default()
        }
    }

    /// One that takes everything and keeps nothing.
    pub(crate) fn forgetful() -> Self {
        Self {
            keeps_nothing: true,
            ..Self::default()
        }
    }

    /// One that grants a lease to one at a time, for as long as that one wants.
    pub(crate) fn leasing() -> Self {
        Self {
            leases: Some(Arc::default()),
            ..Self::default()
        }
    }

    /// How many leases are held.
    pub(crate) fn leases(&self) -> usize {
        let leases = self.leases.as_ref().expect("a store that leases");
        let leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.held.len()
    }

    /// One whose bodies stay in it until they are read.
    pub(crate) fn remote(reads: &Reads) -> Self {
        Self {
            reads: Some(reads.clone()),
            ..Self::default()
        }
    }

    /// The same, answering later.
    pub(crate) fn and_later(self) -> Self {
        Self {
            is_late: true,
            ..self
        }
    }

    /// From now on this is wrong with an operation, and nothing else.
    pub(crate) fn set(&self, operation: Operation, fault: Fault) {
        self.lock()
            .faults
            .retain(|(faulty, _)| *faulty != operation);
        self.lock().faults.push((operation, fault));
    }

    /// From now on everything works.
    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    /// What it was asked to do since the last time.
    pub(crate) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.lock().asked)
    }

    /// How often it was looked into since the last time anything was taken.
    pub(crate) fn take_lookups(&self) -> usize {
        let asked = self.take();
        asked
            .iter()
            .filter(|asked| **asked == Operation::Lookup)
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, operation: Operation) -> Option<Fault> {
        let script = self.lock();
        let found = script
            .faults
            .iter()
            .find(|(faulty, _)| *faulty == operation);
        found.map(|(_, fault)| *fault)
    }

    fn note(&self, operation: Operation) {
        self.lock().asked.push(operation);
    }

    fn run<'a, T: Send + 'a>(
        &self,
        operation: Operation,
        answer: impl FnOnce() -> Answer<'a, Result<T, BackendError>> + Send + 'a,
    ) -> Answer<'a, Result<T, BackendError>> {
        let fault = self.fault(operation);
        let (this, is_late) = (self.clone(), self.is_late);
        match fault {
            None if !is_late => {
                self.note(operation);
                answer()
            }
            Some(Fault::Fails(kind)) if !is_late => {
                self.note(operation);
                Answer::Now(Err(error(kind)))
            }
            // What answers later does nothing before it is polled, and so is not noted before.
            _ => Answer::later(async move {
                this.note(operation);
                tokio::task::yield_now().await;
                match fault {
                    None => answer().wait().await,
                    Some(Fault::Fails(kind)) => Err(error(kind)),
                    Some(Fault::Hangs) => pending().await,
                    Some(Fault::Takes(time)) => {
                        tokio::time::sleep(time).await;
                        answer().wait().await
                    }
                }
            }),
        }
    }
}

fn error(kind: BackendErrorKind) -> BackendError {
    BackendError::new(kind, "working").with_source("the test wants it")
}

impl Backend for Store {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        self.run(Operation::Lookup, move || {
            let found = match (self.memory.lookup(query, now), &self.reads) {
                (Answer::Now(found), Some(reads)) => found.map(|found| reads.hide(&found)),
                (Answer::Now(found), None) => found,
                (Answer::Later(_), _) => panic!("a store in memory answers at once"),
            };
            Answer::Now(found)
        })
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(Writer {
            store: self.clone(),
            writer: (!self.keeps_nothing).then(|| self.memory.writer(head)),
        })
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.run(Operation::Freshen, move || {
            self.memory.freshen(entry, head, now)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        _: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        let Some(leases) = &self.leases else {
            return Answer::Now(Ok(Lease::Granted(Token(0))));
        };
        let mut leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.held.contains_key(key.as_bytes()) {
            return Answer::Now(Ok(Lease::Taken));
        }
        leases.last += 1;
        let token = Token(leases.last);
        leases.held.insert(key.as_bytes().to_vec(), token);
        Answer::Now(Ok(Lease::Granted(token)))
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        _: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        if let Some(leases) = &self.leases {
            let mut leases = leases.lock().unwrap_or_else(PoisonError::into_inner);
            if leases.held.get(key.as_bytes()) == Some(&token) {
                leases.held.remove(key.as_bytes());
            }
        }
        Answer::Now(Ok(()))
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.run(Operation::Remove, move || self.memory.remove(entry))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.run(Operation::Invalidate, move || {
            self.memory.invalidate(key, now)
        })
    }
}

struct Writer {
    store: Store,
    writer: Option<Box<dyn BodyWriter>>,
}

impl BodyWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.store.note(Operation::Write);
        match (self.store.fault(Operation::Write), &mut self.writer) {
            (Some(Fault::Fails(kind)), _) => Err(error(kind)),
            (_, Some(writer)) => writer.write(chunk),
            (_, None) => Ok(()),
        }
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self { store, writer } = *self;
        store.run(Operation::Publish, move || match writer {
            Some(writer) => writer.publish(trailers),
            None => Answer::Now(Ok(())),
        })
    }
}

/// How the bodies of a store are read: in windows, up to a place where something happens. Clones are
/// the same.
#[derive(Debug, Clone)]
pub(crate) struct Reads {
    window: usize,
    /// Where each window ends is known before it is read: they are those of the whole body.
    is_known: bool,
    trouble: Arc<Mutex<Option<(usize, Trouble)>>>,
    count: Arc<Mutex<usize>>,
}

/// What happens where a stored body gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Error,
    Hangs,
    /// A window without a byte.
    Nothing,
    /// A window with all that is left, and more.
    TooMuch,
    /// A window with one byte, and nothing behind it.
    TooLittle,
    /// It only takes its time.
    Takes(Duration),
}

impl Reads {
    pub(crate) fn in_windows_of(window: usize) -> Self {
        Self {
            window,
            is_known: false,
            trouble: Arc::default(),
            count: Arc::default(),
        }
    }

    /// The same, known beforehand.
    pub(crate) fn in_known_windows_of(window: usize) -> Self {
        Self {
            is_known: true,
            ..Self::in_windows_of(window)
        }
    }

    /// Where the window ends that begins here, in a body of this length.
    pub(crate) fn end(&self, start: usize, length: usize) -> usize {
        let end = match self.is_known {
            true => (start / self.window + 1) * self.window,
            false => start + self.window,
        };
        end.min(length)
    }

    /// Behind which of these bytes a body of this length gets lost, if it does: where windows are
    /// known beforehand, before the first that is not as it was to be.
    pub(crate) fn lost_behind(&self, wanted: &Range<usize>, length: usize) -> Option<usize> {
        let (at, trouble) = (*self.trouble.lock().expect("unpoisoned"))?;
        let mut place = wanted.start;
        while place < wanted.end {
            let end = self.end(place, length);
            let is_whole = *wanted == (0..length);
            place = match (self.is_known, trouble) {
                (true, _) if at >= end => end,
                (false, _) if at > place => end.min(at),
                (true, Trouble::TooLittle) if end - place == 1 => end,
                (false, Trouble::TooLittle) if place == at => place + 1,
                // All that is wanted is there; what is more is cut off.
                (false, Trouble::TooMuch) if !is_whole => return None,
                _ => return Some(place),
            };
        }
        None
    }

    /// From now on a body gets lost behind its first `at` bytes.
    pub(crate) fn lose(&self, at: usize, trouble: Trouble) {
        *self.trouble.lock().expect("unpoisoned") = Some((at, trouble));
    }

    /// From now on nothing gets lost.
    pub(crate) fn heal(&self) {
        *self.trouble.lock().expect("unpoisoned") = None;
    }

    /// How many windows were asked for so far.
    pub(crate) fn count(&self) -> usize {
        *self.count.lock().expect("unpoisoned")
    }

    fn hide(&self, found: &Candidates) -> Candidates {
        let hide = |entry: &Entry| {
            let elsewhere = Elsewhere {
                bytes: whole(&entry.body),
                reads: self.clone(),
            };
            let body = StoredBody::remote(Arc::new(elsewhere), entry.body.len());
            Entry {
                body: body.with_trailers(entry.body.trailers().cloned()),
                ..entry.clone()
            }
        };
        found.iter().map(hide).collect()
    }
}

fn whole(body: &StoredBody) -> Bytes {
    match body.source() {
        Source::Whole(whole) => whole.clone(),
        Source::Chunks(chunks) => {
            let mut whole = BytesMut::new();
            chunks
                .iter()
                .for_each(|chunk| whole.extend_from_slice(chunk));
            whole.freeze()
        }
        Source::Remote(_) => panic!("a store in memory has its bodies here"),
    }
}

#[derive(Debug)]
struct Elsewhere {
    bytes: Bytes,
    reads: Reads,
}

impl ReadBody for Elsewhere {
    fn window_end(&self, start: u64) -> Option<u64> {
        let start = usize::try_from(start).expect("a place in it");
        let is_known = self.reads.is_known && start < self.bytes.len();
        is_known.then(|| self.reads.end(start, self.bytes.len()) as u64)
    }

    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
        let (bytes, reads) = (self.bytes.clone(), self.reads.clone());
        Box::pin(async move {
            *reads.count.lock().expect("unpoisoned") += 1;
            let start = usize::try_from(start).expect("a place in it");
            let end = reads.end(start, bytes.len());
            let trouble = *reads.trouble.lock().expect("unpoisoned");
            let Some((at, trouble)) = trouble else {
                return Ok(bytes.slice(start..end));
            };
            if start < at && !(reads.is_known && at < end) {
                return Ok(bytes.slice(start..end.min(at)));
            }
            match trouble {
                Trouble::Error => Err(error(BackendErrorKind::Unavailable)),
                Trouble::Hangs => pending().await,
                Trouble::Nothing => Ok(Bytes::new()),
                Trouble::TooMuch => {
                    let mut more = BytesMut::from(&bytes[start..]);
                    more.extend_from_slice(b"which is not of it");
                    Ok(more.freeze())
                }
                Trouble::TooLittle if reads.is_known || start == at => {
                    Ok(bytes.slice(start..=start))
                }
                Trouble::TooLittle => Ok(Bytes::new()),
                Trouble::Takes(time) => {
                    tokio::time::sleep(time).await;
                    Ok(bytes.slice(start..end))
                }
            }
        })
    }
}
