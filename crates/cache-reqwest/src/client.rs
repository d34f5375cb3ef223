//! `CachedClient`.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_tower::{Cache, CacheLayer, CacheMode};
use http_body::Body as HttpBody;
use reqwest::{Body, Error, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::http_client::HttpClient;
use crate::with_url::WithUrl;

/// A reqwest client with a cache: takes reqwest's requests and gives reqwest's responses.
///
/// What the cache did is in a response's extensions, as [`CacheInfo`](cache_tower::CacheInfo).
/// [`Response::url`] is right for those from the store, too; [`Response::remote_addr`] is `None`
/// for them.
///
/// Clones share the client and the cache. It is a [`Service`], too, with the errors and the
/// cancellation of [`execute`](Self::execute).
#[derive(Debug, Clone)]
pub struct CachedClient<S = WithUrl<Cache<HttpClient>>> {
    service: S,
}

impl CachedClient {
    /// This client with this cache.
    ///
    /// The client should not follow redirects; see the [crate](crate) for that, and for what else
    /// a client does behind the cache.
    pub fn new(client: reqwest::Client, cache: CacheLayer) -> Self {
        Self::around(HttpClient::new(client), cache)
    }
}

impl<S> CachedClient<WithUrl<Cache<S>>> {
    /// A cache around this service: an [`HttpClient`] with layers that go inside the cache.
    pub fn around(service: S, cache: CacheLayer) -> Self {
        Self {
            service: WithUrl::new(cache.layer(service)),
        }
    }
}

impl<S> CachedClient<S> {
    /// The same with a layer outside of all that it has: the cache, and layers added before.
    pub fn layer<L: Layer<S>>(self, layer: L) -> CachedClient<L::Service> {
        CachedClient {
            service: layer.layer(self.service),
        }
    }

    /// Sends a request, or answers it from the store.
    ///
    /// Dropping the future is safe at any point.
    ///
    /// # Errors
    ///
    /// Those of [`reqwest::Client::execute`], unless a layer has others. The cache has none: where
    /// a stored response may stand in for an error, it does.
    pub async fn execute<B, E>(&self, request: Request) -> Result<Response, E>
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = E> + Clone,
        B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
        E: From<Error>,
    {
        self.send(request.try_into()?).await
    }

    /// The same, with what this request wants of the cache.
    ///
    /// # Errors
    ///
    /// Those of [`execute`](Self::execute).
    pub async fn execute_with<B, E>(&self, request: Request, mode: CacheMode) -> Result<Response, E>
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = E> + Clone,
        B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
        E: From<Error>,
    {
        let mut request = http::Request::try_from(request)?;
        request.extensions_mut().insert(mode);
        self.send(request).await
    }

    async fn send<B, E>(&self, request: http::Request<Body>) -> Result<Response, E>
    where
        S: Service<http::Request<Body>, Response = http::Response<B>, Error = E> + Clone,
        B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
        E: From<Error>,
    {
        let mut service = self.service.clone();
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let response = service.call(request).await?;
        Ok(response.map(Body::wrap).into())
    }
}

impl<S, B> Service<Request> for CachedClient<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: From<Error> + Send,
    B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The one that is ready is called; a clone need not be.
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        Box::pin(async move {
            let response = service.call(request.try_into()?).await?;
            Ok(response.map(Body::wrap).into())
        })
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;
