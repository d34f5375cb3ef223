//! Requests whose content is in their key: QUERY, and POST where that is wished.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{CacheInfo, ContentKey, Outcome, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheLayer, ContentLayer, WithContent};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A body that comes in pieces and does not say how long it is.
#[derive(Default)]
struct Pieces {
    frames: VecDeque<Frame<Bytes>>,
}

impl Pieces {
    fn new(pieces: &[&'static str]) -> Self {
        let frame = |piece: &&'static str| Frame::data(Bytes::from_static(piece.as_bytes()));
        Self {
            frames: pieces.iter().map(frame).collect(),
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Answers with what it was sent, and how often it was asked.
async fn echo<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error = Infallible>,
{
    let control = request.headers().get("x-answer").cloned();
    if request.method() == Method::POST && request.headers().contains_key("if-none-match") {
        // RFC 9110 §13.1.2
        let mut response = Response::new(Full::default());
        *response.status_mut() = http::StatusCode::PRECONDITION_FAILED;
        return Ok(response);
    }
    let body = request.into_body().collect().await?;
    let trailers = body.trailers().map_or(0, HeaderMap::len);
    let mut answer = body.to_bytes().to_vec();
    answer.extend(vec![b'!'; trailers]);
    let mut response = Response::new(Full::from(answer));
    let tag = HeaderValue::from_static("\"1\"");
    response.headers_mut().insert("etag", tag);
    let control = control.unwrap_or(HeaderValue::from_static("max-age=60"));
    response.headers_mut().insert("cache-control", control);
    Ok(response)
}

fn content() -> ContentKey {
    ContentKey::query()
        .method(Method::POST)
        .normalise_json()
        .normalise_forms()
}

macro_rules! client {
    ($content:expr) => {{
        let cache = CacheLayer::new(MemoryBackend::default())
            .policy(Policy::private().key_content($content));
        ContentLayer::new($content)
            .limit(64)
            .layer(cache.layer(service_fn(echo)))
    }};
}

/// Sends it; what became of it, and the body.
async fn send<S, B, R>(client: &S, request: Request<B>) -> (CacheInfo, Bytes)
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: std::fmt::Debug,
    R: Body<Data = Bytes>,
    R::Error: std::fmt::Debug,
{
    let response = client.clone().oneshot(request).await.expect("a response");
    let info = *response.extensions().get::<CacheInfo>().expect("an info");
    let body = response.into_body().collect().await.expect("a whole body");
    (info, body.to_bytes())
}

fn request(method: &str, content_type: &str, content: &'static str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri("http://origin.test/search")
        .header("content-type", content_type)
        .body(Full::from(content))
        .expect("a request")
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json; charset=utf-8";
const FORM: &str = "application/x-www-form-urlencoded";

/// Whether two requests share a response.
async fn share(one: Request<Full<Bytes>>, other: Request<Full<Bytes>>) -> bool {
    let client = client!(content());
    let (info, _) = send(&client, one).await;
    assert_eq!(info.outcome, Outcome::Miss, "{info}");
    send(&client, other).await.0.is_hit()
}

#[tokio::test]
async fn content_its_type_and_the_method_count() {
    let of = |method, media_type, content| request(method, media_type, content);
    for method in ["QUERY", "POST"] {
        assert!(share(of(method, TEXT, "a"), of(method, TEXT, "a")).await);
        assert!(!share(of(method, TEXT, "a"), of(method, TEXT, "b")).await);
        assert!(!share(of(method, TEXT, "a"), of(method, JSON, "a")).await);
        assert!(!share(of(method, TEXT, ""), of(method, TEXT, "a")).await);
    }
    assert!(!share(of("QUERY", TEXT, "a"), of("POST", TEXT, "a")).await);
    let mut encoded = of("QUERY", TEXT, "a");
    let coding = HeaderValue::from_static("x");
    encoded.headers_mut().insert("content-encoding", coding);
    assert!(!share(of("QUERY", TEXT, "a"), encoded).await);
}

#[tokio::test]
async fn content_that_means_the_same_counts_as_the_same_where_that_is_wished() {
    let json = |content| request("POST", JSON, content);
    assert!(share(json(r#"{"a": 1, "b": 2}"#), json(r#"{"b":2,"a":1}"#)).await);
    assert!(!share(json("[1,2]"), json("[2,1]")).await);
    assert!(!share(json(r#"{"a": 1}"#), json(r#"{"a": 2}"#)).await);
    assert!(
        !share(json(r#"{"a":1"#), json(r#"{"a":2"#)).await,
        "no JSON at all"
    );
    let form = |content| request("POST", FORM, content);
    assert!(share(form("a=1&b=2"), form("b=2&a=1")).await);
    assert!(!share(form("a=1&a=2"), form("a=2&a=1")).await);
    let text = |content| request("POST", TEXT, content);
    assert!(!share(text("a=1&b=2"), text("b=2&a=1")).await);
}

#[tokio::test]
async fn members_and_fields_can_be_ignored() {
    let content = || content().ignore(["/id"]);
    let client = client!(content());
    for (media_type, one, other, different) in [
        (
            JSON,
            r#"{"id": 1, "q": 1}"#,
            r#"{"id": 2, "q": 1}"#,
            r#"{"id": 1, "q": 2}"#,
        ),
        (FORM, "id=1&q=1", "q=1&id=2", "q=2&id=1"),
    ] {
        let of = |content| request("POST", media_type, content);
        assert_eq!(send(&client, of(one)).await.0.outcome, Outcome::Miss);
        assert_eq!(send(&client, of(other)).await.0.outcome, Outcome::Hit);
        assert_eq!(send(&client, of(different)).await.0.outcome, Outcome::Miss);
    }
}

#[tokio::test]
async fn a_streamed_body_is_read_and_sent_again() {
    let client: WithContent<Cache<_>> = client!(content());
    let streamed = |pieces: &[&'static str]| {
        let (parts, _) = request("QUERY", TEXT, "").into_parts();
        Request::from_parts(parts, Pieces::new(pieces))
    };
    let (info, body) = send(&client, streamed(&["a", "", "b"])).await;
    assert_eq!((info.outcome, &*body), (Outcome::Miss, &b"ab"[..]));
    let (info, body) = send(&client, streamed(&["ab"])).await;
    assert_eq!((info.outcome, &*body), (Outcome::Hit, &b"ab"[..]));
}

#[tokio::test]
async fn content_over_the_limit_passes_whole_and_is_not_cached() {
    const LONG: &str = "0123456789012345678901234567890123456789";
    let client = client!(content());
    for _ in 0..2 {
        let (parts, _) = request("QUERY", TEXT, "").into_parts();
        let body = Pieces::new(&[LONG, LONG, "end"]);
        let (info, body) = send(&client, Request::from_parts(parts, body)).await;
        assert_eq!(info.outcome, Outcome::Bypass);
        assert_eq!(info.reason, Reason::RequestContent);
        assert_eq!(body, format!("{LONG}{LONG}end"));
    }
    let client = client!(content());
    let whole = "0123456789".repeat(7);
    let whole: &'static str = whole.leak();
    let (info, body) = send(&client, request("QUERY", TEXT, whole)).await;
    assert_eq!(
        (info.reason, &*body),
        (Reason::RequestContent, whole.as_bytes())
    );
    // An unsafe method that cannot be cached is one again.
    let (info, _) = send(&client, request("POST", TEXT, whole)).await;
    assert_eq!(info.reason, Reason::Invalidated);
}

#[tokio::test]
async fn trailers_pass_and_keep_the_request_out_of_the_cache() {
    let client = client!(content());
    let (parts, _) = request("QUERY", TEXT, "").into_parts();
    let mut body = Pieces::new(&["a"]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    body.frames.push_back(Frame::trailers(trailers));
    let (info, body) = send(&client, Request::from_parts(parts, body)).await;
    assert_eq!((info.outcome, &*body), (Outcome::Bypass, &b"a!"[..]));
}

#[tokio::test]
async fn without_the_policy_content_is_not_cached() {
    let cache = CacheLayer::new(MemoryBackend::default());
    let client = ContentLayer::new(content()).layer(cache.layer(service_fn(echo)));
    for _ in 0..2 {
        let (info, _) = send(&client, request("QUERY", TEXT, "a")).await;
        assert_eq!(
            (info.outcome, info.reason),
            (Outcome::Bypass, Reason::Method)
        );
        let (info, _) = send(&client, request("POST", TEXT, "a")).await;
        assert_eq!(info.reason, Reason::Invalidated);
    }
}

#[tokio::test]
async fn a_query_with_a_precondition_or_a_range_is_for_the_origin() {
    let client = client!(content());
    for name in ["if-none-match", "range", "if-match"] {
        let mut asked = request("QUERY", TEXT, "a");
        asked
            .headers_mut()
            .insert(name, HeaderValue::from_static("\"1\""));
        let (info, _) = send(&client, asked).await;
        assert_eq!(info.reason, Reason::OriginPrecondition, "{name}");
    }
}

#[tokio::test]
async fn a_post_is_not_validated_and_not_kept_for_a_lifetime_that_is_guessed() {
    let client = client!(content());
    let stale = || {
        let mut request = request("POST", TEXT, "a");
        let control = HeaderValue::from_static("max-age=0");
        request.headers_mut().insert("x-answer", control);
        request
    };
    for _ in 0..2 {
        let (info, body) = send(&client, stale()).await;
        assert_eq!((info.outcome, &*body), (Outcome::Miss, &b"a"[..]));
    }
}

#[tokio::test]
async fn what_is_stored_under_content_is_not_invalidated_by_the_uri_alone() {
    let client = client!(content());
    assert_eq!(
        send(&client, request("QUERY", TEXT, "a")).await.0.outcome,
        Outcome::Miss
    );
    assert_eq!(
        send(&client, request("GET", TEXT, "")).await.0.outcome,
        Outcome::Miss
    );
    let (info, _) = send(&client, request("PUT", TEXT, "b")).await;
    assert_eq!(info.reason, Reason::Invalidated);
    assert_eq!(
        send(&client, request("GET", TEXT, "")).await.0.outcome,
        Outcome::Miss
    );
    assert_eq!(
        send(&client, request("QUERY", TEXT, "a")).await.0.outcome,
        Outcome::Hit
    );
}

#[tokio::test]
async fn a_get_without_content_is_as_ever() {
    let client = client!(content().method(Method::GET));
    let (info, _) = send(&client, request("GET", TEXT, "")).await;
    assert_eq!(info.outcome, Outcome::Miss);
    let plain = CacheLayer::new(MemoryBackend::default());
    let _ = plain;
    let (info, _) = send(&client, request("GET", TEXT, "")).await;
    assert_eq!(info.outcome, Outcome::Hit);
    let (info, _) = send(&client, request("GET", TEXT, "a")).await;
    assert_eq!(info.outcome, Outcome::Miss);
    let (info, _) = send(&client, request("GET", TEXT, "a")).await;
    assert_eq!(info.outcome, Outcome::Hit);
}

#[tokio::test]
async fn content_is_readable_neither_in_keys_nor_in_what_is_shown() {
    let mut asked = request("POST", TEXT, "");
    asked
        .extensions_mut()
        .insert(cache_core::RequestContent::new(Bytes::from_static(
            b"hunter2",
        )));
    let head = cache_core::RequestHead::from(&asked);
    let policy = Policy::private().key_content(content());
    let begun = cache_core::Begin::new(&policy, &head, std::time::SystemTime::UNIX_EPOCH);
    let cache_core::Begin::Lookup(lookup) = begun else {
        panic!("it is looked up");
    };
    let key = lookup.key().as_bytes();
    assert!(!key.windows(6).any(|window| window == b"hunter"));
    assert!(!format!("{head:?} {asked:?}").contains("hunter"));
}

#[tokio::test]
async fn filters_of_what_is_stored_see_the_content() {
    let policy = Policy::private()
        .key_content(content())
        .filter_storing(|request, _| {
            let content = request.content.cloned().expect("the content");
            !content.into_bytes().starts_with(b"secret")
        });
    let cache = CacheLayer::new(MemoryBackend::default()).policy(policy);
    let client = ContentLayer::new(content()).layer(cache.layer(service_fn(echo)));
    for (content, is_stored) in [("open", true), ("secret", false)] {
        send(&client, request("QUERY", TEXT, content)).await;
        let (info, _) = send(&client, request("QUERY", TEXT, content)).await;
        assert_eq!(info.is_hit(), is_stored, "{content}");
    }
}
