//! axum: an application that calls out through a cached client, and one that is cached itself.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, ServiceExt as _};
use cache_tower::{Cache, CacheMode, CacheRequestExt, Policy};
use http::StatusCode;
use http::header::{AGE, CACHE_CONTROL, HeaderMap};
use http_body_util::BodyExt;
use kit::ok;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};
use tower_http::map_response_body::MapResponseBodyLayer;

use crate::exchange::{HyperClient, cache_with, hyper_client, private_cache, request};

/// A service behind a socket, until it is dropped.
struct Server {
    address: SocketAddr,
    _running: JoinSet<()>,
}

impl Server {
    async fn start<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let mut running = JoinSet::new();
        running.spawn(async move {
            let serving = axum::serve(listener, service.into_make_service()).await;
            serving.expect("serving does not fail");
        });
        Self {
            address,
            _running: running,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = request(&format!("http://{}{path}", self.address));
        let response = hyper_client().oneshot(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        (parts.status, parts.headers, text)
    }
}

#[derive(Clone)]
struct Upstream {
    client: Cache<HyperClient>,
    uri: String,
}

/// Passes the body on while it is read.
async fn call_out(State(upstream): State<Upstream>) -> Response {
    match upstream.client.oneshot(request(&upstream.uri)).await {
        Ok(response) => Body::new(response.into_body()).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

#[tokio::test]
async fn a_handler_that_calls_out_through_a_cached_client_asks_the_origin_once() {
    let (origin, _, cache) = private_cache().await;
    let upstream = Upstream {
        client: cache.layer(hyper_client()),
        uri: origin.uri("/data"),
    };
    let app = Router::new().route("/", get(call_out)).with_state(upstream);
    let server = Server::start(app).await;
    origin.answers(ok("data").max_age(60));

    for _ in 0..2 {
        let (status, _, text) = server.get("/").await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "data"));
    }
    assert_eq!(origin.sent().len(), 1);
}

/// Counts its calls: one route says that it may be stored, one that it may not.
fn counting() -> Router {
    async fn count(State(calls): State<Arc<AtomicUsize>>) -> String {
        (calls.fetch_add(1, Ordering::SeqCst) + 1).to_string()
    }
    Router::new()
        .route(
            "/stored",
            get(|calls| async { ([(CACHE_CONTROL, "max-age=60")], count(calls).await) }),
        )
        .route(
            "/not-stored",
            get(|calls| async { ([(CACHE_CONTROL, "no-store")], count(calls).await) }),
        )
        .with_state(Arc::default())
}

async fn counts_as_it_should(server: &Server) {
    let (_, headers, text) = server.get("/stored").await;
    assert_eq!((headers.get(AGE), text.as_str()), (None, "1"));
    for _ in 0..2 {
        let (_, headers, text) = server.get("/stored").await;
        assert_eq!(headers[AGE], "0");
        assert_eq!(text, "1");
    }
    assert_eq!(server.get("/not-stored").await.2, "2");
    assert_eq!(server.get("/not-stored").await.2, "3");
    assert_eq!(server.get("/no-route").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_router_is_wrapped_as_it_is_and_still_cannot_fail() {
    let (_origin, _, cache) = cache_with(Policy::shared()).await;
    let app: Cache<Router> = cache.layer(counting());
    // What `axum::serve` asks for is a response with a body of axum's.
    let app = MapResponseBodyLayer::new(Body::new).layer(app);
    counts_as_it_should(&Server::start(app).await).await;
}

#[tokio::test]
async fn a_router_takes_the_layer_without_a_layer_that_handles_errors() {
    let (_origin, _, cache) = cache_with(Policy::shared()).await;
    let app = counting().layer(cache);
    counts_as_it_should(&Server::start(app).await).await;
}

#[tokio::test]
async fn a_request_of_axum_says_what_it_wants() {
    let (_origin, _, cache) = cache_with(Policy::shared()).await;
    let mut app = cache.layer(counting());
    for (mode, expected) in [
        (CacheMode::Default, "1"),
        (CacheMode::Default, "1"),
        (CacheMode::Reload, "2"),
        (CacheMode::OnlyIfCached, "2"),
    ] {
        let request = Request::get("http://app.test/stored").body(Body::empty());
        let request = request.expect("a request").cache(mode);
        let response = app.call(request).await;
        let body = response.expect("a response").into_body().collect().await;
        assert_eq!(body.expect("a whole body").to_bytes(), expected, "{mode:?}");
    }
}
