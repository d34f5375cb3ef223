//! One request on its way, as states: each is consumed by a step, which returns what may follow.
//!
//! ```text
//! begin ─┬─ Bypass                                   request and response pass untouched
//!        ├─ Lookup ── next ─┬─ Reuse                 answered from the store
//!        │                  ├─ ReuseWhileRevalidating    … and a Forward in the background
//!        │                  ├─ Unsatisfiable         504
//!        │                  └─ Forward ─┐
//!        ├─ Forward ────────────────────┴─ next ─┬─ Store    the response passes and is stored
//!        │                                       ├─ Reuse    304, or an error with a stand-in
//!        │                                       └─ Pass     the response passes
//!        └─ Unsafe ── next ── invalidation, seldom a Store
//! ```

mod continuation;
mod forward;
mod lookup;
mod reuse;
mod unsafe_method;

pub use continuation::Continuation;
pub use forward::{AfterForward, Forward, Upkeep};
pub use lookup::{AfterLookup, Judgement, Lookup};
pub use reuse::Reuse;
pub use unsafe_method::{AfterUnsafe, Unsafe};

use std::fmt;
use std::time::SystemTime;

use http::Method;
use http::header::HeaderMap;

use crate::header::cache_control::RequestDirectives;
use crate::key::PrimaryKey;
use crate::mode::CacheMode;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::request::{Fields, RequestHead};
use crate::rules::storing::Asked;
use crate::rules::{conditional, invalidation};

/// What may follow the arrival of a request.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the engine has to handle every state"
)]
pub enum Begin {
    /// Look into the store.
    Lookup(Lookup),
    /// Ask the origin, without a look into the store.
    Forward(Forward),
    /// Nothing usable is stored for sure, and the request wants nothing else: 504.
    Unsatisfiable(Reason),
    /// A request that may change something at the origin.
    Unsafe(Unsafe),
    /// Keep out of it: neither request nor response is touched, and nothing is stored.
    Bypass(Reason),
}

impl Begin {
    /// Begins an exchange (RFC 9111 §2 and §4).
    #[must_use]
    #[inline]
    pub fn new(policy: &Policy, request: &RequestHead<'_>, now: SystemTime) -> Self {
        let fields = Fields::of(request.headers);
        let directives = if fields.directives {
            RequestDirectives::read(request.headers)
        } else {
            RequestDirectives::default()
        };
        let stored_only = directives.only_if_cached || request.mode == CacheMode::OnlyIfCached;
        let begin = Self::of(policy, request, fields, directives, now);
        if !stored_only {
            return begin;
        }
        match begin {
            // Whoever wants nothing but what is stored is not sent to the origin by any exception.
            Self::Bypass(reason) => Self::Unsatisfiable(reason),
            Self::Forward(forward) => Self::Unsatisfiable(forward.reason()),
            Self::Unsafe(_) => Self::Unsatisfiable(Reason::Method),
            begin => begin,
        }
    }

    #[inline]
    fn of(
        policy: &Policy,
        request: &RequestHead<'_>,
        fields: Fields,
        directives: RequestDirectives,
        now: SystemTime,
    ) -> Self {
        let (is_get, is_head) = match *request.method {
            Method::GET => (true, false),
            Method::HEAD => (false, true),
            _ => (false, false),
        };
        let keying = policy.keying.as_deref();
        let is_keyed = keying.is_some_and(|keying| keying.takes_content_of(request));
        let is_other = !is_get && !is_head;
        if is_other
            && (*request.method == Method::CONNECT
                || !is_keyed && invalidation::is_safe(request.method))
        {
            let is_known = keying.is_some_and(|keying| keying.takes_method(request.method));
            return Self::Bypass(match is_known {
                // Its content could not be had.
                true => Reason::RequestContent,
                false => Reason::Method,
            });
        }
        let Some(key) = PrimaryKey::derive(policy, request, fields) else {
            return Self::Bypass(Reason::NoAuthority);
        };
        if !is_get && !is_head && !is_keyed {
            return Self::Unsafe(Unsafe {
                asked: Box::new(Asked {
                    is_unsafe: true,
                    ..ask(request, key, directives, now)
                }),
                is_disabled: request.is_disabled(),
            });
        }
        if request.is_disabled() {
            return Self::Bypass(Reason::Disabled);
        }
        if fields.upgrade {
            return Self::Bypass(Reason::Upgrade);
        }
        if (request.has_content || fields.content) && !is_keyed {
            return Self::Bypass(Reason::RequestContent);
        }
        if directives.no_store || request.mode == CacheMode::NoStore {
            return Self::Bypass(Reason::RequestNoStore);
        }
        if key.as_bytes().len() > policy.max_head_bytes {
            return Self::Bypass(Reason::KeyTooLong);
        }
        if policy
            .rules
            .as_ref()
            .is_some_and(|rules| rules.refuse(request))
        {
            return Self::Bypass(Reason::RuleRefuses);
        }
        if is_keyed && !is_get && (fields.preconditions || fields.range) {
            // What they mean for this method is the origin's to say.
            return Self::Bypass(Reason::OriginPrecondition);
        }
        let without_lookup = if fields.preconditions && conditional::is_for_origin(request.headers)
        {
            Some(Reason::OriginPrecondition)
        } else if request.mode == CacheMode::Reload {
            Some(Reason::Reload)
        } else {
            None
        };
        let lookup = Lookup {
            key,
            fields,
            directives,
            mode: request.mode,
            read_only: request.read_only,
            is_head,
            asked_at: now,
            early: None,
        };
        match without_lookup {
            None => Self::Lookup(lookup),
            Some(reason) => Self::Forward(Forward::new(lookup.ask(request), None, None, reason)),
        }
    }
}

fn ask(
    request: &RequestHead<'_>,
    key: PrimaryKey,
    directives: RequestDirectives,
    asked_at: SystemTime,
) -> Asked {
    Asked {
        key,
        method: request.method.clone(),
        uri: request.uri.clone(),
        headers: request.headers.clone(),
        directives,
        mode: request.mode,
        read_only: request.read_only,
        options: request.options.cloned().map(Box::new),
        content: request.content.cloned(),
        is_unsafe: false,
        asked_at,
    }
}

/// A response of the origin, without its body.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: http::StatusCode,
    /// The version.
    pub version: http::Version,
    /// The header section.
    pub headers: &'a HeaderMap,
}

impl<'a> ResponseHead<'a> {
    /// A response with this status, version and header section.
    #[must_use]
    pub fn new(status: http::StatusCode, version: http::Version, headers: &'a HeaderMap) -> Self {
        Self {
            status,
            version,
            headers,
        }
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl<'a, B> From<&'a http::Response<B>> for ResponseHead<'a> {
    fn from(response: &'a http::Response<B>) -> Self {
        Self {
            status: response.status(),
            version: response.version(),
            headers: response.headers(),
        }
    }
}
