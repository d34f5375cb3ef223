//! Whoever reads the body, in a process of its own.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_benches::{BoxError, Memory, own_cpu_time};
use cache_redis::{Options, RedisBackend, RedisConfig};
use cache_tower::{Backend, CacheInfo, CacheLayer, Event, MemoryBackend, Outcome, Policy};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use redis::{AsyncConnectionConfig, pipe};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt};

use crate::Asked;

/// Who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// A client without a cache.
    PassThrough,
    /// The same, and it keeps the body: what storing it in memory cannot do without.
    Keeping,
    /// A cache as it is by default.
    Memory,
    /// One that has room for the body.
    RoomyMemory,
    /// A cache in Redis that would store the body, else as it is by default.
    Redis,
    /// The same, where Redis takes less than two megabytes a second.
    SlowRedis,
    /// One that keeps in memory what Redis has not taken yet, however much that is. The time is that
    /// until it can be looked up.
    RoomyRedis,
    /// Nothing but the writing of as many bytes, each frame at a key of its own.
    RawWrite,
    /// The same, all of them at one key.
    RawAppend,
    /// Reads what another one has stored in Redis.
    RedisAgain,
    #[cfg(feature = "peers")]
    TowerHttpCache,
    #[cfg(feature = "peers")]
    HttpCacheTower,
}

impl Candidate {
    pub(crate) const ALL: &[Self] = &[
        Self::PassThrough,
        Self::Keeping,
        Self::Memory,
        Self::RoomyMemory,
        Self::Redis,
        Self::SlowRedis,
        Self::RoomyRedis,
        Self::RawWrite,
        Self::RawAppend,
        Self::RedisAgain,
        #[cfg(feature = "peers")]
        Self::TowerHttpCache,
        #[cfg(feature = "peers")]
        Self::HttpCacheTower,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::Keeping => "pass-through, and kept",
            Self::Memory => "ours, defaults",
            Self::RoomyMemory => "ours, limits raised",
            Self::Redis => "ours in Redis",
            Self::SlowRedis => "ours in a slow Redis",
            Self::RoomyRedis => "ours in Redis, buffer raised",
            Self::RawWrite => "raw SET, pipelined",
            Self::RawAppend => "raw APPEND, pipelined",
            Self::RedisAgain => "ours, read back at once",
            #[cfg(feature = "peers")]
            Self::TowerHttpCache => "tower-http-cache",
            #[cfg(feature = "peers")]
            Self::HttpCacheTower => "http-cache-tower",
        }
    }

    /// Whether it tells what it stored.
    pub(crate) fn tells(self) -> bool {
        match self {
            #[cfg(feature = "peers")]
            Self::TowerHttpCache | Self::HttpCacheTower => false,
            _ => true,
        }
    }

    /// Whether what the candidate before it stored is to be there.
    pub(crate) fn reads_what_was_stored(self) -> bool {
        self == Self::RedisAgain
    }
}

impl Asked {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "candidate": self.candidate.name(),
            "url": self.url,
            "bytes": self.bytes,
            "redis": self.redis,
            "pace": self.pace,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let name = value["candidate"].as_str()?;
        let mut all = Candidate::ALL.iter();
        Some(Self {
            candidate: *all.find(|candidate| candidate.name() == name)?,
            url: value["url"].as_str()?.into(),
            bytes: value["bytes"].as_u64()?,
            redis: value["redis"].as_str()?.into(),
            pace: value["pace"].as_u64(),
        })
    }
}

/// Is the candidate, and says what it took.
pub(crate) fn run(asked: &Value) -> Result<Value, BoxError> {
    let asked = Asked::from_json(asked).ok_or("that is not what is asked of a candidate")?;
    Runtime::new()?.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        match asked.candidate {
            Candidate::PassThrough | Candidate::Keeping => read_uncached(&asked, client).await,
            Candidate::Memory => {
                let layer = CacheLayer::new(MemoryBackend::default());
                read_through(&asked, &layer, client).await
            }
            Candidate::RoomyMemory => {
                let backend = MemoryBackend::with_capacity(asked.bytes / 4 * 5)?;
                read_through(&asked, &roomy(&asked, backend), client).await
            }
            Candidate::Redis | Candidate::SlowRedis | Candidate::RedisAgain => {
                let backend = redis(&asked, Options::default())?;
                read_through(&asked, &roomy(&asked, backend), client).await
            }
            Candidate::RoomyRedis => {
                let options = Options {
                    upload_buffer: usize::try_from(asked.bytes)?,
                    ..Options::default()
                };
                let backend = redis(&asked, options)?;
                read_through(&asked, &roomy(&asked, backend), client).await
            }
            Candidate::RawWrite | Candidate::RawAppend => write(&asked).await,
            #[cfg(feature = "peers")]
            Candidate::TowerHttpCache => {
                let layer = tower_http_cache::CacheLayer::new_in_memory(1000);
                let layer = layer.with_ttl(Duration::from_secs(3600));
                read_uncached(&asked, layer.layer(client)).await
            }
            #[cfg(feature = "peers")]
            Candidate::HttpCacheTower => {
                let manager = http_cache::MokaManager::default();
                let layer = http_cache_tower::HttpCacheLayer::new(manager);
                read_uncached(&asked, layer.layer(client)).await
            }
        }
    })
}

/// A layer that stores this body, if its store does.
fn roomy(asked: &Asked, backend: impl Backend) -> CacheLayer {
    CacheLayer::new(backend).policy(Policy::private().max_body_bytes(asked.bytes))
}

fn redis(asked: &Asked, options: Options) -> Result<RedisBackend, BoxError> {
    let mut config: RedisConfig = asked.redis.parse()?;
    config.options = options;
    Ok(RedisBackend::from_config(&config)?)
}

