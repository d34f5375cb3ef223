//! The part of a request that the policy reads.

use http::header::HeaderMap;
use http::{Method, Request, Uri};

use crate::mode::CacheMode;

/// The part of a request that the policy reads; nothing of its body.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, absolute for a client, and for a server what it received.
    pub uri: &'a Uri,
    /// The header section.
    pub headers: &'a HeaderMap,
    /// What the request wants of the cache.
    pub mode: CacheMode,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            mode: CacheMode::of(request.extensions()),
        }
    }
}

impl<'a> From<&'a http::request::Parts> for RequestHead<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            mode: CacheMode::of(&parts.extensions),
        }
    }
}
