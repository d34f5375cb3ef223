//! Those who are measured over Redis.

use std::error::Error;
use std::hint::black_box;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_redis::{EmbeddedRedis, Options, RedisBackend, RedisConfig};
use cache_tower::CacheLayer;
use deadpool_redis::{Pool, Runtime as PoolRuntime};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Value, cmd};
use tokio::runtime::Runtime;
use tower::Layer;

use crate::ask::{Listed, below};
use crate::beside::Beside;
use crate::candidate::{Candidate, Measured, Reader};
use crate::candidates::{APART, CHECKOUT};
use crate::exchange::{Asked, Origin, Prebuilt};
use crate::{LIMIT, OURS};

/// A server of our own, gone when this is.
pub struct Server {
    _server: EmbeddedRedis,
    url: String,
    client: Client,
}

impl Server {
    /// Starts one that is reached through a Unix socket.
    ///
    /// # Errors
    ///
    /// Where there is none on the machine.
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        let server = EmbeddedRedis::start().await?;
        let url = server.url().to_owned();
        let client = Client::open(&*url)?;
        Ok(Self {
            _server: server,
            url,
            client,
        })
    }

    /// Starts one that is reached through a port of the loopback device, as replicas reach theirs by TCP.
    ///
    /// # Errors
    ///
    /// The same, or where no port is free.
    pub async fn start_on_loopback() -> Result<Self, Box<dyn Error>> {
        let server = EmbeddedRedis::start().await?;
        let mut connection = Client::open(server.url())?.get_connection()?;
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        for (name, value) in [("bind", "127.0.0.1"), ("port", &free.port().to_string())] {
            let mut set = cmd("CONFIG");
            set.arg("SET").arg(name).arg(value).exec(&mut connection)?;
        }
        let url = format!("redis://{free}");
        let client = Client::open(&*url)?;
        Ok(Self {
            _server: server,
            url,
            client,
        })
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
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let client = &self.client;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }
}

/// A `GET` of as many bytes on one connection that all share, ours, and the peers that have a store in
/// Redis, each asked for any of so many responses. `name` keeps what is stored apart.
///
/// # Errors
///
/// Where the server does not answer.
pub fn over_redis(
    server: &Server,
    runtime: &Runtime,
    name: &str,
    body_bytes: usize,
    responses: u64,
) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    runtime.block_on(async {
        let prebuilt = Prebuilt::new(body_bytes);
        let asked = Listed::uris(responses);
        let shared = raw(server, LIMIT, name, body_bytes, 1, responses).await?;
        let pool =
            deadpool_redis::Config::from_url(&server.url).create_pool(Some(PoolRuntime::Tokio1))?;
        let checkout = Asking {
            name: CHECKOUT,
            how: How::Checkout(pool),
            ..shared.clone()
        };
        let options = Options::default();
        let ours = cached(server, name, options, &prebuilt, body_bytes, &asked)?;
        #[cfg_attr(
            not(feature = "peers"),
            expect(unused_mut, reason = "the peers are pushed to it")
        )]
        let mut all: Vec<Box<dyn Candidate>> = vec![Box::new(shared), ours, Box::new(checkout)];
        #[cfg(feature = "peers")]
        all.push(
            crate::peers::tower_http_cache_in_redis(
                &server.client,
                name,
                &prebuilt,
                body_bytes,
                asked,
            )
            .await?,
        );
        Ok(all)
    })
}

/// The same without the peers, where ours has so many lanes and the limit so many connections.
pub(crate) fn with_lanes(
    server: &Server,
    runtime: &Runtime,
    name: &str,
    body_bytes: usize,
    lanes: usize,
) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    runtime.block_on(async {
        let prebuilt = Prebuilt::new(body_bytes);
        let limit = raw(server, LIMIT, name, body_bytes, lanes, 1).await?;
        let options = Options {
            lanes,
            // So that a body that the origin gives in one piece is stored.
            upload_buffer: 64 << 20,
            ..Options::default()
        };
        let asked = Listed::uris(1);
        let ours = cached(server, name, options, &prebuilt, body_bytes, &asked)?;
        let all: Vec<Box<dyn Candidate>> = vec![Box::new(limit), ours];
        Ok(all)
    })
}

/// The same with one of each.
///
/// # Errors
///
/// Where the server does not answer.
pub fn ours_over_redis(
    server: &Server,
    runtime: &Runtime,
    name: &str,
    body_bytes: usize,
) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    with_lanes(server, runtime, name, body_bytes, 1)
}

