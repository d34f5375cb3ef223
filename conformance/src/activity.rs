//! Knowing when a gateway has nothing to do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::{Service, ServiceExt};

/// Counts the requests that are still being worked on, in the background too; clones are the same
/// count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    requests: watch::Sender<usize>,
}

impl Activity {
    /// Counts a request until it is dropped, and so is the body of its response; clones of it count
    /// as the same request.
    pub(crate) fn mark<B>(&self, mut request: Request<B>) -> Request<B> {
        self.requests.send_modify(|requests| *requests += 1);
        let marker = Marker(self.clone());
        request.extensions_mut().insert(Busy(Arc::new(marker)));
        request
    }

    /// Waits until there are none.
    pub(crate) async fn ends(&self) {
        let mut requests = self.requests.subscribe();
        let none = requests.wait_for(|requests| *requests == 0).await;
        none.expect("a sender is here");
    }
}

/// In the extensions of a request: it is being worked on.
#[derive(Debug, Clone)]
struct Busy(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Marker>);

#[derive(Debug)]
struct Marker(Activity);

impl Drop for Marker {
    fn drop(&mut self) {
        self.0.requests.send_modify(|requests| *requests -= 1);
    }
}

/// A client on which a marked request counts until the body of its response is dropped.
pub(crate) fn marking<C, B>(
    client: C,
) -> impl Service<Request<B>, Response = Response<MarkedBody>, Error = C::Error, Future: Send> + Clone
where
    C: Service<Request<B>, Response = Response<Incoming>> + Clone + Send,
    C::Future: Send,
    B: Send + 'static,
{
    tower::service_fn(move |request: Request<B>| {
        let client = client.clone();
        async move {
            let busy = request.extensions().get().cloned();
            let response = client.oneshot(request).await?;
            Ok(response.map(|inner| MarkedBody { inner, _busy: busy }))
        }
    })
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
