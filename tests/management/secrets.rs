//! Nothing secret is readable where it has no business: not in Redis, not in memory beside the responses,
//! not in the log, not in `Debug`, not in errors.
//!
//! What a request has is secret. What a response has is stored by its nature, and secret elsewhere; and
//! with a codec that encrypts, it is secret in the store, too.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_core::{Backend, ContentKey, Part, StoredHeadParts, Ttl};
use cache_redis::{EmbeddedRedis, RedisBackend, RedisConfig};
use cache_tower::{
    CacheLayer, CacheMode, CacheName, CacheOptions, ContentBody, ContentLayer, Event, Filter,
    Partition, Policy, Rule, Secret,
};
use http::{HeaderName, Method, Request};
use http_body_util::{BodyExt, Full};
use kit::{Answer, Log, ManualClock, Origin, OriginError, not_modified, ok, status};
use tower::ServiceExt;
use tower_layer::Layer;

/// Stands in all that is secret of requests, and of settings.
const ASKED: &str = "MarkedSecretOfRequest";
/// Stands in all that is secret of responses.
const ANSWERED: &str = "MarkedSecretOfResponse";

/// A marked value; another for each name, so that what leaks can be told.
fn asked(name: &str) -> String {
    format!("{ASKED}{name}")
}

fn answered(name: &str) -> String {
    format!("{ANSWERED}{name}")
}

/// How a secret can stand in bytes: as it is, in any case, in hexadecimal digits, or in base64.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let lower = secret.to_ascii_lowercase();
    let hex = |text: &str| {
        text.bytes().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    let mut forms = vec![
        lower.clone().into_bytes(),
        hex(secret).into_bytes(),
        hex(&lower).into_bytes(),
    ];
    for text in [secret, &lower] {
        for before in 0..3 {
            let padded = [&"x".repeat(before), text].concat();
            let encoded = base64(padded.as_bytes());
            // What the neighbours change is left out. Letters are compared in lower case.
            let inner = &encoded[4..encoded.len() - 4];
            forms.push(inner.to_ascii_lowercase().into_bytes());
        }
    }
    forms
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = number >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[index as usize]));
        }
    }
    text
}

fn holds(text: &[u8], secret: &str) -> bool {
    let text = text.to_ascii_lowercase();
    forms(secret)
        .iter()
        .any(|form| text.windows(form.len()).any(|window| window == form))
}

#[test]
fn a_secret_is_found_in_every_form() {
    let text = |inner: String| format!("before {inner} behind").into_bytes();
    for found in [
        text(ASKED.to_owned()),
        text(ASKED.to_uppercase()),
        text(base64(format!("a{ASKED}b").as_bytes())),
        text(base64(format!("ab{ASKED}").as_bytes())),
        text("4d61726b65645365637265744f6652657175657374".to_owned()),
    ] {
        assert!(holds(&found, ASKED), "{}", String::from_utf8_lossy(&found));
    }
    assert!(!holds(b"MarkedSecret", ASKED));
}

/// Everything that can be read, beside what the caller is given.
#[derive(Default)]
struct Seen {
    /// The log, `Debug`, errors: no secret of any kind.
    told: String,
    /// What the store has: no secret of requests.
    stored: Vec<u8>,
}

impl Seen {
    fn debug(&mut self, shown: &dyn Debug) {
        let _ = writeln!(self.told, "{shown:?} {shown:#?}");
    }

    fn error(&mut self, error: &dyn std::error::Error) {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let _ = writeln!(self.told, "{error} {error:?}");
            cause = error.source();
        }
    }

    #[track_caller]
    fn check(&self, name: &str, is_encrypted: bool) {
        for secret in [ASKED, ANSWERED] {
            for line in self.told.lines() {
                assert!(!holds(line.as_bytes(), secret), "{name}: {line}");
            }
        }
        assert!(!holds(&self.stored, ASKED), "{name}: in the store");
        // Otherwise nothing was looked into.
        let is_found = holds(&self.stored, ANSWERED);
        assert_eq!(is_found, !is_encrypted, "{name}: responses in the store");
    }
}

