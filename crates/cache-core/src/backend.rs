//! The port: what the engine needs of a store, and what it promises in return.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};

use crate::key::{Digest, PrimaryKey};
use crate::manage::Manage;
use crate::policy::Policy;
use crate::request::RequestHead;
use crate::rules::selection;
use crate::stored::StoredHead;

/// A store of responses.
///
/// The engine treats every error as "not there" or "not done", logs it, and goes on; so a backend
/// reports what happened and retries nothing. Any future may be dropped at any await point, and
/// must then leave nothing half done that another call can see.
///
/// A backend is untrusted: the engine compares key and selecting fields of what it gets.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The stored responses for a key: at least the one that was selected by the fields that the
    /// query has, if it is there, and where it is not, as many others as can be had cheaply.
    ///
    /// An answer that comes later does nothing before it is polled: the engine may drop it and ask
    /// again.
    ///
    /// A lookup that starts after [`BodyWriter::publish`] has answered sees that response or a
    /// later one, unless it was evicted. What is past its
    /// [`retain_until`](StoredHead::retain_until) at `now` is not returned.
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>>;

    /// Shows to `see`, once, what a [`lookup`](Self::lookup) finds that is answered now; where that is answered later,
    /// it does nothing. What is seen is not copied, and no reference to it is counted.
    ///
    /// `see` makes the whole response, and may call filters and listeners of the application: hold no lock meanwhile.
    fn lookup_now(
        &self,
        query: Query<'_>,
        now: SystemTime,
        see: &mut dyn FnMut(Result<&Candidates, BackendError>),
    ) {
        if let Answer::Now(found) = self.lookup(query, now) {
            match found {
                Ok(candidates) => see(Ok(&candidates)),
                Err(error) => see(Err(error)),
            }
        }
    }

    /// Begins to store a response. Nothing is visible before [`BodyWriter::publish`].
    ///
    /// It replaces the response that was selected by the same fields with the same values, if any,
    /// unless that one was asked for later, as far as the backend can tell.
    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter>;

    /// Replaces the head of a stored response and keeps its body, if the response is still the one
    /// that `entry` was found as; otherwise does nothing, so that what is gone or replaced stays so.
    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>>;

    /// Removes one stored response, if it is still the one that `entry` was found as.
    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>>;

    /// Removes all responses for a key, whatever they were selected by.
    ///
    /// A response that was asked for before `now` and is published later does not become visible,
    /// as far as the backend can tell: it answers a question from before the change.
    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>>;

    /// Asks to be the only one of all who share the store that asks the origin about a key, for
    /// this long at most. Nothing depends on it but how often the origin is asked.
    ///
    /// A store that nobody else shares grants it.
    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        let _ = (key, time);
        Answer::Now(Ok(Lease::Granted(Token(0))))
    }

    /// Gives a lease back, if it is still the one that has this token. What the origin gave is of no
    /// use to others: then nobody is to wait for another for as long as `useless_for`.
    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        let _ = (key, token, useless_for);
        Answer::Now(Ok(()))
    }

    /// What the store offers to those who look after it, if it offers that.
    fn manage(&self) -> Option<&dyn Manage> {
        None
    }
}

/// What became of the wish for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to handle all")]
pub enum Lease {
    /// It is granted, under this token.
    Granted(Token),
    /// Another has it.
    Taken,
    /// It is of no use: responses for this key cannot be shared.
    Useless,
}

impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        (**self).lookup(query, now)
    }

    fn lookup_now(
        &self,
        query: Query<'_>,
        now: SystemTime,
        see: &mut dyn FnMut(Result<&Candidates, BackendError>),
    ) {
        (**self).lookup_now(query, now, see);
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        (**self).writer(head)
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        (**self).freshen(entry, head, now)
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        (**self).remove(entry)
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        (**self).invalidate(key, now)
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        (**self).lease(key, time)
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        (**self).end_lease(key, token, useless_for)
    }

    fn manage(&self) -> Option<&dyn Manage> {
        (**self).manage()
    }
}

/// The stored responses for one key, as far as a lookup brings them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    entries: Arc<[Entry]>,
    has_others: bool,
}

impl Candidates {
    /// None, where some are stored that were selected by other fields than the query has.
    #[must_use]
    pub fn others_only() -> Self {
        Self {
            has_others: true,
            ..Self::default()
        }
    }

    /// Whether anything is stored for the key, brought or not.
    pub(crate) fn is_known(&self) -> bool {
        self.has_others || !self.entries.is_empty()
    }
}

impl Deref for Candidates {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

impl From<Entry> for Candidates {
    fn from(entry: Entry) -> Self {
        Self {
            entries: Arc::new([entry]),
            has_others: false,
        }
    }
}

impl From<Vec<Entry>> for Candidates {
    fn from(entries: Vec<Entry>) -> Self {
        entries.into_iter().collect()
    }
}

impl FromIterator<Entry> for Candidates {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self {
            entries: entries.into_iter().collect(),
            has_others: false,
        }
    }
}

/// A future that can be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An answer that is there already, or one that has to be waited for.
///
/// A store in memory answers at once, and then nothing on the way of a hit is boxed or awaited.
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Answer<'a, T> {
    /// It is there.
    Now(T),
    /// It has to be waited for.
    Later(BoxFuture<'a, T>),
}

impl<'a, T> Answer<'a, T> {
    /// An answer to be waited for.
    pub fn later(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Later(Box::pin(future))
    }

