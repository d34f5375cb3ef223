//! reqwest with a cache around it, by the adapter.

use std::time::Duration;

use cache_reqwest::{CachedClient, HttpClient};
use cache_tower::{
    CacheBody, CacheInfo, CacheLayer, CacheMode, CacheOptions, ContentKey, ContentLayer,
    MemoryBackend, Outcome, Reason,
};
use http_body_util::BodyExt;
use kit::{HttpOrigin, ok, status};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Body, Client, ClientBuilder, Response};
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::{Layer, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;

use crate::exchange::{cache_with, private_cache};

fn builder() -> ClientBuilder {
    Client::builder().no_proxy()
}

/// One that follows no redirects.
fn reqwest() -> Client {
    build(builder().redirect(Policy::none()))
}

fn build(builder: ClientBuilder) -> Client {
    builder.build().expect("a client")
}

fn get(url: &str) -> reqwest::Request {
    reqwest().get(url).build().expect("a request")
}

fn info(response: &Response) -> CacheInfo {
    let info = response.extensions().get::<CacheInfo>();
    *info.expect("every response of a cache has a CacheInfo")
}

#[track_caller]
fn is(outcome: Outcome, response: Response) -> Response {
    assert_eq!(info(&response).outcome, outcome, "{}", info(&response));
    response
}

async fn text(response: Response) -> String {
    response.text().await.expect("a whole body")
}

#[tokio::test]
async fn a_response_says_where_it_is_from_and_what_the_cache_did() {
    let (origin, clock, cache) = private_cache().await;
    let client: CachedClient = CachedClient::new(reqwest(), cache);
    let url = origin.uri("/caf%C3%A9?a=1&b=%2F");
    origin.answers(ok("text").max_age(60));

    let response = client.execute(get(&url)).await.expect("a response");
    assert_eq!(response.url().as_str(), url);
    assert!(response.remote_addr().is_some());
    assert!(info(&response).is_stored());
    assert_eq!(text(is(Outcome::Miss, response)).await, "text");

    clock.advance(Duration::from_secs(7));
    let response = client.execute(get(&url)).await.expect("a response");
    assert_eq!(response.url().as_str(), url);
    assert!(response.remote_addr().is_none());
    assert_eq!(info(&response).age, Some(Duration::from_secs(7)));
    assert_eq!(response.headers()["age"], "7");
    assert_eq!(response.content_length(), Some(4));
    assert_eq!(text(is(Outcome::Hit, response)).await, "text");
}

#[tokio::test]
async fn the_url_of_a_response_is_the_one_that_reqwest_would_give() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    origin.answers(ok("text").max_age(60));
    origin.answers(ok("text").max_age(60));

    let request = || get(&origin.uri("/a b?ä=%2f#part"));
    let without = reqwest().execute(request()).await.expect("a response");
    for outcome in [Outcome::Miss, Outcome::Hit] {
        let response = client.execute(request()).await.expect("a response");
        assert_eq!(response.url(), without.url());
        text(is(outcome, response)).await;
    }
}

#[tokio::test]
async fn a_mode_reaches_the_cache_as_an_argument_or_in_the_extensions() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    let url = origin.uri("/");
    origin.answers(ok("one").max_age(60));
    origin.answers(ok("two").max_age(60));

    let response = client.execute(get(&url)).await.expect("a response");
    text(is(Outcome::Miss, response)).await;
    let reload = client.execute_with(get(&url), CacheMode::Reload).await;
    let response = reload.expect("a response");
    assert_eq!(info(&response).reason, Reason::Reload);
    assert_eq!(text(response).await, "two");

    let mut request = http::Request::try_from(get(&origin.uri("/other"))).expect("a request");
    request.extensions_mut().insert(CacheMode::OnlyIfCached);
    let request = request.try_into().expect("a request");
    let response = client.execute(request).await.expect("a response");
    is(Outcome::Unsatisfiable, response);
}

#[tokio::test]
async fn redirects_followed_outside_are_stored_each_and_the_url_is_the_last() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache).layer(FollowRedirectLayer::new());
    let (old, new) = (origin.uri("/old"), origin.uri("/new"));
    let moved = || {
        status(301)
            .with("location", "/new")
            .with("content-length", "0")
    };
    for _ in 0..2 {
        origin.answers(moved().max_age(60));
        origin.answers(ok("text").max_age(60));
    }

    for outcome in [Outcome::Miss, Outcome::Hit] {
        let response = client.execute(get(&old)).await.expect("a response");
        assert_eq!(response.url().as_str(), new);
        assert_eq!(text(is(outcome, response)).await, "text");
    }
    // The mode is for every request on the way.
    let reload = client.execute_with(get(&old), CacheMode::Reload).await;
    text(is(Outcome::Miss, reload.expect("a response"))).await;
    assert_eq!(origin.sent().len(), 4);
}

