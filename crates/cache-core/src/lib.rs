//! RFC 9111 without IO: the policy of an HTTP cache, its key, and the port that a store implements.
//!
//! Nothing here waits, reads a clock, draws a random number or touches a byte of a body: `now` is an
//! argument, and so is everything that was found in the store. Reading header fields is total: what
//! is malformed has its most restrictive meaning. All arithmetic on times saturates. Nothing panics.
//!
//! An exchange starts with [`Begin::new`] and goes on by consuming its states.

mod policy;
#[cfg(feature = "serde")]
pub use policy::{
    CacheKind, ContentConfig, InvalidPolicy, PartitionConfig, PolicyConfig, RuleConfig, SecretText,
};
pub use policy::{InvalidFraction, InvalidRule, Policy, Retention, Rule, Ttl};

mod key;
pub use key::{Digest, Partition, PartitionFn, PrimaryKey, Secret};

mod keying;
pub use keying::{KeyDraft, RequestContent};

mod content;
pub use content::ContentKey;

mod resource;

mod mode;
pub use mode::CacheMode;

mod options;
pub use options::{CacheOptions, CacheRequestExt, Switches};

mod request;
pub use request::RequestHead;

mod exchange;
pub use exchange::{
    AfterForward, AfterLookup, AfterUnsafe, Begin, Continuation, Forward, Judgement, Lookup,
    ResponseHead, Reuse, Unsafe, Upkeep,
};

mod reason;
pub use reason::Reason;

mod info;
pub use info::{CacheInfo, CacheName, InvalidCacheName, Outcome, Storing};

mod stored;
pub use stored::{SelectingField, StoredHead, StoredHeadParts};

mod backend;
pub use backend::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, BoxFuture, Candidates, Entry,
    Lease, Query, ReadBody, Source, StoredBody, Token,
};

mod manage;
pub use manage::{Batch, Listed, Manage, Progress, Walk};

#[cfg(feature = "wire")]
pub mod wire;

mod header;
pub use header::connection::strip_hop_by_hop;
pub use header::range::Part;

mod rules;
pub use rules::freshness::{Freshness, LifetimeSource};
pub use rules::reuse::Failure;
pub use rules::storing::content_length;