    /// Waits for it, if need be.
    pub async fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(future) => future.await,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later(..)"),
        }
    }
}

/// What is looked for.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) key: &'a PrimaryKey,
    pub(crate) headers: &'a HeaderMap,
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("key", self.key)
            .finish_non_exhaustive()
    }
}

impl<'a> Query<'a> {
    /// What a request asks of a store: responses under this key.
    #[must_use]
    pub fn new(policy: &'a Policy, key: &'a PrimaryKey, request: RequestHead<'a>) -> Self {
        Self {
            policy,
            key,
            headers: request.headers,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &'a PrimaryKey {
        self.key
    }

    /// The same for another key: for a backend that stores under other keys than it is asked for.
    #[must_use]
    pub fn with_key<'b>(self, key: &'b PrimaryKey) -> Query<'b>
    where
        'a: 'b,
    {
        Query { key, ..self }
    }

    /// The digest of the values that the request has in the fields that `Vary` named, in the order
    /// given; equal to [`StoredHead::variant`] of a response that was selected by the same values.
    pub fn variant<'n>(&self, names: impl IntoIterator<Item = &'n HeaderName>) -> Digest {
        selection::variant(
            names
                .into_iter()
                .map(|name| (name, selection::digest(self.policy, self.headers, name))),
        )
    }
}

/// A stored response as it was found; cheap to clone.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its head.
    pub head: Arc<StoredHead>,
    /// Its body.
    pub body: StoredBody,
    /// Its identity.
    pub token: Token,
}

/// The identity of one stored response: another one, of the same key and values, has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// The body of a stored response; cheap to clone.
#[derive(Clone, Default)]
pub struct StoredBody {
    source: Source,
    length: u64,
    trailers: Option<Arc<HeaderMap>>,
}

/// Where the bytes of a stored body are.
#[derive(Clone)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to know them all")]
pub enum Source {
    /// Here, in one piece.
    Whole(Bytes),
    /// Here, in the pieces that they arrived in.
    Chunks(Arc<[Bytes]>),
    /// In the store.
    Remote(Arc<dyn ReadBody>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole(_) => "Whole(..)",
            Self::Chunks(_) => "Chunks(..)",
            Self::Remote(_) => "Remote(..)",
        })
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody")
            .field("source", &self.source)
            .field("length", &self.length)
            .field("has_trailers", &self.trailers.is_some())
            .finish()
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl StoredBody {
    /// A body in one piece.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            length: bytes.len() as u64,
            source: Source::Whole(bytes),
            trailers: None,
        }
    }

    /// A body in several pieces.
    #[must_use]
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self {
            length,
            source: Source::Chunks(chunks.into()),
            trailers: None,
        }
    }

    /// A body of `length` bytes that is read from the store when it is needed.
    #[must_use]
    pub fn remote(body: Arc<dyn ReadBody>, length: u64) -> Self {
        Self {
            length,
            source: Source::Remote(body),
            trailers: None,
        }
    }

    /// The same body with trailer fields behind it.
    #[must_use]
    pub fn with_trailers(mut self, trailers: Option<HeaderMap>) -> Self {
        self.trailers = trailers.map(Arc::new);
        self
    }

    /// Where the bytes are.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The trailer fields behind it, to share.
    #[must_use]
    pub fn shared_trailers(&self) -> Option<Arc<HeaderMap>> {
        self.trailers.clone()
    }

    /// The trailer fields behind it.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }
}

/// A body that stays in the store until it is read.
pub trait ReadBody: fmt::Debug + Send + Sync + 'static {
    /// The bytes from `start` up to the end of the window that the store reads at once; never
    /// empty where `start` is before the end.
    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>>;

    /// Where the window ends that is read from `start`, if that is known before: then those behind
    /// it are asked for before it has arrived.
    fn window_end(&self, start: u64) -> Option<u64> {
        let _ = start;
        None
    }
}

/// A response that is being stored. Dropping it before [`publish`](Self::publish) stores nothing.
pub trait BodyWriter: Send + Sync + 'static {
    /// Takes the next piece of the body, without waiting.
    ///
    /// # Errors
    ///
    /// Where the store cannot take it now; then nothing is stored, and the caller drops the writer.
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError>;

    /// Waits until the next piece will not be refused for coming too early. Nobody who streams to a
    /// caller waits for it; whoever copies does.
    fn ready(&mut self) -> Answer<'_, ()> {
        Answer::Now(())
    }

    /// Makes the response visible, now that its body is complete.
    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>>;
}

/// Why a store did not do what it was asked for.
#[derive(Debug)]
pub struct BackendError {
    kind: BackendErrorKind,
    doing: &'static str,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of [`BackendError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The store cannot be reached, or reported an error.
    Unavailable,
    /// The store did not answer in time.
    TimedOut,
    /// The store does not take this response: too large, or it has too much to do.
    Declined,
    /// The store does not offer this at all.
    Unsupported,
}

impl BackendError {
    /// An error of this kind, met while `doing` something: "looking up", say.
    #[must_use]
    pub fn new(kind: BackendErrorKind, doing: &'static str) -> Self {
        Self {
            kind,
            doing,
            source: None,
        }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            BackendErrorKind::Unavailable => "failed",
            BackendErrorKind::TimedOut => "timed out",
            BackendErrorKind::Declined => "was declined",
            BackendErrorKind::Unsupported => "is nothing that this store offers",
        };
        write!(f, "{} {what}", self.doing)
    }
}

impl StdError for BackendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
