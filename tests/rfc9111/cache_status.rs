//! `Cache-Status` (RFC 9211).

use bytes::Bytes;
use cache_core::{CacheMode, CacheName};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheLayer};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kit::{ManualClock, Origin, not_modified, ok, status};
use std::time::Duration;
use tower::ServiceExt;
use tower_layer::Layer;

/// A cache that says what it did, under the name `ours`.
fn telling() -> (Origin, ManualClock, Cache<Origin>) {
    let (origin, clock) = (Origin::new(), ManualClock::new());
    let layer = CacheLayer::new(MemoryBackend::default())
        .clock(clock.clone())
        .cache_status(CacheName::new("ours").expect("a token"));
    let cache = layer.layer(origin.clone());
    (origin, clock, cache)
}

fn get() -> Request<Full<Bytes>> {
    Request::get("http://origin.test/")
        .body(Full::default())
        .expect("a request")
}

/// Sends it, and reads the response to its end.
async fn send(cache: &Cache<Origin>, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let response = cache.clone().oneshot(request).await.expect("a response");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(parts, body)
}

/// What the response says, but for the detail.
async fn says(cache: &Cache<Origin>, request: Request<Full<Bytes>>) -> String {
    let response = send(cache, request).await;
    let value = response.headers()["cache-status"].to_str().expect("text");
    let (said, _) = value.split_once("; detail=").expect("a detail");
    said.to_owned()
}

#[tokio::test]
async fn it_says_whether_the_request_went_forward_and_why() {
    let (origin, clock, cache) = telling();
    origin.answers(ok("one").max_age(60).etag("\"1\""));
    let miss = "ours; fwd=uri-miss; fwd-status=200; stored";
    assert_eq!(says(&cache, get()).await, miss);
    assert_eq!(says(&cache, get()).await, "ours; hit; ttl=60");

    let mut no_cache = get();
    no_cache
        .headers_mut()
        .insert("cache-control", "no-cache".parse().expect("a value"));
    origin.answers(not_modified());
    let requested = "ours; fwd=request; fwd-status=304; ttl=60";
    assert_eq!(says(&cache, no_cache).await, requested);

    clock.advance(Duration::from_secs(60));
    origin.answers(not_modified());
    let stale = "ours; fwd=stale; fwd-status=304; ttl=60";
    assert_eq!(says(&cache, get()).await, stale);

    let mut post = get();
    *post.method_mut() = http::Method::POST;
    origin.answers(status(204));
    assert_eq!(says(&cache, post).await, "ours; fwd=method; fwd-status=204");

    let mut no_store = get();
    no_store.extensions_mut().insert(CacheMode::NoStore);
    origin.answers(ok("two"));
    let bypass = "ours; fwd=bypass; fwd-status=200";
    assert_eq!(says(&cache, no_store).await, bypass);
}

#[tokio::test]
async fn it_says_how_stale_a_response_is() {
    let (origin, clock, cache) = telling();
    origin.answers(ok("one").max_age(60));
    send(&cache, get()).await;
    clock.advance(Duration::from_secs(70));
    let mut stored_only = get();
    stored_only.extensions_mut().insert(CacheMode::OnlyIfCached);
    assert_eq!(says(&cache, stored_only).await, "ours; hit; ttl=-10");
}

#[tokio::test]
async fn it_tells_a_variant_that_is_missing_from_a_resource_that_is() {
    let (origin, _, cache) = telling();
    let in_language = |language: &str| {
        let mut request = get();
        let value = language.parse().expect("a value");
        request.headers_mut().insert("accept-language", value);
        request
    };
    let answer = || ok("one").max_age(60).with("vary", "accept-language");
    origin.answers(answer());
    send(&cache, in_language("en")).await;
    origin.answers(answer());
    let vary_miss = "ours; fwd=vary-miss; fwd-status=200; stored";
    assert_eq!(says(&cache, in_language("de")).await, vary_miss);
}

// RFC 9211 §2: a response that a cache makes of its own, and of nothing stored, has no member of it.
#[tokio::test]
async fn a_504_of_our_own_has_none() {
    let (_, _, cache) = telling();
    let mut stored_only = get();
    stored_only.extensions_mut().insert(CacheMode::OnlyIfCached);
    let response = send(&cache, stored_only).await;
    assert_eq!(response.status(), 504);
    assert_eq!(response.headers().get("cache-status"), None);
}

// RFC 9211 §2.2.
#[tokio::test]
async fn a_part_that_is_not_enough_is_called_partial() {
    let (origin, _, cache) = telling();
    let mut part = get();
    let range = "bytes=0-1".parse().expect("a value");
    part.headers_mut().insert("range", range);
    let answer = status(206).chunk("01").max_age(60);
    origin.answers(answer.with("content-range", "bytes 0-1/4"));
    send(&cache, part).await;
    origin.answers(ok("0123"));
    let partial = "ours; fwd=partial; fwd-status=200";
    assert_eq!(says(&cache, get()).await, partial);
}
