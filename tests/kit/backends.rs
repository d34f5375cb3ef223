//! Backends around a backend: one that records, one that fails.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, Candidates, Entry, PrimaryKey,
    Query, StoredHead,
};
use http::HeaderMap;

/// An operation on a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// `lookup`
    Lookup,
    /// `BodyWriter::write`
    Write,
    /// `BodyWriter::publish`
    Publish,
    /// `freshen`
    Freshen,
    /// `remove`
    Remove,
    /// `invalidate`
    Invalidate,
}

/// A backend that remembers what it was asked to do; clones are the same backend.
#[derive(Debug, Clone)]
pub struct RecordingBackend<B> {
    inner: B,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl<B> RecordingBackend<B> {
    /// Around this backend.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            operations: Arc::default(),
        }
    }

    /// What it was asked to do since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(
            &mut self
                .operations
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// A backend in which chosen operations fail, or never answer; clones are the same backend.
#[derive(Debug, Clone)]
pub struct FaultyBackend<B> {
    inner: B,
    faults: Arc<Mutex<Vec<(Operation, Fault)>>>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Fails,
    Hangs,
}

impl<B> FaultyBackend<B> {
    /// Around this backend, without a fault so far.
    pub fn new(inner: B) -> Self {
        Self {
            inner,
            faults: Arc::default(),
        }
    }

    /// From now on this operation fails.
    pub fn fail(&self, operation: Operation) {
        self.set(operation, Fault::Fails);
    }

    /// From now on this operation never answers.
    pub fn hang(&self, operation: Operation) {
        self.set(operation, Fault::Hangs);
    }

    /// From now on everything works.
    pub fn heal(&self) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn set(&self, operation: Operation, fault: Fault) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((operation, fault));
    }
}

/// What stands before each operation: it may be noted, and it may be kept from happening.
trait Before: Clone + std::fmt::Debug + Send + Sync + 'static {
    type Inner: Backend;
    fn inner(&self) -> &Self::Inner;
    fn before<T: Send + 'static>(
        &self,
        operation: Operation,
    ) -> Option<Answer<'static, Result<T, BackendError>>>;
}

impl<B: Backend + Clone> Before for RecordingBackend<B> {
    type Inner = B;

    fn inner(&self) -> &B {
        &self.inner
    }

    fn before<T: Send + 'static>(
        &self,
        operation: Operation,
    ) -> Option<Answer<'static, Result<T, BackendError>>> {
        self.operations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
        None
    }
}

impl<B: Backend + Clone> Before for FaultyBackend<B> {
    type Inner = B;

    fn inner(&self) -> &B {
        &self.inner
    }

    fn before<T: Send + 'static>(
        &self,
        operation: Operation,
    ) -> Option<Answer<'static, Result<T, BackendError>>> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, fault) = faults.iter().find(|(faulty, _)| *faulty == operation)?;
        Some(match fault {
            Fault::Fails => Answer::Now(Err(fault_error())),
            Fault::Hangs => Answer::later(pending()),
        })
    }
}

fn fault_error() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "working").with_source("a fault was injected")
}

macro_rules! wrapped {
    ($wrapper:ident) => {
        impl<B: Backend + Clone> Backend for $wrapper<B> {
            fn lookup<'a>(
                &'a self,
                query: Query<'a>,
                now: SystemTime,
            ) -> Answer<'a, Result<Candidates, BackendError>> {
                self.before(Operation::Lookup)
                    .unwrap_or_else(|| self.inner().lookup(query, now))
            }

            fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
                Box::new(Wrapped {
                    before: self.clone(),
                    writer: self.inner().writer(head),
                })
            }

            fn freshen<'a>(
                &'a self,
                entry: &'a Entry,
                head: Arc<StoredHead>,
                now: SystemTime,
            ) -> Answer<'a, Result<(), BackendError>> {
                self.before(Operation::Freshen)
                    .unwrap_or_else(|| self.inner().freshen(entry, head, now))
            }

            fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
                self.before(Operation::Remove)
                    .unwrap_or_else(|| self.inner().remove(entry))
            }

            fn invalidate<'a>(
                &'a self,
                key: &'a PrimaryKey,
                now: SystemTime,
            ) -> Answer<'a, Result<(), BackendError>> {
                self.before(Operation::Invalidate)
                    .unwrap_or_else(|| self.inner().invalidate(key, now))
            }
        }
    };
}

wrapped!(RecordingBackend);
wrapped!(FaultyBackend);

struct Wrapped<B> {
    before: B,
    writer: Box<dyn BodyWriter>,
}

impl<B: Before> BodyWriter for Wrapped<B> {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        match self.before.before(Operation::Write) {
            // Writing never waits, so one that would hang is refused.
            Some(Answer::Now(result)) => result,
            Some(Answer::Later(_)) => Err(fault_error()),
            None => self.writer.write(chunk),
        }
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self { before, writer } = *self;
        before
            .before(Operation::Publish)
            .unwrap_or_else(|| writer.publish(trailers))
    }
}
