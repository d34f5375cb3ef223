//! A cache with a handle, between a test and a scripted origin.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_core::{Backend, CacheInfo, Outcome, Policy};
use cache_memory::MemoryBackend;
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{Cache, CacheHandle, CacheLayer, Filter};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use kit::{Answer, ManualClock, Origin, Sent, TestBody};
use tower::ServiceExt;
use tower_layer::Layer;

/// Makes a test of each function, over the store in memory, the same behind a codec, and Redis.
macro_rules! over_every_store {
    ($($test:ident)*) => {
        mod memory {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::scene::Scene::in_memory()).await;
                }
            )*
        }
        mod encrypted {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::scene::Scene::encrypted()).await;
                }
            )*
        }
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test($crate::scene::Scene::in_redis().await).await;
                }
            )*
        }
    };
}
pub(crate) use over_every_store;

pub(crate) struct Scene {
    pub(crate) cache: Cache<Origin>,
    pub(crate) handle: CacheHandle,
    pub(crate) origin: Origin,
    pub(crate) clock: ManualClock,
    pub(crate) backend: Arc<dyn Backend>,
    _server: Option<EmbeddedRedis>,
}

impl Scene {
    pub(crate) fn in_memory() -> Self {
        Self::over(Arc::new(MemoryBackend::default()), None)
    }

    pub(crate) fn encrypted() -> Self {
        let key = Key::new(1, b"a secret of more than sixteen bytes").expect("a key");
        let codec = Codec::new().zstd(3).encrypt(Keys::new(key));
        let backend = CodecBackend::new(MemoryBackend::default(), codec).expect("a backend");
        Self::over(Arc::new(backend), None)
    }

    pub(crate) async fn in_redis() -> Self {
        let server = EmbeddedRedis::start().await.expect("a server");
        let backend = RedisBackend::connect(&server.url())
            .await
            .expect("a backend");
        Self::over(Arc::new(backend), Some(server))
    }

    pub(crate) fn over(backend: Arc<dyn Backend>, server: Option<EmbeddedRedis>) -> Self {
        let (clock, origin) = (ManualClock::new(), Origin::new());
        let layer = CacheLayer::new(backend.clone())
            .policy(Policy::private())
            .backend_budget(Duration::from_secs(10))
            .clock(clock.clone());
        Self {
            handle: layer.handle(),
            cache: layer.layer(origin.clone()),
            origin,
            clock,
            backend,
            _server: server,
        }
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sends a request that the origin answers so, and reads the response to its end.
    pub(crate) async fn store(&self, request: Request<Empty<Bytes>>, answer: Answer) {
        let again = clone(&request);
        self.origin.answers(answer);
        let response = self.send(request).await;
        assert_eq!(outcome(&response), Outcome::Miss);
        response.into_body().collect().await.expect("a body");
        // A store may make it visible a moment later.
        for _ in 0..100_000 {
            if self.handle.contains(&again).await.expect("an answer") {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it is not stored");
    }

    pub(crate) async fn send(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Response<cache_tower::CacheBody<TestBody>> {
        let sent = self.cache.clone().oneshot(request).await;
        sent.expect("a response")
    }

    /// The body that is stored for this request, and needs nothing of the origin.
    pub(crate) async fn hit(&self, request: Request<Empty<Bytes>>) -> Option<String> {
        let mut request = request;
        let only = http::HeaderValue::from_static("only-if-cached");
        request.headers_mut().insert("cache-control", only);
        let response = self.send(request).await;
        if outcome(&response) == Outcome::Unsatisfiable {
            return None;
        }
        let body = response.into_body().collect().await.expect("a body");
        Some(String::from_utf8(body.to_bytes().to_vec()).expect("text"))
    }

    pub(crate) async fn urls(&self) -> Vec<String> {
        let urls = self.handle.urls(Filter::all()).await.expect("URLs");
        urls.into_iter().collect()
    }

    pub(crate) fn last_sent(&self) -> Sent {
        self.origin.sent().pop().expect("the origin was asked")
    }
}

pub(crate) fn outcome<B>(response: &Response<B>) -> Outcome {
    let info = response.extensions().get::<CacheInfo>();
    info.expect("every response has a CacheInfo").outcome
}

pub(crate) fn get(path: &str) -> Request<Empty<Bytes>> {
    with(path, &[])
}

pub(crate) fn with(path: &str, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let uri = if path.starts_with('/') {
        format!("http://origin.test{path}")
    } else {
        path.to_owned()
    };
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).expect("a request")
}

fn clone(request: &Request<Empty<Bytes>>) -> Request<Empty<Bytes>> {
    let mut again = Request::new(Empty::new());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    again
}
