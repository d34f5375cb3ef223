//! Where connections come from.

use std::fmt;
#[cfg(feature = "sentinel")]
use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
#[cfg(feature = "sentinel")]
use tokio::sync::Mutex;

use crate::lane::Link;

/// A pool of connections: to one server, to a cluster, or to the primary that sentinels name.
///
/// A backend takes its few connections out of it for good ([`Object::take`]), and shares them among
/// all requests; so it does not use up the pool's size, and no request pays for a checkout.
///
/// [`Object::take`]: deadpool_redis::Object::take
#[derive(Clone)]
pub struct Pool(Source);

#[derive(Clone)]
enum Source {
    Single(deadpool_redis::Pool),
    #[cfg(feature = "cluster")]
    Cluster(deadpool_redis::cluster::Pool),
    /// With timeouts, which the pool's manager does not take.
    #[cfg(feature = "cluster")]
    ClusterClient(Box<redis::cluster::ClusterClient>),
    #[cfg(feature = "sentinel")]
    Sentinel(deadpool_redis::sentinel::Pool),
    /// With TLS for the servers and timeouts, which the pool's manager does not take.
    #[cfg(feature = "sentinel")]
    SentinelClient(Arc<Mutex<redis::sentinel::SentinelClient>>),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match &self.0 {
            Source::Single(_) => "a server",
            #[cfg(feature = "cluster")]
            Source::Cluster(_) | Source::ClusterClient(_) => "a cluster",
            #[cfg(feature = "sentinel")]
            Source::Sentinel(_) | Source::SentinelClient(_) => "sentinels",
        };
        f.debug_tuple("Pool").field(&of).finish()
    }
}

impl From<deadpool_redis::Pool> for Pool {
    fn from(pool: deadpool_redis::Pool) -> Self {
        Self(Source::Single(pool))
    }
}

#[cfg(feature = "cluster")]
impl From<deadpool_redis::cluster::Pool> for Pool {
    fn from(pool: deadpool_redis::cluster::Pool) -> Self {
        Self(Source::Cluster(pool))
    }
}

#[cfg(feature = "cluster")]
impl From<redis::cluster::ClusterClient> for Pool {
    fn from(client: redis::cluster::ClusterClient) -> Self {
        Self(Source::ClusterClient(Box::new(client)))
    }
}

#[cfg(feature = "sentinel")]
impl From<deadpool_redis::sentinel::Pool> for Pool {
    fn from(pool: deadpool_redis::sentinel::Pool) -> Self {
        Self(Source::Sentinel(pool))
    }
}

#[cfg(feature = "sentinel")]
impl From<redis::sentinel::SentinelClient> for Pool {
    fn from(client: redis::sentinel::SentinelClient) -> Self {
        Self(Source::SentinelClient(Arc::new(Mutex::new(client))))
    }
}

impl Pool {
    /// A connection that belongs to the caller alone.
    pub(crate) async fn connect(
        &self,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Result<Link, RedisError> {
        #[cfg(not(feature = "sentinel"))]
        let _ = connect_timeout;
        let mut link = match &self.0 {
            Source::Single(pool) => {
                deadpool_redis::Connection::take(pool.get().await.map_err(redis_error)?)
            }
            #[cfg(feature = "sentinel")]
            Source::Sentinel(pool) => {
                deadpool_redis::sentinel::Connection::take(pool.get().await.map_err(redis_error)?)
            }
            #[cfg(feature = "sentinel")]
            Source::SentinelClient(client) => {
                let config = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(connect_timeout));
                let mut client = client.lock().await;
                client.get_async_connection_with_config(&config).await?
            }
            #[cfg(feature = "cluster")]
            Source::Cluster(pool) => {
                let connection = pool.get().await.map_err(redis_error)?;
                let link = deadpool_redis::cluster::Connection::take(connection);
                return Ok(Link::Cluster(link));
            }
            #[cfg(feature = "cluster")]
            Source::ClusterClient(client) => {
                return client.get_async_connection().await.map(Link::Cluster);
            }
        };
        link.set_response_timeout(response_timeout);
        Ok(Link::Single(link))
    }
}

fn redis_error(error: deadpool_redis::PoolError) -> RedisError {
    match error {
        deadpool_redis::PoolError::Backend(error) => error,
        other => (
            redis::ErrorKind::Client,
            "the pool gave no connection",
            other.to_string(),
        )
            .into(),
    }
}
