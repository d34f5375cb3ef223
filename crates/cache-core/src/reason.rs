//! Why the cache did what it did.

use std::fmt;

/// Why a response was or was not reused, or was or was not stored.
///
/// One enum for the log line, [`CacheInfo`](crate::CacheInfo) and the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The stored response is fresh.
    Fresh,
    /// The stored response was validated by the origin.
    Validated,
    /// Fresh, but near the end of its lifetime; it is brought up to date in the background.
    EarlyRefresh,
    /// Stale, within `stale-while-revalidate`; a validation runs in the background.
    StaleWhileRevalidate,
    /// Stale, within `stale-if-error`, and the origin answered with an error.
    StaleIfError,
    /// Stale, and the origin could not be reached.
    Disconnected,
    /// Stale, within the request's `max-stale`.
    MaxStale,
    /// Stale, and the request's mode takes stale responses.
    ModeTakesStale,

    /// Nothing is stored for this URI.
    UriMiss,
    /// Responses are stored, but none was selected by the same request fields.
    VaryMiss,
    /// Only a part is stored that is not enough, or not whole.
    PartialMiss,
    /// The stored response is stale.
    Stale,
    /// The stored response has `no-cache`.
    ResponseNoCache,
    /// The request has `no-cache`, or its mode asks for validation.
    RequestNoCache,
    /// The stored response is older than the request's `max-age`.
    RequestMaxAge,
    /// The stored response is not fresh for as long as the request's `min-fresh`.
    RequestMinFresh,
    /// The policy validates every response.
    AlwaysRevalidate,
    /// The request's mode reloads.
    Reload,
    /// The request has a precondition that only the origin can evaluate.
    OriginPrecondition,

    /// The method is unsafe and the origin accepted it: what was stored for its target is removed.
    Invalidated,
    /// The request has content, which the key does not have.
    RequestContent,
    /// The request asks for another protocol.
    Upgrade,
    /// The method is not one whose responses are reused.
    Method,
    /// The request, or its mode, says `no-store`.
    RequestNoStore,
    /// The request's target names no authority.
    NoAuthority,
    /// The key is longer than the policy allows.
    KeyTooLong,
    /// The store failed or took too long.
    BackendUnavailable,
    /// A filter of the policy says that what is stored is not reused.
    FilterRefusesReuse,
    /// The body broke off, or was not read to its end.
    BodyCutOff,
    /// A filter of the policy refuses the body, or cannot look at all of it.
    FilterRefusesBody,
    /// A filter of the policy says that it is not stored.
    FilterRefusesStoring,
    /// The cache is disabled.
    Disabled,
    /// A rule of the policy says that it is not stored.
    RuleRefuses,

    /// The response says `no-store`.
    ResponseNoStore,
    /// The response says `private` and the cache is shared.
    Private,
    /// The request has `Authorization`, the cache is shared and nothing permits storing.
    Authorization,
    /// The response sets a cookie, the cache is shared and nothing says that it may be stored.
    SetCookie,
    /// The response was selected by something other than request fields.
    VaryStar,
    /// `Vary` names more fields than are kept.
    VaryTooLong,
    /// The status code is one that the cache does not understand, and it has to.
    StatusNotUnderstood,
    /// The status code is about one exchange, not about the resource.
    AboutOneExchange,
    /// Nothing gives the response a lifetime, and it has no validator.
    NoFreshness,
    /// The response is partial.
    PartialContent,
    /// The response answers the caller's own precondition.
    CallerPrecondition,
    /// The 304 is not for the validator that was sent.
    ForeignNotModified,
    /// The body is longer than the policy allows.
    BodyTooLarge,
    /// The header section is larger than the policy allows.
    HeadTooLarge,
    /// The request's mode writes nothing.
    ReadOnly,

    /// Nothing usable is stored, and the request wants nothing else.
    OnlyIfCached,
}

