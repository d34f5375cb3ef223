//! A cache between a test and a scripted origin.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use cache_core::{
    Backend, CacheInfo, CacheMode, CacheOptions, CacheRequestExt, Outcome, Policy, Reason, Storing,
};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheControls, CacheLayer};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::runtime::{Builder, Runtime};
use tower_layer::Layer;
use tower_service::Service;

use cache_testing::ManualClock;
use cache_testing::{Answer, OriginError};
use cache_testing::{Origin, Sent};

/// A cache between a test and a scripted origin; a line of a test is one exchange.
///
/// ```
/// use kit::{Scenario, not_modified, ok};
///
/// let mut cache = Scenario::private();
/// cache.get("/").origin(ok("one").max_age(60).etag("\"1\"")).miss().body("one");
/// cache.get("/").hit().body("one");
/// cache.wait(61);
/// cache.get("/").origin(not_modified()).revalidated().body("one").sent("if-none-match", "\"1\"");
/// ```
#[derive(Debug)]
pub struct Scenario {
    cache: Cache<Origin>,
    clock: ManualClock,
    origin: Origin,
    runtime: Runtime,
    controls: CacheControls,
}

impl Scenario {
    /// With a private cache in memory.
    #[must_use]
    pub fn private() -> Self {
        Self::with(Policy::private())
    }

    /// With a shared cache in memory.
    #[must_use]
    pub fn shared() -> Self {
        Self::with(Policy::shared())
    }

    /// With this policy, in memory.
    #[must_use]
    pub fn with(policy: Policy) -> Self {
        Self::over(policy, MemoryBackend::default())
    }

    /// With this policy and this store.
    #[must_use]
    pub fn over(policy: Policy, backend: impl Backend) -> Self {
        let clock = ManualClock::new();
        Self::in_layer(
            CacheLayer::new(backend).policy(policy).clock(clock.clone()),
            clock,
        )
    }

    /// In this layer, whose clock this is.
    #[must_use]
    pub fn in_layer(layer: CacheLayer, clock: ManualClock) -> Self {
        let origin = Origin::with_clock(clock.clone());
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            controls: layer.controls(),
            cache: layer.layer(origin.clone()),
            clock,
            origin,
            runtime,
        }
    }

    /// GET `http://origin.test` and this path, or a whole URI.
    pub fn get(&mut self, target: &str) -> Call<'_> {
        self.send("GET", target)
    }

    /// Any method.
    pub fn send(&mut self, method: &str, target: &str) -> Call<'_> {
        let uri = if target.starts_with('/') {
            format!("http://origin.test{target}")
        } else {
            target.to_owned()
        };
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Full::default())
            .expect("a request");
        self.request(request)
    }

    /// Any request, sent as it is.
    pub fn request(&mut self, request: Request<Full<Bytes>>) -> Call<'_> {
        Call {
            scenario: self,
            request,
        }
    }

    /// Moves the clock on by seconds.
    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// What can be changed of the cache.
    #[must_use]
    pub fn controls(&self) -> &CacheControls {
        &self.controls
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// The time now as an HTTP date, this many seconds later.
    #[must_use]
    pub fn date(&self, seconds: i64) -> String {
        self.clock.date(seconds)
    }

    /// The origin.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Lets background work come to its end; what the origin was asked for last.
    pub fn settle(&mut self) -> Sent {
        self.run_background();
        assert!(
            self.origin.is_exhausted(),
            "the background asked the origin for less than scripted"
        );
        self.origin.sent().pop().expect("a request to the origin")
    }

    fn run_background(&self) {
        // The runtime has one thread and nothing in it waits for the outside, so a bounded number
        // of turns is as good as waiting.
        self.runtime.block_on(async {
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// A request that is about to be sent.
#[derive(Debug)]
#[must_use]
pub struct Call<'a> {
    scenario: &'a mut Scenario,
    request: Request<Full<Bytes>>,
}

impl Call<'_> {
    /// One more line of a field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        self.request.headers_mut().append(name, value);
        self
    }

    /// The content of the request.
    pub fn content(mut self, content: &'static str) -> Self {
        *self.request.body_mut() = Full::from(content);
        self
    }

    /// What the request wants of the cache.
    pub fn mode(mut self, mode: CacheMode) -> Self {
        self.request.extensions_mut().insert(mode);
        self
    }

    /// What the request sets for itself.
    pub fn options(mut self, options: impl Into<CacheOptions>) -> Self {
        self.request = self.request.cache(options);
        self
    }

    /// What the origin answers; without it, the origin must not be asked.
    pub fn origin(self, answer: Answer) -> Self {
        self.scenario.origin.answers(answer);
        self
    }

    /// The origin gives no response.
    pub fn origin_fails(self) -> Self {
        self.scenario.origin.fails();
        self
    }

    /// Sends it and reads the response to its end.
    ///
    /// # Errors
    ///
    /// Those of the origin.
    pub fn seen(self) -> Result<Seen, OriginError> {
        let Call { scenario, request } = self;
        let seen = scenario.runtime.block_on(async {
            let response = scenario.cache.call(request).await?;
            let (parts, body) = response.into_parts();
            let mut body = std::pin::pin!(body);
            let mut bytes = BytesMut::new();
            let mut trailers = None;
            let mut broke_off = false;
            while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(mut data)) => {
                        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()))
                    }
                    Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                    Err(_) => {
                        broke_off = true;
                        break;
                    }
                }
            }
            let info = *parts
                .extensions
                .get::<CacheInfo>()
                .expect("every response has a CacheInfo");
            Ok(Seen {
                status: parts.status,
                headers: parts.headers,
                body: bytes.freeze().to_vec(),
                trailers,
                broke_off,
                info,
                sent: None,
            })
        });
        seen.map(|seen| Seen {
            sent: scenario.origin.sent().pop(),
            ..seen
        })
    }

    fn expect(self, outcome: Outcome) -> Seen {
        let origin = self.scenario.origin.clone();
        let seen = self.seen().expect("a response");
        assert_eq!(seen.info.outcome, outcome, "{}", seen.info);
        let background = outcome == Outcome::StaleHit;
        assert!(
            background || origin.is_exhausted(),
            "the origin was not asked: {}",
            seen.info
        );
        seen
    }

    /// Sends it; it is answered from the store, fresh.
    #[track_caller]
    pub fn hit(self) -> Seen {
        self.expect(Outcome::Hit)
    }

    /// Sends it; it is answered from the store, stale.
    #[track_caller]
    pub fn stale_hit(self) -> Seen {
        self.expect(Outcome::StaleHit)
    }

    /// Sends it; it is answered from the store, validated.
    #[track_caller]
    pub fn revalidated(self) -> Seen {
        self.expect(Outcome::Revalidated)
    }

    /// Sends it; the origin answers.
    #[track_caller]
    pub fn miss(self) -> Seen {
        self.expect(Outcome::Miss)
    }

    /// Sends it; the cache keeps out of it.
    #[track_caller]
    pub fn bypass(self) -> Seen {
        self.expect(Outcome::Bypass)
    }

    /// Sends it; nothing stored satisfies it.
    #[track_caller]
    pub fn unsatisfiable(self) -> Seen {
        self.expect(Outcome::Unsatisfiable).status(504)
    }

    /// Sends it; the origin gives no response, and nothing stands in.
    #[track_caller]
    pub fn error(self) {
        let error = self.seen().expect_err("no response");
        assert_eq!(error, OriginError("the origin is down"));
    }
}

