//! Which responses are stored (RFC 9111 §3).

use std::fmt;
use std::time::SystemTime;

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, DATE, ETAG, EXPIRES, HeaderMap, HeaderName,
    HeaderValue, IF_RANGE, RANGE, SET_COOKIE, VARY,
};
use http::{Method, StatusCode, Version};

use crate::exchange::ResponseHead;
use crate::header::cache_control::{RequestDirectives, ResponseDirectives};
use crate::header::range::{self, ByteRange, Part};
use crate::header::{connection, date};
use crate::key::PrimaryKey;
use crate::keying::RequestContent;
use crate::mode::CacheMode;
use crate::options::CacheOptions;
use crate::policy::{Policy, Terms};
use crate::reason::Reason;
use crate::request::RequestHead;
use crate::rules::freshness::{Freshness, LifetimeSource, is_heuristically_cacheable};
use crate::rules::selection;
use crate::stored::{StoredHead, compact, copy_unshared, has_validator, weight};

/// What storing needs to know of the request that a response answers.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) key: PrimaryKey,
    pub(crate) method: Method,
    pub(crate) uri: http::Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) directives: RequestDirectives,
    pub(crate) mode: CacheMode,
    pub(crate) read_only: bool,
    pub(crate) options: Option<Box<CacheOptions>>,
    pub(crate) content: Option<RequestContent>,
    /// It may change something at the origin; what is stored of its answer is for a GET.
    pub(crate) is_unsafe: bool,
    pub(crate) asked_at: SystemTime,
}

impl Asked {
    /// The request.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            mode: self.mode,
            read_only: self.read_only,
            options: self.options.as_deref(),
            content: self.content.as_ref(),
            has_content: self.content.is_some(),
        }
    }

    /// The request that what is stored is an answer to: a GET, also for a HEAD.
    pub(crate) fn read(&self) -> RequestHead<'_> {
        match self.is_unsafe || self.method == Method::HEAD {
            true => RequestHead {
                method: &Method::GET,
                ..self.head()
            },
            false => self.head(),
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("key", &self.key)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// A response as the origin sent it, without its body.
#[derive(Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) received_at: SystemTime,
}

/// The head to store for `received`, or why it is not stored.
pub(crate) fn store(
    policy: &Policy,
    asked: &Asked,
    received: &Received<'_>,
) -> Result<StoredHead, Reason> {
    let terms = Terms::of(policy, asked, received);
    let directives = terms.directives(received.headers);
    permit(&terms, asked, received, &directives)?;
    if let Some(filters) = &policy.filters {
        let response = ResponseHead::new(received.status, received.version, received.headers);
        if !filters.permit_storing(&asked.head(), &response) {
            return Err(Reason::FilterRefusesStoring);
        }
    }
    let label = Label::of(asked, received)?;
    let mut head = describe(&terms, asked, received, &directives);
    head.selecting = selection::selecting(&terms, &asked.headers, received.headers)?;

    match label {
        Label::Whole => {}
        Label::Part(part) => head.part = Some(part),
        Label::Unclear => {
            selection::select_by(policy, &asked.headers, RANGE_FIELDS, &mut head.selecting)
        }
    }
    let freshness = &head.freshness;
    let is_useful = !freshness.lifetime.is_zero()
        || !freshness.stale_while_revalidate.is_zero()
        || !freshness.stale_if_error.is_zero()
        || has_validator(received.headers);
    // RFC 9110 §9.3.3: a response to POST is stored for what it says itself, or somebody for it.
    let is_guessed = freshness.source == LifetimeSource::Heuristic && asked.method == Method::POST;
    if !is_useful || is_guessed || !is_cacheable(received.status, &directives, freshness.source) {
        return Err(Reason::NoFreshness);
    }
    let is_explicit = freshness.source == LifetimeSource::Explicit;
    if head.headers.contains_key(SET_COOKIE) && !directives.public && !is_explicit {
        // A cookie is for one user and one time, unless the origin itself says otherwise.
        if policy.is_shared() {
            return Err(Reason::SetCookie);
        }
        head.headers.remove(SET_COOKIE);
    }
    // Only now, so that nothing that a field says is lost because it names itself.
    for name in unstored_fields(policy, received.headers, &directives) {
        if name != DATE {
            head.headers.remove(name);
        }
    }
    if head.length() > policy.max_head_bytes {
        return Err(Reason::HeadTooLarge);
    }
    head.headers = compact(&head.headers);
    Ok(head)
}

/// The head of a response with all its fields, stored or not, and not yet selected by anything.
pub(crate) fn describe(
    terms: &Terms<'_>,
    asked: &Asked,
    received: &Received<'_>,
    directives: &ResponseDirectives,
) -> StoredHead {
    let freshness = Freshness::of(
        terms,
        received.status,
        received.headers,
        directives,
        asked.asked_at,
        received.received_at,
    );
    let mut headers = HeaderMap::new();
    // The place that a hit writes the age to: the first, where it is found without a search.
    headers.insert(AGE, HeaderValue::from_static("0"));
    copy_unshared(received.headers, &[AGE], &mut headers);
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date::format(received.received_at));
    }
    StoredHead {
        key: asked.key.clone(),
        status: received.status,
        version: received.version,
        content_length: content_length(&headers),
        part: None,
        headers,
        selecting: Vec::new(),
        requested_at: asked.asked_at,
        received_at: received.received_at,
        freshness,
    }
}

/// The names of the fields that are not stored from a response with these: those of the connection,
/// and in a shared cache those that `private` names (RFC 9111 §3.1, §5.2.2.7).
fn unstored_fields(
    policy: &Policy,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
) -> Vec<HeaderName> {
    let mut names = connection::hop_by_hop(headers);
    if policy.is_shared() {
        names.extend_from_slice(&directives.private_fields);
    }
    names
}

