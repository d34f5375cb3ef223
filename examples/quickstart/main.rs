//! A tour: a hyper client with the cache asks a small origin on this machine.

mod table;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use cache_examples::{LocalOrigin, explain};
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{Backend, Cache, CacheInfo, CacheLayer, MemoryBackend};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use table::Row;
use tower::{ServiceBuilder, ServiceExt};

const HELP: &str = "\
A tour of the HTTP cache: a hyper client with the cache asks a small origin on this machine, and a
table says of each request what became of it, and why.

Usage: cargo run --release --example quickstart [-- OPTION]

Options:
  --redis URL       Store in Redis, such as redis://127.0.0.1:6379; the default is in memory.
  --embedded-redis  Store in a Redis of its own, which ends with the tour.
  --help            Print this and exit.
";

type HyperClient = Client<HttpConnector, Empty<Bytes>>;
type Failure = Box<dyn Error + Send + Sync>;

enum Store {
    Memory,
    Redis(String),
    EmbeddedRedis,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--help" | "-h", ..] = arguments[..] {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let store = match Store::chosen(&arguments) {
        Ok(store) => store,
        Err(problem) => {
            eprintln!("quickstart: {problem}; see --help");
            return ExitCode::from(2);
        }
    };
    match tour(store).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

impl Store {
    fn chosen(arguments: &[&str]) -> Result<Self, String> {
        match arguments {
            [] => Ok(Self::Memory),
            ["--redis", url] => Ok(Self::Redis((*url).to_owned())),
            ["--embedded-redis"] => Ok(Self::EmbeddedRedis),
            ["--redis"] => Err("--redis lacks its URL".to_owned()),
            ["--embedded-redis", more, ..] => {
                Err(format!("--embedded-redis has no value; leave out {more}"))
            }
            ["--redis", _, more, ..] => Err(format!("--redis has one value; leave out {more}")),
            [other, ..] => Err(format!("{other} is no option")),
        }
    }
}

async fn tour(store: Store) -> Result<(), Failure> {
    // It ends when this is dropped.
    let server;
    let backend: Arc<dyn Backend> = match store {
        Store::Memory => Arc::new(MemoryBackend::default()),
        Store::Redis(url) => Arc::new(RedisBackend::connect(&url).await?),
        Store::EmbeddedRedis => {
            server = EmbeddedRedis::start().await?;
            Arc::new(RedisBackend::connect(&server.url()).await?)
        }
    };
    let origin = LocalOrigin::start().await?;
    let client = ServiceBuilder::new()
        // More time than is needed, so that it is the same tour on a busy machine.
        .layer(CacheLayer::new(backend).backend_budget(Duration::from_secs(1)))
        .service(Client::builder(TokioExecutor::new()).build_http());
    let tour = Tour {
        client,
        uri: origin.uri(""),
    };

    // Ages count from dates, which have no parts of a second: it begins with a full one.
    let part = UNIX_EPOCH.elapsed()?.subsec_nanos();
    tokio::time::sleep(Duration::from_secs(1) - Duration::from_nanos(part.into())).await;

    table::title();
    tour.get("/catalogue").await?;
    tour.get("/catalogue").await?;
    tour.get("/account").await?;
    tour.get("/greeting").language("en").await?;
    tour.get("/greeting").language("de").await?;
    tour.get("/greeting").language("en").await?;
    tour.get("/news").await?;
    tour.get("/report").await?;

    table::note("1.2 seconds later: the news and the report are stale");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    tour.get("/news").await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    tour.get("/news").await?;
    tour.get("/report").await?;

    table::note("a POST changes the catalogue");
    tour.send(Method::POST, "/catalogue").await?;
    tour.get("/catalogue").await?;
    tour.get("/nothing-stored")
        .with("cache-control", "only-if-cached")
        .await?;

    table::note("1.2 seconds later: the report is stale again, and the origin is down");
    let asked = origin.asked();
    drop(origin);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    tour.get("/report").await?;
    tour.get("/catalogue").await?;
    table::end(asked);
    Ok(())
}

/// The client, and where the origin is.
struct Tour {
    client: Cache<HyperClient>,
    uri: String,
}

impl Tour {
    fn get(&self, path: &'static str) -> Visit<'_> {
        self.send(Method::GET, path)
    }

    fn send(&self, method: Method, path: &'static str) -> Visit<'_> {
        Visit {
            tour: self,
            method,
            path,
            field: None,
        }
    }
}

/// One request of the tour.
struct Visit<'a> {
    tour: &'a Tour,
    method: Method,
    path: &'static str,
    field: Option<(&'static str, &'static str)>,
}

impl Visit<'_> {
    fn language(self, language: &'static str) -> Self {
        self.with("accept-language", language)
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.field = Some((name, value));
        self
    }
}

impl<'a> IntoFuture for Visit<'a> {
    type Output = Result<(), Failure>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let uri = format!("{}{}", self.tour.uri, self.path);
            let mut request = Request::builder().method(&self.method).uri(uri);
            if let Some((name, value)) = self.field {
                request = request.header(name, value);
            }
            let request = request.body(Empty::new())?;
            let started = Instant::now();
            let response = self.tour.client.clone().oneshot(request).await?;
            let status = response.status();
            let info = response.extensions().get::<CacheInfo>().copied();
            let body = response.into_body().collect().await?.to_bytes();
            table::row(&Row {
                request: (&self.method, self.path, self.field.map(|(_, value)| value)),
                status,
                info: info.ok_or("a response without a CacheInfo")?,
                elapsed: started.elapsed(),
                body: &String::from_utf8_lossy(&body),
            });
            Ok(())
        })
    }
}
