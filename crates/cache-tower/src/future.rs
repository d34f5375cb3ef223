//! `ResponseFuture`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use cache_core::BoxFuture;
use http::Response;

use crate::body::CacheBody;

/// The future of a call to [`Cache`](crate::Cache).
pub struct ResponseFuture<B, E> {
    state: State<B, E>,
}

type Output<B, E> = Result<Response<CacheBody<B>>, E>;

enum State<B, E> {
    /// A hit in a store that answers at once: nothing to wait for.
    Answered(Option<Response<CacheBody<B>>>),
    Waiting(BoxFuture<'static, Output<B, E>>),
}

type Answer<B, E> = Result<Response<CacheBody<B>>, BoxFuture<'static, Output<B, E>>>;

impl<B, E> ResponseFuture<B, E> {
    pub(crate) fn answered(response: Response<CacheBody<B>>) -> Self {
        Self {
            state: State::Answered(Some(response)),
        }
    }

    /// The answer, which is there, or has to be waited for.
    pub(crate) fn into_answer(self) -> Answer<B, E>
    where
        B: Send + 'static,
        E: Send + 'static,
    {
        match self.state {
            State::Answered(Some(response)) => Ok(response),
            State::Answered(None) => Err(Box::pin(std::future::pending())),
            State::Waiting(future) => Err(future),
        }
    }

    pub(crate) fn waiting(future: impl Future<Output = Output<B, E>> + Send + 'static) -> Self {
        Self {
            state: State::Waiting(Box::pin(future)),
        }
    }
}

// Nothing in it is pinned: a future is in a box of its own.
impl<B, E> Unpin for ResponseFuture<B, E> {}

impl<B, E> Future for ResponseFuture<B, E> {
    type Output = Output<B, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Answered(response) => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
            State::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

impl<B, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
