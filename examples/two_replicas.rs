//! Two processes that share one store: the second is answered with what the first stored.

use std::env;
use std::error::Error;
use std::process::{self, Command, ExitCode};
use std::time::Duration;

use bytes::Bytes;
use cache_examples::{LocalOrigin, explain};
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{CacheInfo, CacheLayer};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::spawn_blocking;
use tower::{Layer, ServiceExt};

const HELP: &str = "\
Two processes with one store in Redis: the second is answered with what the first stored.

Usage: cargo run --release --example two_replicas [-- OPTION]

Options:
  --redis URL  Such as redis://127.0.0.1:6379; the default is a Redis of its own.
  --help       Print this and exit.

Exits with 1 where the second had to ask the origin.
";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(|argument| &**argument).collect();
    let done = match arguments[..] {
        [] => compare(None).await,
        ["--redis", url] => compare(Some(url)).await,
        // How this program starts itself.
        ["replica", name, redis, uri] => replica(name, redis, uri).await,
        ["--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [other, ..] => {
            eprintln!("two_replicas: {other} is no option, or lacks its value; see --help");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("two_replicas: {}", explain(&*error));
        ExitCode::FAILURE
    })
}

async fn compare(redis: Option<&str>) -> Result<ExitCode, Failure> {
    // It ends when this is dropped.
    let server;
    let redis = match redis {
        Some(url) => url.to_owned(),
        None => {
            server = EmbeddedRedis::start().await?;
            server.url()
        }
    };
    let origin = LocalOrigin::start().await?;
    let uri = origin.uri("/catalogue");

    start("first replica", &redis, &uri).await?;
    let asked = origin.asked();
    start("second replica", &redis, &uri).await?;
    println!("The origin was asked {} time(s).", origin.asked());
    Ok(ExitCode::from(u8::from(origin.asked() > asked)))
}

/// Starts a replica as a process, and waits for its end.
async fn start(name: &str, redis: &str, uri: &str) -> Result<(), Failure> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["replica", name, redis, uri]);
    let status = spawn_blocking(move || command.status()).await??;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the {name} failed").into())
    }
}

async fn replica(name: &str, redis: &str, uri: &str) -> Result<ExitCode, Failure> {
    // More time than is needed, so that it goes the same way on a busy machine.
    let layer =
        CacheLayer::new(RedisBackend::connect(redis).await?).backend_budget(Duration::from_secs(1));
    let client = layer.layer(Client::builder(TokioExecutor::new()).build_http());

    let request = Request::get(uri).body(Empty::<Bytes>::new())?;
    let response = client.oneshot(request).await?;
    let info = response.extensions().get::<CacheInfo>().copied();
    let info = info.ok_or("a response without a CacheInfo")?;
    println!("{name}, process {}: GET {uri}\n    {info}", process::id());
    // A response is stored when its body has been read to its end, and that in the background.
    response.into_body().collect().await?;
    layer.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
