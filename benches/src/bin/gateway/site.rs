//! Pages of all sizes that are measured: what the origin and the limit answer with.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_benches::{Prebuilt, SIZES, serve};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;
use tower::Service;

/// Answers `/1024` with as many bytes.
#[derive(Clone)]
pub(crate) struct Site {
    pages: Arc<[(String, Prebuilt)]>,
    asked: Arc<AtomicU64>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let page = |bytes| (path(bytes), Prebuilt::new(bytes));
        Self {
            pages: SIZES.map(page).into(),
            asked: Arc::default(),
        }
    }

    /// Serves it in this process.
    pub(crate) async fn start() -> io::Result<Origin> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let site = Self::new();
        tokio::spawn(serve(listener, site.clone()));
        Ok(Origin { site, address })
    }
}

/// The path of a page.
pub(crate) fn path(bytes: usize) -> String {
    format!("/{bytes}")
}

/// The origin of all gateways.
pub(crate) struct Origin {
    site: Site,
    address: SocketAddr,
}

impl Origin {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.site.asked.load(Ordering::Relaxed)
    }
}

impl<B> Service<Request<B>> for Site {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.asked.fetch_add(1, Ordering::Relaxed);
        for (path, page) in &*self.pages {
            if path == request.uri().path() {
                return page.clone().call(request);
            }
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_FOUND;
        ready(Ok(response))
    }
}
