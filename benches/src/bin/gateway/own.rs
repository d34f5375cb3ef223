//! Servers that are programs of this workspace: the limit, ours, and the peers in the place of our layer.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bytes::Bytes;
use cache_benches::{BoxError, Process, on_core, serve as serve_with};
use cache_tower::{CacheLayer, MemoryBackend};
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt};

use crate::CORE;
use crate::site::{Site, path};

/// Who answers.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn url(&self, bytes: usize) -> String {
        format!("http://{}{}", self.address, path(bytes))
    }
}

/// Starts all of them, the limit first.
pub(crate) fn start_all(origin: SocketAddr) -> Result<Vec<Server>, Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let mut servers = Vec::new();
    for name in NAMES {
        let mut command = on_core(CORE, &this);
        command.args([SERVE, name, &origin.to_string()]);
        servers.push(start(name, command)?);
        if name == LIMIT {
            let mut command = on_core(CORE, this.with_file_name("examples").join("reverse_proxy"));
            command.args(["--listen", "127.0.0.1:0", "--origin"]);
            command.arg(format!("http://{origin}"));
            servers.push(start(EXAMPLE, command)?);
        }
    }
    Ok(servers)
}

/// Starts a program that says where it listens in its first line.
fn start(name: &'static str, mut command: Command) -> Result<Server, Box<dyn Error>> {
    let mut process = Process::start(command.stdout(Stdio::piped()))?;
    let output = process.child().stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let address = line.trim().strip_prefix(LISTENING);
    Ok(Server {
        name,
        process,
        address: address
            .ok_or_else(|| format!("{name} did not start"))?
            .parse()?,
    })
}

/// Is one of them, for ever.
pub(crate) fn serve(name: &str, origin: SocketAddr) -> Result<(), BoxError> {
    // As `#[tokio::main]` makes it: there is a worker for each core that this process has.
    Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{LISTENING}{}", listener.local_addr()?);
        let authority = Authority::try_from(origin.to_string())?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        match name {
            LIMIT => serve_with(listener, Site::new()).await,
            OURS => {
                let layer = CacheLayer::new(MemoryBackend::default());
                serve_at(listener, authority, layer.layer(client)).await
            }
            SILENT => {
                let layer = CacheLayer::new(MemoryBackend::default()).cache_info(false);
                serve_at(listener, authority, layer.layer(client)).await
            }
            #[cfg(feature = "peers")]
            TOWER_HTTP_CACHE => {
                let layer = tower_http_cache::CacheLayer::new_in_memory(1000);
                let layer = layer.with_ttl(std::time::Duration::from_secs(3600));
                serve_at(listener, authority, layer.layer(client)).await
            }
            #[cfg(feature = "peers")]
            HTTP_CACHE_TOWER => {
                let manager = http_cache::MokaManager::default();
                let layer = http_cache_tower::HttpCacheLayer::new(manager);
                serve_at(listener, authority, layer.layer(client)).await
            }
            _ => Err(format!("{name} is not compiled in").into()),
        }
    })
}

/// A gateway, and no more than that: requests are for the origin.
async fn serve_at<S, B>(listener: TcpListener, origin: Authority, cached: S) -> Result<(), BoxError>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = cached.map_request(move |mut request: Request<Incoming>| {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(origin.clone());
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path are there");
        // The client writes the origin's own.
        request.headers_mut().remove(HOST);
        request
    });
    serve_with(listener, service).await
}

/// The argument that makes this program one of the servers.
pub(crate) const SERVE: &str = "serve";

const LISTENING: &str = "listening on http://";

/// A response that is ready, without any cache.
pub(crate) const LIMIT: &str = "limit";
/// The example of this name.
pub(crate) const EXAMPLE: &str = "reverse_proxy";
/// The layer, and nothing else that a gateway needs.
pub(crate) const OURS: &str = "layer only";
pub(crate) const SILENT: &str = "layer only, no CacheInfo";
#[cfg(feature = "peers")]
const TOWER_HTTP_CACHE: &str = "tower-http-cache";
#[cfg(feature = "peers")]
const HTTP_CACHE_TOWER: &str = "http-cache-tower";

#[cfg(feature = "peers")]
const NAMES: [&str; 5] = [LIMIT, OURS, SILENT, TOWER_HTTP_CACHE, HTTP_CACHE_TOWER];
#[cfg(not(feature = "peers"))]
const NAMES: [&str; 3] = [LIMIT, OURS, SILENT];
