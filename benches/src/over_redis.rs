//! Those who are measured over Redis.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cache_redis::{EmbeddedRedis, Options, RedisBackend, RedisConfig};
use cache_tower::CacheLayer;
use deadpool_redis::{Pool, Runtime as PoolRuntime};
use redis::aio::MultiplexedConnection;
use redis::{Client, Value, cmd};
use tokio::runtime::Runtime;
use tower::Layer;

use crate::candidate::{Candidate, Measured};
use crate::candidates::{CHECKOUT, INLINE};
use crate::exchange::{Origin, Prebuilt};
use crate::{LIMIT, OURS};

/// A server of our own, gone when this is.
pub struct Server {
    server: EmbeddedRedis,
    client: Client,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// Where there is none on the machine.
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        let server = EmbeddedRedis::start().await?;
        let client = Client::open(server.url())?;
        Ok(Self { server, client })
    }

    /// The counter of this name in `INFO stats`.
    ///
    /// # Errors
    ///
    /// Where the server does not answer.
    pub fn count(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        let mut connection = self.client.get_connection()?;
        let info: String = cmd("INFO").arg("stats").query(&mut connection)?;
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        let count = line.and_then(|line| line.strip_prefix(':'));
        Ok(count.ok_or("no such counter")?.trim().parse()?)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Box<dyn Error>> {
        Ok(self.client.get_multiplexed_async_connection().await?)
    }
}

/// A `GET` of as many bytes on one connection that all share, ours, and the peers that have a store in
/// Redis. `name` keeps what is stored apart.
///
/// # Errors
///
/// Where the server does not answer.
pub fn over_redis(
    server: &Server,
    runtime: &Runtime,
    name: &str,
    body_bytes: usize,
) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    runtime.block_on(async {
        let prebuilt = Prebuilt::new(body_bytes);
        let key = format!("raw:{name}");
        // As long as ours with its head.
        let value = vec![b'x'; body_bytes + HEAD_BYTES];
        let mut connection = server.connection().await?;
        let _: Value = cmd("SET")
            .arg(&key)
            .arg(value)
            .query_async(&mut connection)
            .await?;
        let pool = deadpool_redis::Config::from_url(server.server.url())
            .create_pool(Some(PoolRuntime::Tokio1))?;
        let shared = Asking {
            name: LIMIT,
            how: How::Shared(connection),
            key: key.clone(),
        };
        let checkout = Asking {
            name: CHECKOUT,
            how: How::Checkout(pool),
            key,
        };
        let ours = cached(
            server,
            OURS,
            name,
            Options::default(),
            &prebuilt,
            body_bytes,
        )?;
        let inline = Options {
            inline_limit: 256 << 10,
            ..Options::default()
        };
        let apart = format!("{name}-inline");
        let inline = cached(server, INLINE, &apart, inline, &prebuilt, body_bytes)?;
        #[cfg_attr(
            not(feature = "peers"),
            expect(unused_mut, reason = "the peers are pushed to it")
        )]
        let mut all: Vec<Box<dyn Candidate>> =
            vec![Box::new(shared), ours, inline, Box::new(checkout)];
        #[cfg(feature = "peers")]
        all.push(
            crate::peers::tower_http_cache_in_redis(&server.client, name, &prebuilt, body_bytes)
                .await?,
        );
        Ok(all)
    })
}

fn cached(
    server: &Server,
    called: &'static str,
    name: &str,
    options: Options,
    prebuilt: &Prebuilt,
    body_bytes: usize,
) -> Result<Box<dyn Candidate>, Box<dyn Error>> {
    let origin = Origin::new(prebuilt.clone());
    let mut config: RedisConfig = server.server.url().parse()?;
    config.options = Options {
        namespace: name.parse()?,
        ..options
    };
    let layer = CacheLayer::new(RedisBackend::from_config(&config)?)
        // A busy machine is no reason to ask the origin.
        .backend_budget(Duration::from_secs(10))
        .cache_info(false);
    let service = layer.layer(origin.clone());
    let origin = Some(origin);
    Ok(Box::new(Measured::new(
        called,
        service,
        prebuilt.clone(),
        body_bytes,
        origin,
    )))
}

/// Who asks for nothing but a value.
#[derive(Clone)]
struct Asking {
    name: &'static str,
    how: How,
    key: String,
}

#[derive(Clone)]
enum How {
    Shared(MultiplexedConnection),
    Checkout(Pool),
}

impl Asking {
    async fn ask(&self) -> Value {
        let mut get = cmd("GET");
        get.arg(&self.key);
        match &self.how {
            How::Shared(connection) => get.query_async(&mut connection.clone()).await,
            How::Checkout(pool) => {
                let mut connection = pool.get().await.expect("a connection");
                get.query_async(&mut connection).await
            }
        }
        .expect("a value")
    }
}

impl Candidate for Asking {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sequential(&self, runtime: &Runtime, hits: u64) -> Duration {
        runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..hits {
                black_box(self.ask().await);
            }
            started.elapsed()
        })
    }

    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration {
        runtime.block_on(async {
            let started = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|_| {
                    let own = self.clone();
                    tokio::spawn(async move {
                        for _ in 0..hits {
                            black_box(own.ask().await);
                        }
                    })
                })
                .collect();
            for task in running {
                task.await.expect("a task that does not panic");
            }
            started.elapsed()
        })
    }

    fn verify(&self, runtime: &Runtime) {
        let value = runtime.block_on(self.ask());
        assert!(matches!(value, Value::BulkString(_)), "{}", self.name);
    }
}

/// About as long as what ours stores before the body: a guess at the head of this response.
const HEAD_BYTES: usize = 700;
