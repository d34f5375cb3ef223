//! The part of a request that the policy reads.

use std::fmt;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Extensions, Method, Request, Uri};

use crate::key;
use crate::keying::RequestContent;
use crate::mode::CacheMode;
use crate::options::CacheOptions;

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
    /// Nothing is to be written for it.
    pub read_only: bool,
    /// What it sets for itself.
    pub options: Option<&'a CacheOptions>,
    /// Its content, where all of it is known.
    pub content: Option<&'a RequestContent>,
    /// Whether it has content, or may have, whatever its header section says.
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

/// Which fields a request has, of those that the policy reads. Most requests have none of them, and
/// one pass over the names takes less time than a look for each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fields {
    pub(crate) host: bool,
    /// Of a cache: `Cache-Control`, `Pragma`.
    pub(crate) directives: bool,
    pub(crate) credentials: bool,
    /// It announces content.
    pub(crate) content: bool,
    pub(crate) upgrade: bool,
    pub(crate) range: bool,
    pub(crate) preconditions: bool,
}

impl Fields {
    #[inline]
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            // Constants, so that this is one jump and not a comparison with each.
            match *name {
                HOST => fields.host = true,
                CACHE_CONTROL | PRAGMA => fields.directives = true,
                UPGRADE => fields.upgrade = true,
                RANGE => fields.range = true,
                TRANSFER_ENCODING => fields.content = true,
                CONTENT_LENGTH => fields.content |= value != "0",
                IF_NONE_MATCH | IF_MODIFIED_SINCE | IF_MATCH | IF_UNMODIFIED_SINCE => {
                    fields.preconditions = true;
                }
                _ => fields.credentials |= key::is_credential(name),
            }
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
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Self::new(method, uri, headers, request.extensions())
    }
}

impl<'a> From<&'a http::request::Parts> for RequestHead<'a> {
    fn from(parts: &'a http::request::Parts) -> Self {
        let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
        Self::new(method, uri, headers, &parts.extensions)
    }
}

impl<'a> RequestHead<'a> {
    fn new(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        let head = Self {
            method,
            uri,
            headers,
            mode: CacheMode::Default,
            read_only: false,
            options: None,
            content: None,
            has_content: false,
        };
        match extensions.is_empty() {
            true => head,
            false => head.with_extensions(extensions),
        }
    }

    fn with_extensions(self, extensions: &'a Extensions) -> Self {
        let mode = CacheMode::of(extensions);
        let content = match *self.method {
            Method::HEAD => None,
            _ => extensions.get(),
        };
        let Some(options) = CacheOptions::of(extensions) else {
            return Self {
                mode,
                content,
                read_only: mode == CacheMode::ReadOnly,
                ..self
            };
        };
        let mode = options.mode.unwrap_or(mode);
        let switches = options.switches;
        Self {
            read_only: mode == CacheMode::ReadOnly || options.read_only || switches.is_read_only,
            mode: match switches.is_offline {
                true => CacheMode::OnlyIfCached,
                false => mode,
            },
            options: Some(options),
            content,
            ..self
        }
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.options
            .is_some_and(|options| options.switches.is_disabled)
    }
}
