//! A store in memory that can be slow, fail and hang.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{
    Answer, BackendError, BackendErrorKind, BodyWriter, Candidates, Entry, PrimaryKey, Query,
    StoredHead,
};
use cache_tower::{Backend, MemoryBackend};
use http::HeaderMap;
use tokio::task::yield_now;

use crate::script::{Fault, Operation};

/// A store in memory that can be slow, fail and hang; clones are the same store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    memory: MemoryBackend,
    is_slow: bool,
    fault: Arc<Mutex<Option<(Operation, Fault)>>>,
}

impl Store {
    pub(crate) fn new(is_slow: bool) -> Self {
        Self {
            memory: MemoryBackend::with_capacity(1 << 20).expect("more than the minimum"),
            is_slow,
            fault: Arc::default(),
        }
    }

    /// From now on this operation does so, and all others work.
    pub(crate) fn set_fault(&self, fault: Option<(Operation, Fault)>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn fault_of(&self, operation: Operation) -> Option<Fault> {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault
            .filter(|(faulty, _)| *faulty == operation)
            .map(|(_, fault)| fault)
    }

    fn answer<'a, T: Send + 'a>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Answer<'a, Result<T, BackendError>> + Send + 'a,
    ) -> Answer<'a, Result<T, BackendError>> {
        match self.fault_of(operation) {
            Some(Fault::Fails) => Answer::Now(Err(error())),
            Some(Fault::Hangs) => Answer::later(pending()),
            None if self.is_slow => Answer::later(async {
                yield_now().await;
                work().wait().await
            }),
            None => work(),
        }
    }
}

fn error() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "working")
}

impl Backend for Store {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        self.answer(Operation::Lookup, move || self.memory.lookup(query, now))
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(Writer {
            store: self.clone(),
            memory: self.memory.writer(head),
        })
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.answer(Operation::Freshen, move || {
            self.memory.freshen(entry, head, now)
        })
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.answer(Operation::Remove, move || self.memory.remove(entry))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.answer(Operation::Invalidate, move || {
            self.memory.invalidate(key, now)
        })
    }
}

struct Writer {
    store: Store,
    memory: Box<dyn BodyWriter>,
}

impl BodyWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        match self.store.fault_of(Operation::Write) {
            Some(_) => Err(error()),
            None => self.memory.write(chunk),
        }
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self { store, memory } = *self;
        store.answer(Operation::Publish, move || memory.publish(trailers))
    }
}
