//! From a URL or a configuration to a backend.

use std::error::Error as StdError;
use std::fmt;
#[cfg(feature = "memory")]
use std::sync::Arc;

#[cfg(feature = "memory")]
use cache_core::Backend;
use redis::cmd;

use crate::backend::RedisBackend;
#[cfg(feature = "memory")]
use crate::config::KNOWN;
use crate::config::{ConfigError, RedisConfig};
use crate::lane::LaneError;

impl RedisBackend {
    /// A store at this URL (see [`RedisConfig`] for its forms), after the server has answered.
    ///
    /// To start while the server may be away, use [`connect_lazy`](Self::connect_lazy).
    ///
    /// # Errors
    ///
    /// Where the URL makes no sense, or the server does not answer as it should within the timeouts.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        let backend = Self::connect_lazy(url).map_err(ConnectError::Config)?;
        backend.ping().await?;
        Ok(backend)
    }

    /// A store at this URL. It connects when it is first used, and again whenever it has to.
    ///
    /// # Errors
    ///
    /// Where the URL makes no sense; never because of the server.
    pub fn connect_lazy(url: &str) -> Result<Self, ConfigError> {
        Self::from_config(&url.parse()?)
    }

    /// A store as configured. It connects when it is first used, and again whenever it has to.
    ///
    /// # Errors
    ///
    /// Where the configuration makes no sense; never because of the server.
    pub fn from_config(config: &RedisConfig) -> Result<Self, ConfigError> {
        Ok(Self::with_options(config.pool()?, config.options.clone()))
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    ///
    /// Where it does not answer as it should within the timeouts.
    pub async fn ping(&self) -> Result<(), ConnectError> {
        for lane in [self.lane(), self.bulk()] {
            lane.send(&cmd("PING"))
                .await
                .map_err(ConnectError::no_answer)?;
        }
        Ok(())
    }
}

/// A store at a URL, so that an application can choose one by configuration: all that
/// [`RedisConfig`] reads, and `memory://`, with `?capacity=` in bytes.
///
/// ```
/// let backend = cache_redis::from_url("memory://?capacity=67108864")?;
/// # let _ = backend;
/// # Ok::<(), cache_redis::ConfigError>(())
/// ```
///
/// It connects when it is first used.
///
/// # Errors
///
/// Where the URL makes no sense.
#[cfg(feature = "memory")]
pub fn from_url(url: &str) -> Result<Arc<dyn Backend>, ConfigError> {
    use cache_memory::MemoryBackend;

    let Some(rest) = url.strip_prefix("memory://") else {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| KNOWN.contains(&scheme)) {
            return Err(ConfigError::unknown_scheme(
                "write memory://, redis://host:port, rediss://, redis+unix:///path, \
                 redis-cluster:// or redis-sentinel://",
            ));
        }
        return Ok(Arc::new(RedisBackend::connect_lazy(url)?));
    };
    let memory = match rest.strip_prefix("?capacity=") {
        None if rest.is_empty() => MemoryBackend::default(),
        Some(capacity) => {
            let bytes = capacity.parse().map_err(|_| {
                let problem = format!("{capacity:?} is no number of bytes");
                ConfigError::new(problem, "write memory://?capacity=134217728")
            })?;
            MemoryBackend::with_capacity(bytes)
                .map_err(|error| ConfigError::new(error.to_string(), ""))?
        }
        None => {
            let problem = format!("{rest:?} after memory:// means nothing");
            return Err(ConfigError::new(
                problem,
                "write memory://?capacity=134217728",
            ));
        }
    };
    Ok(Arc::new(memory))
}

/// There is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration makes no sense.
    Config(ConfigError),
    /// The server does not answer as it should: it is away, refuses the password, or is silent.
    NoAnswer(Box<dyn StdError + Send + Sync>),
}

impl ConnectError {
    fn no_answer(error: LaneError) -> Self {
        Self::NoAnswer(Box::new(error))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config(_) => "the configuration makes no sense",
            Self::NoAnswer(_) => "Redis does not answer as it should",
        })
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::NoAnswer(error) => Some(&**error),
        }
    }
}