/// All settings that hold secrets, or can let some through.
fn policies() -> Vec<(&'static str, Policy)> {
    let tenant =
        || Partition::by(|request| Some(request.headers.get("x-tenant")?.as_bytes().to_vec()));
    let x_session = HeaderName::from_static("x-session");
    vec![
        ("private", Policy::private()),
        ("shared", Policy::shared()),
        (
            "with a secret",
            Policy::private().secret(Secret::new(asked("OfPolicy").as_bytes())),
        ),
        ("tenants", Policy::private().partition(tenant())),
        ("no partition", Policy::private().partition(Partition::None)),
        ("salted", Policy::private().key_salt(asked("Salt"))),
        (
            "own function",
            Policy::private().key_by(|request, key| {
                let tenant = request.headers.get("x-tenant")?.as_bytes().to_vec();
                Some(key.with(tenant))
            }),
        ),
        (
            "more credentials",
            Policy::private().credential_fields([x_session]),
        ),
        (
            "parameters",
            Policy::private()
                .redact_parameters(["token", "api_key", "password", "own"])
                .ignore_parameters(["utm_source"])
                .sort_query(true),
        ),
        (
            "whatever the origin says",
            Policy::private().override_ttl(Ttl::After(Duration::from_secs(60))),
        ),
        (
            "windows",
            Policy::private()
                .stale_while_revalidate(Duration::from_secs(600))
                .stale_if_error(Duration::from_secs(600)),
        ),
        (
            "rules",
            Policy::private()
                .rules([Rule::any()
                    .host("origin.test")
                    .vary_on([HeaderName::from_static("x-tenant")])
                    .ignore_parameters(["page"])])
                .expect("rules"),
        ),
        ("content", Policy::private().key_content(content())),
    ]
}

fn content() -> ContentKey {
    ContentKey::query().method(Method::POST)
}

fn request(method: &str, path: &str) -> Request<Full<Bytes>> {
    let uri = format!(
        "http://{}:{}@origin.test{path}?token={}&API_KEY={}&password={}&page=2",
        asked("User"),
        asked("Password"),
        asked("Token"),
        asked("ApiKey"),
        asked("PasswordParameter"),
    );
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in [
        (
            "authorization",
            format!("Bearer {}", asked("Authorization")),
        ),
        ("proxy-authorization", format!("Basic {}", asked("Proxy"))),
        ("cookie", format!("session={}", asked("Cookie"))),
        ("x-api-key", asked("XApiKey")),
        ("x-auth-token", asked("XAuthToken")),
        ("x-session", asked("XSession")),
        ("x-tenant", asked("Tenant")),
        ("accept-language", asked("Language")),
        ("user-agent", asked("Agent")),
        ("referer", format!("http://a.test/{}", asked("Referer"))),
    ] {
        request = request.header(name, value);
    }
    let body = match method {
        "GET" | "HEAD" => Full::default(),
        _ => Full::from(asked("Content")),
    };
    let mut request = request.body(body).expect("a request");
    let options = CacheOptions::new().key_material(asked("KeyMaterial"));
    if path == "/options" {
        request
            .extensions_mut()
            .insert(options.partition(asked("Partition")));
    }
    request
}

fn answer(name: &str) -> Answer {
    let body = answered(name).repeat(20);
    ok("")
        .chunk(body)
        .cache_control("public, max-age=60")
        .etag(&format!("\"{}\"", answered("Tag")))
        .with("vary", "accept-language, cookie, x-session")
        .with("set-cookie", &format!("session={}", answered("Cookie")))
        .with("x-secret", &answered("Field"))
        .with("content-location", &format!("/{}", answered("Location")))
        .trailer("x-trailer", "MarkedSecretOfResponseTrailer")
}

