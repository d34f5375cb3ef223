//! What one request sets for itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, Request, request};

use crate::mode::CacheMode;
use crate::policy::Ttl;

/// What one request sets for itself, in its extensions; it comes before what rules and policy say.
///
/// ```
/// use cache_core::{CacheMode, CacheOptions, CacheRequestExt};
/// use std::time::Duration;
///
/// let request = http::Request::get("https://example.com/report")
///     .cache(CacheOptions::new().default_ttl(Duration::from_secs(60)).partition("tenant 7"))
///     .body(())?;
///
/// let reload = http::Request::get("https://example.com/report")
///     .cache(CacheMode::Reload)
///     .body(())?;
/// # let _ = (request, reload);
/// # Ok::<(), http::Error>(())
/// ```
///
/// A response that is stored because of them is stored for all in the partition: what a later request
/// sets for itself does not change the lifetime that it has.
#[derive(Clone, Default)]
#[must_use]
pub struct CacheOptions {
    pub(crate) mode: Option<CacheMode>,
    pub(crate) read_only: bool,
    pub(crate) default_ttl: Option<Ttl>,
    pub(crate) override_ttl: Option<Ttl>,
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) ignores_origin: Option<bool>,
    pub(crate) material: Option<Arc<[u8]>>,
    pub(crate) partition: Option<Arc<[u8]>>,
    pub(crate) backend_budget: Option<Duration>,
    pub(crate) coalescing_wait: Option<Duration>,
    pub(crate) reports_key: bool,
    pub(crate) switches: Switches,
}

/// What holds for all requests of a cache at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "the engine sets them all")]
pub struct Switches {
    /// Nothing is looked up or stored. Unsafe requests invalidate as ever.
    pub is_disabled: bool,
    /// The origin is not asked: [`CacheMode::OnlyIfCached`] for all.
    pub is_offline: bool,
    /// Nothing is written.
    pub is_read_only: bool,
}

impl CacheOptions {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options in these extensions, if there are any.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// What the request wants of the cache; it comes before a [`CacheMode`] that is in the extensions
    /// by itself.
    pub fn mode(mut self, mode: CacheMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Write nothing, whatever the mode: not the response, not a validation, not an invalidation.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// As [`Policy::default_ttl`](crate::Policy::default_ttl).
    pub fn default_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.default_ttl = Some(lifetime.into());
        self
    }

    /// As [`Policy::override_ttl`](crate::Policy::override_ttl). It is about the response that the
    /// origin gives now, and not about what is stored already.
    #[doc(alias = "expire_after")]
    pub fn override_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.override_ttl = Some(lifetime.into());
        self
    }

    /// As [`Policy::max_ttl`](crate::Policy::max_ttl), in the place of what that and rules say.
    pub fn max_ttl(mut self, lifetime: Duration) -> Self {
        self.max_ttl = Some(lifetime);
        self
    }

    /// As [`Policy::ignore_origin`](crate::Policy::ignore_origin).
    pub fn ignore_origin(mut self, ignore: bool) -> Self {
        self.ignores_origin = Some(ignore);
        self
    }

    /// More that the key is made of, a version say: only requests with the same share responses. It is
    /// in the key as a keyed digest.
    #[doc(alias = "key_fn")]
    pub fn key_material(mut self, material: impl AsRef<[u8]>) -> Self {
        self.material = Some(material.as_ref().into());
        self
    }

    /// The partition, in the place of the one that the policy finds; it is in the key as a keyed
    /// digest. An unsafe request invalidates in its own partition, and in that of requests without
    /// any.
    pub fn partition(mut self, partition: impl AsRef<[u8]>) -> Self {
        self.partition = Some(partition.as_ref().into());
        self
    }

    /// How long the backend may take, in the place of what the layer says.
    pub fn backend_budget(mut self, budget: Duration) -> Self {
        self.backend_budget = Some(budget);
        self
    }

    /// How long this request waits for another for the same, in the place of what the layer says.
    pub fn coalescing_wait(mut self, wait: Duration) -> Self {
        self.coalescing_wait = Some(wait);
        self
    }

    /// Say in [`CacheInfo::key`](crate::CacheInfo::key) which key it has: the digest that it has in
    /// stores and listings, from which nothing of the request can be read.
    pub fn report_key(mut self) -> Self {
        self.reports_key = true;
        self
    }

    /// What [`report_key`](Self::report_key) set.
    #[must_use]
    pub fn reports_key(&self) -> bool {
        self.reports_key
    }

    /// What [`backend_budget`](Self::backend_budget) and [`coalescing_wait`](Self::coalescing_wait)
    /// set.
    pub fn waits(&self) -> (Option<Duration>, Option<Duration>) {
        (self.backend_budget, self.coalescing_wait)
    }

    /// The same, where these hold at the moment.
    pub fn with_switches(mut self, switches: Switches) -> Self {
        self.switches = switches;
        self
    }
}

impl From<CacheMode> for CacheOptions {
    fn from(mode: CacheMode) -> Self {
        Self::new().mode(mode)
    }
}

impl fmt::Debug for CacheOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Key material and partition can be secrets.
        f.debug_struct("CacheOptions")
            .field("mode", &self.mode)
            .field("read_only", &self.read_only)
            .field("default_ttl", &self.default_ttl)
            .field("override_ttl", &self.override_ttl)
            .field("max_ttl", &self.max_ttl)
            .field("ignores_origin", &self.ignores_origin)
            .field("has_key_material", &self.material.is_some())
            .field("has_partition", &self.partition.is_some())
            .finish_non_exhaustive()
    }
}

/// Sets what a request wants of the cache.
pub trait CacheRequestExt: Sized {
    /// The same request with these options, in the place of those that it had.
    #[must_use]
    fn cache(self, options: impl Into<CacheOptions>) -> Self;
}

impl<B> CacheRequestExt for Request<B> {
    fn cache(mut self, options: impl Into<CacheOptions>) -> Self {
        self.extensions_mut().insert(options.into());
        self
    }
}

impl CacheRequestExt for request::Builder {
    fn cache(self, options: impl Into<CacheOptions>) -> Self {
        self.extension(options.into())
    }
}

impl CacheRequestExt for request::Parts {
    fn cache(mut self, options: impl Into<CacheOptions>) -> Self {
        self.extensions.insert(options.into());
        self
    }
}
