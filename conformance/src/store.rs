//! Where the gateways store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::Backend;
use cache_redis::{EmbeddedRedis, Options, RedisBackend, RedisConfig};
use cache_tower::MemoryBackend;
use tower::BoxError;

use crate::options::BackendKind;

/// How long the store may take: what is slow here is the machine, and no case is about that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Where the gateways of a run store; a Redis ends with it.
#[derive(Debug)]
pub(crate) enum Store {
    Memory,
    Redis {
        server: EmbeddedRedis,
        namespaces: AtomicU64,
    },
}

impl Store {
    pub(crate) async fn start(kind: BackendKind) -> Result<Self, BoxError> {
        Ok(match kind {
            BackendKind::Memory => Self::Memory,
            BackendKind::Redis => Self::Redis {
                server: EmbeddedRedis::start().await?,
                namespaces: AtomicU64::new(0),
            },
        })
    }

    /// A backend in which there is nothing yet.
    pub(crate) async fn backend(&self) -> Result<Arc<dyn Backend>, BoxError> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryBackend::default()),
            Self::Redis { server, namespaces } => {
                let namespace = namespaces.fetch_add(1, Ordering::Relaxed).to_string();
                let backend = RedisBackend::from_config(&RedisConfig {
                    unix_socket: Some(server.socket().to_owned()),
                    options: Options {
                        namespace: namespace.parse()?,
                        connect_timeout: PATIENCE,
                        response_timeout: PATIENCE,
                        ..Options::default()
                    },
                    ..RedisConfig::default()
                })?;
                backend.ping().await?;
                Arc::new(backend)
            }
        })
    }
}