/// Lets everything happen that can, and looks at everything that can be looked at.
async fn happen(policy: Policy, backend: Arc<dyn Backend>, seen: &mut Seen) {
    let clock = ManualClock::new();
    // It may be asked in the background, too.
    let current = Arc::new(Mutex::new(status(500)));
    let origin = {
        let current = current.clone();
        tower::service_fn(move |_: Request<ContentBody<Full<Bytes>>>| {
            let answer = current.lock().expect("no panic").clone();
            std::future::ready(Ok::<_, OriginError>(answer.response()))
        })
    };
    let heard = Arc::new(Mutex::new(String::new()));
    let hear = {
        let heard = heard.clone();
        move |event: &Event<'_>| {
            let mut heard = heard.lock().expect("no panic");
            let _ = writeln!(heard, "{event:?} {event:#?}");
        }
    };
    let answers = |answer: Answer| *current.lock().expect("no panic") = answer;
    let layer = CacheLayer::new(backend.clone())
        .policy(policy.clone())
        .clock(clock.clone())
        .backend_budget(Duration::from_secs(10))
        .cache_status(CacheName::new("cache").expect("a name"))
        .lease(Duration::from_secs(1))
        .listener(hear);
    let cache = ContentLayer::new(content()).layer(layer.layer(origin));
    let send = |request: Request<Full<Bytes>>, seen: &mut Seen| {
        let (cache, _) = (cache.clone(), &seen);
        async move {
            let response = cache.oneshot(request).await.expect("a response");
            let said = format!(
                "{:?} {:?} {:?}",
                response.extensions().get::<cache_tower::CacheInfo>(),
                response.headers().get("cache-status"),
                response.body(),
            );
            let body = response.into_body().collect().await;
            (said, body)
        }
    };
    let large = "x".repeat(140_000);
    let happening: [(&str, &str, Answer, u64); 12] = [
        ("GET", "/a", answer("Body"), 1),
        ("GET", "/a", answer("Body"), 70),
        ("GET", "/a", not_modified(), 0),
        ("HEAD", "/a", status(200), 0),
        ("GET", "/options", answer("Options"), 0),
        ("GET", "/large", answer("Large").chunk(large), 0),
        ("GET", "/broken", answer("Broken").breaks_off(), 0),
        (
            "GET",
            "/no-store",
            answer("NoStore").cache_control("no-store"),
            0,
        ),
        ("QUERY", "/query", answer("Query"), 0),
        ("POST", "/post", answer("Post"), 0),
        ("POST", "/a", answer("Invalidating"), 100),
        ("GET", "/a", answer("Again"), 0),
    ];
    for (method, path, answer, wait) in happening {
        for _ in 0..2 {
            answers(answer.clone());
            let (said, body) = send(request(method, path), seen).await;
            let _ = writeln!(seen.told, "{said}");
            if let Err(error) = body {
                seen.error(&error);
            }
        }
        clock.advance(Duration::from_secs(wait));
    }
    for mode in [
        CacheMode::OnlyIfCached,
        CacheMode::ForceCache,
        CacheMode::Reload,
    ] {
        answers(answer("Mode"));
        let mut request = request("GET", "/a");
        request.extensions_mut().insert(mode);
        seen.debug(&request.extensions().get::<CacheMode>());
        let (said, _) = send(request, seen).await;
        let _ = writeln!(seen.told, "{said}");
    }
    layer.shutdown().await;
    let heard = heard.lock().expect("no panic").clone();
    assert!(heard.lines().count() > 20, "{heard}");
    seen.told.push_str(&heard);
    look(&policy, &layer, seen).await;
}

/// Looks at what can be looked at.
async fn look(policy: &Policy, layer: &CacheLayer, seen: &mut Seen) {
    let handle = layer.handle();
    seen.debug(policy);
    seen.debug(layer);
    seen.debug(&handle);
    seen.debug(&layer.controls());
    seen.debug(
        &CacheOptions::new()
            .key_material(asked("KeyMaterial"))
            .partition(asked("P")),
    );
    let url = || request("GET", "/a").uri().clone();
    let filter = || Filter::all().url(url()).prefix(asked("Prefix"));
    seen.debug(&filter());
    seen.debug(&handle.remove_all(filter()));
    let mut entries = handle.entries(Filter::all());
    seen.debug(&entries);
    let mut count = 0;
    while let Some(listed) = entries.next().await {
        let listed = listed.expect("no error");
        count += 1;
        seen.debug(&listed);
        seen.debug(listed.key());
        let _ = writeln!(seen.told, "{:?}", listed.key().url());
        seen.stored.extend_from_slice(listed.key().as_bytes());
        let head = &listed.head;
        for (_, value) in head.headers() {
            seen.stored.extend_from_slice(value.as_bytes());
        }
        let _ = write!(seen.told, "{:?}", head.selecting());
        let entry = handle.open(&listed).await.expect("an answer");
        let entry = entry.expect("it is there");
        seen.debug(&entry);
        let body = handle.read(&entry, u64::MAX).await.expect("a body");
        seen.stored.extend_from_slice(&body);
        let parts = StoredHeadParts {
            key: head.key().clone(),
            status: head.status(),
            version: head.version(),
            headers: head.headers().clone(),
            selecting: Vec::new(),
            requested_at: head.requested_at(),
            received_at: head.received_at(),
            freshness: head.freshness().clone(),
            part: None::<Part>,
        };
        seen.debug(&parts);
    }
    assert!(count > 0, "nothing is stored");
    let _ = writeln!(seen.told, "{:?}", handle.urls(Filter::all()).await);
    let forbidden = answer("Put").cache_control("no-store").response();
    let asking = request("GET", "/put");
    let put = handle.put(&asking, forbidden);
    if let Err(error) = put.await {
        seen.error(&error);
    }
    seen.debug(&handle.stats().await);
}

