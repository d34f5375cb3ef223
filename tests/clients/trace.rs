//! Tracing inside and outside the cache.

use std::time::Duration;

use cache_tower::CacheInfo;
use http::Response;
use kit::{not_modified, ok};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::Layer;
use tower_http::classify::{ServerErrorsAsFailures, SharedClassifier};
use tower_http::trace::{
    DefaultMakeSpan, DefaultOnBodyChunk, DefaultOnEos, DefaultOnFailure, DefaultOnRequest,
    OnResponse, TraceLayer,
};
use tracing::Span;

use crate::exchange::{hit, hyper_client, miss, private_cache, stale_hit};

/// A line for each response that a trace saw.
#[derive(Debug, Clone, Default)]
struct Lines(watch::Sender<Vec<String>>);

impl Lines {
    fn layer(&self) -> Tracing {
        TraceLayer::new_for_http().on_response(self.clone())
    }

    fn seen(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until it has so many.
    async fn are(&self, many: usize) {
        let mut lines = self.0.subscribe();
        let wait = lines.wait_for(|lines| lines.len() >= many);
        let waited = timeout(Duration::from_secs(10), wait).await;
        waited.expect("so many lines").expect("this sends them");
    }
}

type Tracing = TraceLayer<
    SharedClassifier<ServerErrorsAsFailures>,
    DefaultMakeSpan,
    DefaultOnRequest,
    Lines,
    DefaultOnBodyChunk,
    DefaultOnEos,
    DefaultOnFailure,
>;

impl<B> OnResponse<B> for Lines {
    fn on_response(self, response: &Response<B>, _: Duration, _: &Span) {
        let outcome = response.extensions().get::<CacheInfo>();
        let outcome = outcome.map_or("no cache", |info| info.outcome.as_str());
        let line = format!("{} {outcome}", response.status().as_u16());
        self.0.send_modify(|lines| lines.push(line));
    }
}

#[tokio::test]
async fn outside_every_request_is_traced_with_what_the_cache_did() {
    let (origin, clock, cache) = private_cache().await;
    let lines = Lines::default();
    let client = lines.layer().layer(cache.layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(
        ok("text")
            .cache_control("max-age=60, stale-while-revalidate=60")
            .etag("\"1\""),
    );
    origin.answers(not_modified().max_age(60).etag("\"1\""));

    miss(&client, &uri).await;
    hit(&client, &uri).await;
    clock.advance(Duration::from_secs(61));
    stale_hit(&client, &uri).await;
    origin.was_asked(2).await;
    assert_eq!(lines.seen(), ["200 miss", "200 hit", "200 stale hit"]);
}

#[tokio::test]
async fn inside_what_goes_to_the_origin_is_traced_in_the_background_too() {
    let (origin, clock, cache) = private_cache().await;
    let lines = Lines::default();
    let client = cache.layer(lines.layer().layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(
        ok("text")
            .cache_control("max-age=60, stale-while-revalidate=60")
            .etag("\"1\""),
    );
    origin.answers(not_modified().max_age(60).etag("\"1\""));

    miss(&client, &uri).await;
    hit(&client, &uri).await;
    clock.advance(Duration::from_secs(61));
    stale_hit(&client, &uri).await;
    lines.are(2).await;
    assert_eq!(lines.seen(), ["200 no cache", "304 no cache"]);
    hit(&client, &uri).await;
}
