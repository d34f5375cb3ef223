//! `CodecBackend`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, Candidates, Entry, Lease, Listed,
    Manage, PrimaryKey, Query, StoredBody, StoredHead, Token,
};
use http::header::CONTENT_ENCODING;

use crate::codec::Codec;
use crate::envelope::Envelopes;
use crate::keys::InvalidCodec;
use crate::protection::Id;
use crate::writer::CodecWriter;

/// A backend behind a codec; cloning shares it.
///
/// Freshening costs one more look into the store. What was stored without the codec is a miss. A response
/// whose header section takes more than 1 MiB is not stored.
#[derive(Clone)]
pub struct CodecBackend<B> {
    pub(crate) inner: B,
    pub(crate) envelopes: Arc<Envelopes>,
}

impl<B: Backend> CodecBackend<B> {
    /// Around this backend.
    ///
    /// # Errors
    ///
    /// Where codec or backend cannot do their part; the error says what to write.
    pub fn new(backend: B, codec: Codec) -> Result<Self, InvalidCodec> {
        codec.check()?;
        if backend.manage().is_none() {
            return Err(InvalidCodec::NotManageable);
        }
        Ok(Self {
            inner: backend,
            envelopes: Arc::new(Envelopes::new(codec)),
        })
    }

    /// The backend inside.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// How many stored responses, and parts of bodies, were not what this codec writes with these keys,
    /// or were changed. Each was a miss.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.envelopes.rejected()
    }

    fn open_all(&self, found: Candidates) -> Candidates {
        if found.is_empty() {
            return found;
        }
        found
            .iter()
            .filter_map(|stored| self.envelopes.open_entry(stored))
            .collect()
    }

    /// A response of which only identity and place are of interest.
    pub(crate) fn outline(&self, head: &StoredHead, token: Token) -> Listed {
        Listed {
            head: Arc::new(self.envelopes.outline(head)),
            body_length: 0,
            bytes: 0,
            trailers: None,
            token,
        }
    }

    async fn freshen_sealed(
        &self,
        entry: &Entry,
        head: &StoredHead,
        now: SystemTime,
    ) -> Result<(), BackendError> {
        let unsupported = || BackendError::new(BackendErrorKind::Unsupported, "freshening");
        let manage = self.inner.manage().ok_or_else(unsupported)?;
        let listed = self.outline(&entry.head, entry.token);
        let Some(stored) = manage.open(&listed).wait().await? else {
            return Ok(());
        };
        let Some(opened) = self.envelopes.open_head(&stored.head) else {
            self.envelopes.reject("a response");
            return Ok(());
        };
        let declined = || BackendError::new(BackendErrorKind::Declined, "freshening");
        let head = self
            .envelopes
            .seal_head(head, &opened.id)
            .ok_or_else(declined)?;
        self.inner
            .freshen(&stored, Arc::new(head), now)
            .wait()
            .await
    }
}

impl<B: Backend> Backend for CodecBackend<B> {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        let key = self.envelopes.key(query.key());
        match self.inner.lookup(query.with_key(&key), now) {
            Answer::Now(found) => return Answer::Now(found.map(|found| self.open_all(found))),
            // It does nothing before it is polled, and what is asked for lives here only.
            Answer::Later(_) => {}
        }
        Answer::later(async move {
            let key = self.envelopes.key(query.key());
            let found = self.inner.lookup(query.with_key(&key), now).wait().await?;
            Ok(self.open_all(found))
        })
    }

    fn lookup_now(
        &self,
        query: Query<'_>,
        now: SystemTime,
        see: &mut dyn FnMut(Result<&Candidates, BackendError>),
    ) {
        let key = self.envelopes.key(query.key());
        let query = query.with_key(&key);
        self.inner.lookup_now(query, now, &mut |found| match found {
            Ok(found) => see(Ok(&self.open_all(found.clone()))),
            Err(error) => see(Err(error)),
        });
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        let mut id = Id::default();
        let is_coded = head.headers().contains_key(CONTENT_ENCODING);
        let sealed = getrandom::fill(&mut id).ok();
        let sealed = sealed.and_then(|()| self.envelopes.seal_head(&head, &id));
        let inner = sealed.map(|sealed| self.inner.writer(sealed));
        Box::new(CodecWriter::new(
            self.envelopes.clone(),
            inner,
            id,
            is_coded,
        ))
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move { self.freshen_sealed(entry, &head, now).await })
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let stored = Entry {
                head: Arc::new(self.envelopes.outline(&entry.head)),
                body: StoredBody::default(),
                token: entry.token,
            };
            self.inner.remove(&stored).wait().await
        })
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let key = self.envelopes.key(key);
            self.inner.invalidate(&key, now).wait().await
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        Answer::later(async move {
            let key = self.envelopes.key(key);
            self.inner.lease(&key, time).wait().await
        })
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let key = self.envelopes.key(key);
            self.inner.end_lease(&key, token, useless_for).wait().await
        })
    }

    fn manage(&self) -> Option<&dyn Manage> {
        self.inner.manage().map(|_| self as &dyn Manage)
    }
}

impl<B: fmt::Debug> fmt::Debug for CodecBackend<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecBackend")
            .field("inner", &self.inner)
            .field("codec", &self.envelopes.codec)
            .finish()
    }
}
