//! `CachedClient`.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_tower::{Cache, CacheLayer, CacheOptions, CacheRequestExt, ContentLayer, WithContent};
use http_body::Body as HttpBody;
use reqwest::{Body, Error, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::from_content::FromContent;
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
            service: WithUrl::new(cache.empty_body(Body::default).layer(service)),
        }
    }
}

impl<S> CachedClient<S> {
    /// The same with a layer outside of all that it has: the cache, and layers added before.
    ///
    /// Redirects are to be followed here, so that each of them is stored as what it is:
    ///
    /// ```
    /// use cache_reqwest::CachedClient;
    /// use cache_tower::{CacheLayer, MemoryBackend};
    /// use tower_http::follow_redirect::FollowRedirectLayer;
    ///
    /// # fn run() -> Result<(), reqwest::Error> {
    /// let reqwest = reqwest::Client::builder()
    ///     .redirect(reqwest::redirect::Policy::none())
    ///     .build()?;
    /// let client = CachedClient::new(reqwest, CacheLayer::new(MemoryBackend::default()))
    ///     .layer(FollowRedirectLayer::new());
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    pub fn layer<L: Layer<S>>(self, layer: L) -> CachedClient<L::Service> {
        CachedClient {
            service: layer.layer(self.service),
        }
    }
}

impl<S> CachedClient<S> {
    /// The same, where the content of requests is read for their keys; the policy of the cache has to
    /// have the same [`ContentKey`](cache_tower::ContentKey).
    ///
    /// ```
    /// use cache_reqwest::CachedClient;
    /// use cache_tower::{CacheLayer, ContentKey, ContentLayer, MemoryBackend, Policy};
    ///
    /// let content = ContentKey::query().normalise_forms();
    /// let policy = Policy::private().key_content(content.clone());
    /// let cache = CacheLayer::new(MemoryBackend::default()).policy(policy);
    /// let client = CachedClient::new(reqwest::Client::new(), cache)
    ///     .key_content(&ContentLayer::new(content).limit(64 << 10));
    /// # let _ = client;
    /// ```
    pub fn key_content(self, layer: &ContentLayer) -> CachedClient<WithContent<FromContent<S>>> {
        CachedClient {
            service: layer.layer(FromContent::new(self.service)),
        }
    }
}

impl<S, B> CachedClient<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error: From<Error>> + Clone,
    B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    /// Sends a request, or answers it from the store.
    ///
    /// Dropping the future is safe at any point.
    ///
    /// # Errors
    ///
    /// Those of [`reqwest::Client::execute`], unless a layer has others. The cache has none: where
    /// a stored response may stand in for an error, it does.
    pub fn execute(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Response, S::Error>> + use<S, B> {
        answer(self.service.clone(), request.try_into())
    }

    /// The same, with what this request sets for itself: a [`CacheMode`](cache_tower::CacheMode), or
    /// [`CacheOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`execute`](Self::execute).
    pub fn execute_with<O: Into<CacheOptions>>(
        &self,
        request: Request,
        options: O,
    ) -> impl Future<Output = Result<Response, S::Error>> + use<S, B, O> {
        let options = options.into();
        let request = http::Request::try_from(request).map(|request| request.cache(options));
        answer(self.service.clone(), request)
    }
}

impl<S, B> Service<Request> for CachedClient<S>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error: From<Error>>,
    S: Clone + Send + 'static,
    S::Future: Send,
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
        let service = std::mem::replace(&mut self.service, clone);
        Box::pin(answer(service, request.try_into()))
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

async fn answer<S, B>(
    mut service: S,
    request: Result<http::Request<Body>, Error>,
) -> Result<Response, S::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<B>, Error: From<Error>>,
    B: HttpBody<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    let request = request?;
    poll_fn(|cx| service.poll_ready(cx)).await?;
    let response = service.call(request).await?;
    Ok(response.map(Body::wrap).into())
}
