//! The client that asks the origin.

use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A client that sends each request once, and takes responses as they are.
pub(crate) fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body<Data: Send> + Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Servers like to close idle connections after five seconds. Be first, or lose a request.
        .pool_idle_timeout(Duration::from_secs(4))
        .retry_canceled_requests(false)
        .build(connector)
}
