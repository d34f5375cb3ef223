//! Decompression inside and outside the cache.

use std::time::Duration;

use bytes::Bytes;
use cache_tower::Outcome;
use http::HeaderValue;
use kit::{Answer, not_modified, status};
use tower::Layer;
use tower_http::decompression::DecompressionLayer;

use crate::exchange::{hit, hyper_client, miss, private_cache, request, revalidated, send};

const TEXT: &str = "hello hello hello hello";

/// The same text, by gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\
    \x27\x01\xe3\x51\x3d\x8d\x17\x00\x00\x00";

fn gzip() -> Answer {
    status(200)
        .max_age(60)
        .etag("\"gzip\"")
        .with("content-encoding", "gzip")
        .with("vary", "accept-encoding")
        .chunk(Bytes::from_static(GZIP))
}

#[tokio::test]
async fn outside_the_stored_bytes_stay_compressed_and_every_caller_gets_the_text() {
    let (origin, _, cache) = private_cache().await;
    let compressed = cache.layer(hyper_client());
    let client = DecompressionLayer::new().layer(compressed.clone());
    let uri = origin.uri("/");
    origin.answers(gzip().with("content-length", "28"));

    let seen = miss(&client, &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");
    let seen = hit(&client, &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");
    assert_eq!(origin.sent()[0].headers["accept-encoding"], "gzip");

    // What is stored, read without the layer.
    let mut request = request(&uri);
    request
        .headers_mut()
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    let seen = send(compressed, request).await.expect("a response");
    assert_eq!(seen.info.outcome, Outcome::Hit);
    assert_eq!(seen.body, GZIP);
    seen.field("content-encoding", "gzip")
        .field("content-length", "28");
}

#[tokio::test]
async fn outside_a_body_in_chunks_is_stored_although_the_decoder_knows_where_it_ends() {
    let (origin, _, cache) = private_cache().await;
    let client = DecompressionLayer::new().layer(cache.layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(gzip());

    miss(&client, &uri).await.body(TEXT);
    hit(&client, &uri).await.body(TEXT);
}

#[tokio::test]
async fn outside_callers_who_accept_other_codings_do_not_share_a_response() {
    let (origin, _, cache) = private_cache().await;
    let plain = cache.layer(hyper_client());
    let client = DecompressionLayer::new().layer(plain.clone());
    let uri = origin.uri("/");
    origin.answers(gzip());
    origin.answers(kit::ok("plain").max_age(60).with("vary", "accept-encoding"));

    miss(&client, &uri).await.body(TEXT);
    miss(&plain, &uri).await.body("plain");
    hit(&client, &uri).await.body(TEXT);
    hit(&plain, &uri).await.body("plain");
}

#[tokio::test]
async fn inside_the_text_is_stored_and_no_field_speaks_of_the_coding() {
    let (origin, clock, cache) = private_cache().await;
    let client = cache.layer(DecompressionLayer::new().layer(hyper_client()));
    let uri = origin.uri("/");
    origin.answers(gzip().with("content-length", "28"));
    origin.answers(not_modified().max_age(60).etag("\"gzip\""));

    let seen = miss(&client, &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");
    let seen = hit(&client, &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");
    assert_eq!(origin.sent()[0].headers["accept-encoding"], "gzip");

    // What is stored, read by a client of the same cache without the layer.
    let seen = hit(&cache.layer(hyper_client()), &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");

    clock.advance(Duration::from_secs(61));
    let seen = revalidated(&client, &uri).await.body(TEXT);
    seen.without("content-encoding").without("content-length");
    assert_eq!(origin.sent()[1].headers["if-none-match"], "\"gzip\"");
}