#[tokio::test]
async fn redirects_that_the_client_follows_are_hidden_behind_the_first_url() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(build(builder()), cache);
    let (old, new) = (origin.uri("/old"), origin.uri("/new"));
    origin.answers(status(302).with("location", "/new"));
    origin.answers(ok("text").max_age(60));

    let response = client.execute(get(&old)).await.expect("a response");
    assert_eq!(response.url().as_str(), new);
    assert_eq!(text(is(Outcome::Miss, response)).await, "text");
    let response = client.execute(get(&old)).await.expect("a response");
    assert_eq!(response.url().as_str(), old);
    assert_eq!(text(is(Outcome::Hit, response)).await, "text");
}

#[tokio::test]
async fn credentials_keep_users_apart_in_a_request_but_not_as_default_fields_of_a_client() {
    let (origin, _, cache) = private_cache().await;
    let url = origin.uri("/");
    let with_default = |user| {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", http::HeaderValue::from_static(user));
        CachedClient::new(build(builder().default_headers(headers)), cache.clone())
    };
    let (ann, bob) = (with_default("ann"), with_default("bob"));
    origin.answers(ok("for ann").max_age(60));
    origin.answers(ok("for bob").max_age(60));

    let response = ann.execute(get(&url)).await.expect("a response");
    assert_eq!(text(is(Outcome::Miss, response)).await, "for ann");
    let response = bob.execute(get(&url)).await.expect("a response");
    assert_eq!(text(is(Outcome::Hit, response)).await, "for ann");

    let request = reqwest().get(&url).header("authorization", "bob").build();
    let response = bob.execute(request.expect("a request")).await;
    let response = is(Outcome::Miss, response.expect("a response"));
    assert_eq!(text(response).await, "for bob");
    assert_eq!(origin.sent()[0].headers["authorization"], "ann");
    assert_eq!(origin.sent()[1].headers["authorization"], "bob");
}

