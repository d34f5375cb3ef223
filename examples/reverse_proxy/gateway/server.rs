//! The server that clients talk to.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Service, ServiceExt};

use super::interim::{self, Turn};

/// Serves the gateway to whoever connects, for ever: a service for each request, which costs no more than a
/// clone. Dropping the future closes the connections.
pub(crate) async fn serve<F, S, B>(listener: TcpListener, gateway: F)
where
    F: Fn(Turn) -> S + Clone + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = BoxError>,
    S: Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, gateway.clone()));
                }
                Err(error) => {
                    eprintln!("accepting a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end.
async fn converse<F, S, B>(stream: TcpStream, gateway: F)
where
    F: Fn(Turn) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = BoxError>,
    S: Send,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    // Without it an answer is only slower.
    let _ = stream.set_nodelay(true);
    let (stream, interim) = interim::stream(stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (turn, until_answered) = interim.begin(request.version());
        let gateway = gateway(turn);
        async move {
            let response = answer(gateway, request).await;
            drop(until_answered);
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away is no concern of ours, and an answer that breaks off is best shown
    // to it by closing the connection.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(stream, service)
        .await;
}

/// The response to a request: there always is one.
async fn answer<S, B>(
    mut gateway: S,
    request: Request<Incoming>,
) -> Response<Either<B, Full<Bytes>>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = BoxError>,
{
    let status = if request.method() == Method::CONNECT {
        // That asks for a tunnel, and here is none.
        StatusCode::NOT_IMPLEMENTED
    } else {
        let answered = match gateway.ready().await {
            Ok(gateway) => gateway.call(request).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(response) => return response.map(Either::Left),
            Err(error) if error.is::<Elapsed>() => StatusCode::GATEWAY_TIMEOUT,
            Err(_) => StatusCode::BAD_GATEWAY,
        }
    };
    let mut response = Response::new(Either::Right(Full::from(format!("{status}\n"))));
    *response.status_mut() = status;
    response
}