/// A response as the caller saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The status code.
    pub status: StatusCode,
    /// The header section.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// The body ended with an error.
    pub broke_off: bool,
    /// What the cache did.
    pub info: CacheInfo,
    /// What the origin was asked last.
    pub sent: Option<Sent>,
}

impl Seen {
    /// It has this status.
    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status);
        self
    }

    /// It has this body.
    #[track_caller]
    pub fn body(self, body: &str) -> Self {
        assert_eq!(String::from_utf8_lossy(&self.body), body);
        self
    }

    /// It has this field; lines are joined.
    #[track_caller]
    pub fn field(self, name: &str, value: &str) -> Self {
        assert_eq!(
            joined(&self.headers, name).as_deref(),
            Some(value),
            "{name} of the response"
        );
        self
    }

    /// It does not have this field.
    #[track_caller]
    pub fn without(self, name: &str) -> Self {
        assert_eq!(joined(&self.headers, name), None, "{name} of the response");
        self
    }

    /// It has this `Age`.
    #[track_caller]
    pub fn age(self, seconds: u64) -> Self {
        self.field("age", &seconds.to_string())
    }

    /// This is why.
    #[track_caller]
    pub fn because(self, reason: Reason) -> Self {
        assert_eq!(self.info.reason, reason);
        self
    }

    /// It is stored.
    #[track_caller]
    pub fn stored(self) -> Self {
        assert!(self.info.is_stored(), "{}", self.info);
        self
    }

    /// It is not stored, and this is why.
    #[track_caller]
    pub fn not_stored(self, reason: Reason) -> Self {
        assert_eq!(self.info.storing, Storing::Refused(reason));
        self
    }

    /// The origin was sent this field last; lines are joined.
    #[track_caller]
    pub fn sent(self, name: &str, value: &str) -> Self {
        assert_eq!(
            self.sent_field(name).as_deref(),
            Some(value),
            "{name} sent to the origin"
        );
        self
    }

    /// The origin was not sent this field last.
    #[track_caller]
    pub fn not_sent(self, name: &str) -> Self {
        assert_eq!(self.sent_field(name), None, "{name} sent to the origin");
        self
    }

    fn sent_field(&self, name: &str) -> Option<String> {
        joined(
            &self.sent.as_ref().expect("a request to the origin").headers,
            name,
        )
    }
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}
