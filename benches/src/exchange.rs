//! The request that is sent and the response that is given.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, VARY};
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
        Self::at("http://origin.example/catalogue/items/4711?lang=en&view=full")
    }

    pub(crate) fn at(uri: &'static str) -> Self {
        // Static, since requests share no reference counts with one another.
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
        Self {
            uri: Uri::from_static(uri),
            headers,
        }
    }

    /// With one field more.
    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(crate) fn request(&self) -> Request<RequestBody> {
        self.request_for(self.uri.clone())
    }

    pub(crate) fn request_for(&self, uri: Uri) -> Request<RequestBody> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// The limit: a service that has its response ready, with 14 header fields, fresh for an hour.
#[derive(Clone)]
pub struct Prebuilt {
    response: Arc<Response<ResponseBody>>,
}

impl Prebuilt {
    /// With a body of this many bytes.
    pub fn new(body_bytes: usize) -> Self {
        let headers = header_map(&[
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
        Self::with_headers(headers, body_bytes)
    }

    /// Another one, of these fields.
    pub(crate) fn with_headers(headers: HeaderMap, body_bytes: usize) -> Self {
        let mut response = Response::new(Full::from(vec![b'x'; body_bytes]));
        *response.headers_mut() = headers;
        Self {
            response: Arc::new(response),
        }
    }

    /// The same without what a cache has no use for, and with fields up to about so many bytes, as
    /// they are on the wire.
    pub(crate) fn with_head_of(head_bytes: usize, body_bytes: usize) -> Self {
        let mut headers = header_map(&[
            ("date", &httpdate::fmt_http_date(SystemTime::now())),
            ("content-length", &body_bytes.to_string()),
            ("cache-control", "public, max-age=3600"),
            ("etag", "\"5d8c72a5edda8d6a\""),
            ("vary", "accept-encoding"),
        ]);
        let value = HeaderValue::from_static("a value of forty bytes, as many of them ");
        for number in 0.. {
            let name = format!("x-field-{number:03}");
            let has = headers
                .iter()
                .map(|(name, value)| on_wire(name.as_str(), value));
            if has.sum::<usize>() + on_wire(&name, &value) > head_bytes {
                break;
            }
            let name = HeaderName::try_from(name).expect("a field name");
            headers.insert(name, value.clone());
        }
        Self::with_headers(headers, body_bytes)
    }

    /// The same, selected by a field of requests.
    pub(crate) fn selected_by(self, name: HeaderName) -> Self {
        let mut response = (*self.response).clone();
        response.headers_mut().insert(VARY, name.into());
        Self {
            response: Arc::new(response),
        }
    }

    /// Shares nothing with this one.
    fn copied(&self) -> Response<ResponseBody> {
        let body = self.response.body().clone().into_inner();
        let body = body.as_ref().map(|body| Bytes::copy_from_slice(body));
        let mut response = Response::new(body.map_or_else(Full::default, Full::new));
        let headers = self.response.headers().iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes());
            (name.clone(), value.expect("a field value"))
        });
        *response.headers_mut() = headers.collect();
        response
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
    /// Whether each response has memory of its own, as it has where it comes from a network.
    copies: bool,
}

impl Origin {
    pub(crate) fn new(prebuilt: Prebuilt) -> Self {
        Self::which_copies(prebuilt, false)
    }

    pub(crate) fn copying(prebuilt: Prebuilt) -> Self {
        Self::which_copies(prebuilt, true)
    }

    fn which_copies(prebuilt: Prebuilt, copies: bool) -> Self {
        Self(Arc::new(Counted {
            prebuilt,
            calls: AtomicU64::new(0),
            copies,
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
        match self.0.copies {
            false => self.0.prebuilt.clone().call(request),
            true => ready(Ok(self.0.prebuilt.copied())),
        }
    }
}

fn on_wire(name: &str, value: &HeaderValue) -> usize {
    name.len() + ": ".len() + value.len() + "\r\n".len()
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