impl Reason {
    /// Whether it is the request, not the response, that keeps the response from being stored.
    pub(crate) fn is_about_request(self) -> bool {
        matches!(
            self,
            Self::ReadOnly | Self::RequestNoStore | Self::Authorization
        )
    }

    /// The word of RFC 9211 §2.2 for asking the origin because of it.
    pub(crate) fn forward_reason(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::PartialMiss => "partial",
            Self::BackendUnavailable => "miss",
            Self::Stale | Self::ResponseNoCache | Self::AlwaysRevalidate | Self::EarlyRefresh => {
                "stale"
            }
            Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh | Self::Reload => {
                "request"
            }
            Self::Method | Self::Invalidated => "method",
            _ => "bypass",
        }
    }

    /// A sentence for people.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Fresh => "the stored response is fresh",
            Self::Validated => "the origin validated the stored response",
            Self::EarlyRefresh => {
                "fresh, but near the end of its lifetime; asking for it in the background"
            }
            Self::StaleWhileRevalidate => {
                "stale, within stale-while-revalidate; validating in the background"
            }
            Self::StaleIfError => {
                "stale, within stale-if-error, and the origin answered with an error"
            }
            Self::Disconnected => "stale, and the origin could not be reached",
            Self::MaxStale => "stale, within the max-stale of the request",
            Self::ModeTakesStale => "stale, and the mode of the request takes stale responses",
            Self::UriMiss => "nothing is stored for this URI",
            Self::VaryMiss => "no stored response was selected by the same request fields",
            Self::PartialMiss => "only a part is stored, and it is not enough",
            Self::Stale => "the stored response is stale",
            Self::ResponseNoCache => "the stored response has no-cache",
            Self::RequestNoCache => "the request asks for validation",
            Self::RequestMaxAge => "the stored response is older than the max-age of the request",
            Self::RequestMinFresh => {
                "the stored response is not fresh for the min-fresh of the request"
            }
            Self::AlwaysRevalidate => "the policy validates every response",
            Self::Reload => "the mode of the request reloads",
            Self::OriginPrecondition => "the request has a precondition for the origin",
            Self::Invalidated => "the method is unsafe: what was stored for its target is removed",
            Self::RequestContent => "the request has content",
            Self::Upgrade => "the request asks for another protocol",
            Self::Method => "responses to this method are not reused",
            Self::RequestNoStore => "the request says no-store",
            Self::NoAuthority => "the target of the request names no authority",
            Self::KeyTooLong => "the key is longer than the policy allows",
            Self::FilterRefusesReuse => "a filter of the policy refuses what is stored",
            Self::BodyCutOff => "the body broke off or was not read to its end",
            Self::FilterRefusesBody => "a filter of the policy refuses the body",
            Self::FilterRefusesStoring => "a filter of the policy says that it is not stored",
            Self::Disabled => "the cache is disabled",
            Self::RuleRefuses => "a rule of the policy says that it is not stored",
            Self::BackendUnavailable => "the store failed or took too long",
            Self::ResponseNoStore => "the response says no-store",
            Self::Private => "the response is private and the cache is shared",
            Self::Authorization => "the request has credentials and the cache is shared",
            Self::SetCookie => "the response sets a cookie and the cache is shared",
            Self::VaryStar => "the response varies by more than request fields",
            Self::VaryTooLong => "the response varies by too many fields",
            Self::StatusNotUnderstood => "the status code is not understood",
            Self::AboutOneExchange => "the status code is about this exchange only",
            Self::NoFreshness => "the response has neither a lifetime nor a validator",
            Self::PartialContent => "the response is partial",
            Self::CallerPrecondition => "the response answers a precondition of the caller",
            Self::ForeignNotModified => "the 304 is not for the stored response",
            Self::BodyTooLarge => "the body is longer than the policy allows",
            Self::HeadTooLarge => "the header section is larger than the policy allows",
            Self::ReadOnly => "the mode of the request writes nothing",
            Self::OnlyIfCached => "nothing usable is stored and the request wants nothing else",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}
