//! A store that does not do what it should.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{
    Answer, Backend, BackendError, BodyWriter, Candidates, Entry, PrimaryKey, Query, StoredHead,
};
use cache_memory::MemoryBackend;
use http::HeaderMap;

/// A store in memory that finds something else than what is there, or never ends to publish.
pub(crate) struct Altered {
    inner: MemoryBackend,
    find: Box<dyn Fn(Candidates) -> Candidates + Send + Sync>,
    publishing: Option<Arc<()>>,
}

impl Altered {
    /// It finds what `find` makes of what is there.
    pub(crate) fn finding(find: impl Fn(Candidates) -> Candidates + Send + Sync + 'static) -> Self {
        Self {
            inner: MemoryBackend::default(),
            find: Box::new(find),
            publishing: None,
        }
    }

    /// It never ends to publish; what is being published holds on to `held`.
    pub(crate) fn never_publishing(held: Arc<()>) -> Self {
        Self {
            publishing: Some(held),
            ..Self::finding(|found| found)
        }
    }
}

impl fmt::Debug for Altered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Altered").finish_non_exhaustive()
    }
}

impl Backend for Altered {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        match self.inner.lookup(query, now) {
            Answer::Now(found) => Answer::Now(found.map(&self.find)),
            Answer::Later(_) => panic!("a store in memory answers at once"),
        }
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        let writer = self.inner.writer(head);
        match &self.publishing {
            Some(held) => Box::new(NeverPublishing {
                writer,
                _held: held.clone(),
            }),
            None => writer,
        }
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.inner.freshen(entry, head, now)
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.inner.remove(entry)
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.inner.invalidate(key, now)
    }
}

struct NeverPublishing {
    writer: Box<dyn BodyWriter>,
    _held: Arc<()>,
}

impl BodyWriter for NeverPublishing {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.writer.write(chunk)
    }

    fn publish(self: Box<Self>, _: Option<HeaderMap>) -> Answer<'static, Result<(), BackendError>> {
        Answer::later(async move {
            let _self = self;
            pending().await
        })
    }
}
