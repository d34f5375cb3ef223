//! The head of a stored response.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::header::{ETAG, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, LAST_MODIFIED};
use http::{StatusCode, Version};

use crate::header::common_values;
use crate::header::date;
use crate::header::entity_tag::EntityTag;
use crate::header::range::Part;
use crate::key::{Digest, PrimaryKey};
use crate::rules::freshness::{Freshness, LifetimeSource, elapsed};
use crate::rules::selection;
use crate::rules::storing::content_length;

/// The head of a stored response, with all that its reuse depends on worked out already.
///
/// Of the request it holds no field, only digests of those that `Vary` names.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHead {
    pub(crate) key: PrimaryKey,
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// What `headers` announces, for comparison with the body that is found.
    pub(crate) content_length: Option<u64>,
    /// The part of the content that it brings, where it is not the whole.
    pub(crate) part: Option<Part>,
    pub(crate) selecting: Vec<SelectingField>,
    pub(crate) requested_at: SystemTime,
    pub(crate) received_at: SystemTime,
    pub(crate) freshness: Freshness,
}

/// A request field that `Vary` named, and a keyed digest of the value it had; `None`: it was absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectingField {
    pub(crate) name: HeaderName,
    pub(crate) value: Option<Digest>,
}

/// What a [`StoredHead`] is made of, for a backend that keeps it elsewhere.
#[derive(Clone)]
pub struct StoredHeadParts {
    /// The key.
    pub key: PrimaryKey,
    /// The status code.
    pub status: StatusCode,
    /// The version of the response.
    pub version: Version,
    /// The header section, as [`StoredHead::headers`] has it.
    pub headers: HeaderMap,
    /// The names of the selecting fields, and the digests of their values.
    pub selecting: Vec<(HeaderName, Option<Digest>)>,
    /// When it was asked for.
    pub requested_at: SystemTime,
    /// When it arrived.
    pub received_at: SystemTime,
    /// What it says of its own reuse.
    pub freshness: Freshness,
    /// The part of the content that it brings.
    pub part: Option<Part>,
}

impl fmt::Debug for StoredHeadParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredHeadParts")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl From<StoredHeadParts> for StoredHead {
    fn from(parts: StoredHeadParts) -> Self {
        let selecting = parts.selecting.into_iter();
        Self {
            key: parts.key,
            status: parts.status,
            version: parts.version,
            content_length: content_length(&parts.headers),
            headers: compact(&parts.headers),
            selecting: selecting
                .map(|(name, value)| SelectingField { name, value })
                .collect(),
            requested_at: parts.requested_at,
            received_at: parts.received_at,
            freshness: parts.freshness,
            part: parts.part,
        }
    }
}

impl SelectingField {
    /// The name of the field.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The keyed digest of its value.
    #[must_use]
    pub fn value(&self) -> Option<Digest> {
        self.value
    }
}

impl StoredHead {
    /// The key that it is stored under.
    #[must_use]
    pub fn key(&self) -> &PrimaryKey {
        &self.key
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of the response.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header section as it is stored: without the fields of the connection, always with
    /// `Date`, and with a placeholder for `Age`.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The request fields that it was selected by.
    #[must_use]
    pub fn selecting(&self) -> &[SelectingField] {
        &self.selecting
    }

    /// What tells it apart from other responses under the same key that were selected by other
    /// values; parts of one response have one variant.
    #[must_use]
    pub fn variant(&self) -> Digest {
        let fields = self
            .selecting
            .iter()
            .map(|field| (&field.name, field.value));
        selection::variant(fields)
    }

    /// When it was asked for; the last time, where it was validated since.
    #[must_use]
    pub fn requested_at(&self) -> SystemTime {
        self.requested_at
    }

    /// When it arrived; the last time, where it was validated since.
    #[must_use]
    pub fn received_at(&self) -> SystemTime {
        self.received_at
    }

    /// What it says of its own reuse.
    #[must_use]
    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// The part of the content that it brings; `None`: the whole, or a part that it does not name.
    #[must_use]
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Its age (RFC 9111 §4.2.3: `current_age`), as far as it is known: of one that arrived later than now,
    /// that which it had on arrival.
    #[must_use]
    #[inline]
    pub fn age(&self, now: SystemTime) -> Duration {
        self.known_age(now).unwrap_or(self.freshness.initial_age)
    }

    /// How long it is still fresh; zero: it is stale (RFC 9111 §4.2), or arrived later than now, by more than
    /// clocks of several machines differ. Then the clock was set back, and nobody knows its age.
    #[must_use]
    #[inline]
    pub fn remaining(&self, now: SystemTime) -> Duration {
        let age = self.known_age(now).unwrap_or(Duration::MAX);
        self.freshness.lifetime.saturating_sub(age)
    }

    /// How long it has been stale; zero: it is fresh, or just became stale. For ever, where nobody knows its
    /// age.
    #[must_use]
    pub fn stale_for(&self, now: SystemTime) -> Duration {
        match self.known_age(now) {
            Some(age) => age.saturating_sub(self.freshness.lifetime),
            None => Duration::MAX,
        }
    }

    #[inline]
    pub(crate) fn known_age(&self, now: SystemTime) -> Option<Duration> {
        let resident = match now.duration_since(self.received_at) {
            Ok(resident) => resident,
            Err(early) if early.duration() <= CLOCK_SKEW => Duration::ZERO,
            Err(_) => return None,
        };
        Some(self.freshness.initial_age.saturating_add(resident))
    }

    /// The same response, stale from `now` on, but kept as long as before: what a soft purge leaves.
    /// One that is stale already stays as it is.
    #[must_use]
    pub fn stale_from(&self, now: SystemTime) -> Self {
        let mut head = self.clone();
        head.received_at = head.received_at.min(now);
        head.freshness.lifetime = head.freshness.lifetime.min(self.age(now));
        head
    }

    /// The same response, fresh for `lifetime` from `now` on, whatever the origin said, and kept after
    /// that as long as it was to be kept before. What has to be validated before each use still has.
    #[must_use]
    pub fn fresh_for(&self, lifetime: Duration, now: SystemTime) -> Self {
        let mut head = self.clone();
        head.received_at = head.received_at.min(now);
        let freshness = &mut head.freshness;
        let fresh_before = freshness.lifetime.saturating_sub(freshness.initial_age);
        freshness.retain_until = freshness.retain_until.and_then(|until| {
            let kept_after = elapsed(self.received_at, until).saturating_sub(fresh_before);
            // A time past the end of time is for ever.
            now.checked_add(lifetime.saturating_add(kept_after))
        });
        freshness.lifetime = self.age(now).saturating_add(lifetime);
        freshness.source = LifetimeSource::Default;
        head
    }

    /// Until when a backend keeps it; `None`: for ever.
    #[must_use]
    pub fn retain_until(&self) -> Option<SystemTime> {
        self.freshness.retain_until
    }

    /// About how many bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.key.as_bytes().len()
            + resident(&self.headers)
            + self.selecting.len() * size_of::<SelectingField>()
            + 4 * ALLOCATION
    }

