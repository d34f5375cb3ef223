//! `Filter`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_core::{Listed, Policy, PrimaryKey, RequestHead};
use http::{Request, StatusCode, Uri};

/// Which stored responses: those for which all conditions hold.
///
/// ```
/// use cache_tower::Filter;
/// use std::time::Duration;
///
/// let filter = Filter::all()
///     .prefix("https://api.example/v1/")
///     .stale()
///     .older_than(Duration::from_secs(3600));
/// # let _ = filter;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Clone)]
enum Condition {
    Url(Uri),
    Prefix(String),
    Host(String),
    Status(StatusCode),
    IsFresh(bool),
    IsExpired,
    OlderThan(Duration),
    Matching(Arc<dyn Fn(&Listed) -> bool + Send + Sync>),
}

impl Filter {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// The responses for this URL: all variants, whoever asked. It is compared as keys are, so that
    /// `HTTP://A.test:80` is `http://a.test/`, and parameters that hold secrets count.
    pub fn url(self, url: Uri) -> Self {
        self.and(Condition::Url(url))
    }

    /// The responses whose URL, as [`PrimaryKey::url`] has it, begins with this.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        self.and(Condition::Prefix(prefix.into()))
    }

    /// The responses of this host, at any port, by any scheme.
    pub fn host(self, host: impl Into<String>) -> Self {
        self.and(Condition::Host(host.into()))
    }

    /// The responses with this status code.
    pub fn status(self, status: StatusCode) -> Self {
        self.and(Condition::Status(status))
    }

    /// The responses that are fresh (RFC 9111 §4.2).
    pub fn fresh(self) -> Self {
        self.and(Condition::IsFresh(true))
    }

    /// The responses that are stale, whether they can be used still or not.
    pub fn stale(self) -> Self {
        self.and(Condition::IsFresh(false))
    }

    /// The responses that are kept no longer, and that the store has not removed yet.
    pub fn expired(self) -> Self {
        self.and(Condition::IsExpired)
    }

    /// The responses whose age (RFC 9111 §4.2.3) is more than this.
    pub fn older_than(self, age: Duration) -> Self {
        self.and(Condition::OlderThan(age))
    }

    /// The responses that this function picks. It must not panic.
    pub fn matching(self, picks: impl Fn(&Listed) -> bool + Send + Sync + 'static) -> Self {
        self.and(Condition::Matching(Arc::new(picks)))
    }

    fn and(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The same with keys in the place of URLs.
    pub(super) fn prepare(self, policy: &Policy) -> Prepared {
        let conditions = self.conditions.into_iter().map(|condition| {
            let key = match &condition {
                Condition::Url(url) => key_of(policy, url),
                _ => None,
            };
            (condition, key)
        });
        Prepared {
            conditions: conditions.collect(),
        }
    }
}

/// A filter whose URLs are keys.
#[derive(Clone)]
pub(super) struct Prepared {
    conditions: Vec<(Condition, Option<PrimaryKey>)>,
}

impl Prepared {
    pub(super) fn picks(&self, listed: &Listed, now: SystemTime) -> bool {
        let head = &listed.head;
        let url = || head.key().url();
        self.conditions
            .iter()
            .all(|(condition, key)| match condition {
                Condition::Url(_) => key.as_ref().is_some_and(|key| key.has_url_of(head.key())),
                Condition::Prefix(prefix) => url().is_some_and(|url| url.starts_with(prefix)),
                Condition::Host(host) => url().is_some_and(|url| is_at(&url, host)),
                Condition::Status(status) => head.status() == *status,
                Condition::IsFresh(is_fresh) => head.remaining(now).is_zero() != *is_fresh,
                Condition::IsExpired => head.retain_until().is_some_and(|until| until <= now),
                // What arrived later than now is of any age: the clock was set back.
                Condition::OlderThan(age) => {
                    head.age(now) > *age || head.stale_for(now) == Duration::MAX
                }
                Condition::Matching(picks) => picks(listed),
            })
    }

    /// The keys that the URLs have for requests without credentials.
    pub(super) fn keys(&self) -> impl Iterator<Item = &PrimaryKey> {
        self.conditions.iter().filter_map(|(_, key)| key.as_ref())
    }

    /// Whether a URL is all that it asks for.
    pub(super) fn is_url_only(&self) -> bool {
        matches!(&self.conditions[..], [(Condition::Url(_), _)])
    }
}

fn key_of(policy: &Policy, url: &Uri) -> Option<PrimaryKey> {
    let mut request = Request::new(());
    request.uri_mut().clone_from(url);
    PrimaryKey::of(policy, &RequestHead::from(&request))
}

fn is_at(url: &str, host: &str) -> bool {
    let authority = url.split_once("//").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    name.eq_ignore_ascii_case(host)
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.conditions).finish()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A URL can hold secrets.
            Self::Url(_) => f.write_str("Url(..)"),
            Self::Prefix(_) => f.write_str("Prefix(..)"),
            Self::Host(host) => f.debug_tuple("Host").field(host).finish(),
            Self::Status(status) => f.debug_tuple("Status").field(status).finish(),
            Self::IsFresh(is_fresh) => f.debug_tuple("IsFresh").field(is_fresh).finish(),
            Self::IsExpired => f.write_str("IsExpired"),
            Self::OlderThan(age) => f.debug_tuple("OlderThan").field(age).finish(),
            Self::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}
