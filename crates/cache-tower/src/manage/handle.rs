//! `CacheHandle`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{
    Backend, BackendError, BackendErrorKind, Entry, Manage, PrimaryKey, Query, RequestHead,
    SelectingField,
};
use http::{Request, Uri};

use super::copy::read;
use super::entries::Entries;
use super::filter::{Filter, Prepared};
use super::stats::{Counting, Stats};
use super::sweep::{Action, Sweep};
use crate::budget::within;
use crate::controls::Live;
use crate::engine::Engine;
use crate::layer::CacheLayer;

/// Looks after what a cache has stored: looks into it, fills it, empties it.
///
/// ```
/// use cache_tower::{CacheLayer, Filter, MemoryBackend};
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
///
/// let layer = CacheLayer::new(MemoryBackend::default());
/// let handle = layer.handle();
/// let request = http::Request::get("https://api.example/users").body(())?;
/// let response = http::Response::builder()
///     .header("cache-control", "max-age=60")
///     .body("[]".to_owned())?;
///
/// handle.put(&request, response).await?;
/// assert!(handle.contains(&request).await?);
/// assert_eq!(handle.stats().await?.entries, 1);
///
/// handle.invalidate_url("https://api.example/users".parse()?).await?;
/// assert!(!handle.contains(&request).await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What goes through all that is stored needs a store that offers it, as the one in memory and Redis
/// do; with another it fails, with [`BackendErrorKind::Unsupported`]. Each operation on the store has
/// the layer's [`backend_timeout`](CacheLayer::backend_timeout); there is no budget, and a store that
/// is left alone by requests is asked all the same.
#[derive(Debug, Clone)]
pub struct CacheHandle {
    live: Arc<Live>,
}

impl CacheLayer {
    /// A handle on what this layer has stored and stores. What is changed of the cache while it runs
    /// counts for the handle, too.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        CacheHandle { live: self.live() }
    }
}

