//! Retries inside and outside the cache.

use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use cache_tower::{CacheLayer, MemoryBackend, Reason};
use http::{Request, Response};
use http_body_util::Full;
use kit::Operation::{Lookup, Publish, Write};
use kit::{HttpOrigin, RecordingBackend, ok, status};
use tower::Layer;
use tower::retry::{Policy, RetryLayer};

use crate::exchange::{hit, hyper_client, miss, private_cache, stale_hit};

/// Asks once more where there is an error or a response with a status of the 5xx class.
#[derive(Clone)]
struct OnceMore {
    left: bool,
}

fn once_more() -> RetryLayer<OnceMore> {
    RetryLayer::new(OnceMore { left: true })
}

impl<B, E> Policy<Request<Full<Bytes>>, Response<B>, E> for OnceMore {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        answer: &mut Result<Response<B>, E>,
    ) -> Option<Ready<()>> {
        let failed = match answer {
            Ok(response) => response.status().is_server_error(),
            Err(_) => true,
        };
        (failed && std::mem::take(&mut self.left)).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn inside_the_cache_sees_only_the_last_attempt() {
    let origin = HttpOrigin::start().await.expect("a socket");
    let store = RecordingBackend::new(MemoryBackend::default());
    let client = CacheLayer::new(store.clone()).layer(once_more().layer(hyper_client()));
    origin.fails();
    origin.answers(ok("text").max_age(60));

    miss(&client, &origin.uri("/")).await.body("text");
    assert_eq!(store.take(), [Lookup, Write, Publish]);
    hit(&client, &origin.uri("/")).await.body("text");
}

#[tokio::test]
async fn outside_every_attempt_asks_the_cache() {
    let origin = HttpOrigin::start().await.expect("a socket");
    let store = RecordingBackend::new(MemoryBackend::default());
    let client = once_more().layer(CacheLayer::new(store.clone()).layer(hyper_client()));
    origin.fails();
    origin.answers(ok("text").max_age(60));

    miss(&client, &origin.uri("/")).await.body("text");
    assert_eq!(store.take(), [Lookup, Lookup, Write, Publish]);
    hit(&client, &origin.uri("/")).await.body("text");
}

#[tokio::test]
async fn inside_the_origin_gets_its_second_chance_before_a_stale_response_is_served() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(once_more().layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(ok("old").cache_control("max-age=60, stale-if-error=60"));
    origin.answers(status(503));
    origin.answers(ok("new").max_age(60));

    miss(&client, &uri).await.body("old");
    clock.advance(Duration::from_secs(61));
    miss(&client, &uri).await.body("new");
}

#[tokio::test]
async fn outside_a_stale_response_is_served_before_the_origin_gets_its_second_chance() {
    let (origin, clock, cache) = private_cache().await;
    let client = once_more().layer(cache.layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(ok("old").cache_control("max-age=60, stale-if-error=60"));
    origin.answers(status(503));

    miss(&client, &uri).await.body("old");
    clock.advance(Duration::from_secs(61));
    let seen = stale_hit(&client, &uri).await;
    seen.body("old").because(Reason::StaleIfError);
}

#[tokio::test]
async fn outside_an_error_that_is_stored_is_what_every_attempt_gets() {
    let (origin, _, cache) = private_cache().await;
    let cached = cache.layer(hyper_client());
    let client = once_more().layer(cached.clone());
    let uri = origin.uri("/");
    origin.answers(status(503).max_age(60));

    miss(&cached, &uri).await.status(503);
    hit(&client, &uri).await.status(503);
    assert_eq!(origin.sent().len(), 1);
}