/// The trailers that are stored with a response with these headers; where one may depend on who
/// asked, or changes how the response is understood, not any of it (RFC 9110 §6.5.1).
pub(crate) fn trailers(
    policy: &Policy,
    headers: &HeaderMap,
    trailers: &HeaderMap,
) -> Option<HeaderMap> {
    let mut kept = HeaderMap::new();
    copy_unshared(trailers, &[], &mut kept);
    let directives = ResponseDirectives::read(headers, &policy.targets);
    let unstored = unstored_fields(policy, headers, &directives);
    let never = [
        SET_COOKIE,
        CACHE_CONTROL,
        VARY,
        CONTENT_LENGTH,
        ETAG,
        AGE,
        EXPIRES,
    ];
    for name in unstored
        .iter()
        .chain(&directives.no_cache_fields)
        .chain(&never)
    {
        kept.remove(name);
    }
    (!kept.is_empty() && weight(&kept) <= policy.max_head_bytes).then_some(kept)
}

/// What a response brings (RFC 9111 §3.3).
enum Label {
    Whole,
    Part(Part),
    /// A part whose label and length disagree: it says nothing of any byte, and can only be given
    /// word for word to whoever asks for the very same thing.
    Unclear,
}

impl Label {
    fn of(asked: &Asked, received: &Received<'_>) -> Result<Self, Reason> {
        if received.status != StatusCode::PARTIAL_CONTENT {
            return Ok(Self::Whole);
        }
        // One range was asked for, and the response is one part, not several (RFC 9110 §15.3.7.2).
        let is_one_part =
            ByteRange::read(&asked.headers).is_some() && range::is_of_bytes(received.headers);
        if !is_one_part {
            return Err(Reason::PartialContent);
        }
        let length = content_length(received.headers);
        Ok(match Part::read(received.headers) {
            Some(part) if length.is_none_or(|length| length == part.len()) => Self::Part(part),
            _ => Self::Unclear,
        })
    }
}

/// The request fields that say which part is asked for.
const RANGE_FIELDS: [HeaderName; 2] = [RANGE, IF_RANGE];

/// The prohibitions, strongest first.
fn permit(
    terms: &Terms<'_>,
    asked: &Asked,
    received: &Received<'_>,
    directives: &ResponseDirectives,
) -> Result<(), Reason> {
    let policy = terms.policy;
    if asked.read_only {
        return Err(Reason::ReadOnly);
    }
    if asked.mode == CacheMode::NoStore || asked.directives.no_store {
        return Err(Reason::RequestNoStore);
    }
    refuse_status(received.status)?;
    if !terms.stores {
        return Err(Reason::RuleRefuses);
    }
    // RFC 9111 §5.2.2.3: with must-understand, no-store is for caches that do not understand.
    if directives.must_understand {
        if !is_understood(received.status) {
            return Err(Reason::StatusNotUnderstood);
        }
    } else if directives.no_store {
        return Err(Reason::ResponseNoStore);
    }
    if policy.is_shared() {
        if directives.private {
            return Err(Reason::Private);
        }
        if asked.headers.contains_key(AUTHORIZATION) && !directives.permits_sharing {
            return Err(Reason::Authorization);
        }
    }
    let length = content_length(received.headers);
    if length.is_some_and(|length| length > policy.max_body_bytes) {
        return Err(Reason::BodyTooLarge);
    }
    Ok(())
}

/// Status codes whose responses are about one exchange, not about the resource.
fn refuse_status(status: StatusCode) -> Result<(), Reason> {
    match status {
        _ if status.is_informational() => Err(Reason::StatusNotUnderstood),
        StatusCode::RANGE_NOT_SATISFIABLE => Err(Reason::PartialContent),
        StatusCode::NOT_MODIFIED | StatusCode::PRECONDITION_FAILED => {
            Err(Reason::CallerPrecondition)
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY
        // RFC 6585: never stored by a cache.
        | StatusCode::PRECONDITION_REQUIRED
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        | StatusCode::NETWORK_AUTHENTICATION_REQUIRED => Err(Reason::AboutOneExchange),
        _ => Ok(()),
    }
}

/// Whether RFC 9111 §3 lets the response be stored at all, in its last condition.
fn is_cacheable(
    status: StatusCode,
    directives: &ResponseDirectives,
    source: LifetimeSource,
) -> bool {
    matches!(source, LifetimeSource::Explicit | LifetimeSource::Default)
        || directives.public
        || directives.private
        || is_heuristically_cacheable(status)
}

/// The final status codes of RFC 9110 §15, whose caching requirements are met here.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=406 | 408..=411 | 413..=415 | 417 | 422 | 426
            | 500..=505
    )
}

/// The length of the body that the header section announces, in bytes.
///
/// Several equal values are one; a value that is no number, or different ones, announce nothing.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    let mut lengths = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|line| crate::header::list::members(line.as_bytes()))
        .map(|member| {
            let digits = std::str::from_utf8(member).ok()?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse::<u64>().ok())?
        });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// Whether a response gives its own lifetime; what a response to POST needs (RFC 9110 §9.3.3).
pub(crate) fn has_explicit_lifetime(policy: &Policy, headers: &HeaderMap) -> bool {
    let directives = ResponseDirectives::read(headers, &policy.targets);
    directives.max_age.is_some()
        || policy.is_shared() && directives.s_maxage.is_some()
        || headers.contains_key(EXPIRES) && !directives.is_targeted
}