impl CacheHandle {
    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.live.engine())
    }

    /// The stored response that was selected by what this request has, fresh or not, with its body.
    ///
    /// What the request says of the cache (`no-store`, a mode, a precondition) does not count, here and in what
    /// else takes a request.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn get<B>(&self, request: &Request<B>) -> Result<Option<Entry>, BackendError> {
        let engine = &self.engine();
        let head = RequestHead::from(request);
        let Some(key) = PrimaryKey::of(&engine.policy, &head) else {
            return Ok(None);
        };
        let query = Query::new(&engine.policy, &key, head);
        let found = engine.backend.lookup(query, engine.clock.now()).wait();
        let found = within(engine.backend_timeout, "looking up", found).await?;
        let selected = found.iter().filter(|entry| {
            let names = entry.head.selecting().iter().map(SelectingField::name);
            *entry.head.key() == key && entry.head.variant() == query.variant(names)
        });
        let latest = selected.max_by_key(|entry| entry.head.received_at());
        Ok(latest.cloned())
    }

    /// Whether a response is stored that was selected by what this request has, fresh or not.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn contains<B>(&self, request: &Request<B>) -> Result<bool, BackendError> {
        Ok(self.get(request).await?.is_some())
    }

    /// The first bytes of the body of a stored response, no more than `most`.
    ///
    /// # Errors
    ///
    /// Where the store fails, or the body has gone meanwhile.
    pub async fn read(&self, entry: &Entry, most: u64) -> Result<Bytes, BackendError> {
        let time = self.engine().backend_timeout;
        read(&entry.body, most, time).await
    }

    /// A listed response with its body, if it is still the one that was listed.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn open(&self, listed: &cache_core::Listed) -> Result<Option<Entry>, BackendError> {
        let engine = &self.engine();
        let opening = engine.manage()?.open(listed).wait();
        within(engine.backend_timeout, "opening", opening).await
    }

    /// Removes the stored response that was selected by what this request has; whether there was one.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn remove<B>(&self, request: &Request<B>) -> Result<bool, BackendError> {
        let Some(entry) = self.get(request).await? else {
            return Ok(false);
        };
        let engine = &self.engine();
        let removing = engine.backend.remove(&entry).wait();
        within(engine.backend_timeout, "removing", removing).await?;
        Ok(true)
    }

    /// Removes all responses under the key of this request, whatever they were selected by. One that
    /// was asked for before and arrives later is not stored.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn invalidate<B>(&self, request: &Request<B>) -> Result<(), BackendError> {
        match PrimaryKey::of(&self.engine().policy, &RequestHead::from(request)) {
            Some(key) => self.invalidate_key(&key).await,
            None => Ok(()),
        }
    }

    /// Removes all responses for this URL, all variants, whoever asked. It goes through all that is
    /// stored, as the keys of others cannot be told from a URL.
    ///
    /// What the progress counts as done is keys. Otherwise as [`invalidate_all`](Self::invalidate_all).
    pub fn invalidate_url(&self, url: Uri) -> Sweep<'static> {
        self.invalidate_all(Filter::all().url(url))
    }

    /// Removes all responses under every key of which the filter picks one. One that was asked for
    /// before and arrives later is not stored, as far as anything was stored under its key.
    pub fn invalidate_all(&self, filter: Filter) -> Sweep<'static> {
        Sweep::new(self, filter, Action::Invalidate)
    }

    /// Removes the responses that the filter picks, and those only.
    pub fn remove_all(&self, filter: Filter) -> Sweep<'static> {
        Sweep::new(self, filter, Action::Remove)
    }

    /// Makes the responses that the filter picks stale: they are validated before their next use,
    /// where no stale window allows another, and are kept for the time in which the origin is down.
    pub fn mark_stale(&self, filter: Filter) -> Sweep<'static> {
        Sweep::new(self, filter, Action::MarkStale)
    }

    /// Makes the responses that the filter picks fresh for this long from now on, whatever the origin
    /// said.
    pub fn set_ttl(&self, filter: Filter, ttl: Duration) -> Sweep<'static> {
        Sweep::new(self, filter, Action::SetTtl(ttl))
    }

    /// Copies the responses that the filter picks into another store, where they replace what is
    /// there unless that is newer. What is kept no longer is left out.
    ///
    /// The secret of keys and digests has to be the same for both.
    pub fn copy_to(&self, other: impl Backend, filter: Filter) -> Sweep<'static> {
        Sweep::new(self, filter, Action::CopyTo(Arc::new(other)))
    }

    /// Removes everything. What is stored meanwhile may stay.
    pub fn clear(&self) -> Sweep<'static> {
        Sweep::new(self, Filter::all(), Action::Clear)
    }

    /// The stored responses that the filter picks, without their bodies.
    pub fn entries(&self, filter: Filter) -> Entries {
        self.entries_by(filter.prepare(&self.engine().policy))
    }

    pub(super) fn entries_by(&self, filter: Prepared) -> Entries {
        let engine = self.engine();
        let walk = engine.manage().map(Manage::walk);
        Entries::new(engine, filter, walk)
    }

    /// The URLs of the stored responses that the filter picks, each once, in order. Values that hold
    /// secrets are redacted.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn urls(&self, filter: Filter) -> Result<BTreeSet<String>, BackendError> {
        let mut entries = self.entries(filter);
        let mut urls = BTreeSet::new();
        while let Some(listed) = entries.next().await {
            urls.extend(listed?.key().url());
        }
        Ok(urls)
    }

    /// What is stored, counted. It goes through all of it.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn stats(&self) -> Result<Stats, BackendError> {
        let engine = &self.engine();
        let mut entries = self.entries(Filter::all());
        let mut counting = Counting::default();
        while let Some(listed) = entries.next().await {
            counting.count(&listed?, engine.clock.now());
        }
        Ok(counting.finish(entries.unreadable()))
    }

    pub(super) async fn invalidate_key(&self, key: &PrimaryKey) -> Result<(), BackendError> {
        let engine = &self.engine();
        engine.flights.close(key);
        let invalidating = engine.backend.invalidate(key, engine.clock.now()).wait();
        within(engine.backend_timeout, "invalidating", invalidating).await
    }
}

impl Engine {
    pub(super) fn manage(&self) -> Result<&dyn Manage, BackendError> {
        let unsupported = || {
            BackendError::new(
                BackendErrorKind::Unsupported,
                "going through all that is stored",
            )
        };
        self.backend.manage().ok_or_else(unsupported)
    }
}
