//! The part of a request that the policy reads.

use std::fmt;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Uri};

use crate::key;
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
    headers
        .keys()
        .any(|name| *name == TRANSFER_ENCODING || *name == CONTENT_LENGTH)
        && (headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0"))
}

/// Which fields a request has, of those that the policy reads. Most requests have none of them, and
/// one pass over the names takes less time than a look for each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fields {
    pub(crate) host: bool,
    /// Of a cache: `Cache-Control`, `Pragma`.
    pub(crate) directives: bool,
    pub(crate) credentials: bool,
    pub(crate) upgrade: bool,
    pub(crate) range: bool,
    pub(crate) preconditions: bool,
}

impl Fields {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for name in headers.keys() {
            fields.host |= *name == HOST;
            fields.directives |= *name == CACHE_CONTROL || *name == PRAGMA;
            fields.credentials |= key::is_credential(name);
            fields.upgrade |= *name == UPGRADE;
            fields.range |= *name == RANGE;
            fields.preconditions |= *name == IF_NONE_MATCH
                || *name == IF_MODIFIED_SINCE
                || *name == IF_MATCH
                || *name == IF_UNMODIFIED_SINCE;
        }
        fields
    }
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
