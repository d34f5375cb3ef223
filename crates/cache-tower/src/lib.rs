//! A tower layer that caches HTTP responses by RFC 9111, for clients and gateways.
//!
//! ```
//! use cache_tower::{CacheLayer, MemoryBackend};
//! use tower_layer::Layer;
//! # let client = ();
//!
//! let client = CacheLayer::new(MemoryBackend::default()).layer(client);
//! # let _ = client;
//! ```
//!
//! With `tower::ServiceBuilder` it is `.layer(CacheLayer::new(backend))`. The default is a private
//! cache in which requests with different credentials never share a response; [`Policy`] has the
//! other kinds and settings, [`CacheMode`] in a request's extensions says what one request wants,
//! and [`CacheInfo`] in a response's extensions says what happened, and why.

mod layer;
pub use layer::CacheLayer;

mod content;
pub use content::{ContentBody, ContentLayer, WithContent, WithContentFuture};

mod event;
pub use event::{Event, Listener};

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;

mod controls;
pub use controls::CacheControls;

mod second;
mod service;
pub use service::Cache;

mod fail_mode;
pub use fail_mode::FailMode;

mod flights;
mod future;
mod health;
pub use future::ResponseFuture;

mod body;
pub use body::{BodyError, BodyErrorKind, CacheBody};

mod manage;
pub use manage::{CacheHandle, Entries, Filter, PutError, Stats, Sweep};

mod clock;
pub use clock::{Clock, SystemClock};

pub use cache_core::{
    Backend, BackendError, BackendErrorKind, CacheInfo, CacheMode, CacheName, CacheOptions,
    CacheRequestExt, ContentKey, Entry, InvalidCacheName, InvalidFraction, InvalidRule, KeyDraft,
    Listed, Outcome, Partition, Policy, PrimaryKey, Progress, Reason, RequestContent, RequestHead,
    ResponseHead, Retention, Rule, Secret, Storing, Switches, Ttl,
};
#[cfg(feature = "serde")]
pub use cache_core::{
    CacheKind, ContentConfig, InvalidPolicy, PartitionConfig, PolicyConfig, RuleConfig, SecretText,
};
#[cfg(feature = "memory")]
pub use cache_memory::{InvalidCapacity, MemoryBackend};

mod answer;
mod background;
mod budget;
mod capture;
mod distrust;
mod engine;
mod lease;
mod reader;
mod rest;
mod revalidations;
mod together;
mod transfer;
mod watch;
mod work;

#[cfg(test)]
mod sizes;
