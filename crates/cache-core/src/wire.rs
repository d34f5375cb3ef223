//! A head as bytes, for backends that keep it elsewhere: what postcard makes of it.
//!
//! Who reads untrusted bytes has compared a checksum before, or a signature; and even so nothing here
//! panics, and no more is allocated than there are bytes.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName};
use http::{StatusCode, Version};
use serde::{Deserialize, Serialize};

use crate::header::range::Part;
use crate::key::{Digest, PrimaryKey};
use crate::rules::freshness::{Freshness, LifetimeSource};
use crate::stored::{StoredHead, StoredHeadParts};

/// The head as postcard has it. Times are microseconds since 1970, durations microseconds.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    key: &'a [u8],
    status: u16,
    version: u8,
    #[serde(with = "fields")]
    fields: Cow<'a, HeaderMap>,
    #[serde(borrow)]
    selecting: Vec<(&'a str, Option<Digest>)>,
    requested_at: u64,
    received_at: u64,
    dated_at: u64,
    initial_age: u64,
    lifetime: u64,
    source: u8,
    rules: u8,
    stale_while_revalidate: u64,
    stale_if_error: u64,
    #[serde(borrow)]
    no_cache_fields: Vec<&'a str>,
    retain_until: Option<u64>,
    part: Option<(u64, u64, u64)>,
    #[serde(with = "fields")]
    trailers: Cow<'a, HeaderMap>,
}

const ALWAYS_VALIDATE: u8 = 1;
const MUST_REVALIDATE: u8 = 2;
const IMMUTABLE: u8 = 4;
const IS_WINDOW_FINAL: u8 = 8;

/// A head and trailers as bytes. Nothing that has come from a store or an origin is too large for that.
#[must_use]
pub fn encode(head: &StoredHead, trailers: Option<&HeaderMap>) -> Option<Vec<u8>> {
    let freshness = head.freshness();
    let part = head
        .part()
        .map(|part| (part.bytes.start, part.bytes.end, part.length));
    let rule = |is_set: bool, rule: u8| if is_set { rule } else { 0 };
    postcard::to_stdvec(&Head {
        key: head.key().as_bytes(),
        status: head.status().as_u16(),
        version: version_number(head.version()),
        fields: Cow::Borrowed(head.headers()),
        selecting: head
            .selecting()
            .iter()
            .map(|field| (field.name().as_str(), field.value()))
            .collect(),
        requested_at: micros(head.requested_at()),
        received_at: micros(head.received_at()),
        dated_at: micros(freshness.dated_at),
        initial_age: duration_micros(freshness.initial_age),
        lifetime: duration_micros(freshness.lifetime),
        source: source_number(freshness.source),
        rules: rule(freshness.always_validate, ALWAYS_VALIDATE)
            | rule(freshness.must_revalidate, MUST_REVALIDATE)
            | rule(freshness.immutable, IMMUTABLE)
            | rule(freshness.is_window_final, IS_WINDOW_FINAL),
        stale_while_revalidate: duration_micros(freshness.stale_while_revalidate),
        stale_if_error: duration_micros(freshness.stale_if_error),
        no_cache_fields: freshness
            .no_cache_fields
            .iter()
            .map(HeaderName::as_str)
            .collect(),
        retain_until: freshness.retain_until.map(micros),
        part,
        trailers: trailers.map_or_else(Cow::default, Cow::Borrowed),
    })
    .ok()
}

