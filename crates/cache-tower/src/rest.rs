//! The rest of a body that was lost on its way, from the origin.

use std::fmt;
use std::ops::Range;

use cache_core::{BoxFuture, Continuation, ResponseHead};
use http::{Request, Response};
use sync_wrapper::SyncWrapper;
use tower_service::Service;
use tracing::debug;

use crate::engine::call_when_ready;

/// A way to get the rest of a body: a request that was answered without being sent, and a service
/// to send it with.
pub(crate) struct Rest<B> {
    continuation: Continuation,
    ask: SyncWrapper<Box<Ask<B>>>,
}

/// The body of a response, and which of its bytes are the rest; `None`: there is none to be had.
pub(crate) type Found<B> = Option<(B, Range<u64>)>;
type Asking<B> = BoxFuture<'static, Found<B>>;
type Ask<B> = dyn FnOnce(Continuation, u64) -> Asking<B> + Send;

impl<B> Rest<B> {
    pub(crate) fn new<S, ReqBody>(
        continuation: Continuation,
        mut inner: S,
        mut request: Request<ReqBody>,
    ) -> Self
    where
        S: Service<Request<ReqBody>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        ReqBody: Send + 'static,
        B: Send + 'static,
    {
        let ask = move |continuation: Continuation, given: u64| -> Asking<B> {
            Box::pin(async move {
                continuation.prepare(given, request.headers_mut());
                let response = call_when_ready(&mut inner, request).await.ok()?;
                let bytes = continuation.accept(given, ResponseHead::from(&response));
                debug!(
                    given,
                    status = response.status().as_u16(),
                    is_accepted = bytes.is_some(),
                    "asked the origin for the rest of a body"
                );
                Some((response.into_body(), bytes?))
            })
        };
        Self {
            continuation,
            ask: SyncWrapper::new(Box::new(ask)),
        }
    }

    /// How many bytes there are after the first `given`.
    pub(crate) fn left(&self, given: u64) -> u64 {
        self.continuation.left(given)
    }

    /// Asks for all but the first `given` bytes.
    pub(crate) fn ask(self, given: u64) -> SyncWrapper<Asking<B>> {
        SyncWrapper::new(self.ask.into_inner()(self.continuation, given))
    }
}

impl<B> fmt::Debug for Rest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").finish_non_exhaustive()
    }
}