#[tokio::test]
async fn the_timeout_of_a_request_holds_and_lets_a_stale_response_stand_in() {
    let (origin, clock, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    let url = origin.uri("/");
    let impatient = || {
        let mut request = get(&url);
        *request.timeout_mut() = Some(Duration::from_secs(30));
        request
    };
    origin.hangs();
    origin.answers(ok("text").max_age(60));
    origin.hangs();

    let answer = tokio::spawn(client.execute(impatient()));
    origin.was_asked(1).await;
    tokio::time::pause();
    let error = answer.await.expect("no panic").expect_err("no response");
    tokio::time::resume();
    assert!(error.is_timeout());

    let response = client.execute(get(&url)).await.expect("a response");
    text(is(Outcome::Miss, response)).await;
    clock.advance(Duration::from_secs(61));
    let answer = tokio::spawn(client.execute(impatient()));
    origin.was_asked(3).await;
    tokio::time::pause();
    let response = answer.await.expect("no panic").expect("the stale response");
    assert_eq!(info(&response).reason, Reason::Disconnected);
    assert_eq!(text(response).await, "text");
}

#[tokio::test]
async fn a_layer_inside_the_cache_brings_its_own_error_type() {
    let (origin, _, cache) = private_cache().await;
    let inside = TimeoutLayer::new(Duration::from_secs(30)).layer(HttpClient::new(reqwest()));
    let client = CachedClient::around(inside, cache);
    origin.hangs();

    let answer = tokio::spawn(client.execute(get(&origin.uri("/"))));
    origin.was_asked(1).await;
    tokio::time::pause();
    let error = answer.await.expect("no panic").expect_err("no response");
    assert!(error.is::<Elapsed>());
}

#[tokio::test]
async fn the_client_alone_goes_under_the_layer_and_speaks_http_types() {
    let (origin, _, cache) = private_cache().await;
    let client = cache.layer(HttpClient::new(reqwest()));
    origin.answers(ok("text").max_age(60));

    for outcome in [Outcome::Miss, Outcome::Hit] {
        let request = http::Request::get(origin.uri("/")).body(String::new());
        let response = client.clone().oneshot(request.expect("a request")).await;
        let response: http::Response<CacheBody<Body>> = response.expect("a response");
        let info = response.extensions().get::<CacheInfo>();
        assert_eq!(info.expect("a CacheInfo").outcome, outcome);
        let body = response.into_body().collect().await.expect("a whole body");
        assert_eq!(body.to_bytes(), "text");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_of_reqwest() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    origin.answers(ok("half").max_age(60).breaks_off());

    let response = client.execute(get(&origin.uri("/"))).await;
    let error = response.expect("a response").text().await;
    assert!(error.expect_err("no whole body").is_decode());
}

#[tokio::test]
async fn an_error_is_that_of_reqwest() {
    let (origin, _, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    let url = origin.uri("/");
    drop(origin);

    // The connections of an origin that was dropped end when the runtime comes to them.
    tokio::task::yield_now().await;
    let error = client.execute(get(&url)).await.expect_err("no response");
    assert!(error.is_connect());
    assert_eq!(error.url().expect("a URL").as_str(), url);

    let relative = http::Request::get("/").body(Body::default());
    let relative = relative.expect("a request");
    let error = HttpClient::new(reqwest()).oneshot(relative).await;
    assert!(error.expect_err("no response").is_builder());
}

#[tokio::test]
async fn as_a_service_it_takes_bodies_and_unsafe_methods() {
    let origin = HttpOrigin::start().await.expect("a socket");
    let client = CachedClient::new(reqwest(), CacheLayer::new(MemoryBackend::default()));
    let url = origin.uri("/");
    origin.answers(ok("old").max_age(60));
    origin.answers(status(204));
    origin.answers(ok("new").max_age(60));

    let response = client.clone().oneshot(get(&url)).await.expect("a response");
    assert_eq!(text(is(Outcome::Miss, response)).await, "old");
    let post = reqwest()
        .post(&url)
        .body("data")
        .build()
        .expect("a request");
    let response = client.clone().oneshot(post).await.expect("a response");
    is(Outcome::Bypass, response);
    assert_eq!(origin.sent()[1].headers["content-length"], "4");
    let response = client.oneshot(get(&url)).await.expect("a response");
    assert_eq!(text(is(Outcome::Miss, response)).await, "new");
}

#[tokio::test]
async fn options_of_a_request_reach_the_cache() {
    let (origin, clock, cache) = private_cache().await;
    let client = CachedClient::new(reqwest(), cache);
    let url = origin.uri("/");
    origin.answers(ok("one").cache_control("no-store"));

    let minute = || CacheOptions::new().override_ttl(Duration::from_secs(60));
    let response = client.execute_with(get(&url), minute()).await;
    text(is(Outcome::Miss, response.expect("a response"))).await;
    clock.advance(Duration::from_secs(59));
    let response = client.execute(get(&url)).await.expect("a response");
    is(Outcome::Hit, response);
}

#[tokio::test]
async fn content_is_in_the_key_where_that_is_wished() {
    let content = ContentKey::query().method(http::Method::POST);
    let policy = cache_tower::Policy::private().key_content(content.clone());
    let (origin, _, cache) = cache_with(policy).await;
    let client =
        CachedClient::new(reqwest(), cache).key_content(&ContentLayer::new(content).limit(100));
    let url = origin.uri("/search");
    let post = |body: Body| reqwest().post(&url).body(body).build().expect("a request");
    let streamed =
        |text: &'static str| Body::wrap(http_body_util::Full::<bytes::Bytes>::from(text));
    let long = "x".repeat(101);
    origin.answers(ok("one").max_age(60));
    origin.answers(ok("two").max_age(60));
    origin.answers(ok("three").max_age(60));
    origin.answers(ok("four").max_age(60));

    for (body, outcome, expected) in [
        (Body::from("a"), Outcome::Miss, "one"),
        (Body::from("b"), Outcome::Miss, "two"),
        (streamed("a"), Outcome::Hit, "one"),
        (Body::from(long), Outcome::Bypass, "three"),
    ] {
        let response = client.execute(post(body)).await.expect("a response");
        assert_eq!(text(is(outcome, response)).await, expected);
    }
    let response = client.execute(get(&url)).await.expect("a response");
    assert_eq!(text(is(Outcome::Miss, response)).await, "four");
    let sent: Vec<_> = origin
        .sent()
        .iter()
        .map(|sent| sent.headers.get("content-length").cloned())
        .collect();
    let lengths: Vec<_> = sent
        .iter()
        .map(|value| value.as_ref().map(|value| value.to_str().expect("digits")))
        .collect();
    assert_eq!(lengths, [Some("1"), Some("1"), Some("101"), None]);
}
