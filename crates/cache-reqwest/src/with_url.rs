//! `WithUrl`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Extensions, Request, Response, Uri};
use pin_project_lite::pin_project;
use reqwest::{ResponseBuilderExt, Url};
use tower_service::Service;

/// Says of each response which URL it came from, for
/// [`Response::url`](reqwest::Response::url), where nothing inside has said it: of those from the
/// store.
///
/// [`CachedClient`](crate::CachedClient) puts it around the cache. A layer that follows redirects
/// goes around this one, so that the URL is the last one.
#[derive(Debug, Clone)]
pub struct WithUrl<S> {
    inner: S,
}

impl<S> WithUrl<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithUrl<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        ResponseFuture {
            uri: request.uri().clone(),
            answer: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of a call to [`WithUrl`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        uri: Uri,
        #[pin]
        answer: F,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.answer.poll(cx))?;
        if let Ok(url) = Url::parse(&this.uri.to_string()) {
            let said = std::mem::replace(response.extensions_mut(), url_as_extension(url));
            response.extensions_mut().extend(said);
        }
        Poll::Ready(Ok(response))
    }
}

/// reqwest keeps the type to itself, but builds one.
pub(crate) fn url_as_extension(url: Url) -> Extensions {
    let response = Response::builder().url(url).body(());
    response.map_or_else(
        |_| Extensions::new(),
        |response| response.into_parts().0.extensions,
    )
}
