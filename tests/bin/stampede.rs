//! Many requests for the same at once: how often the origin is asked, and who waits for whom.

use std::convert::Infallible;
use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_core::BoxFuture;
use cache_memory::MemoryBackend;
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{Cache, CacheLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::{TestBody, ok};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower_layer::Layer;
use tower_service::Service;

/// How long the origin takes until its head, and between two pieces of its body.
const LATENCY: Duration = Duration::from_millis(200);
const PIECES: usize = 4;
const PIECE: usize = 4 << 10;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [redis, origin, requests] = &*arguments {
        return one_of_several(redis, origin, requests).await;
    }
    let mut is_right = one_process(10_000).await;
    is_right &= uncacheable(1_000).await;
    is_right &= several_processes(4, 1_000).await;
    ExitCode::from(u8::from(!is_right))
}

/// An origin that takes its time.
#[derive(Debug, Clone)]
struct Slow {
    asked: Arc<AtomicUsize>,
    cache_control: &'static str,
}

impl Slow {
    fn new(cache_control: &'static str) -> Self {
        Self {
            asked: Arc::default(),
            cache_control,
        }
    }
}

impl<B> Service<Request<B>> for Slow {
    type Response = Response<TestBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<TestBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = ok("").cache_control(self.cache_control);
        let pieces = (0..PIECES).map(|piece| vec![piece as u8; PIECE]);
        let answer = pieces.fold(answer, kit::Answer::chunk);
        Box::pin(async move {
            sleep(LATENCY).await;
            Ok(answer.response())
        })
    }
}

fn expected() -> Vec<u8> {
    (0..PIECES)
        .flat_map(|piece| vec![piece as u8; PIECE])
        .collect()
}

/// What all of them saw.
#[derive(Debug, Default)]
struct Seen {
    wrong: usize,
    first: Vec<Duration>,
    last: Duration,
}

impl Seen {
    fn first_byte(&self) -> (Duration, Duration) {
        let soonest = self.first.iter().min().copied().unwrap_or_default();
        let latest = self.first.iter().max().copied().unwrap_or_default();
        (soonest, latest)
    }
}

/// Sends this many requests at once.
async fn send<S, B>(cache: Cache<S>, requests: usize, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Send,
    B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let start = Arc::new(Barrier::new(requests));
    let expected = Arc::new(expected());
    let mut tasks = JoinSet::new();
    for _ in 0..requests {
        let request = Request::get(uri).body(Full::default()).expect("a request");
        let (mut cache, start, expected) = (cache.clone(), start.clone(), expected.clone());
        tasks.spawn(async move {
            start.wait().await;
            let started = Instant::now();
            let Ok(response) = cache.call(request).await else {
                return (false, started.elapsed(), started.elapsed());
            };
            let mut body = Box::pin(response.into_body());
            let mut bytes = Vec::new();
            let mut first = None;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    break;
                };
                first.get_or_insert_with(|| started.elapsed());
                if let Some(data) = frame.data_ref() {
                    bytes.extend_from_slice(data);
                }
            }
            let last = started.elapsed();
            (bytes == *expected, first.unwrap_or(last), last)
        });
    }
    let mut seen = Seen::default();
    while let Some(done) = tasks.join_next().await {
        let (is_right, first, last) = done.expect("no task panics");
        seen.wrong += usize::from(!is_right);
        seen.first.push(first);
        seen.last = seen.last.max(last);
    }
    seen
}

async fn one_process(requests: usize) -> bool {
    let origin = Slow::new("max-age=60");
    let cache = CacheLayer::new(MemoryBackend::default()).layer(origin.clone());
    let seen = send(cache, requests, "http://origin.test/").await;
    let asked = origin.asked.load(Ordering::SeqCst);
    let (soonest, latest) = seen.first_byte();
    println!(
        "one process, {requests} requests at once: {asked} to the origin, {} wrong; first byte after \
         {soonest:.0?} to {latest:.0?}, all after {:.0?} (the origin takes {LATENCY:.0?})",
        seen.wrong, seen.last
    );
    asked == 1 && seen.wrong == 0
}

async fn uncacheable(requests: usize) -> bool {
    let mut is_right = true;
    for cache_control in ["no-store", "no-cache", "max-age=0"] {
        let origin = Slow::new(cache_control);
        let cache = CacheLayer::new(MemoryBackend::default()).layer(origin.clone());
        for round in ["not known to be so", "known to be so"] {
            origin.asked.store(0, Ordering::SeqCst);
            let seen = send(cache.clone(), requests, "http://origin.test/").await;
            let asked = origin.asked.load(Ordering::SeqCst);
            println!(
                "{cache_control}, {round}, {requests} requests at once: {asked} to the origin, {} wrong; \
                 all after {:.0?}, {:.1} times what the origin takes",
                seen.wrong,
                seen.last,
                seen.last.as_secs_f64() / LATENCY.as_secs_f64()
            );
            is_right &= asked == requests && seen.wrong == 0;
        }
    }
    is_right
}

async fn several_processes(processes: usize, requests: usize) -> bool {
    let redis = EmbeddedRedis::start()
        .await
        .expect("redis-server, see scripts/install-tools");
    let origin = Slow::new("max-age=60");
    let address = serve(origin.clone()).await;
    let program = env::current_exe().expect("this program");
    let children: Vec<_> = (0..processes)
        .map(|_| {
            Command::new(&program)
                .args([
                    redis.url(),
                    format!("http://{address}/"),
                    requests.to_string(),
                ])
                .stdout(Stdio::piped())
                .spawn()
                .expect("another process")
        })
        .collect();
    let mut is_right = true;
    let waiting = tokio::task::spawn_blocking(move || {
        children
            .into_iter()
            .map(|child| child.wait_with_output().expect("it ends"))
            .collect::<Vec<_>>()
    });
    for output in waiting.await.expect("no panic") {
        print!("  {}", String::from_utf8_lossy(&output.stdout));
        is_right &= output.status.success();
    }
    let asked = origin.asked.load(Ordering::SeqCst);
    println!(
        "{processes} processes with a lease, {requests} requests each at once: {asked} to the origin"
    );
    is_right && asked == 1
}

async fn one_of_several(redis: &str, origin: &str, requests: &str) -> ExitCode {
    let requests = requests.parse().expect("a number");
    let backend = RedisBackend::connect(redis).await.expect("Redis");
    let layer = CacheLayer::new(backend)
        .lease(Duration::from_secs(10))
        .backend_budget(Duration::from_secs(1));
    let client = Client::builder(TokioExecutor::new()).build_http();
    let seen = send(layer.layer(client), requests, origin).await;
    layer.shutdown().await;
    let (soonest, latest) = seen.first_byte();
    println!(
        "a process: {} wrong, first byte after {soonest:.0?} to {latest:.0?}, all after {:.0?}",
        seen.wrong, seen.last
    );
    ExitCode::from(u8::from(seen.wrong > 0))
}

/// The origin behind a socket.
async fn serve(origin: Slow) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let origin = origin.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                origin.clone().call(request)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}
