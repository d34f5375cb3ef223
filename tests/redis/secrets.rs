//! Nothing secret is readable: not in Redis, in what is logged, counted or heard, nor in `Debug`.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_core::{
    Backend, CacheMode, CacheOptions, CacheRequestExt, ContentKey, Partition, Policy, PrimaryKey,
    RequestHead, Rule, Secret,
};
use cache_redis::RedisBackend;
use cache_tower::{CacheInfo, CacheLayer, ContentLayer, Event, Metrics};
use http::{HeaderName, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kit::ManualClock;
use kit::redis::RedisServer;
use metrics::{
    Counter, Gauge, Histogram, Key as MetricKey, KeyName, Metadata as MetricMetadata, Recorder,
    SharedString, Unit,
};
use tower::{Layer, ServiceExt, service_fn};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Metadata, Subscriber};

/// What a request says in confidence.
const ASKED: &str = "hunter2";
/// What a response says; it is in the store, where that is not encrypted, and nowhere else.
const ANSWERED: &str = "s3same";

/// All that is shown, of whatever kind.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<String>>);

impl Shown {
    fn add(&self, what: &dyn Debug) {
        let _ = writeln!(self.0.lock().expect("no panic"), "{what:?}");
    }

    fn text(&self) -> String {
        self.0.lock().expect("no panic").clone()
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Subscriber for Shown {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("cache_")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(&mut self.0.lock().expect("no panic")));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock().expect("no panic")));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(&mut self.0.lock().expect("no panic")));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Recorder for Shown {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &MetricKey, _: &MetricMetadata<'_>) -> Counter {
        self.add(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &MetricKey, _: &MetricMetadata<'_>) -> Gauge {
        self.add(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &MetricKey, _: &MetricMetadata<'_>) -> Histogram {
        self.add(key);
        Histogram::noop()
    }
}

/// Policies with everything that has to do with what a request says.
fn policies() -> BTreeMap<&'static str, Policy> {
    let token = HeaderName::from_static("x-custom-token");
    let content = || {
        ContentKey::query()
            .method(Method::POST)
            .normalise_json()
            .normalise_forms()
            .ignore(["/id"])
    };
    let everything = Policy::private()
        .secret(Secret::new(ASKED.as_bytes()))
        .redact_also(["session", "utm_source"])
        .ignore_parameters(["utm_*"])
        .sort_query(true)
        .key_salt(ASKED)
        .credential_fields([token.clone()])
        .key_by(|request, key| {
            let user = request.headers.get("x-user")?;
            Some(key.with(user.as_bytes()))
        })
        .key_content(content())
        .filter(|_, _| true)
        .filter_body(1 << 20, |_, _| true)
        .rules([Rule::any()
            .vary_on([token])
            .stale_if_error(std::time::Duration::MAX)])
        .expect("rules");
    BTreeMap::from([
        ("private", Policy::private().key_content(content())),
        ("shared", Policy::shared().key_content(content())),
        (
            "by a field",
            Policy::private()
                .key_content(content())
                .partition(Partition::by(|request| {
                    Some(request.headers.get("x-user")?.as_bytes().to_vec())
                })),
        ),
        ("everything", everything),
    ])
}

/// A request that is full of what is not to be seen.
fn request(method: &str, content_type: &str, content: &str) -> Request<Full<Bytes>> {
    let uri =
        format!("http://{ASKED}:{ASKED}@origin.test/?token={ASKED}&page=2&access_token={ASKED}");
    let mut request = Request::builder().method(method).uri(uri);
    for name in [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "x-custom-token",
        "x-user",
        "x-other",
    ] {
        request = request.header(name, ASKED);
    }
    let request = request.header("content-type", content_type);
    let content = content.replace("SECRET", ASKED);
    request.body(Full::from(content)).expect("a request")
}

