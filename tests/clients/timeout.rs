//! Timeouts inside and outside the cache.

use std::fmt::Debug;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use cache_tower::Reason;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use kit::{HttpOrigin, ok};
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::map_response_body::MapResponseBodyLayer;
use tower_http::timeout::TimeoutLayer as AnsweringTimeoutLayer;

use crate::exchange::{hit, hyper_client, miss, private_cache, request};

const LONG: Duration = Duration::from_secs(30);

fn answering(status: StatusCode) -> AnsweringTimeoutLayer {
    AnsweringTimeoutLayer::with_status_code(status, LONG)
}

/// What a service answers when the origin hangs and the time of a timeout goes by.
async fn when_the_origin_hangs<S, B>(
    service: &S,
    origin: &HttpOrigin,
    uri: &str,
) -> Result<Response<B>, S::Error>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Debug + Send,
    B: Send + 'static,
{
    origin.hangs();
    let times = origin.sent().len() + 1;
    let answer = tokio::spawn(service.clone().oneshot(request(uri)));
    origin.was_asked(times).await;
    // Now nothing can happen any more but a timer, and time jumps to it.
    tokio::time::pause();
    let answer = answer.await.expect("the task does not panic");
    tokio::time::resume();
    answer
}

fn reason<B>(response: &Response<B>) -> Reason {
    let info = response.extensions().get::<cache_tower::CacheInfo>();
    info.expect("a response of the cache").reason
}

#[tokio::test]
async fn inside_a_slow_origin_is_an_error_and_a_stale_response_stands_in() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(TimeoutLayer::new(LONG).layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(ok("text").max_age(60));

    miss(&client, &uri).await.body("text");
    clock.advance(Duration::from_secs(61));
    let response = when_the_origin_hangs(&client, &origin, &uri).await;
    let response = response.expect("the stale response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(reason(&response), Reason::Disconnected);
}

#[tokio::test]
async fn inside_a_slow_origin_is_the_timeouts_error_where_nothing_is_stored() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(TimeoutLayer::new(LONG).layer(hyper_client()));

    let error = when_the_origin_hangs(&client, &origin, &origin.uri("/"))
        .await
        .expect_err("no response");
    assert!(error.is::<Elapsed>());
}

#[tokio::test]
async fn outside_a_slow_origin_is_an_error_whatever_is_stored() {
    let (origin, clock, cache) = private_cache().await;
    let client = TimeoutLayer::new(LONG).layer(cache.layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(ok("text").max_age(60));

    miss(&client, &uri).await.body("text");
    hit(&client, &uri).await.body("text");
    clock.advance(Duration::from_secs(61));
    let error = when_the_origin_hangs(&client, &origin, &uri)
        .await
        .expect_err("no response");
    assert!(error.is::<Elapsed>());
}

#[tokio::test]
async fn inside_a_timeout_that_answers_504_lets_stale_if_error_decide() {
    let (origin, clock, cache) = private_cache().await;
    let client = ServiceBuilder::new()
        .layer(cache)
        .layer(answering(StatusCode::GATEWAY_TIMEOUT))
        .layer(MapResponseBodyLayer::new(Body::new))
        .service(hyper_client());
    let (with, without) = (origin.uri("/with"), origin.uri("/without"));
    origin.answers(ok("text").cache_control("max-age=60, stale-if-error=60"));
    origin.answers(ok("text").cache_control("max-age=60"));

    miss(&client, &with).await.body("text");
    miss(&client, &without).await.body("text");
    clock.advance(Duration::from_secs(61));
    let response = when_the_origin_hangs(&client, &origin, &with).await;
    let response = response.expect("the stale response");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(reason(&response), Reason::StaleIfError);
    let response = when_the_origin_hangs(&client, &origin, &without).await;
    let response = response.expect("the timeout's response");
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(reason(&response), Reason::Stale);
}

#[tokio::test]
async fn inside_a_timeout_that_answers_408_never_lets_a_stale_response_stand_in() {
    let (origin, clock, cache) = private_cache().await;
    let client = ServiceBuilder::new()
        .layer(cache)
        .layer(answering(StatusCode::REQUEST_TIMEOUT))
        .layer(MapResponseBodyLayer::new(Body::new))
        .service(hyper_client());
    let uri = origin.uri("/");
    origin.answers(ok("text").cache_control("max-age=60, stale-if-error=60"));

    miss(&client, &uri).await.body("text");
    clock.advance(Duration::from_secs(61));
    let response = when_the_origin_hangs(&client, &origin, &uri).await;
    let response = response.expect("the timeout's response");
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(reason(&response), Reason::Stale);
}

#[tokio::test]
async fn outside_a_timeout_that_answers_504_answers_so_whatever_is_stored() {
    let (origin, clock, cache) = private_cache().await;
    let client = ServiceBuilder::new()
        .layer(answering(StatusCode::GATEWAY_TIMEOUT))
        .layer(MapResponseBodyLayer::new(Body::new))
        .layer(cache)
        .service(hyper_client());
    let uri = origin.uri("/");
    origin.answers(ok("text").cache_control("max-age=60, stale-if-error=60"));

    miss(&client, &uri).await.body("text");
    clock.advance(Duration::from_secs(61));
    let response = when_the_origin_hangs(&client, &origin, &uri).await;
    let response = response.expect("the timeout's response");
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
}
