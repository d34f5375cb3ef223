//! A cache between callers and an origin whose answers are given by hand.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use cache_core::{Backend, CacheInfo, CacheMode, Outcome, Policy};
use cache_memory::MemoryBackend;
use cache_tower::{BodyErrorKind, Cache, CacheBody, CacheLayer};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use kit::held::{Arrivals, Asked, Held, HeldBody, held, settle, soon};
use kit::{ManualClock, OriginError};
use tokio::task::JoinHandle;
use tower_layer::Layer;
use tower_service::Service;

use crate::reading::Reading;

/// A cache between callers and an origin whose answers are given by hand.
pub(crate) struct Scene {
    pub(crate) layer: CacheLayer,
    pub(crate) cache: Cache<Held>,
    pub(crate) origin: Held,
    pub(crate) arrivals: Arrivals,
    pub(crate) clock: ManualClock,
}

pub(crate) type Answered = Response<CacheBody<HeldBody>>;

impl Scene {
    /// A private cache in memory.
    pub(crate) fn new() -> Self {
        Self::over(MemoryBackend::default())
    }

    /// A shared cache in memory.
    pub(crate) fn shared() -> Self {
        Self::with(CacheLayer::new(MemoryBackend::default()).policy(Policy::shared()))
    }

    /// A private cache over this store.
    pub(crate) fn over(backend: impl Backend) -> Self {
        Self::with(CacheLayer::new(backend))
    }

    /// This layer, with a clock of the test's.
    pub(crate) fn with(layer: CacheLayer) -> Self {
        let clock = ManualClock::new();
        let layer = layer.clock(clock.clone());
        let (origin, arrivals) = held();
        Self {
            cache: layer.layer(origin.clone()),
            layer,
            origin,
            arrivals,
            clock,
        }
    }

    /// Sends a request.
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Sending {
        send(&self.cache, request)
    }

    /// Sends a request, and reads the response as it comes.
    pub(crate) fn fetch(&self, request: Request<Full<Bytes>>) -> Fetching {
        fetch(&self.cache, request)
    }

    /// Sends as many requests of a kind, and lets them go as far as they can.
    pub(crate) async fn fetch_all(
        &self,
        count: usize,
        request: impl Fn() -> Request<Full<Bytes>>,
    ) -> Vec<Fetching> {
        let all = (0..count).map(|_| self.fetch(request())).collect();
        settle().await;
        all
    }

    /// The only request that is at the origin now, without waiting for anything but other tasks.
    pub(crate) async fn asked(&mut self) -> Asked {
        self.asked_for(1).await.pop().expect("one request")
    }

    /// So many requests that are at the origin now, and no more.
    pub(crate) async fn asked_for(&mut self, count: usize) -> Vec<Asked> {
        settle().await;
        assert_eq!(self.arrivals.len(), count, "requests at the origin");
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.arrivals.next().await);
        }
        all
    }

    /// The origin is asked for nothing now.
    pub(crate) async fn nothing_is_asked(&mut self) {
        self.asked_for(0).await;
    }

    /// How a request for what is stored, and for nothing else, ends.
    pub(crate) async fn stored(&self, request: Request<Full<Bytes>>) -> Outcome {
        let got = soon(self.fetch(with_mode(request, CacheMode::OnlyIfCached))).await;
        got.expect("no panic").expect("a response").info.outcome
    }

    /// Nothing is in the air any more.
    pub(crate) fn all_has_landed(&self) -> bool {
        has_no_flights(&self.layer)
    }
}

/// Whether nobody can join anybody, as the layer shows when it is debugged.
pub(crate) fn has_no_flights(layer: &CacheLayer) -> bool {
    let shown = format!("{layer:?}");
    let (_, flights) = shown
        .split_once("Flights { running: ")
        .expect("the flights are shown");
    flights.starts_with("0,")
}

pub(crate) type Sending = JoinHandle<Result<Answered, OriginError>>;
pub(crate) type Fetching = JoinHandle<Result<Got, OriginError>>;

/// A response as its caller saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) info: CacheInfo,
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// How the body broke off.
    pub(crate) error: Option<BodyErrorKind>,
    /// What it said of its length, and was not true.
    pub(crate) wrong: Option<String>,
}

impl Got {
    /// The body, which is whole.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.error, None, "the body broke off");
        std::str::from_utf8(&self.bytes).expect("text")
    }

    /// The body is this, or breaks off before its end: it is neither wrong, nor short without saying.
    #[track_caller]
    pub(crate) fn is_or_breaks_off(&self, expected: &[u8]) {
        assert!(
            expected.starts_with(&self.bytes),
            "wrong bytes, of {} that were expected",
            expected.len()
        );
        assert!(
            self.error.is_some() || self.bytes.len() == expected.len(),
            "{} bytes of {}, and no error",
            self.bytes.len(),
            expected.len()
        );
    }

    /// The body is this, and comes to its end.
    #[track_caller]
    pub(crate) fn is(&self, expected: &[u8]) {
        assert_eq!(
            self.error,
            None,
            "broke off after {} bytes of {}",
            self.bytes.len(),
            expected.len()
        );
        self.is_or_breaks_off(expected);
    }
}

/// Sends a request.
pub(crate) fn send<S>(cache: &Cache<S>, request: Request<Full<Bytes>>) -> Sending
where
    S: Service<Request<Full<Bytes>>, Response = Response<HeldBody>, Error = OriginError>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    tokio::spawn(cache.clone().call(request))
}

/// Sends a request, and reads the response as it comes.
pub(crate) fn fetch<S, B>(
    cache: &Cache<S>,
    request: Request<Full<Bytes>>,
) -> JoinHandle<Result<Got, S::Error>>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut cache = cache.clone();
    tokio::spawn(async move { Ok(read(cache.call(request).await?).await) })
}

/// Reads a response as it comes.
pub(crate) async fn read<B>(response: Response<CacheBody<B>>) -> Got
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut reading = Reading::of(response);
    poll_fn(|cx| reading.poll_to_the_end(cx)).await;
    reading.got()
}

/// What a request that was sent gives, in no real time.
pub(crate) async fn answer(sending: Sending) -> Answered {
    let answered = soon(sending).await.expect("no panic");
    answered.expect("a response")
}

/// What a request that was sent gives, in no real time, read to its end.
pub(crate) async fn got(fetching: Fetching) -> Got {
    soon(fetching).await.expect("no panic").expect("a response")
}

/// What all of them give.
pub(crate) async fn got_all(all: Vec<Fetching>) -> Vec<Got> {
    let mut seen = Vec::new();
    for fetching in all {
        seen.push(got(fetching).await);
    }
    seen
}

/// Whether a future is at its end, now.
pub(crate) async fn is_ready<F: Future>(future: F) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// The same with another method.
pub(crate) fn with_method(
    mut request: Request<Full<Bytes>>,
    method: Method,
) -> Request<Full<Bytes>> {
    *request.method_mut() = method;
    request
}

/// The same with one more field.
pub(crate) fn with(
    mut request: Request<Full<Bytes>>,
    name: &str,
    value: &str,
) -> Request<Full<Bytes>> {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
    let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
    request.headers_mut().append(name, value);
    request
}

/// The same in a mode.
pub(crate) fn with_mode(
    mut request: Request<Full<Bytes>>,
    mode: CacheMode,
) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(mode);
    request
}

/// What the cache did.
pub(crate) fn info<B>(response: &Response<B>) -> CacheInfo {
    *response
        .extensions()
        .get()
        .expect("every response has a CacheInfo")
}
