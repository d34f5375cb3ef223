//! What the cache did with one request.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, StatusCode};

use crate::key::Digest;
use crate::reason::Reason;
use crate::stored::StoredHead;

/// What the cache did with one request, in the extensions of every response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheInfo {
    /// What became of the request.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Whether the response is in the store.
    pub storing: Storing,
    /// The age of the stored response that answered; `None` where the origin did.
    pub age: Option<Duration>,
    /// How long that response is still fresh; zero: it is stale.
    pub remaining: Option<Duration>,
    /// How long it has been stale; zero: it is fresh.
    pub stale_for: Option<Duration>,
    /// Why the origin was asked, if it was.
    pub forwarded: Option<Reason>,
    /// What the origin answered, if it did.
    pub forwarded_status: Option<StatusCode>,
    /// When the response that is stored, or will be, arrived, or was last validated.
    pub received_at: Option<SystemTime>,
    /// For how long it was fresh then.
    pub(crate) left: Duration,
    /// The digest of the key, where the request asked for it:
    /// [`CacheOptions::report_key`](crate::CacheOptions::report_key).
    pub key: Option<Digest>,
    /// Another request for the same was on its way to the origin already, and its response answered
    /// this one, too.
    pub collapsed: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store, stale.
    StaleHit,
    /// Answered from the store after the origin validated it.
    Revalidated,
    /// Answered by the origin.
    Miss,
    /// The cache kept out of it.
    Bypass,
    /// Answered by the cache itself, without a stored response: 504 where none satisfies the request,
    /// and it wants nothing else; 503 where the store is away, and the origin is not to be asked for
    /// what it may have.
    Unsatisfiable,
}

impl Outcome {
    /// A word for tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::StaleHit => "stale hit",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Unsatisfiable => "unsatisfiable",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a response is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storing {
    /// It came from there.
    Stored,
    /// It will be, once its body has been read to its end.
    Accepted,
    /// It is not, and this is why.
    Refused(Reason),
}

impl CacheInfo {
    /// A request that was not answered from the store.
    #[must_use]
    pub const fn unstored(outcome: Outcome, reason: Reason, storing: Storing) -> Self {
        Self {
            outcome,
            reason,
            storing,
            age: None,
            remaining: None,
            stale_for: None,
            forwarded: None,
            forwarded_status: None,
            received_at: None,
            left: Duration::ZERO,
            key: None,
            collapsed: false,
        }
    }

    /// The same, where this is stored, or will be.
    #[must_use]
    pub fn with_stored(self, head: &StoredHead) -> Self {
        let freshness = head.freshness();
        let left = freshness.lifetime.saturating_sub(freshness.initial_age);
        Self {
            received_at: Some(head.received_at()),
            left,
            ..self
        }
    }

    /// The same, where this became of storing.
    #[must_use]
    pub const fn with_storing(self, storing: Storing) -> Self {
        Self { storing, ..self }
    }

    /// The same, where the origin was asked because of this, and answered so.
    #[must_use]
    pub const fn with_forward(self, why: Reason, status: Option<StatusCode>) -> Self {
        Self {
            forwarded: Some(why),
            forwarded_status: status,
            ..self
        }
    }

    /// The same, where another request was on its way to the origin because of this, and its response
    /// answers this one, too.
    #[must_use]
    pub const fn with_collapsed_forward(self, why: Reason, status: StatusCode) -> Self {
        Self {
            collapsed: true,
            ..self.with_forward(why, Some(status))
        }
    }

    /// The member that a cache of this name adds to `Cache-Status` (RFC 9211 §2), without the key,
    /// which may hold secrets.
    #[must_use]
    pub fn cache_status(&self, cache: &CacheName) -> HeaderValue {
        let mut member = cache.as_str().to_owned();
        match self.forwarded {
            None if self.is_hit() => member.push_str("; hit"),
            None => {}
            Some(why) => {
                member.push_str("; fwd=");
                member.push_str(why.forward_reason());
                if let Some(status) = self.forwarded_status {
                    member.push_str("; fwd-status=");
                    member.push_str(status.as_str());
                }
                if self.collapsed {
                    member.push_str("; collapsed");
                }
                if self.storing == Storing::Accepted {
                    member.push_str("; stored");
                }
            }
        }
        if let (Some(remaining), Some(stale_for)) = (self.remaining, self.stale_for) {
            // Beyond fifteen digits there is no integer (RFC 9651 §3.3.1).
            let seconds = |time: Duration| time.as_secs().min(999_999_999_999_999);
            let sign = if stale_for.is_zero() { "" } else { "-" };
            let ttl = seconds(remaining.max(stale_for));
            member.push_str(&format!("; ttl={sign}{ttl}"));
        }
        let detail = match self.storing {
            Storing::Refused(reason) => reason,
            _ => self.reason,
        };
        member.push_str("; detail=\"");
        member.push_str(detail.explain());
        member.push('"');
        HeaderValue::try_from(member).unwrap_or(HeaderValue::from_static("cache"))
    }

