//! The settings that the rules read.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::content::ContentKey;
use crate::exchange::ResponseHead;
use crate::key::{Partition, Secret};
use crate::keying::{IgnoredParameters, KeyDraft, Keying};
use crate::request::RequestHead;
use crate::rules::storing;

#[cfg(feature = "serde")]
mod config;
#[cfg(feature = "serde")]
pub use config::{
    CacheKind, ContentConfig, InvalidPolicy, PartitionConfig, PolicyConfig, RuleConfig, SecretText,
};

mod filter;
pub(crate) use filter::Filters;

mod pattern;

mod rule;
pub(crate) use rule::Rules;
pub use rule::{InvalidRule, Rule};

mod terms;
#[cfg(feature = "serde")]
mod text;
pub(crate) use terms::Terms;

mod ttl;
pub use ttl::Ttl;

/// How a cache behaves: its kind (RFC 9111 §1) and the freedom that RFC 9111 leaves to it.
///
/// ```
/// use cache_core::{Partition, Policy};
/// use std::time::Duration;
///
/// // One user, or many that must never share an entry: the default of `CacheLayer::new`.
/// let private = Policy::private();
///
/// // A gateway whose store serves everybody.
/// let shared = Policy::shared().default_ttl(Duration::from_secs(60));
///
/// // Private, one partition for each tenant instead of one for each credential.
/// let tenants = Policy::private().partition(Partition::by(|request| {
///     request.headers.get("x-tenant").map(|tenant| tenant.as_bytes().to_vec())
/// }));
/// # let _ = (private, shared, tenants);
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) kind: Kind,
    pub(crate) partition: Partition,
    pub(crate) secret: Secret,
    pub(crate) redacted_parameters: Parameters,
    pub(crate) targets: Arc<[HeaderName]>,
    pub(crate) default_ttl: Option<Ttl>,
    pub(crate) override_ttl: Option<Ttl>,
    pub(crate) ignores_origin: bool,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) filters: Option<Arc<Filters>>,
    pub(crate) keying: Option<Arc<Keying>>,
    pub(crate) max_ttl: Option<Duration>,
    pub(crate) heuristic_cap: Duration,
    pub(crate) retention: Retention,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) always_revalidate: bool,
    pub(crate) early_refresh: Option<f64>,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_head_bytes: usize,
}

/// The two kinds of cache (RFC 9111 §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Private,
    Shared,
}

/// Names of query parameters.
#[derive(Debug, Clone)]
pub(crate) struct Parameters {
    names: Arc<[String]>,
    /// For each length the first letters, a bit for each: nearly all other names are told by these.
    initials: [u32; 32],
}

impl Parameters {
    fn named(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Arc<[String]> = names.into_iter().map(Into::into).collect();
        let mut initials = [0; 32];
        for name in names.iter() {
            let (length, initial) = length_and_initial(name.as_bytes());
            initials[length] |= initial;
        }
        Self { names, initials }
    }

    /// Whether a name is among them, in any case.
    fn contains(&self, name: &[u8]) -> bool {
        let (length, initial) = length_and_initial(name);
        self.initials[length] & initial != 0
            && self
                .names
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// A length up to 31, and a bit for the first letter in any case.
fn length_and_initial(name: &[u8]) -> (usize, u32) {
    let initial = name.first().copied().unwrap_or_default();
    (name.len().min(31), 1 << (initial & 0x1f))
}

/// How long a stored response is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retention {
    /// Until it is stale, plus the longest of its stale windows and this time, in which it can be
    /// validated or serve while the origin is down.
    Grace(Duration),
    /// Until it is replaced, invalidated or evicted.
    Forever,
}

impl Policy {
    /// A private cache, partitioned by the credentials of the request.
    #[must_use]
    pub fn private() -> Self {
        Self {
            kind: Kind::Private,
            partition: Partition::Credentials,
            secret: Secret::none(),
            redacted_parameters: Parameters::named(SECRET_PARAMETERS),
            targets: Arc::default(),
            default_ttl: None,
            override_ttl: None,
            ignores_origin: false,
            rules: None,
            filters: None,
            keying: None,
            max_ttl: None,
            heuristic_cap: Duration::from_secs(24 * 60 * 60),
            retention: Retention::Grace(Duration::from_secs(60 * 60)),
            stale_while_revalidate: None,
            stale_if_error: None,
            always_revalidate: false,
            early_refresh: None,
            max_body_bytes: 16 << 20,
            max_head_bytes: 64 << 10,
        }
    }

