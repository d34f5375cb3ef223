//! What one request wants of the cache.

/// What one request wants of the cache, in the request's extensions; the names are those of Fetch.
///
/// No mode overrides what the origin forbids: a response with `no-cache` or `must-revalidate` is
/// never reused past it, and one with `no-store` is never stored.
///
/// ```
/// use cache_core::CacheMode;
/// let request = http::Request::get("https://example.com/")
///     .extension(CacheMode::Reload)
///     .body(())
///     .unwrap();
/// assert_eq!(CacheMode::of(request.extensions()), CacheMode::Reload);
/// ```
#[doc(alias = "refresh")]
#[doc(alias = "force_refresh")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheMode {
    /// Reuse what is fresh, validate what is stale, store what may be stored.
    #[default]
    Default,
    /// Neither look into the store nor store the response.
    NoStore,
    /// Do not look into the store, but store the response. Called `force_refresh` elsewhere.
    Reload,
    /// Validate even what is fresh. Called `refresh` elsewhere.
    NoCache,
    /// Reuse even what is stale; forward only where nothing is stored.
    ForceCache,
    /// Reuse even what is stale; answer 504 where nothing is stored. Called offline mode elsewhere.
    OnlyIfCached,
    /// As `Default`, but write nothing: not the response, not a validation, not an invalidation.
    ReadOnly,
}

impl CacheMode {
    /// The mode in these extensions, `Default` where there is none.
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }

    pub(crate) fn takes_stale(self) -> bool {
        matches!(self, Self::ForceCache | Self::OnlyIfCached)
    }
}