#[tokio::test]
async fn nothing_secret_is_told_or_stored_in_memory() {
    for (name, policy) in policies() {
        let log = Log::everything();
        let mut seen = Seen::default();
        let backend = Arc::new(cache_memory::MemoryBackend::default());
        happen(policy, backend.clone(), &mut seen).await;
        seen.debug(&backend);
        seen.told.push_str(&log.take().join("\n"));
        seen.check(name, false);
    }
}

/// All keys of a server, and all values.
async fn dump(url: &str) -> Vec<u8> {
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .expect("keys");
    let mut all = Vec::new();
    for key in keys {
        all.extend_from_slice(&key);
        all.push(b' ');
        let value: Result<Vec<u8>, _> = redis::cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await;
        match value {
            Ok(value) => all.extend(value),
            Err(_) => {
                let members: Vec<Vec<u8>> = redis::cmd("SMEMBERS")
                    .arg(&key)
                    .query_async(&mut connection)
                    .await
                    .expect("a set");
                all.extend(members.concat());
            }
        }
    }
    all
}

#[tokio::test]
async fn nothing_secret_is_told_or_stored_in_redis() {
    let keys = || {
        let key = |id| Key::new(id, asked("CodecKey").as_bytes()).expect("a key");
        Keys::new(key(1)).and_older(key(2))
    };
    let codecs = [
        ("plain", None),
        ("signed", Some(Codec::new().sign(keys()))),
        ("encrypted", Some(Codec::new().encrypt(keys()))),
        ("encrypted zstd", Some(Codec::new().zstd(3).encrypt(keys()))),
        ("encrypted lz4", Some(Codec::new().lz4().encrypt(keys()))),
    ];
    let server = EmbeddedRedis::start().await.expect("a server");
    for (name, policy) in policies() {
        for (codec_name, codec) in &codecs {
            let what = format!("{name}, {codec_name}");
            let log = Log::everything();
            let mut seen = Seen::default();
            let redis = RedisBackend::connect(&server.url())
                .await
                .expect("a backend");
            redis.clear(|_| ()).await.expect("cleared");
            seen.debug(&redis);
            let backend: Arc<dyn Backend> = match codec {
                Some(codec) => {
                    let backend = CodecBackend::new(redis, codec.clone()).expect("a backend");
                    seen.debug(&backend);
                    seen.debug(codec);
                    Arc::new(backend)
                }
                None => Arc::new(redis),
            };
            happen(policy.clone(), backend, &mut seen).await;
            // What the handle reads is decoded; here the store itself counts.
            seen.stored = dump(&server.url()).await;
            seen.told.push_str(&log.take().join("\n"));
            // The head of what is signed only stands in base64, which is one of the forms.
            seen.check(&what, codec_name.starts_with("encrypted"));
        }
    }
}

#[tokio::test]
async fn the_password_of_a_server_is_not_told() {
    let log = Log::everything();
    let mut seen = Seen::default();
    let url = format!(
        "redis://{}:{}@127.0.0.1:1/0",
        "user",
        asked("ServerPassword")
    );
    let config: RedisConfig = url.parse().expect("a URL");
    seen.debug(&config);
    let error = RedisBackend::connect(&url)
        .await
        .expect_err("nobody is there");
    seen.error(&error);
    let backend = RedisBackend::connect_lazy(&url).expect("a backend");
    seen.debug(&backend);
    let (clock, origin) = (ManualClock::new(), Origin::new());
    let layer = CacheLayer::new(backend).clock(clock);
    origin.answers(answer("Body"));
    let response = layer.layer(origin).oneshot(request("GET", "/a")).await;
    let body = response.expect("a response").into_body().collect().await;
    body.expect("a body");
    let error = layer.handle().stats().await.expect_err("no stats");
    seen.error(&error);
    let wrong = format!("redis://user:{}@:port:", asked("ServerPassword")).parse::<RedisConfig>();
    seen.error(&wrong.expect_err("no URL"));
    seen.told.push_str(&log.take().join("\n"));
    for secret in [ASKED, ANSWERED] {
        for line in seen.told.lines() {
            assert!(!holds(line.as_bytes(), secret), "{line}");
        }
    }
    assert!(
        seen.told.contains("store does not do its part"),
        "nothing was logged"
    );
}
