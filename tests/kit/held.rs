//! An origin whose answers are given by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Backend, BoxFuture};
use cache_tower::{Cache, CacheBody, CacheLayer};
use http::header::HeaderMap;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::sync::{mpsc, oneshot};
use tower_layer::Layer;
use tower_service::Service;

use cache_testing::ManualClock;
use cache_testing::{Answer, OriginError, Step};

/// An origin whose answers are given by hand, in any order; clones are the same origin.
#[derive(Debug, Clone)]
pub struct Held {
    arriving: mpsc::UnboundedSender<Asked>,
}

/// The requests that arrive at it.
#[derive(Debug)]
pub struct Arrivals(mpsc::UnboundedReceiver<Asked>);

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its header section.
    pub headers: HeaderMap,
    answer: oneshot::Sender<Result<Response<HeldBody>, OriginError>>,
}

/// The body of an answer, on the side of the origin. Dropped, it is at its end.
#[derive(Debug)]
pub struct Feed {
    steps: mpsc::UnboundedSender<Step>,
    taken: Arc<AtomicUsize>,
}

/// The body of an answer that is given by hand.
///
/// It knows neither its length nor its end beforehand, unless its answer was
/// [`begun with a length`](Asked::begin_announced).
#[derive(Debug)]
pub struct HeldBody {
    steps: mpsc::UnboundedReceiver<Step>,
    taken: Arc<AtomicUsize>,
    left: Option<u64>,
}

/// An origin, and what arrives at it.
#[must_use]
pub fn held() -> (Held, Arrivals) {
    let (arriving, arrivals) = mpsc::unbounded_channel();
    (Held { arriving }, Arrivals(arrivals))
}

impl Arrivals {
    /// The next request; that none comes fails the test.
    pub async fn next(&mut self) -> Asked {
        soon(self.0.recv()).await.expect("the origin is there")
    }

    /// The next request; `None`: there will be none, as all who could ask are gone.
    pub async fn next_or_end(&mut self) -> Option<Asked> {
        self.0.recv().await
    }

    /// The request that waits here, if one does.
    pub fn now(&mut self) -> Option<Asked> {
        self.0.try_recv().ok()
    }

    /// Whether no request waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many requests wait here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Asked {
    /// Answers it; that nobody waits any more does not matter.
    pub fn answer(self, answer: Answer) {
        drop(self.begin(answer));
    }

    /// Answers it with this head, and this as the beginning of its body.
    pub fn begin(self, answer: Answer) -> Feed {
        self.send(answer, None)
    }

    /// The same with a `Content-Length`, which the body knows, too, as one of an HTTP client does.
    pub fn begin_announced(self, answer: Answer, length: u64) -> Feed {
        let answer = answer.with("content-length", &length.to_string());
        self.send(answer, Some(length))
    }

    /// Gives no response.
    pub fn fail(self) {
        let _ = self.answer.send(Err(OriginError("the origin is down")));
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }

    fn send(self, answer: Answer, left: Option<u64>) -> Feed {
        let (steps, body) = mpsc::unbounded_channel();
        let feed = Feed {
            steps,
            taken: Arc::default(),
        };
        let mut response = Response::new(HeldBody {
            steps: body,
            taken: feed.taken.clone(),
            left,
        });
        let (head, given) = answer.into_steps();
        *response.status_mut() = head.status();
        head.headers().clone_into(response.headers_mut());
        for step in given {
            feed.give(step);
        }
        let _ = self.answer.send(Ok(response));
        feed
    }
}

impl Feed {
    /// One more piece; that nobody reads any more does not matter.
    pub fn data(&self, data: impl Into<Bytes>) {
        self.give(Step::Data(data.into()));
    }

    /// Trailers, and the end.
    pub fn trailer(self, name: &'static str, value: &'static str) {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, http::HeaderValue::from_static(value));
        self.give(Step::Trailers(trailers));
    }

    /// The end.
    pub fn end(self) {}

    /// The body breaks off.
    pub fn break_off(self) {
        self.give(Step::Break);
    }

    /// Whether the body was dropped on the other side.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.steps.is_closed()
    }

    /// How many frames were taken on the other side.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    fn give(&self, step: Step) {
        let _ = self.steps.send(step);
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let Poll::Ready(step) = self.steps.poll_recv(cx) else {
            return Poll::Pending;
        };
        if step.is_some() {
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
        if let (Some(Step::Data(data)), Some(left)) = (&step, &mut self.left) {
            *left = left.saturating_sub(data.len() as u64);
        }
        Poll::Ready(step.map(|step| match step {
            Step::Data(data) => Ok(Frame::data(data)),
            Step::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            Step::Break => Err(OriginError("the connection was lost")),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> Service<Request<B>> for Held {
    type Response = Response<HeldBody>;
    type Error = OriginError;
    type Future = BoxFuture<'static, Result<Response<HeldBody>, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (answer, answered) = oneshot::channel();
        let (parts, _) = request.into_parts();
        let asked = Asked {
            method: parts.method,
            headers: parts.headers,
            answer,
        };
        self.arriving.send(asked).expect("the test is not over");
        Box::pin(async move { answered.await.expect("an answer") })
    }
}

/// A cache around a service.
pub fn around<S>(backend: impl Backend, clock: &ManualClock, inner: S) -> Cache<S> {
    CacheLayer::new(backend).clock(clock.clone()).layer(inner)
}

/// GET `http://origin.test` and this path.
#[must_use]
pub fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://origin.test{path}");
    Request::get(uri).body(Full::default()).expect("a request")
}

/// The body of a response.
pub async fn text<B>(response: Response<CacheBody<B>>) -> String
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
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it is waited for in vain")
}

/// Lets everything else go as far as it can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
