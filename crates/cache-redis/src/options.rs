//! What can be set beside where the server is.

use std::time::Duration;

use serde::Deserialize;

use crate::duration;
use crate::keys::Namespace;

/// How a [`RedisBackend`](crate::RedisBackend) stores.
///
/// ```
/// use cache_redis::Options;
///
/// let options = Options {
///     namespace: "catalogue".parse()?,
///     inline_limit: 16 << 10,
///     ..Options::default()
/// };
/// # let _ = options;
/// # Ok::<(), cache_redis::InvalidNamespace>(())
/// ```
///
/// In a configuration file durations are written with their unit: `"500ms"`, `"2s"`, `"5min"`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it is written out with ..default()"
)]
pub struct Options {
    /// What the names of all keys begin with. Default: `http-cache`.
    pub namespace: Namespace,
    /// Bodies up to this many bytes stand behind their head, and come with it in one reply; larger
    /// ones are read in windows of 128 KiB while they are sent to the caller. Default: 128 KiB.
    pub inline_limit: u64,
    /// How many connections share what is small. More than one is seldom faster: requests that are
    /// under way together are sent together, and fewer of them are on each. At most 10,000. Default: 1.
    pub lanes: usize,
    /// How many bytes of one large body may wait to be sent to Redis; a body that arrives faster is
    /// not stored, and never slowed. Default: 8 MiB.
    pub upload_buffer: usize,
    /// How long what is stored may stay longer than it has to, at random, so that what was stored
    /// together is not removed together. Default: zero.
    #[serde(with = "duration")]
    pub ttl_jitter: Duration,
    /// How long a large body stays for those who are reading it after its head is gone or has been
    /// replaced. Default: five minutes.
    #[serde(with = "duration")]
    pub reader_grace: Duration,
    /// How long the beginning of a large body stays while nothing more of it arrives. Default: two
    /// minutes.
    #[serde(with = "duration")]
    pub staging_ttl: Duration,
    /// How long an invalidation is remembered, so that a response that was asked for before it is
    /// not stored after it. Default: ten minutes.
    #[serde(with = "duration")]
    pub invalidation_memory: Duration,
    /// How long making a connection may take. Default: one second.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long one reply may take, whoever waits for it. A connection whose server is silent for so
    /// long is given up. Requests wait no longer than the layer's `backend_budget`. Default: two
    /// seconds. A cluster's pool has a timeout of its own.
    #[serde(with = "duration")]
    pub response_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            inline_limit: 128 << 10,
            lanes: 1,
            upload_buffer: 8 << 20,
            ttl_jitter: Duration::ZERO,
            reader_grace: Duration::from_secs(300),
            staging_ttl: Duration::from_secs(120),
            invalidation_memory: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(2),
        }
    }
}