    /// About how many bytes of its own it has: what the limit of a header section is for.
    pub(crate) fn length(&self) -> usize {
        self.key.as_bytes().len() + weight(&self.headers)
    }

    pub(crate) fn etag(&self) -> Option<EntityTag<'_>> {
        self.headers
            .get(ETAG)
            .map(|value| EntityTag::parse(value.as_bytes()))
    }

    pub(crate) fn last_modified(&self) -> Option<SystemTime> {
        date::read(&self.headers, &LAST_MODIFIED)
    }

    /// Whether the origin can be asked if it is still current.
    #[must_use]
    pub fn has_validator(&self) -> bool {
        has_validator(&self.headers)
    }
}

impl fmt::Debug for StoredHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Field values can hold secrets, so names alone are shown.
        f.debug_struct("StoredHead")
            .field("key", &self.key)
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("received_at", &self.received_at)
            .field("freshness", &self.freshness)
            .finish_non_exhaustive()
    }
}

pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(ETAG) || date::read(headers, &LAST_MODIFIED).is_some()
}

/// The same header section without places for more fields, of which a table that was filled can have as many as
/// fields.
pub(crate) fn compact(headers: &HeaderMap) -> HeaderMap {
    // A clone has none.
    headers.clone()
}

/// About how many bytes a header section takes in memory, if it is compact.
fn resident(headers: &HeaderMap) -> usize {
    let repeated = headers.len() - headers.keys_len();
    let values: usize = headers.values().map(|value| value.len() + VALUE).sum();
    headers.keys_len() * SLOT + headers.capacity() * INDEX + repeated * REPEATED + values
}

/// A place in the table of a `HeaderMap`.
const SLOT: usize = 104;

/// Its part of the index, which keeps places free.
const INDEX: usize = 6;

/// A value of a name that has one already.
const REPEATED: usize = 72;

/// An allocation for the bytes of a value, and one for their references.
const VALUE: usize = 48;

/// What an allocation takes beside its bytes.
const ALLOCATION: usize = 16;

/// About how long a header section is, with what a table needs for each field.
pub(crate) fn weight(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
        .sum()
}

/// A copy of what is not excepted, whose values own exactly their bytes, and so pin no buffer of the
/// connection; behind what is in `copy` already.
pub(crate) fn copy_unshared(headers: &HeaderMap, except: &[HeaderName], copy: &mut HeaderMap) {
    copy.reserve(headers.len() + 2);
    for (name, value) in headers {
        if !except.contains(name) {
            copy.append(name, unshared(value));
        }
    }
}

/// A value that shares its bytes with no other that is not equal.
fn unshared(value: &HeaderValue) -> HeaderValue {
    let mut owned = own_value(value.as_bytes()).unwrap_or_else(|_| value.clone());
    owned.set_sensitive(value.is_sensitive());
    owned
}

/// A value with these bytes.
pub(crate) fn own_value(bytes: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
    match common_values::find(bytes) {
        Some(common) => Ok(HeaderValue::from_static(common)),
        None => HeaderValue::from_bytes(bytes),
    }
}

/// What a field costs beside its bytes: a name, a value, a slot of the table.
const FIELD_OVERHEAD: usize = 96;

/// How much the clocks of several machines differ at most.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
