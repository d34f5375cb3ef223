//! A cache with default options in front of an origin that always answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cache_core::{Backend, CacheInfo, Outcome};
use cache_tower::{Cache, CacheBody, CacheLayer};
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{Empty, Full};
use kit::ManualClock;
use tokio::time::sleep;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::noise;

/// A cache in front of an origin.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) layer: CacheLayer,
    pub(crate) origin: Pages,
    pub(crate) clock: ManualClock,
    cache: Cache<Pages>,
}

/// What a caller saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    /// How often what he saw was changed before, or why it is nothing whole.
    pub(crate) version: Result<u64, String>,
}

impl Front {
    pub(crate) fn over(backend: impl Backend, origin: Pages) -> Self {
        Self::of(CacheLayer::new(backend), origin)
    }

    pub(crate) fn of(layer: CacheLayer, origin: Pages) -> Self {
        let clock = ManualClock::new();
        let layer = layer.clock(clock.clone());
        Self {
            cache: layer.layer(origin.clone()),
            layer,
            origin,
            clock,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.read(path, self.send(Method::GET, path).await).await
    }

    /// The head of a response; nothing of its body is read yet.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
    ) -> Response<CacheBody<Full<Bytes>>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        let uri = format!("http://origin.test{path}");
        *request.uri_mut() = uri.parse().expect("a URI");
        let response = self.cache.clone().call(request).await;
        response.unwrap_or_else(|never| match never {})
    }

    /// Reads the body of a response.
    pub(crate) async fn read(
        &self,
        path: &str,
        response: Response<CacheBody<Full<Bytes>>>,
    ) -> Seen {
        let info = response.extensions().get::<CacheInfo>();
        let outcome = info.expect("every response has a CacheInfo").outcome;
        let mut body = pin!(response.into_body());
        let mut bytes = BytesMut::new();
        let mut broken = None;
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Err(error) => broken = Some(format!("after {} bytes: {error}", bytes.len())),
            }
        }
        let version = match broken {
            Some(broken) => Err(broken),
            None => {
                let mut versions = 0..=self.origin.version(path);
                let version = versions.find(|version| self.origin.page(path, *version) == bytes);
                version.ok_or_else(|| format!("{} bytes of something else", bytes.len()))
            }
        };
        Seen { outcome, version }
    }

    /// Asks until it is a hit, and all of it is what the origin gave.
    #[track_caller]
    pub(crate) fn hits(&self, path: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            loop {
                let seen = self.get(path).await;
                assert!(seen.version.is_ok(), "{path}, from {caller}: {seen:?}");
                if seen.outcome == Outcome::Hit {
                    return;
                }
                assert!(start.elapsed() < LIMIT, "no hit: {path}, from {caller}");
                // What the cache thinks of the store, it thinks for a second.
                self.clock.advance(Duration::from_millis(100));
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// An origin that has something at every path; a PUT changes it.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    pub(crate) length: usize,
    pub(crate) cache_control: &'static str,
    versions: Arc<Mutex<HashMap<String, u64>>>,
}

impl Pages {
    pub(crate) fn of(length: usize, cache_control: &'static str) -> Self {
        Self {
            length,
            cache_control,
            versions: Arc::default(),
        }
    }

    fn version(&self, path: &str) -> u64 {
        self.versions().get(path).copied().unwrap_or_default()
    }

    fn versions(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, path: &str, version: u64) -> Bytes {
        let mut hasher = DefaultHasher::new();
        (path, version).hash(&mut hasher);
        noise(self.length, hasher.finish())
    }

    fn answer(&self, request: &Request<Empty<Bytes>>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let field = |name: HeaderName| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let mut versions = self.versions();
        let version = versions.entry(path.to_owned()).or_default();
        if request.method() == Method::PUT {
            *version += 1;
            return response(StatusCode::NO_CONTENT, &[], Bytes::new());
        }
        let tag = format!("\"{version}\"");
        let body = self.page(path, *version);
        let common = [
            (ETAG, tag.clone()),
            (CACHE_CONTROL, self.cache_control.to_owned()),
        ];
        if field(IF_NONE_MATCH).as_ref() == Some(&tag) {
            return response(StatusCode::NOT_MODIFIED, &common, Bytes::new());
        }
        if let Some(range) = field(RANGE).filter(|_| field(IF_RANGE).is_none_or(|of| of == tag)) {
            let range = range
                .strip_prefix("bytes=")
                .and_then(|range| range.split_once('-'));
            let (first, last) = range.expect("a range");
            let first: usize = first.parse().expect("a number");
            let last: usize = last.parse().expect("a number");
            let range = format!("bytes {first}-{last}/{}", body.len());
            let fields = [&common[..], &[(CONTENT_RANGE, range)]].concat();
            return response(
                StatusCode::PARTIAL_CONTENT,
                &fields,
                body.slice(first..=last),
            );
        }
        response(StatusCode::OK, &common, body)
    }
}

fn response(
    status: StatusCode,
    fields: &[(HeaderName, String)],
    body: Bytes,
) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(name, value);
    }
    if !body.is_empty() {
        response = response.header(CONTENT_LENGTH, body.len());
    }
    response.body(Full::new(body)).expect("a response")
}

impl Service<Request<Empty<Bytes>>> for Pages {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

/// How long anything may take to come to be.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
