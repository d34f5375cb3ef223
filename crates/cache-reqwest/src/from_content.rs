//! `FromContent`.

use std::task::{Context, Poll};

use cache_tower::{ContentBody, RequestContent};
use http::Request;
use reqwest::Body;
use tower_service::Service;

/// Makes bodies of reqwest again of those that a [`ContentLayer`](cache_tower::ContentLayer) has read;
/// [`CachedClient::key_content`](crate::CachedClient::key_content) puts it inside of that.
#[derive(Debug, Clone)]
pub struct FromContent<S> {
    inner: S,
}

impl<S> FromContent<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Request<Body>>> Service<Request<ContentBody<Body>>> for FromContent<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ContentBody<Body>>) -> Self::Future {
        let content = request.extensions().get::<RequestContent>().cloned();
        let request = request.map(|body| match (content, body.into_inner()) {
            (_, Ok(untouched)) => untouched,
            // In one piece, so that reqwest can send it again.
            (Some(content), Err(_)) => Body::from(content.into_bytes()),
            (None, Err(begun)) => Body::wrap(begun),
        });
        self.inner.call(request)
    }
}
