//! The pooled client of hyper-util with a cache around it.

use std::time::Duration;

use cache_tower::{Outcome, Reason};
use kit::{not_modified, ok};
use tower::Layer;

use crate::exchange::{
    hit, hyper_client, miss, private_cache, request, revalidated, send, stale_hit,
};

#[tokio::test]
async fn the_second_request_needs_no_origin() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    let uri = origin.uri("/page?of=a-book");
    origin.answers(ok("text").max_age(60));

    miss(&client, &uri)
        .await
        .body("text")
        .without("age")
        .stored();
    drop(origin);
    clock.advance(Duration::from_secs(7));
    hit(&client, &uri).await.body("text").age(7);
}

#[tokio::test]
async fn a_stale_response_is_validated_over_the_same_connection() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    let uri = origin.uri("/");
    origin.answers(ok("text").max_age(60).etag("\"1\""));
    origin.answers(not_modified().max_age(60).etag("\"1\""));
    origin.answers(not_modified().max_age(60).etag("\"1\""));

    miss(&client, &uri).await;
    for _ in 0..2 {
        clock.advance(Duration::from_secs(61));
        revalidated(&client, &uri).await.status(200).body("text");
    }
    let sent = origin.sent();
    assert_eq!(sent[1].headers["if-none-match"], "\"1\"");
    assert_eq!(sent[2].headers["if-none-match"], "\"1\"");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_response_in_chunks_with_trailers_is_stored_with_them() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    let uri = origin.uri("/");
    // A server sends the trailers that it announced, to a client that takes them.
    let chunks = ok("one ").chunk("two").trailer("x-sum", "7");
    origin.answers(chunks.max_age(60).with("trailer", "x-sum"));
    let asking = || {
        let mut request = request(&uri);
        request
            .headers_mut()
            .insert("te", http::HeaderValue::from_static("trailers"));
        send(client.clone(), request)
    };

    for outcome in [Outcome::Miss, Outcome::Hit] {
        let seen = asking().await.expect("a response").body("one two");
        assert_eq!(seen.info.outcome, outcome);
        assert_eq!(seen.trailers.expect("trailers")["x-sum"], "7");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_is_not_stored() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    let uri = origin.uri("/");
    origin.answers(ok("half").max_age(60).breaks_off());
    origin.answers(
        ok("half")
            .max_age(60)
            .with("content-length", "8")
            .breaks_off(),
    );
    origin.answers(ok("whole").max_age(60));

    assert!(miss(&client, &uri).await.broke_off);
    assert!(miss(&client, &uri).await.broke_off);
    miss(&client, &uri).await.body("whole");
    hit(&client, &uri).await.body("whole");
}

#[tokio::test]
async fn a_stale_response_stands_in_for_an_origin_that_is_gone() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    let uri = origin.uri("/");
    origin.answers(ok("text").max_age(60));

    miss(&client, &uri).await;
    drop(origin);
    clock.advance(Duration::from_secs(61));
    stale_hit(&client, &uri)
        .await
        .body("text")
        .because(Reason::Disconnected);
}

#[tokio::test]
async fn an_error_is_the_clients_own() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(hyper_client());
    origin.fails();

    let error: hyper_util::client::legacy::Error = send(client, request(&origin.uri("/")))
        .await
        .expect_err("no response");
    assert!(!error.is_connect());
}