    /// A shared cache: one partition for all, and the rules of RFC 9111 that protect its users
    /// from one another (`private`, `s-maxage`, `proxy-revalidate`, `Authorization` §3.5).
    #[must_use]
    pub fn shared() -> Self {
        Self {
            kind: Kind::Shared,
            partition: Partition::None,
            targets: Arc::new([CDN_CACHE_CONTROL]),
            ..Self::private()
        }
    }

    /// Whether this is a shared cache.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.kind == Kind::Shared
    }

    /// What keeps requests apart beside the URI. Default: credentials in a private cache, nothing
    /// in a shared one.
    #[must_use]
    pub fn partition(mut self, partition: Partition) -> Self {
        self.partition = partition;
        self
    }

    /// The secret that digests of credentials and of fields named by `Vary` are keyed with; all
    /// replicas that share a store need the same one. Default: none.
    ///
    /// Without a secret the digests are still one-way, but who can read the store can test a guess.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = secret;
        self
    }

    /// The query parameters that hold secrets, in the place of the default list: their values are in
    /// the key as digests only. Names are compared without regard to case.
    /// [`redact_also`](Self::redact_also) keeps the list.
    ///
    /// Default: `access_token`, `api_key`, `apikey`, `auth_token`, `client_secret`, `id_token`, `key`,
    /// `password`, `refresh_token`, `secret`, `sig`, `signature`, `token`, `x-amz-security-token`,
    /// `x-amz-signature`, `x-goog-signature`.
    #[must_use]
    pub fn redact_parameters(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.redacted_parameters = Parameters::named(names);
        self
    }

    /// More query parameters that hold secrets, beside those of the list; see
    /// [`redact_parameters`](Self::redact_parameters).
    #[must_use]
    pub fn redact_also(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let known = self.redacted_parameters.names.iter().cloned();
        let names = known.chain(names.into_iter().map(Into::into));
        self.redacted_parameters = Parameters::named(names);
        self
    }

    /// The trailer fields that are stored with a response with these header fields, if any are.
    #[must_use]
    pub fn stored_trailers(&self, headers: &HeaderMap, trailers: &HeaderMap) -> Option<HeaderMap> {
        storing::trailers(self, headers, trailers)
    }

    /// The targeted fields that this cache obeys, the first that is present and valid in the place
    /// of `Cache-Control` and `Expires` (RFC 9213). Default: `CDN-Cache-Control` in a shared cache,
    /// none in a private one.
    #[must_use]
    pub fn targeted_cache_control(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targets = fields.into_iter().collect();
        self
    }

    /// Parameters of the query that are left out of the key, so that requests which differ in them
    /// alone share responses; `utm_*` is all that begin so. The origin gets them as ever, and so what it
    /// makes of the first one's is what all get. Case counts. Default: none.
    ///
    /// For parameters that hold secrets this is wrong: see [`redact_parameters`](Self::redact_parameters).
    #[doc(alias = "ignored_parameters")]
    #[must_use]
    pub fn ignore_parameters(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.with_keying(|keying| keying.ignored = Some(IgnoredParameters::new(names)))
    }

    /// Whether the order of parameters in the query does not count; of several with one name it does.
    /// Default: it counts.
    #[must_use]
    pub fn sort_query(self, sort: bool) -> Self {
        self.with_keying(|keying| keying.sorts_query = sort)
    }

    /// More that all keys are made of: another salt, another cache in the same store. It is in keys as
    /// a keyed digest. Default: none.
    #[must_use]
    pub fn key_salt(self, salt: impl AsRef<[u8]>) -> Self {
        self.with_keying(|keying| keying.salt = Some(salt.as_ref().into()))
    }

    /// What keys are made of, from what they would be made of. `None`: the cache keeps out of it.
    ///
    /// It is asked for requests that invalidate, too, with their own method; for one URI it has to find
    /// the same. It must not panic.
    ///
    /// ```
    /// use cache_core::Policy;
    ///
    /// // Mirrors share responses, and different versions of an API do not.
    /// let policy = Policy::private().key_by(|request, key| {
    ///     let version = request.headers.get("x-api-version").map_or(&b""[..], |value| value.as_bytes());
    ///     let uri = key.uri().to_string().replace("://mirror-2.", "://mirror-1.").parse().ok()?;
    ///     Some(key.with_uri(uri).with(version))
    /// });
    /// # let _ = policy;
    /// ```
    #[doc(alias = "key_fn")]
    #[must_use]
    pub fn key_by(
        self,
        function: impl Fn(&RequestHead<'_>, KeyDraft) -> Option<KeyDraft> + Send + Sync + 'static,
    ) -> Self {
        self.with_keying(|keying| keying.function = Some(Arc::new(function)))
    }

    /// More request fields that hold credentials, beside those of
    /// [`Partition::Credentials`]. Default: none.
    #[must_use]
    pub fn credential_fields(self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.with_keying(|keying| keying.credentials = fields.into_iter().collect())
    }

    /// Requests whose content is in their key, and which are cached as GET is. Their content has to be
    /// known: `ContentLayer` of cache-tower goes outside of the cache. Where it is not, since there is
    /// too much of it, they are treated as without this. Default: none.
    ///
    /// Responses to them are not invalidated by unsafe requests to the same URI, for which there is
    /// another key; give them short lifetimes.
    #[must_use]
    pub fn key_content(self, content: ContentKey) -> Self {
        self.with_keying(|keying| keying.content = Some(Arc::new(content)))
    }

    /// Whether a method is one whose content is in keys.
    #[must_use]
    pub fn keys_content_of(&self, method: &http::Method) -> bool {
        let keying = self.keying.as_ref();
        keying.is_some_and(|keying| keying.takes_method(method))
    }

    pub(crate) fn holds_credentials(&self, name: &HeaderName) -> bool {
        let keying = self.keying.as_ref();
        keying.is_some_and(|keying| keying.credentials.contains(name))
    }

    fn with_keying(mut self, change: impl FnOnce(&mut Keying)) -> Self {
        let mut keying = self.keying.as_deref().cloned().unwrap_or_default();
        change(&mut keying);
        self.keying = Some(Arc::new(keying));
        self
    }

    pub(crate) fn is_secret_parameter(&self, name: &[u8]) -> bool {
        self.redacted_parameters.contains(name)
    }

    /// The freshness lifetime of a cacheable response for which the origin gives none, instead of
    /// the heuristic of RFC 9111 §4.2.2; not for errors (4xx, 5xx). Default: none.
    #[must_use]
    pub fn default_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.default_ttl = Some(lifetime.into());
        self
    }

    /// The freshness lifetime whatever the origin says, counted from when the response arrives; not
    /// for errors (4xx, 5xx). Default: none.
    ///
    /// It comes before `max-age`, `s-maxage`, `Expires` and `no-cache`, and in a private cache before
    /// `no-store`: such a response is stored for the partition of the one who asked. It does not come
    /// before what protects others: in a shared cache what is `private`, `no-store`, or was asked for
    /// with `Authorization` is not stored, as without it. Nor does it come before `no-store` of a
    /// request, `Vary`, `must-revalidate` once the time is over, or [`max_ttl`](Self::max_ttl).
    #[doc(alias = "expire_after")]
    #[must_use]
    pub fn override_ttl(mut self, lifetime: impl Into<Ttl>) -> Self {
        self.override_ttl = Some(lifetime.into());
        self
    }

    /// Whether what responses say of their own caching does not count: no directive of
    /// `Cache-Control`, and not `Expires`. [`default_ttl`](Self::default_ttl) or the heuristic then
    /// gives the lifetime. Default: no.
    ///
    /// What protects others counts all the same, as for [`override_ttl`](Self::override_ttl).
    #[doc(alias = "cache_control")]
    #[must_use]
    pub fn ignore_origin(mut self, ignore: bool) -> Self {
        self.ignores_origin = ignore;
        self
    }

    /// What holds for some requests and responses only, in the place of what the policy says of all;
    /// see [`Rule`]. Default: none.
    ///
    /// What is stored already stays as it is.
    ///
    /// # Errors
    ///
    /// Where a rule cannot be used; the error says which one, and what to write.
    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Result<Self, InvalidRule> {
        self.rules = Rules::new(rules)?.map(Arc::new);
        let asks_rules = self.rules.as_ref().is_some_and(|rules| rules.ignore());
        if asks_rules || self.keying.is_some() {
            self = self.with_keying(|keying| keying.asks_rules = asks_rules);
        }
        Ok(self)
    }

    /// Stores only what this is true of, and reuses only that: one that is found and not true of is
    /// removed, and the origin is asked as if nothing were there. Filters add up. They must not panic,
    /// and come behind all else that may forbid storing or reuse.
    ///
    /// ```
    /// use cache_core::Policy;
    ///
    /// let complete = Policy::private().filter(|request, response| {
    ///     request.uri.path() != "/health" && !response.headers.contains_key("x-incomplete")
    /// });
    /// # let _ = complete;
    /// ```
    #[doc(alias = "filter_fn")]
    #[must_use]
    pub fn filter(
        self,
        filter: impl Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let filter = Arc::new(filter);
        self.with_filters(|filters| {
            filters.add_storing(filter.clone());
            filters.add_reuse(filter);
        })
    }

    /// The same for storing alone.
    #[must_use]
    pub fn filter_storing(
        self,
        filter: impl Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with_filters(|filters| filters.add_storing(Arc::new(filter)))
    }

    /// The same for reuse alone. It is asked on every hit.
    #[must_use]
    pub fn filter_reuse(
        self,
        filter: impl Fn(&RequestHead<'_>, &ResponseHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with_filters(|filters| filters.add_reuse(Arc::new(filter)))
    }

    /// Stores only what this is true of when its body is complete. Of a body that is longer than
    /// `limit`, in bytes, nothing is known, so it is not stored. There is one at most.
    ///
    /// The body streams to the caller meanwhile; the filter is called where its end is read. It is not
    /// asked again when the response is reused: a body that is read from a store over a network is not
    /// there to be looked at.
    #[must_use]
    pub fn filter_body(
        self,
        limit: u64,
        filter: impl Fn(&ResponseHead<'_>, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with_filters(|filters| filters.set_body(limit, Arc::new(filter)))
    }

    /// How many bytes of a body have to be kept for the filter of bodies, if there is one.
    #[must_use]
    pub fn body_filter_limit(&self) -> Option<u64> {
        let (limit, _) = self.filters.as_ref()?.body()?;
        Some(*limit)
    }

    /// Whether a response with this body may be stored.
    #[must_use]
    pub fn permits_body(&self, response: ResponseHead<'_>, body: &[u8]) -> bool {
        match self.filters.as_ref().and_then(|filters| filters.body()) {
            Some((_, filter)) => filter(&response, body),
            None => true,
        }
    }

    fn with_filters(mut self, change: impl FnOnce(&mut Filters)) -> Self {
        let mut filters = self.filters.as_deref().cloned().unwrap_or_default();
        change(&mut filters);
        self.filters = Some(Arc::new(filters));
        self
    }

    /// The longest freshness lifetime, whatever the origin says. Default: none.
    #[must_use]
    pub fn max_ttl(mut self, lifetime: Duration) -> Self {
        self.max_ttl = Some(lifetime);
        self
    }

    /// The longest lifetime that the heuristic of RFC 9111 §4.2.2 may find. Default: 24 hours.
    #[must_use]
    pub fn heuristic_cap(mut self, lifetime: Duration) -> Self {
        self.heuristic_cap = lifetime;
        self
    }

    /// How long a response is kept after its stale windows, for validation and for the time in
    /// which the origin cannot be reached. Default: one hour.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.retention = Retention::Grace(grace);
        self
    }

    /// How long a response is kept. Default: one hour of [`grace`](Self::grace).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// `stale-while-revalidate` (RFC 5861 §3) for responses that do not say. Default: none.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// `stale-if-error` (RFC 5861 §4) for responses that do not say. Default: none.
    ///
    /// It is about error responses (500, 502, 503, 504). While no response comes at all, a stale
    /// one that nothing forbids is served as long as it is kept (RFC 9111 §4.2.4).
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
        self
    }

    /// Whether even a fresh response is validated before each use, where it has a validator and
    /// is not `immutable`. Default: no.
    #[must_use]
    pub fn always_revalidate(mut self, always: bool) -> Self {
        self.always_revalidate = always;
        self
    }

    /// The fraction of its lifetime after which a response that is asked for is brought up to date in
    /// the background, while it is still served, so that what is asked for often never becomes stale:
    /// 0.8 is a good one. Default: none.
    ///
    /// It happens at a point between this fraction and the middle of what is left behind it, which
    /// differs from response to response and from process to process, so that not all ask at once. As
    /// with `stale-while-revalidate` each response is asked for once at a time. What is `immutable` is
    /// left as it is (RFC 8246), and so is what a request finds that is not in the default mode.
    ///
    /// ```
    /// # use cache_core::Policy;
    /// let policy = Policy::shared().early_refresh(0.8)?;
    /// # let _ = policy;
    /// assert!(Policy::shared().early_refresh(80.0).is_err());
    /// # Ok::<(), cache_core::InvalidFraction>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Where it is not between 0 and 1.
    pub fn early_refresh(mut self, fraction: f64) -> Result<Self, InvalidFraction> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(InvalidFraction(fraction));
        }
        self.early_refresh = Some(fraction);
        Ok(self)
    }

    /// The longest body that is stored, in bytes; a longer one passes through. Default: 16 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: u64) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// What [`max_body_bytes`](Self::max_body_bytes) set.
    #[must_use]
    pub fn body_limit(&self) -> u64 {
        self.max_body_bytes
    }

    /// The largest header section that is stored, and the longest key, in bytes. Default: 64 KiB.
    #[must_use]
    pub fn max_head_bytes(mut self, bytes: usize) -> Self {
        self.max_head_bytes = bytes;
        self
    }
}

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

const SECRET_PARAMETERS: [&str; 16] = [
    "access_token",
    "api_key",
    "apikey",
    "auth_token",
    "client_secret",
    "id_token",
    "key",
    "password",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
];

/// A number that is not a part of a lifetime.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvalidFraction(f64);

impl fmt::Display for InvalidFraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is no fraction of a lifetime; write a number between 0 and 1, such as 0.8",
            self.0
        )
    }
}

impl Error for InvalidFraction {}

impl Default for Policy {
    /// [`Policy::private`].
    fn default() -> Self {
        Self::private()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_any_case_and_at_any_length() {
        let long = "x".repeat(70);
        let parameters = Parameters::named(["key", "Session", &long]);
        for name in ["key", "KEY", "session", &long] {
            assert!(parameters.contains(name.as_bytes()), "{name}");
        }
        for name in ["", "ke", "kex", "keys", &long[1..], &"y".repeat(70)] {
            assert!(!parameters.contains(name.as_bytes()), "{name}");
        }
        assert!(!Parameters::named([""; 0]).contains(b""));
        assert!(Parameters::named([""]).contains(b""));
    }
}
