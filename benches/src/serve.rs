//! A hyper server for a service.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers whoever connects, for ever.
///
/// # Errors
///
/// Where nobody can connect.
pub async fn serve<S, B>(listener: TcpListener, service: S) -> Result<(), BoxError>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        // Without it an answer is only slower.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| service.clone().oneshot(request));
            // Its client went away, or gets to see that the response is cut off.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