/// What is asked for beside large bodies: everything on one connection, ours, and a connection of
/// their own for large values.
///
/// # Errors
///
/// Where the server does not answer.
pub fn beside_large(
    server: &Server,
    runtime: &Runtime,
    name: &str,
) -> Result<Vec<Box<dyn Candidate>>, Box<dyn Error>> {
    runtime.block_on(async {
        let (small, large) = (format!("{name}-small"), format!("{name}-large"));
        let one = raw(server, LIMIT, &small, SMALL, 1, 1).await?;
        let large_on_one = Asking {
            keys: raw(server, LIMIT, &large, LARGE, 1, 1).await?.keys,
            ..one.clone()
        };
        let apart = raw(server, APART, &small, SMALL, 1, 1).await?;
        let large_apart = raw(server, APART, &large, LARGE, 1, 1).await?;
        let layer = layer(server, name, Options::default())?;
        let ours = |body_bytes| {
            let prebuilt = Prebuilt::new(body_bytes);
            let origin = Origin::new(prebuilt.clone());
            let service = layer.layer(origin.clone());
            Measured::new(OURS, service, prebuilt, body_bytes, Some(origin))
        };
        let large_of_ours = ours(LARGE).asking(Asked::at("http://origin.example/large"));
        Ok(vec![
            Box::new(Beside::new(Box::new(one), Box::new(large_on_one))) as Box<dyn Candidate>,
            Box::new(Beside::new(Box::new(ours(SMALL)), Box::new(large_of_ours))),
            Box::new(Beside::new(Box::new(apart), Box::new(large_apart))),
        ])
    })
}

/// A `GET` of as many bytes, on connections that all share.
async fn raw(
    server: &Server,
    called: &'static str,
    name: &str,
    body_bytes: usize,
    connections: usize,
    values: u64,
) -> Result<Asking, Box<dyn Error>> {
    let mut all = Vec::with_capacity(connections);
    for _ in 0..connections {
        all.push(server.connection().await?);
    }
    let keys: Arc<[String]> = (0..values).map(|n| format!("raw:{name}:{n}")).collect();
    // As long as ours with its head.
    let value = vec![b'x'; body_bytes + HEAD_BYTES];
    for key in &*keys {
        let mut set = cmd("SET");
        let _: Value = set.arg(key).arg(&value).query_async(&mut all[0]).await?;
    }
    Ok(Asking {
        name: called,
        how: How::Shared(all),
        keys,
        drawn: Arc::default(),
    })
}

fn cached(
    server: &Server,
    name: &str,
    options: Options,
    prebuilt: &Prebuilt,
    body_bytes: usize,
    asked: &Listed,
) -> Result<Box<dyn Candidate>, Box<dyn Error>> {
    let origin = Origin::new(prebuilt.clone());
    let service = layer(server, name, options)?.layer(origin.clone());
    let ours = Measured::new(OURS, service, prebuilt.clone(), body_bytes, Some(origin));
    Ok(Box::new(ours.asking(asked.clone())))
}

fn layer(server: &Server, name: &str, options: Options) -> Result<CacheLayer, Box<dyn Error>> {
    let mut config: RedisConfig = server.url.parse()?;
    config.options = Options {
        namespace: name.parse()?,
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        ..options
    };
    Ok(CacheLayer::new(RedisBackend::from_config(&config)?)
        .backend_budget(PATIENCE)
        .backend_timeout(PATIENCE)
        .cache_info(false))
}

/// Who asks for nothing but a value.
#[derive(Clone)]
struct Asking {
    name: &'static str,
    how: How,
    keys: Arc<[String]>,
    /// How many keys were drawn so far.
    drawn: Arc<AtomicU64>,
}

#[derive(Clone)]
enum How {
    /// In turn, by task.
    Shared(Vec<MultiplexedConnection>),
    Checkout(Pool),
}

impl Asking {
    async fn ask(&self, task: u64, draw: u64) -> Value {
        let mut get = cmd("GET");
        get.arg(&self.keys[below(self.keys.len() as u64, draw) as usize]);
        match &self.how {
            How::Shared(connections) => {
                let turn = task as usize % connections.len();
                get.query_async(&mut connections[turn].clone()).await
            }
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
        let first = self.drawn.fetch_add(hits, Ordering::Relaxed);
        runtime.block_on(async {
            let started = Instant::now();
            for draw in first..first + hits {
                black_box(self.ask(0, draw).await);
            }
            started.elapsed()
        })
    }

    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration {
        let first = self.drawn.fetch_add(tasks * hits, Ordering::Relaxed);
        runtime.block_on(async {
            let started = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|task| {
                    let own = self.clone();
                    let first = first + task * hits;
                    tokio::spawn(async move {
                        for draw in first..first + hits {
                            black_box(own.ask(task, draw).await);
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

    fn reader(&self) -> Reader {
        let own = self.clone();
        Box::new(move || {
            let own = own.clone();
            Box::pin(async move {
                black_box(own.ask(0, 0).await);
            })
        })
    }

    fn verify(&self, runtime: &Runtime) {
        let value = runtime.block_on(self.ask(0, 0));
        assert!(matches!(value, Value::BulkString(_)), "{}", self.name);
    }
}

/// How long a reply may take: a busy machine is no reason to give up, nor to ask the origin.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SMALL: usize = 1 << 10;
const LARGE: usize = 1 << 20;

/// About as long as what ours stores before the body: a guess at the head of this response.
const HEAD_BYTES: usize = 700;
