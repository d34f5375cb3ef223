//! What the examples share: a small origin on this machine, and how they tell an error.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// An origin on a port of its own; dropping it ends it, and closes its connections.
#[derive(Debug)]
pub struct LocalOrigin {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl LocalOrigin {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where no port can be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let server = tokio::spawn(serve(listener, asked.clone()));
        Ok(Self {
            address,
            asked,
            server,
        })
    }

    /// The URI of a path.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often it was asked.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for LocalOrigin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What an error says, and what its causes say.
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let errors = iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = errors.map(ToString::to_string).collect();
    texts.join(": ")
}

async fn serve(listener: TcpListener, asked: Arc<AtomicU64>) {
    // Dropped with this task, and with it the connections.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let asked = asked.clone();
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let count = asked.fetch_add(1, Ordering::SeqCst) + 1;
                let response = answer(&request, count);
                async { Ok::<_, Infallible>(response) }
            });
            // A client that goes away is no concern of an origin's.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// What the origin has to offer.
fn answer(request: &Request<Incoming>, count: u64) -> Response<Full<Bytes>> {
    let language = request.headers().get(ACCEPT_LANGUAGE);
    let (cache_control, body) = match request.uri().path() {
        _ if request.method() != Method::GET => ("no-store", "done\n".to_owned()),
        "/catalogue" => (
            "max-age=60",
            format!("the catalogue, answer {count} of the origin\n"),
        ),
        "/news" => (
            "max-age=1, stale-while-revalidate=60",
            format!("news, answer {count} of the origin\n"),
        ),
        "/report" => ("max-age=1", "a report that never changes\n".to_owned()),
        "/greeting" => match language.map(HeaderValue::as_bytes) {
            Some(b"de") => ("max-age=60", "Guten Tag\n".to_owned()),
            _ => ("max-age=60", "Good day\n".to_owned()),
        },
        "/account" => ("no-store", "your balance is 42\n".to_owned()),
        _ => return with_status(StatusCode::NOT_FOUND),
    };
    let tag = HeaderValue::from_static("\"r1\"");
    let is_report = request.uri().path() == "/report";
    let mut response = if is_report && request.headers().get(IF_NONE_MATCH) == Some(&tag) {
        with_status(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(Full::from(body))
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if is_report {
        headers.insert(ETAG, tag);
    }
    if request.uri().path() == "/greeting" {
        headers.insert(VARY, HeaderValue::from_static("accept-language"));
    }
    response
}

fn with_status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
