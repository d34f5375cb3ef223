//! The part of a request that the policy reads.

use std::fmt;

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, Uri};

use crate::mode::CacheMode;

/// The part of a request that the policy reads; nothing of its body.
#[derive(Clone, Copy)]
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
    /// Whether it has content, or may have.
    pub has_content: bool,
}

impl RequestHead<'_> {
    /// The same, where it is known from the body itself whether there is content.
    #[must_use]
    pub fn with_content(self, has_content: bool) -> Self {
        Self {
            has_content: self.has_content || has_content,
            ..self
        }
    }
}

/// Whether the header section announces content.
fn announces_content(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0")
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Queries and field values can hold secrets.
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            mode: CacheMode::of(request.extensions()),
            has_content: announces_content(request.headers()),
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
            has_content: announces_content(&parts.headers),
        }
    }
}
