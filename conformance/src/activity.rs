//! Knowing when a gateway has nothing to do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{Answer, BoxFuture};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::Service;

/// Counts what is still being worked on, in the background too: requests, and what is asked of the
/// store; clones are the same count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    works: watch::Sender<usize>,
}

impl Activity {
    /// Counts a piece of work until what is returned is dropped, and so are its clones.
    pub(crate) fn begin(&self) -> Busy {
        self.works.send_modify(|works| *works += 1);
        Busy(Arc::new(Marker(self.clone())))
    }

    /// Counts a request until it is dropped, and so are the client that sent it and the body of its
    /// response.
    pub(crate) fn mark<B>(&self, mut request: Request<B>) -> Request<B> {
        request.extensions_mut().insert(self.begin());
        request
    }

    /// Waits until there is nothing.
    pub(crate) async fn ends(&self) {
        let mut works = self.works.subscribe();
        let none = works.wait_for(|works| *works == 0).await;
        none.expect("a sender is here");
    }
}

/// Something is being worked on.
#[derive(Debug, Clone)]
pub(crate) struct Busy(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Marker>);

impl Busy {
    /// The same answer; the work goes on until it is there, or not waited for any more.
    pub(crate) fn until<'a, T: 'a>(self, answer: Answer<'a, T>) -> Answer<'a, T> {
        match answer {
            Answer::Now(answer) => Answer::Now(answer),
            Answer::Later(answer) => Answer::later(async move {
                let _busy = self;
                answer.await
            }),
        }
    }
}

#[derive(Debug)]
struct Marker(Activity);

impl Drop for Marker {
    fn drop(&mut self) {
        self.0.works.send_modify(|works| *works -= 1);
    }
}

/// A client that keeps a marked request counted as long as it is there itself: whoever holds it may
/// have something to do still.
#[derive(Debug)]
pub(crate) struct Marking<C> {
    client: C,
    busy: Option<Busy>,
}

impl<C> Marking<C> {
    pub(crate) fn new(client: C) -> Self {
        Self { client, busy: None }
    }
}

impl<C: Clone> Clone for Marking<C> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone())
    }
}

impl<C, B> Service<Request<B>> for Marking<C>
where
    C: Service<Request<B>, Response = Response<Incoming>>,
    C::Future: Send + 'static,
{
    type Response = Response<MarkedBody>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Response, C::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let busy = request.extensions().get().cloned();
        self.busy.clone_from(&busy);
        let response = self.client.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|inner| MarkedBody { inner, _busy: busy }))
        })
    }
}

#[derive(Debug)]
pub(crate) struct MarkedBody {
    inner: Incoming,
    _busy: Option<Busy>,
}

impl Body for MarkedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn work_goes_on_until_its_answer_is_there() {
        let activity = Activity::default();
        let (sender, receiver) = oneshot::channel();
        let answer = activity.begin().until(Answer::later(receiver));
        let mut answer = pin!(answer.wait());
        assert!(poll(answer.as_mut()).is_pending());
        assert!(poll(pin!(activity.ends())).is_pending());

        sender.send(()).expect("it is waited for");
        assert!(poll(answer.as_mut()).is_ready());
        assert!(poll(pin!(activity.ends())).is_ready());
    }

    #[test]
    fn work_ends_where_its_answer_is_there_or_not_waited_for() {
        let activity = Activity::default();
        let _now = activity.begin().until(Answer::Now(()));
        drop(activity.begin().until(Answer::later(async {})));
        assert!(poll(pin!(activity.ends())).is_ready());
    }
}