/// Asks for everything through a cache over this store, and shows all that can be shown.
async fn ask(backend: impl Backend, policy: Policy, shown: &Shown) {
    let heard = shown.clone();
    let clock = ManualClock::new();
    let layer = CacheLayer::new(backend)
        .policy(policy.clone())
        .clock(clock.clone())
        .listener(Metrics::named("test"))
        .listener(move |event: &Event<'_>| heard.add(event));
    let origin = service_fn(|request: Request<_>| async move {
        let is_error = request.uri().path() == "/error";
        drop(request);
        let answer = Response::builder()
            .status(if is_error { 500 } else { 200 })
            .header("cache-control", "public, max-age=60")
            .header("vary", "x-user, cookie")
            .header("etag", format!("\"{ANSWERED}\""))
            .header("x-answer", ANSWERED)
            .header("set-cookie", ANSWERED)
            .body(Full::<Bytes>::from(ANSWERED));
        Ok::<_, std::convert::Infallible>(answer.expect("a response"))
    });
    let content = ContentKey::query().method(Method::POST);
    let client = ContentLayer::new(content).layer(layer.layer(origin));
    let options = || {
        CacheOptions::new()
            .key_material(ASKED)
            .partition(ASKED)
            .report_key()
    };
    let requests = [
        request("GET", "text/plain", ""),
        request("GET", "text/plain", "").cache(options()),
        request("GET", "text/plain", "").cache(CacheMode::NoCache),
        request("POST", "application/json", r#"{"password": "SECRET"}"#),
        request("QUERY", "application/x-www-form-urlencoded", "a=SECRET&b=1"),
        request("POST", "text/plain", "SECRET").cache(options()),
        request("DELETE", "text/plain", "SECRET"),
        request("GET", "text/plain", ""),
    ];
    for request in requests {
        shown.add(&RequestHead::from(&request));
        shown.add(&CacheOptions::of(request.extensions()));
        shown.add(&PrimaryKey::of(&policy, &RequestHead::from(&request)));
        let response = client.clone().oneshot(request).await.expect("a response");
        shown.add(&response.extensions().get::<CacheInfo>());
        shown.add(&response.body());
        response.into_body().collect().await.expect("a whole body");
    }
    shown.add(&policy);
    shown.add(&layer);
    shown.add(&layer.controls());
    shown.add(&client);
    let handle = layer.handle();
    shown.add(&handle);
    shown.add(&handle.urls(cache_tower::Filter::all()).await);
    layer.shutdown().await;
}

#[test]
fn nothing_that_is_secret_is_readable_anywhere() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let _second = Dispatch::new(NoSubscriber::new());
    for is_encrypted in [false, true] {
        for (name, policy) in policies() {
            let shown = Shown::default();
            let _guard = tracing::subscriber::set_default(shown.clone());
            let server = runtime.block_on(RedisServer::start());
            let url = server.url();
            metrics::with_local_recorder(&shown, || {
                runtime.block_on(async {
                    let backend = RedisBackend::connect(&url).await.expect("a server");
                    if is_encrypted {
                        let key = Key::new(1, b"0123456789abcdef0123456789abcdef").expect("a key");
                        let codec = Codec::new().encrypt(Keys::new(key));
                        let backend = CodecBackend::new(backend, codec).expect("a codec");
                        ask(backend, policy, &shown).await;
                    } else {
                        ask(backend, policy, &shown).await;
                    }
                });
            });
            let dump = server.dump();
            assert!(!dump.is_empty(), "{name}: nothing is stored");
            let at_rest = |mark: &str| {
                let has = |bytes: &[u8]| {
                    bytes
                        .windows(mark.len())
                        .any(|part| part == mark.as_bytes())
                };
                dump.iter().any(|(key, values)| {
                    has(key.as_bytes()) || values.iter().any(|value| has(value))
                })
            };
            assert!(!at_rest(ASKED), "{name}: what a request said is in Redis");
            assert_eq!(at_rest(ANSWERED), !is_encrypted, "{name}");
            let text = shown.text();
            assert!(
                text.contains("http_cache_requests_total"),
                "{name}: nothing is counted"
            );
            assert!(text.contains("Stored"), "{name}: nothing is heard");
            for mark in [ASKED, ANSWERED] {
                let found = text.lines().find(|line| line.contains(mark));
                assert_eq!(found, None, "{name}: {mark} is shown");
            }
        }
    }
}
