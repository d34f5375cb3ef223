//! An origin whose answers are given by hand.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Backend, BoxFuture};
use cache_tower::{Cache, CacheBody, CacheLayer};
use http::header::HeaderMap;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use kit::{Answer, ManualClock, OriginError, TestBody};
use tokio::sync::{mpsc, oneshot};
use tower_layer::Layer;
use tower_service::Service;

/// An origin whose answers are given by hand, in any order; clones are the same origin.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    arriving: mpsc::UnboundedSender<Asked>,
}

/// The requests that arrive at it.
#[derive(Debug)]
pub(crate) struct Arrivals(mpsc::UnboundedReceiver<Asked>);

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    answer: oneshot::Sender<Result<Answer, OriginError>>,
}

/// An origin, and what arrives at it.
pub(crate) fn held() -> (Held, Arrivals) {
    let (arriving, arrivals) = mpsc::unbounded_channel();
    (Held { arriving }, Arrivals(arrivals))
}

impl Arrivals {
    /// The next request; that none comes fails the test.
    pub(crate) async fn next(&mut self) -> Asked {
        soon(self.0.recv()).await.expect("the origin is there")
    }

    /// Whether no request waits here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Asked {
    /// Answers it; that nobody waits any more does not matter.
    pub(crate) fn answer(self, answer: Answer) {
        let _ = self.answer.send(Ok(answer));
    }

    /// Gives no response.
    pub(crate) fn fail(self) {
        let _ = self.answer.send(Err(OriginError("the origin is down")));
    }
}

impl<B> Service<Request<B>> for Held {
    type Response = Response<TestBody>;
    type Error = OriginError;
    type Future = BoxFuture<'static, Result<Response<TestBody>, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let headers = request.headers().clone();
        self.arriving
            .send(Asked { headers, answer })
            .expect("the test is not over");
        Box::pin(async move { answered.await.expect("an answer").map(Answer::response) })
    }
}

/// A cache around a service.
pub(crate) fn around<S>(backend: impl Backend, clock: &ManualClock, inner: S) -> Cache<S> {
    CacheLayer::new(backend).clock(clock.clone()).layer(inner)
}

/// GET `http://origin.test` and this path.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://origin.test{path}");
    Request::get(uri).body(Full::default()).expect("a request")
}

/// The body of a response.
pub(crate) async fn text<B>(response: Response<CacheBody<B>>) -> String
where
    CacheBody<B>: Body<Data = Bytes>,
{
    let Ok(body) = soon(response.into_body().collect()).await else {
        panic!("the body breaks off")
    };
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

/// What a future gives, in no real time; that it hangs fails the test.
///
/// The clock of the runtime is paused, and jumps when there is nothing else to do.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it is waited for in vain")
}

/// Lets everything else go as far as it can.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
