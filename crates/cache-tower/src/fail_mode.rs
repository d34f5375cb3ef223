//! `FailMode`.

/// What becomes of requests that would be looked up in a store that is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailMode {
    /// They go to the origin, as if nothing were stored.
    #[default]
    Open,
    /// They are answered 503 with `Retry-After: 1` and no content, so that an origin that could not bear
    /// all requests is not asked for what the store may have. Their [`CacheInfo`](crate::CacheInfo) says
    /// [`Unsatisfiable`](crate::Outcome::Unsatisfiable), because of
    /// [`BackendUnavailable`](crate::Reason::BackendUnavailable).
    ///
    /// What reaches the origin in any case still does: unsafe methods, requests with content, with
    /// `no-store`, or with a mode that reloads. A request that wants nothing but what is stored is
    /// answered 504, as ever. A stored body that is lost on its way is not asked for again; it ends with
    /// an error. That the store cannot be written to is no reason.
    Closed,
}