    /// Whether the response came from the store, validated or not.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Hit | Outcome::StaleHit | Outcome::Revalidated
        )
    }

    /// Whether the response came from the store, stale.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.outcome == Outcome::StaleHit
            || self.is_hit() && self.remaining.is_some_and(|left| left.is_zero())
    }

    /// Whether the response came from the store after the origin validated it.
    #[must_use]
    pub fn is_revalidated(&self) -> bool {
        self.outcome == Outcome::Revalidated
    }

    /// Until when the response that is stored, or will be, is fresh; `None` also where that is for
    /// ever.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.received_at?.checked_add(self.left)
    }

    /// Whether the stored response is not fresh any more at this time.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at().is_some_and(|end| end <= now)
    }

    /// Whether the stored response is older than this.
    #[must_use]
    pub fn is_older_than(&self, age: Duration) -> bool {
        self.age.is_some_and(|own| own > age)
    }

    /// Whether the response is in the store, or will be once its body has been read to its end.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self.storing, Storing::Stored | Storing::Accepted)
    }
}

/// The name of a cache in `Cache-Status`.
///
/// ```
/// use cache_core::CacheName;
/// assert!(CacheName::new("gateway.example").is_ok());
/// assert!(CacheName::new("two words").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheName(Arc<str>);

impl CacheName {
    /// A name that is a token of RFC 9651 §3.3.4: it begins with a letter and goes on with letters,
    /// digits and most other characters, but no space, comma, semicolon, quote or equals sign.
    ///
    /// # Errors
    ///
    /// Where it is none.
    pub fn new(name: &str) -> Result<Self, InvalidCacheName> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
        match name.as_bytes() {
            [first, rest @ ..]
                if first.is_ascii_alphabetic() && rest.iter().copied().all(is_token) =>
            {
                Ok(Self(name.into()))
            }
            _ => Err(InvalidCacheName(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that cannot stand in `Cache-Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidCacheName(Box<str>);

impl fmt::Display for InvalidCacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} cannot name a cache; write a letter, and then letters, digits, `-`, `.` or `_`",
            self.0
        )
    }
}

impl Error for InvalidCacheName {}

impl fmt::Display for CacheInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.reason)?;
        if let (Some(age), Some(remaining)) = (self.age, self.remaining) {
            write!(f, "; age {} s", age.as_secs())?;
            let (what, time) = match self.stale_for {
                Some(time) if !time.is_zero() => ("stale", time),
                _ => ("fresh", remaining),
            };
            match time.as_secs() {
                FOR_EVER.. => write!(f, ", {what} for ever")?,
                seconds => write!(f, ", {what} for {seconds} s")?,
            }
        }
        match self.storing {
            Storing::Refused(reason) if reason != self.reason => {
                write!(f, "; not stored: {reason}")
            }
            Storing::Accepted => f.write_str("; stored"),
            _ => Ok(()),
        }
    }
}

/// A thousand years, in seconds.
const FOR_EVER: u64 = 31_557_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(info: &CacheInfo, expected: &str) {
        let name = CacheName::new("test").expect("a token");
        assert_eq!(info.cache_status(&name), expected);
    }

    fn stored(outcome: Outcome, reason: Reason, remaining: u64, stale_for: u64) -> CacheInfo {
        CacheInfo {
            age: Some(Duration::from_secs(1)),
            remaining: Some(Duration::from_secs(remaining)),
            stale_for: Some(Duration::from_secs(stale_for)),
            ..CacheInfo::unstored(outcome, reason, Storing::Stored)
        }
    }

    #[test]
    fn times_are_written_in_seconds_unless_they_are_for_ever() {
        let shown = |remaining, stale_for| {
            let outcome = Outcome::Hit;
            stored(outcome, Reason::Fresh, remaining, stale_for).to_string()
        };
        assert_eq!(
            shown(30, 0),
            "hit: the stored response is fresh; age 1 s, fresh for 30 s"
        );
        assert!(shown(u64::MAX, 0).ends_with(", fresh for ever"));
        assert!(shown(0, u64::MAX).ends_with(", stale for ever"));
        assert!(shown(0, 9).ends_with(", stale for 9 s"));
    }

    #[test]
    fn cache_status_has_its_members() {
        check(
            &stored(Outcome::Hit, Reason::Fresh, 30, 0),
            "test; hit; ttl=30; detail=\"the stored response is fresh\"",
        );
        check(
            &stored(Outcome::StaleHit, Reason::MaxStale, 0, 5),
            "test; hit; ttl=-5; detail=\"stale, within the max-stale of the request\"",
        );
        check(
            &stored(Outcome::Revalidated, Reason::Validated, 60, 0)
                .with_forward(Reason::Stale, Some(StatusCode::NOT_MODIFIED)),
            "test; fwd=stale; fwd-status=304; ttl=60; detail=\"the origin validated the stored response\"",
        );
        let miss = |storing| {
            CacheInfo::unstored(Outcome::Miss, Reason::UriMiss, storing)
                .with_forward(Reason::UriMiss, Some(StatusCode::OK))
        };
        check(
            &miss(Storing::Accepted),
            "test; fwd=uri-miss; fwd-status=200; stored; detail=\"nothing is stored for this URI\"",
        );
        check(
            &miss(Storing::Refused(Reason::ResponseNoStore)),
            "test; fwd=uri-miss; fwd-status=200; detail=\"the response says no-store\"",
        );
        check(
            &CacheInfo::unstored(
                Outcome::Unsatisfiable,
                Reason::OnlyIfCached,
                Storing::Refused(Reason::OnlyIfCached),
            ),
            "test; detail=\"nothing usable is stored and the request wants nothing else\"",
        );
    }

    #[test]
    fn a_name_that_is_no_token_is_refused_with_advice() {
        for name in ["", "1x", "two words", "a;b", "a=b", "\"x\"", "\u{fc}"] {
            let error = CacheName::new(name).expect_err("no token");
            assert!(error.to_string().contains("write a letter"), "{error}");
        }
    }
}
