//! A caching gateway in front of one origin.

mod gateway;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use cache_examples::explain;
use cache_tower::{Backend, CacheLayer, Policy};
use gateway::Origin;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};

const HELP: &str = "\
A caching gateway: answers HTTP/1.1 from its store where RFC 9111 lets it, and else asks the origin.

Usage: cargo run --release --example reverse_proxy -- --origin URL [OPTIONS]

Options:
  --origin URL   Where the origin is, such as http://127.0.0.1:8080.
  --listen ADDR  Where to listen; port 0 is any free one. [default: 127.0.0.1:3000]
  --backend URL  The store, such as redis://127.0.0.1:6379. [default: memory://]
  --private      Behave as the private cache of one user; the default is a shared cache.
  --help         Print this and exit.
";

struct Options {
    origin: Origin,
    listen: SocketAddr,
    backend: Arc<dyn Backend>,
    policy: Policy,
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("reverse_proxy: {}; see --help", explain(&*error));
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reverse_proxy: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let cache = CacheLayer::new(options.backend).policy(options.policy);
    let client = gateway::client().map_err(|error| {
        eprintln!("{}", explain(&error));
        error
    });
    let origin = options.origin;
    let gateway = move |turn| {
        let cached = cache.layer(gateway::origin_side(client.clone(), turn));
        gateway::client_side(origin.clone(), cached)
    };
    gateway::serve(listener, gateway).await;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut origin = None;
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 3000));
    let mut backend = String::from("memory://");
    let mut policy = Policy::shared();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value"))
        };
        match &*argument {
            "--origin" => origin = Some(value()?.parse()?),
            "--listen" => listen = value()?.parse()?,
            "--backend" => backend = value()?,
            "--private" => policy = Policy::private(),
            other => return Err(format!("there is no option {other}").into()),
        }
    }
    Ok(Options {
        origin: origin.ok_or("--origin is missing")?,
        listen,
        backend: cache_redis::from_url(&backend)?,
        policy,
    })
}