/// Reads a head and trailers, which share nothing with these bytes; `None`: they are none.
#[must_use]
pub fn decode(encoded: &[u8]) -> Option<(StoredHead, Option<HeaderMap>)> {
    let head: Head<'_> = postcard::from_bytes(encoded).ok()?;
    let selecting = head
        .selecting
        .iter()
        .map(|(name, value)| Some((HeaderName::try_from(*name).ok()?, *value)));
    let no_cache_fields = head
        .no_cache_fields
        .iter()
        .map(|name| HeaderName::try_from(*name).ok());
    let is_set = |rule: u8| head.rules & rule != 0;
    let trailers = head.trailers.into_owned();
    let parts = StoredHeadParts {
        key: PrimaryKey::from_bytes(head.key),
        status: StatusCode::from_u16(head.status).ok()?,
        version: version(head.version)?,
        headers: head.fields.into_owned(),
        selecting: selecting.collect::<Option<_>>()?,
        requested_at: time(head.requested_at)?,
        received_at: time(head.received_at)?,
        freshness: Freshness {
            dated_at: time(head.dated_at)?,
            initial_age: Duration::from_micros(head.initial_age),
            lifetime: Duration::from_micros(head.lifetime),
            source: source(head.source)?,
            always_validate: is_set(ALWAYS_VALIDATE),
            must_revalidate: is_set(MUST_REVALIDATE),
            immutable: is_set(IMMUTABLE),
            is_window_final: is_set(IS_WINDOW_FINAL),
            stale_while_revalidate: Duration::from_micros(head.stale_while_revalidate),
            stale_if_error: Duration::from_micros(head.stale_if_error),
            no_cache_fields: no_cache_fields.collect::<Option<_>>()?,
            retain_until: match head.retain_until {
                Some(until) => Some(time(until)?),
                None => None,
            },
        },
        part: match head.part {
            Some((start, end, length)) if start <= end && end <= length => Some(Part {
                bytes: start..end,
                length,
            }),
            Some(_) => return None,
            None => None,
        },
    };
    let trailers = (!trailers.is_empty()).then_some(trailers);
    Some((parts.into(), trailers))
}

/// A header section: its lines, each a name and a value.
mod fields {
    use std::borrow::Cow;
    use std::fmt;

    use http::header::{HeaderMap, HeaderName};
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeSeq;
    use serde::{Deserializer, Serializer};

    use crate::stored::own_value;

    pub(super) fn serialize<S: Serializer>(
        headers: &HeaderMap,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut lines = serializer.serialize_seq(Some(headers.len()))?;
        for (name, value) in headers {
            lines.serialize_element(&(name.as_str(), value.as_bytes()))?;
        }
        lines.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'static, HeaderMap>, D::Error> {
        deserializer.deserialize_seq(Lines).map(Cow::Owned)
    }

    struct Lines;

    impl<'de> Visitor<'de> for Lines {
        type Value = HeaderMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("names and values of fields")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut lines: A) -> Result<HeaderMap, A::Error> {
            // A length is not believed: what it says may not be there.
            let capacity = lines.size_hint().unwrap_or_default().min(MOST_AT_ONCE);
            let mut headers = HeaderMap::with_capacity(capacity);
            while let Some((name, value)) = lines.next_element::<(&str, &[u8])>()? {
                let name = HeaderName::try_from(name).map_err(Error::custom)?;
                let value = own_value(value).map_err(Error::custom)?;
                headers.try_append(name, value).map_err(Error::custom)?;
            }
            Ok(headers)
        }
    }

    const MOST_AT_ONCE: usize = 64;
}

/// Microseconds since 1970; zero before.
#[must_use]
pub fn micros(at: SystemTime) -> u64 {
    duration_micros(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// In microseconds, as far as there are numbers.
#[must_use]
pub fn duration_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn time(micros: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}

fn version_number(version: Version) -> u8 {
    match version {
        Version::HTTP_09 => 9,
        Version::HTTP_10 => 10,
        Version::HTTP_2 => 20,
        Version::HTTP_3 => 30,
        _ => 11,
    }
}

fn version(number: u8) -> Option<Version> {
    Some(match number {
        9 => Version::HTTP_09,
        10 => Version::HTTP_10,
        11 => Version::HTTP_11,
        20 => Version::HTTP_2,
        30 => Version::HTTP_3,
        _ => return None,
    })
}

fn source_number(source: LifetimeSource) -> u8 {
    match source {
        LifetimeSource::Explicit => 1,
        LifetimeSource::Heuristic => 2,
        LifetimeSource::Default => 3,
        _ => 0,
    }
}

fn source(number: u8) -> Option<LifetimeSource> {
    Some(match number {
        0 => LifetimeSource::None,
        1 => LifetimeSource::Explicit,
        2 => LifetimeSource::Heuristic,
        3 => LifetimeSource::Default,
        _ => return None,
    })
}
