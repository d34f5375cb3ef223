//! One exchange through a service, over a socket.

use std::fmt::Debug;

use bytes::Bytes;
use cache_tower::{CacheInfo, CacheLayer, MemoryBackend, Outcome, Policy};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kit::{HttpOrigin, ManualClock, Seen};
use tower::{Service, ServiceExt};

pub(crate) type HyperClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn hyper_client() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// An origin, a clock that stands still, and a private cache that goes by it.
pub(crate) async fn private_cache() -> (HttpOrigin, ManualClock, CacheLayer) {
    cache_with(Policy::private()).await
}

pub(crate) async fn cache_with(policy: Policy) -> (HttpOrigin, ManualClock, CacheLayer) {
    let origin = HttpOrigin::start().await.expect("a socket");
    let clock = ManualClock::new();
    let cache = CacheLayer::new(MemoryBackend::default())
        .policy(policy)
        .clock(clock.clone());
    (origin, clock, cache)
}

pub(crate) fn request(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).expect("a request")
}

/// Sends a request and reads the response to its end.
pub(crate) async fn send<S, B>(service: S, request: Request<Full<Bytes>>) -> Result<Seen, S::Error>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let response = service.oneshot(request).await?;
    let info = response.extensions().get::<CacheInfo>();
    let info = *info.expect("every response of a cache has a CacheInfo");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok();
    Ok(Seen {
        status: parts.status,
        headers: parts.headers,
        trailers: body.as_ref().and_then(|body| body.trailers().cloned()),
        broke_off: body.is_none(),
        body: body
            .map(|body| body.to_bytes().to_vec())
            .unwrap_or_default(),
        info,
        sent: None,
    })
}

/// GET, answered by the origin.
pub(crate) async fn miss<S, B>(service: &S, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
    B: Body,
{
    expect(Outcome::Miss, service, uri).await
}

/// GET, answered from the store, fresh.
pub(crate) async fn hit<S, B>(service: &S, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
    B: Body,
{
    expect(Outcome::Hit, service, uri).await
}

/// GET, answered from the store, stale.
pub(crate) async fn stale_hit<S, B>(service: &S, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
    B: Body,
{
    expect(Outcome::StaleHit, service, uri).await
}

/// GET, answered from the store, validated.
pub(crate) async fn revalidated<S, B>(service: &S, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
    B: Body,
{
    expect(Outcome::Revalidated, service, uri).await
}

async fn expect<S, B>(outcome: Outcome, service: &S, uri: &str) -> Seen
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
    B: Body,
{
    let seen = send(service.clone(), request(uri)).await;
    let seen = seen.expect("a response");
    assert_eq!(seen.info.outcome, outcome, "{}", seen.info);
    seen
}
