//! The origin: it has bodies of any length.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_benches::serve;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, ETAG, HeaderValue};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpListener;
use tower::service_fn;

/// Starts it in this process.
///
/// `/1024/max-age=60` is answered with as many bytes and this `Cache-Control`; `?unannounced` has no length
/// in its header section.
pub(crate) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(
        listener,
        service_fn(async |request: Request<_>| Ok::<_, Infallible>(answer(&request))),
    ));
    Ok(address)
}

fn answer<B>(request: &Request<B>) -> Response<Long> {
    let mut segments = request.uri().path().split('/').skip(1);
    let bytes = segments.next().and_then(|bytes| bytes.parse().ok());
    let bytes = bytes.unwrap_or_default();
    let is_announced = request.uri().query() != Some("unannounced");
    let mut response = Response::new(Long {
        left: bytes,
        is_announced,
    });
    let headers = response.headers_mut();
    if let Some(Ok(value)) = segments.next().map(HeaderValue::from_str) {
        headers.insert(CACHE_CONTROL, value);
    }
    headers.insert(ETAG, HeaderValue::from_static("\"5d8c72a5edda8d6a\""));
    if is_announced {
        headers.insert(CONTENT_LENGTH, bytes.into());
    }
    response
}

/// A body that costs nothing to make.
struct Long {
    left: u64,
    is_announced: bool,
}

impl Body for Long {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(CHUNK.len() as u64);
        self.left -= length;
        let chunk = Bytes::from_static(&CHUNK[..length as usize]);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_announced {
            true => SizeHint::with_exact(self.left),
            false => SizeHint::default(),
        }
    }
}

static CHUNK: [u8; 64 << 10] = [b'x'; 64 << 10];
