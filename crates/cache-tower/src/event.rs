//! What happens, as it happens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendError, CacheInfo, PrimaryKey, Reason};
use http::StatusCode;

/// Hears what happens in a cache: [`CacheLayer::listener`](crate::CacheLayer::listener).
///
/// It is called on the way of requests, so it has to be quick, and it must not panic. A function that
/// takes an [`Event`] is one. While a cache has none, events cost nothing.
///
/// The events of each outcome, and their order, are in `docs/events.md`.
pub trait Listener: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Listener for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// What happens to requests and responses.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was answered: once for each that is, and not for what is done in the background.
    #[non_exhaustive]
    Answered {
        /// What the cache did.
        info: &'a CacheInfo,
        /// The status code of the answer.
        status: StatusCode,
    },
    /// A request was not answered: the inner service failed, and nothing stood in.
    Failed,
    /// A request is about to be sent to the origin.
    #[non_exhaustive]
    Forwarded {
        /// Why.
        reason: Reason,
        /// The caller has its answer already.
        in_background: bool,
    },
    /// The origin answered.
    #[non_exhaustive]
    OriginAnswered {
        /// The status code.
        status: StatusCode,
        /// The time from when it was asked to when the head of its response was there.
        after: Duration,
    },
    /// The origin gave no response.
    #[non_exhaustive]
    OriginFailed {
        /// The time from when it was asked.
        after: Duration,
    },
    /// A response is in the store, and can be found from now on.
    #[non_exhaustive]
    Stored {
        /// Its key.
        key: &'a PrimaryKey,
        /// The length of its body.
        bytes: u64,
    },
    /// A response that was to be stored is not, after all.
    #[non_exhaustive]
    NotStored {
        /// Its key.
        key: &'a PrimaryKey,
        /// Why not.
        reason: Reason,
    },
    /// The head of a stored response was replaced, after the origin validated it.
    #[non_exhaustive]
    Freshened {
        /// Its key.
        key: &'a PrimaryKey,
    },
    /// A stored response was removed.
    #[non_exhaustive]
    Removed {
        /// Its key.
        key: &'a PrimaryKey,
    },
    /// All responses for a key were removed, because of an unsafe request.
    #[non_exhaustive]
    Invalidated {
        /// The key.
        key: &'a PrimaryKey,
    },
    /// The store failed.
    #[non_exhaustive]
    BackendFailed {
        /// What it was asked for.
        error: &'a BackendError,
    },
}

/// Those who listen; most caches have none.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Option<Arc<[Arc<dyn Listener>]>>);

impl Listeners {
    pub(crate) fn add(&mut self, listener: impl Listener) {
        let one: Arc<dyn Listener> = Arc::new(listener);
        let all = self.0.iter().flat_map(|all| all.iter().cloned());
        self.0 = Some(all.chain([one]).collect());
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(all) = &self.0 {
            for listener in all.iter() {
                listener.on_event(event);
            }
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map_or(0, |all| all.len());
        write!(f, "Listeners({count})")
    }
}