/// What one reading of the body took.
struct Reading {
    first_byte: Duration,
    time: Duration,
    cpu: Duration,
    was_hit: bool,
}

async fn read_uncached<S, B>(asked: &Asked, service: S) -> Result<Value, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let idle = warm_up(asked, service.clone()).await?;
    let mut kept = (asked.candidate == Candidate::Keeping).then(Vec::new);
    let reading = read(service, asked, &mut kept).await?;
    report(&reading, idle, memory()?.peak, false)
}

async fn read_through<S, B>(asked: &Asked, layer: &CacheLayer, client: S) -> Result<Value, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let failure = Arc::new(Mutex::new(None));
    let layer = layer.clone().listener({
        let failure = failure.clone();
        move |event: &Event<'_>| {
            if let Event::BackendFailed { error, .. } = event {
                *failure.lock().expect("nobody panics with it") = Some(format!("{error:?}"));
            }
        }
    });
    let service = layer.layer(client);
    let idle = warm_up(asked, service.clone()).await?;
    let before = own_cpu_time();
    let started = Instant::now();
    let mut reading = read(service.clone(), asked, &mut None).await?;
    // Until what is left to the background is done.
    layer.shutdown().await;
    if asked.candidate == Candidate::RoomyRedis {
        reading.time = started.elapsed();
        reading.cpu = own_cpu_time() - before;
    }
    let peak = memory()?.peak;
    let is_stored = match asked.candidate {
        Candidate::RedisAgain => reading.was_hit,
        _ => {
            let request = Request::get(&asked.url).body(Empty::new())?;
            is_hit(&service.oneshot(request).await.map_err(Into::into)?)
        }
    };
    let mut report = report(&reading, idle, peak, is_stored)?;
    report["failure"] = json!(*failure.lock().expect("nobody panics with it"));
    Ok(report)
}

/// Makes connections, and touches what is needed of the program; the memory that it has then.
async fn warm_up<S, B>(asked: &Asked, service: S) -> Result<u64, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let uri: Uri = asked.url.parse()?;
    let authority = uri.authority().ok_or("a URL has an authority")?;
    let small = Asked {
        url: format!("http://{authority}/1024/max-age=3600"),
        bytes: 1024,
        redis: String::new(),
        ..*asked
    };
    read(service, &small, &mut None).await?;
    Memory::forget_peak()?;
    Ok(memory()?.now)
}

/// Reads the body, and forgets it or keeps its pieces.
async fn read<S, B>(
    service: S,
    asked: &Asked,
    kept: &mut Option<Vec<Bytes>>,
) -> Result<Reading, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let request = Request::get(&asked.url).body(Empty::new())?;
    let before = own_cpu_time();
    let started = Instant::now();
    let response = service.oneshot(request).await.map_err(Into::into)?;
    let was_hit = is_hit(&response);
    let mut body = std::pin::pin!(response.into_body());
    let mut first_byte = None;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Into::into)?;
        first_byte.get_or_insert_with(|| started.elapsed());
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len() as u64;
        match kept {
            Some(kept) => kept.push(data),
            None => drop(data),
        }
        if let Some(pace) = asked.pace {
            let due = Duration::from_secs_f64(length as f64 / pace as f64);
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
    }
    if length != asked.bytes {
        return Err(format!("{length} bytes came, not {}", asked.bytes).into());
    }
    Ok(Reading {
        first_byte: first_byte.ok_or("the body is empty")?,
        time: started.elapsed(),
        cpu: own_cpu_time() - before,
        was_hit,
    })
}

/// Writes as many bytes, in frames and batches as ours does, and nothing else.
async fn write(asked: &Asked) -> Result<Value, BoxError> {
    let client = redis::Client::open(&*asked.redis)?;
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    let frame = vec![b'x'; FRAME];
    let idle = memory()?.now;
    let before = own_cpu_time();
    let started = Instant::now();
    let mut first_byte = None;
    let mut left = asked.bytes;
    while left > 0 {
        let mut commands = pipe();
        for _ in 0..BATCH {
            let length = left.min(FRAME as u64);
            left -= length;
            if length > 0 {
                let bytes = &frame[..usize::try_from(length)?];
                match asked.candidate {
                    Candidate::RawAppend => commands.cmd("APPEND").arg("raw"),
                    _ => commands.cmd("SET").arg(format!("raw:{left}")),
                };
                commands.arg(bytes).ignore();
            }
        }
        commands.exec_async(&mut connection).await?;
        first_byte.get_or_insert_with(|| started.elapsed());
    }
    let reading = Reading {
        first_byte: first_byte.unwrap_or_default(),
        time: started.elapsed(),
        cpu: own_cpu_time() - before,
        was_hit: false,
    };
    report(&reading, idle, memory()?.peak, true)
}

fn report(reading: &Reading, idle: u64, peak: u64, is_stored: bool) -> Result<Value, BoxError> {
    Ok(json!({
        "seconds": reading.time.as_secs_f64(),
        "cpu_seconds": reading.cpu.as_secs_f64(),
        "first_byte_seconds": reading.first_byte.as_secs_f64(),
        "idle_bytes": idle,
        "peak_bytes": peak,
        "is_stored": is_stored,
    }))
}

fn is_hit<B>(response: &Response<B>) -> bool {
    let info = response.extensions().get::<CacheInfo>();
    info.is_some_and(|info| info.outcome == Outcome::Hit)
}

fn memory() -> Result<Memory, BoxError> {
    Memory::read().map_err(|error| error.to_string().into())
}

/// The argument that makes this program a candidate.
pub(crate) const RUN: &str = "candidate";

/// The frames of cache-redis, and how many of them it sends at once.
const FRAME: usize = 128 << 10;
const BATCH: usize = 8;
