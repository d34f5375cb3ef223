//! `Watched`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::{
    Answer, Backend, BackendError, BodyWriter, Candidates, Entry, Lease, PrimaryKey, Query,
    StoredHead, Token,
};
use http::HeaderMap;

use crate::activity::{Activity, Busy};

/// A backend whose work counts as activity: it may go on when the response is there.
#[derive(Debug)]
pub(crate) struct Watched {
    backend: Arc<dyn Backend>,
    activity: Activity,
}

impl Watched {
    pub(crate) fn new(backend: Arc<dyn Backend>, activity: Activity) -> Self {
        Self { backend, activity }
    }
}

impl Backend for Watched {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.lookup(query, now))
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(Writer {
            busy: self.activity.begin(),
            writer: self.backend.writer(head),
        })
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.freshen(entry, head, now))
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.remove(entry))
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.invalidate(key, now))
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.lease(key, time))
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        let busy = self.activity.begin();
        busy.until(self.backend.end_lease(key, token, useless_for))
    }
}

/// Counts from the first byte to the end of publishing, without a gap between them.
struct Writer {
    busy: Busy,
    writer: Box<dyn BodyWriter>,
}

impl BodyWriter for Writer {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.writer.write(chunk)
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self { busy, writer } = *self;
        busy.until(writer.publish(trailers))
    }
}
