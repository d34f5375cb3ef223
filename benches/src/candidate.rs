//! Whoever answers the request.

use std::fmt::Debug;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

use crate::exchange::{Asked, Origin, Prebuilt, RequestBody};

/// Whoever answers the request; those that cache have their origin asked once.
pub trait Candidate {
    /// Its name.
    fn name(&self) -> &'static str;

    /// How long it takes to answer `hits` requests, one after the other.
    fn sequential(&self, runtime: &Runtime, hits: u64) -> Duration;

    /// How long it takes to answer `hits` requests in each of `tasks`.
    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration;

    /// Panics where an answer was not the whole response, or the origin was asked again.
    fn verify(&self, runtime: &Runtime);
}

pub(crate) struct Measured<S> {
    name: &'static str,
    service: S,
    asked: Asked,
    expected: Prebuilt,
    body_bytes: usize,
    /// `None`: it does not cache.
    origin: Option<Origin>,
}

impl<S> Measured<S> {
    pub(crate) fn new(
        name: &'static str,
        service: S,
        expected: Prebuilt,
        body_bytes: usize,
        origin: Option<Origin>,
    ) -> Self {
        Self {
            name,
            service,
            asked: Asked::new(),
            expected,
            body_bytes,
            origin,
        }
    }
}

impl<S, B> Candidate for Measured<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Debug,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Debug,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn sequential(&self, runtime: &Runtime, hits: u64) -> Duration {
        runtime.block_on(async {
            let started = Instant::now();
            for _ in 0..hits {
                black_box(answer(self.service.clone(), self.asked.request()).await);
            }
            started.elapsed()
        })
    }

    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration {
        runtime.block_on(async {
            let started = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|_| {
                    let (service, asked) = (self.service.clone(), self.asked.clone());
                    tokio::spawn(async move {
                        for hit in 0..hits {
                            black_box(answer(service.clone(), asked.request()).await);
                            // No candidate ever waits, so the tasks would run one after the other.
                            if hit % HITS_IN_A_ROW == 0 {
                                tokio::task::yield_now().await;
                            }
                        }
                    })
                })
                .collect();
            for task in running {
                task.await.expect("a task that does not panic");
            }
            started.elapsed()
        })
    }

    fn verify(&self, runtime: &Runtime) {
        runtime.block_on(async {
            for _ in 0..3 {
                let request = self.asked.request();
                let response = self.service.clone().oneshot(request).await;
                let response = response.expect("a response");
                assert_eq!(response.status(), 200, "{}", self.name);
                for name in self.expected.headers().keys() {
                    assert!(
                        response.headers().contains_key(name),
                        "{}: {name}",
                        self.name
                    );
                }
                let body = response.into_body().collect().await.expect("a body");
                assert_eq!(body.to_bytes().len(), self.body_bytes, "{}", self.name);
            }
        });
        if let Some(origin) = &self.origin {
            assert_eq!(origin.calls(), 1, "{}: calls of the origin", self.name);
        }
    }
}

/// One hit: the request is sent, and the response read to its end.
async fn answer<S, B>(service: S, request: Request<RequestBody>) -> Bytes
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    let response = service.oneshot(request).await.expect("a response");
    let body = response.into_body().collect().await;
    body.expect("a body").to_bytes()
}

const HITS_IN_A_ROW: u64 = 16;
