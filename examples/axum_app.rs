//! An axum application that calls another service through a cached client in its state.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use cache_examples::LocalOrigin;
use cache_tower::{Cache, CacheInfo, CacheLayer, MemoryBackend};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};

type CachedClient = Cache<Client<HttpConnector, Body>>;

#[derive(Clone)]
struct App {
    client: CachedClient,
    catalogue: String,
}

async fn shop(State(app): State<App>) -> Result<Response<Body>, StatusCode> {
    let request = Request::get(&app.catalogue).body(Body::empty());
    let request = request.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let response = app
        .client
        .oneshot(request)
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(response.map(Body::new))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let origin = LocalOrigin::start().await?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let app = App {
        client: CacheLayer::new(MemoryBackend::default()).layer(client),
        catalogue: origin.uri("/catalogue"),
    };
    let router: Router = Router::new().route("/shop", get(shop)).with_state(app);

    // Where `axum::serve` would serve it, this asks it directly.
    for _ in 0..2 {
        let response = router
            .clone()
            .oneshot(Request::get("/shop").body(Body::empty())?)
            .await?;
        if let Some(info) = response.extensions().get::<CacheInfo>() {
            println!("{info}");
        }
        let body = response.into_body().collect().await?.to_bytes();
        print!("{}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
