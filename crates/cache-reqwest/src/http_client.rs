//! `HttpClient`.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use reqwest::{Body, Client, Error};
use tower_service::Service;

use crate::with_url::url_as_extension;

/// A reqwest client as a service of the types of `http`: what goes inside a
/// [`CacheLayer`](cache_tower::CacheLayer) and other layers.
///
/// A setting of one request, its timeout say, is in the extensions of a request that was converted
/// from reqwest's, and holds.
///
/// Errors are those of [`Client::execute`], and one for a URI that is not absolute. Dropping the
/// future of a call gives the exchange up.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client,
}

impl HttpClient {
    /// This client as a service of the types of `http`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }

    /// The client.
    pub fn into_inner(self) -> Client {
        self.client
    }
}

impl<B: Into<Body>> Service<Request<B>> for HttpClient {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = request.try_into().map(|request| self.client.call(request));
        Box::pin(async move {
            let response = answer?.await?;
            // The conversion loses where the response came from.
            let url = url_as_extension(response.url().clone());
            let mut response = Response::from(response);
            response.extensions_mut().extend(url);
            Ok(response)
        })
    }
}
