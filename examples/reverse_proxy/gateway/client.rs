//! The client that asks the origin.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::{BoxError, Service, service_fn};

/// A client that sends each request once, and takes responses as they are. Each request has a clone of it,
/// also where the cache answers, so that is one reference.
pub(crate) fn client<B>()
-> impl Service<Request<B>, Response = Response<Incoming>, Error = Error, Future: Send> + Clone + Send
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Servers like to close idle connections after five seconds. Be first, or lose a request.
        .pool_idle_timeout(Duration::from_secs(4))
        .retry_canceled_requests(false)
        .build(connector);
    let client = Arc::new(client);
    service_fn(move |request| client.request(request))
}
