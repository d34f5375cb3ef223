//! Whoever answers the request.

use std::fmt::Debug;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Collected};
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

use crate::ask::Ask;
use crate::exchange::{Asked, Origin, Prebuilt, RequestBody};

/// Whoever answers the requests; those that cache have their origin asked until all is stored.
pub trait Candidate {
    /// Its name.
    fn name(&self) -> &'static str;

    /// How long it takes to answer `hits` requests, one after the other.
    fn sequential(&self, runtime: &Runtime, hits: u64) -> Duration;

    /// How long it takes to answer `hits` requests in each of `tasks`.
    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration;

    /// Answers one request each time it is called.
    fn reader(&self) -> Reader;

    /// Panics where an answer was not the whole response, or the origin was asked again.
    fn verify(&self, runtime: &Runtime);
}

/// Answers one request.
pub type Reader = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub(crate) struct Measured<S, A = Asked> {
    name: &'static str,
    service: S,
    asked: A,
    /// How many requests were drawn so far, so that no two rounds send the same ones.
    drawn: AtomicU64,
    is_filled: AtomicBool,
    /// How often the origin was asked until all was stored.
    calls: AtomicU64,
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
            drawn: AtomicU64::new(0),
            is_filled: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            expected,
            body_bytes,
            origin,
        }
    }

    /// Asked for other things.
    pub(crate) fn asking<A: Ask>(self, asked: A) -> Measured<S, A> {
        Measured {
            name: self.name,
            service: self.service,
            asked,
            drawn: self.drawn,
            is_filled: self.is_filled,
            calls: self.calls,
            expected: self.expected,
            body_bytes: self.body_bytes,
            origin: self.origin,
        }
    }
}

impl<S, A, B> Measured<S, A>
where
    A: Ask,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    /// Waits until what was asked for last is stored: a store may go on after the answer.
    async fn settle(&self) {
        let Some(origin) = &self.origin else {
            return;
        };
        for _ in 0..TRIES {
            let calls = origin.calls();
            let last = self.asked.nth(self.asked.count() - 1);
            answer(self.service.clone(), last).await;
            self.calls.store(origin.calls(), Ordering::Relaxed);
            if origin.calls() == calls {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}, {} bytes: not stored", self.name, self.body_bytes);
    }
}

impl<S, A, B> Candidate for Measured<S, A>
where
    A: Ask,
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
        let first = self.drawn.fetch_add(hits, Ordering::Relaxed);
        runtime.block_on(async {
            let started = Instant::now();
            for draw in first..first + hits {
                black_box(answer(self.service.clone(), self.asked.any(draw)).await);
            }
            started.elapsed()
        })
    }

    fn concurrent(&self, runtime: &Runtime, tasks: u64, hits: u64) -> Duration {
        let first = self.drawn.fetch_add(tasks * hits, Ordering::Relaxed);
        runtime.block_on(async {
            let started = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|task| {
                    let (service, asked) = (self.service.clone(), self.asked.clone());
                    let first = first + task * hits;
                    tokio::spawn(async move {
                        for hit in 0..hits {
                            black_box(answer(service.clone(), asked.any(first + hit)).await);
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

    fn reader(&self) -> Reader {
        let (service, asked) = (self.service.clone(), self.asked.clone());
        Box::new(move || {
            let answer = answer(service.clone(), asked.any(0));
            Box::pin(async {
                black_box(answer.await);
            })
        })
    }

    fn verify(&self, runtime: &Runtime) {
        let all = self.asked.count();
        runtime.block_on(async {
            if !self.is_filled.swap(true, Ordering::Relaxed) {
                for n in 0..all {
                    answer(self.service.clone(), self.asked.nth(n)).await;
                }
                self.settle().await;
            }
            for n in 0..3 {
                let request = self.asked.nth(n % all);
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
            let calls = self.calls.load(Ordering::Relaxed);
            let (name, bytes) = (self.name, self.body_bytes);
            assert_eq!(
                origin.calls(),
                calls,
                "{name}, {bytes} bytes: the origin was asked again"
            );
        }
    }
}

/// One hit: the request is sent, and the response read to its end.
pub(crate) async fn answer<S, B>(service: S, request: Request<RequestBody>) -> Collected<B::Data>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: Debug,
    B: Body,
    B::Error: Debug,
{
    let response = service.oneshot(request).await.expect("a response");
    let body = response.into_body().collect().await;
    body.expect("a body")
}

const HITS_IN_A_ROW: u64 = 16;
const TRIES: usize = 40;
