//! The request that is sent and the response that is given.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{Empty, Full};
use tower::Service;

pub(crate) type RequestBody = Empty<Bytes>;
pub(crate) type ResponseBody = Full<Bytes>;

/// The request that all candidates get, as a client writes it.
#[derive(Clone)]
pub(crate) struct Asked {
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    pub(crate) fn new() -> Self {
        // Static, since requests share no reference counts with one another.
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
        Self {
            uri: Uri::from_static("http://origin.example/catalogue/items/4711?lang=en&view=full"),
            headers,
        }
    }

    pub(crate) fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// The limit: a service that has its response ready, with 14 header fields, fresh for an hour.
#[derive(Clone)]
pub(crate) struct Prebuilt {
    response: Arc<Response<ResponseBody>>,
}

impl Prebuilt {
    pub(crate) fn new(body_bytes: usize) -> Self {
        let mut response = Response::new(Full::from(vec![b'x'; body_bytes]));
        *response.headers_mut() = header_map(&[
            ("date", &httpdate::fmt_http_date(SystemTime::now())),
            ("server", "origin/2.4.1"),
            ("content-type", "application/json; charset=utf-8"),
            ("content-length", &body_bytes.to_string()),
            ("cache-control", "public, max-age=3600"),
            ("etag", "\"5d8c72a5edda8d6a\""),
            ("last-modified", "Mon, 02 Nov 2026 08:49:37 GMT"),
            ("vary", "accept-encoding"),
            ("content-language", "en"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("strict-transport-security", "max-age=31536000"),
            ("referrer-policy", "same-origin"),
            ("x-request-id", "7b0f2f3e-51a4-4c39-9a53-6d1d0c2b8f10"),
        ]);
        Self {
            response: Arc::new(response),
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }
}

impl<B> Service<Request<B>> for Prebuilt {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Ok((*self.response).clone()))
    }
}

/// The same service behind a cache, where calls are counted. To clone it counts one reference, as it does
/// to clone the other.
#[derive(Clone)]
pub(crate) struct Origin(Arc<Counted>);

struct Counted {
    prebuilt: Prebuilt,
    calls: AtomicU64,
}

impl Origin {
    pub(crate) fn new(prebuilt: Prebuilt) -> Self {
        Self(Arc::new(Counted {
            prebuilt,
            calls: AtomicU64::new(0),
        }))
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        self.0.prebuilt.clone().call(request)
    }
}

fn header_map(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a field value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}
