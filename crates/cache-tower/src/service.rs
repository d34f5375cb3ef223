//! `Cache`.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::CacheBody;
use crate::controls::Live;
use crate::engine;
use crate::future::ResponseFuture;
use crate::watch;

/// A service that answers from a store where RFC 9111 lets it, and else asks the inner service.
///
/// It is ready at once, since a hit needs nothing of the inner service; on a miss a clone of that
/// is waited for until it is ready, and called. So limits and buffers inside hold, but what is
/// outside cannot see that they are full.
///
/// Errors are those of the inner service and no others: whatever the store does, the caller gets
/// a response that the inner service gave, now or earlier. Dropping the future of a call, or a
/// body, at any point is safe; a body that is dropped before its end is not stored.
///
/// A request body is asked whether it is at its end, and touched no further: a GET with content is
/// not answered from the store.
///
/// A validation in the background sends the caller's request, extensions included: a callback in
/// them, such as hyper's `on_informational`, may be called after the caller has its answer.
///
/// Background work is spawned on the tokio runtime that polls the call; without one, there is none,
/// and a store that does not answer at once is waited for without a bound.
#[derive(Debug, Clone)]
pub struct Cache<S> {
    inner: S,
    live: Arc<Live>,
}

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, live: Arc<Live>) -> Self {
        Self { inner, live }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, without the cache.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Cache<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response<CacheBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResBody, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.live.impose(request.extensions_mut()) {
            None => {
                let engine = self.live.engine();
                match watch::is_watched(&engine, &request) {
                    false => engine::call(&engine, &self.inner, request),
                    true => watch::call(&engine, &self.inner, request),
                }
            }
            Some(engine) => watch::call(&engine, &self.inner, request),
        }
    }
}
