//! The bytes at a key.
//!
//! ```text
//!  0  magic "httc"          4
//!  4  version               1
//!  5  kind                  1   1 response · 2 response, body elsewhere · 3 rule
//!  6  length of the selector 2  little-endian; zero of a rule
//!  8  requested at          8   big-endian microseconds since 1970; what scripts compare
//! 16  stale at              8   the same; for people who look
//! 24  token                16
//! 40  generation            8   of the rule that a variant belongs to; zero without one
//! 48  length of the head    4   little-endian
//! 52  length of the body    8   little-endian
//! 60  checksum              8   little-endian XXH3 of all but the generation, this, and the check
//! 68  check                 8   of a SHA-1 of what is above but for the generation, and of the next two
//! 76  variant              16   digest of the values that the response was selected by; zero of a rule
//! 92  selector                  the names of those fields
//!     head                      postcard; of a rule, selectors, each followed by a line feed
//!     body                      as received, if it is here
//! ```
//!
//! A response that is the only one of its resource stands at the primary key, whatever selected it; where
//! there are several, a rule stands there, and each at a key of its own, which variant and selector tell.
//!
//! Scripts compute no XXH3, so there is a check for them, which lookups leave to them. They write rules,
//! whose times, token and checksum are zero, and whose check is of all above, the variant and the lines;
//! and into variants their generation.
//!
//! Whatever is not exactly this is no value: a miss.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cache_core::{StoredHead, Token, wire};
use http::header::{HeaderMap, HeaderName};
use sha1_smol::Sha1;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::body::framed_length;
use crate::heads::Heads;

/// What stands at a key.
#[derive(Debug)]
pub(crate) enum Value {
    Response(StoredResponse),
    Rule(Rule),
}

/// A stored response as it is read.
#[derive(Debug)]
pub(crate) struct StoredResponse {
    pub(crate) head: Arc<StoredHead>,
    pub(crate) token: Token,
    pub(crate) generation: u64,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Here(Bytes),
    Elsewhere { length: u64 },
}

/// By what the responses under a primary key were selected, as far as there are several of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) generation: u64,
    pub(crate) selectors: Vec<Selector>,
}

/// The names of the fields that one response was selected by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selector {
    pub(crate) names: Vec<HeaderName>,
    /// It selects a part of the content.
    pub(crate) is_part: bool,
}

impl Selector {
    pub(crate) fn of(head: &StoredHead) -> Self {
        let fields = head.selecting().iter();
        Self {
            names: fields.map(|field| field.name().clone()).collect(),
            is_part: head.part().is_some(),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (is_part, names) = match line.strip_prefix(PART) {
            Some(names) => (true, names),
            None => (false, line),
        };
        let names = names.split(',').filter(|name| !name.is_empty());
        Some(Self {
            names: names
                .map(|name| HeaderName::try_from(name).ok())
                .collect::<Option<_>>()?,
            is_part,
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_part {
            write!(f, "{PART}")?;
        }
        for (index, name) in self.names.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

/// What a selector of a part begins with; no field name does.
const PART: char = '/';

const MAGIC: [u8; 4] = *b"httc";
const VERSION: u8 = 2;
const GENERATION_AT: usize = 40;
const CHECKSUM_AT: usize = 60;
const CHECK_AT: usize = 68;
const VARIANT_AT: usize = 76;

const RESPONSE: u8 = 1;
const RESPONSE_ELSEWHERE: u8 = 2;
const RULE: u8 = 3;

/// The fixed part, but for checksum and check, and for the variant, which only scripts read.
struct Prefix {
    kind: u8,
    selector: u16,
    requested_at: u64,
    stale_at: u64,
    token: u128,
    generation: u64,
    head: u32,
    body: u64,
}

impl Prefix {
    fn write(&self) -> [u8; CHECKSUM_AT] {
        let mut bytes = [0; CHECKSUM_AT];
        let mut to = &mut bytes[..];
        to.put_slice(&MAGIC);
        to.put_u8(VERSION);
        to.put_u8(self.kind);
        to.put_u16_le(self.selector);
        to.put_u64(self.requested_at);
        to.put_u64(self.stale_at);
        to.put_u128(self.token);
        to.put_u64(self.generation);
        to.put_u32_le(self.head);
        to.put_u64_le(self.body);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<(Self, u64)> {
        let prefix = bytes.get(..PREFIX)?;
        let field = |at: usize, length: usize| &prefix[at..at + length];
        let big = |at| u64::from_be_bytes(field(at, 8).try_into().unwrap_or_default());
        let little = |at| u64::from_le_bytes(field(at, 8).try_into().unwrap_or_default());
        if field(0, 4) != MAGIC || prefix[4] != VERSION {
            return None;
        }
        let read = Self {
            kind: prefix[5],
            selector: u16::from_le_bytes([prefix[6], prefix[7]]),
            requested_at: big(8),
            stale_at: big(16),
            token: u128::from_be_bytes(field(24, 16).try_into().ok()?),
            generation: big(40),
            head: u32::from_le_bytes(field(48, 4).try_into().ok()?),
            body: little(52),
        };
        Some((read, little(CHECKSUM_AT)))
    }
}

impl Prefix {
    /// Where the head is in a value of which so many bytes are there.
    fn head(&self, there: usize) -> Result<Range<usize>, TooShort> {
        let start = PREFIX + usize::from(self.selector);
        let length = usize::try_from(self.head).map_err(|_| TooShort)?;
        let end = start.checked_add(length).ok_or(TooShort)?;
        match there < end {
            true => Err(TooShort),
            false => Ok(start..end),
        }
    }
}

/// What scripts check of a response.
fn check(prefix: &[u8], selector: &[u8]) -> [u8; 8] {
    let mut digest = Sha1::new();
    digest.update(&prefix[..GENERATION_AT]);
    digest.update(&prefix[GENERATION_AT + 8..CHECK_AT]);
    digest.update(&prefix[VARIANT_AT..]);
    digest.update(selector);
    first_eight(&digest)
}

/// What is checked of a rule.
fn check_of_rule(prefix: &[u8], lines: &[u8]) -> [u8; 8] {
    let mut digest = Sha1::new();
    digest.update(&prefix[..CHECK_AT]);
    digest.update(&prefix[VARIANT_AT..]);
    digest.update(lines);
    first_eight(&digest)
}

fn first_eight(digest: &Sha1) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.digest().bytes()[..8]);
    eight
}

/// The checksum of the beginning, but for the generation, and of what stands behind the check.
fn checksum(prefix: &[u8], rest: &[u8]) -> u64 {
    // The longest first: a seed would cost it a secret of its own.
    let rest = xxh3_64(rest);
    let after = xxh3_64_with_seed(&prefix[GENERATION_AT + 8..CHECKSUM_AT], rest);
    xxh3_64_with_seed(&prefix[..GENERATION_AT], after)
}

/// A response to be written; the body is `None` where it stands elsewhere.
pub(crate) fn encode_response(
    head: &StoredHead,
    token: Token,
    trailers: Option<&HeaderMap>,
    length: u64,
    body: Option<&[Bytes]>,
) -> Option<Bytes> {
    let encoded = wire::encode(head, trailers)?;
    let freshness = head.freshness();
    let stale_in = freshness.lifetime.saturating_sub(freshness.initial_age);
    let selector = Selector::of(head).to_string();
    let prefix = Prefix {
        kind: if body.is_some() {
            RESPONSE
        } else {
            RESPONSE_ELSEWHERE
        },
        selector: u16::try_from(selector.len()).ok()?,
        requested_at: wire::micros(head.requested_at()),
        stale_at: wire::micros(head.received_at()).saturating_add(wire::duration_micros(stale_in)),
        token: token.0,
        generation: 0,
        head: u32::try_from(encoded.len()).ok()?,
        body: length,
    };
    let rest = [selector.as_bytes(), &encoded];
    Some(seal(
        &prefix,
        &head.variant(),
        rest,
        body.unwrap_or_default(),
    ))
}

fn seal(prefix: &Prefix, variant: &[u8; 16], rest: [&[u8]; 2], body: &[Bytes]) -> Bytes {
    let prefix = prefix.write();
    let [selector, head] = rest;
    let length: usize = body.iter().map(Bytes::len).sum();
    let mut value = BytesMut::with_capacity(PREFIX + selector.len() + head.len() + length);
    value.put_slice(&prefix);
    value.put_bytes(0, VARIANT_AT - CHECKSUM_AT);
    value.put_slice(variant);
    value.put_slice(selector);
    value.put_slice(head);
    for chunk in body {
        value.put_slice(chunk);
    }
    let sum = checksum(&prefix, &value[VARIANT_AT..]);
    value[CHECKSUM_AT..CHECK_AT].copy_from_slice(&sum.to_le_bytes());
    let check = check(&value[..PREFIX], selector);
    value[CHECK_AT..VARIANT_AT].copy_from_slice(&check);
    value.freeze()
}

/// Reads a value; `None` where it is not one that this version wrote, whole.
pub(crate) fn decode(mut value: Bytes, heads: &Heads) -> Option<Value> {
    let (prefix, sum) = Prefix::read(&value)?;
    if prefix.kind == RULE {
        let checked = &value[CHECK_AT..VARIANT_AT];
        let is_whole = check_of_rule(&value[..PREFIX], &value[PREFIX..]) == checked;
        return is_whole
            .then(|| rule(&prefix, &value[PREFIX..]))?
            .map(Value::Rule);
    }
    if checksum(&value[..CHECKSUM_AT], &value[VARIANT_AT..]) != sum {
        return None;
    }
    let place = prefix.head(value.len()).ok()?;
    let is_here = match (prefix.kind, (value.len() - place.end) as u64) {
        (RESPONSE, length) if length == prefix.body => true,
        (RESPONSE_ELSEWHERE, 0) => false,
        _ => return None,
    };
    let token = Token(prefix.token);
    let head = heads.decode(token, &value[place.clone()])?;
    // What is left is the body: a view of the reply, of which no reference is counted.
    value.advance(place.end);
    let body = match is_here {
        true => Body::Here(value),
        false => Body::Elsewhere {
            length: prefix.body,
        },
    };
    Some(Value::Response(StoredResponse {
        head: head.head.clone(),
        token,
        generation: prefix.generation,
        trailers: head.trailers.clone(),
        body,
    }))
}

/// A response of whose value the first bytes were read.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) head: StoredHead,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) token: Token,
    pub(crate) generation: u64,
    /// How long its body is.
    pub(crate) body_length: u64,
    /// How many bytes it takes, wherever they are.
    pub(crate) bytes: u64,
}

/// Reads the head of a response, of whose value the first bytes are there; the checksum, which is of
/// all bytes, is not looked at.
pub(crate) fn decode_head(beginning: &Bytes) -> Option<Result<Beginning, TooShort>> {
    let (prefix, _) = Prefix::read(beginning)?;
    let framed = match prefix.kind {
        RESPONSE => prefix.body,
        RESPONSE_ELSEWHERE => framed_length(prefix.body),
        _ => return None,
    };
    let place = match prefix.head(beginning.len()) {
        Ok(place) => place,
        Err(TooShort) => return Some(Err(TooShort)),
    };
    let (head, trailers) = wire::decode(&beginning[place])?;
    Some(Ok(Beginning {
        trailers,
        head,
        token: Token(prefix.token),
        generation: prefix.generation,
        body_length: prefix.body,
        bytes: (PREFIX as u64)
            .saturating_add(u64::from(prefix.selector))
            .saturating_add(u64::from(prefix.head))
            .saturating_add(framed),
    }))
}

/// The generation of a rule, of whose value the first bytes are there; `None`: it is no rule.
pub(crate) fn generation_of_rule(beginning: &[u8]) -> Option<u64> {
    let (prefix, _) = Prefix::read(beginning)?;
    (prefix.kind == RULE).then_some(prefix.generation)
}

/// How many bytes at the beginning of a value tell its kind and generation.
pub(crate) const PREFIX: usize = 92;

/// There are not enough bytes to tell.
#[derive(Debug)]
pub(crate) struct TooShort;

fn rule(prefix: &Prefix, rest: &[u8]) -> Option<Rule> {
    let lines = std::str::from_utf8(rest).ok()?;
    if lines.len() != usize::try_from(prefix.head).ok()? {
        return None;
    }
    let selectors = lines.strip_suffix('\n')?.split('\n').map(Selector::parse);
    Some(Rule {
        generation: prefix.generation,
        selectors: selectors.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::path::PathBuf;

    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use cache_core::{Freshness, LifetimeSource, Part, PrimaryKey, StoredHeadParts};
    use http::header::HeaderValue;
    use http::{StatusCode, Version};
    use proptest::prelude::*;

    use super::*;

    fn decode(value: &Bytes) -> Option<Value> {
        let heads = Heads::new();
        let value = super::decode(value.clone(), &heads);
        assert_eq!(
            value.is_some(),
            heads.len() > 0 || matches!(value, Some(Value::Rule(_)))
        );
        value
    }

    fn at(micros: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(micros)
    }

    pub(crate) fn head() -> StoredHead {
        parts().into()
    }

    /// A head in which every field differs from its default.
    fn parts() -> StoredHeadParts {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("etag", "\"one\""),
            ("cache-control", "max-age=60, stale-while-revalidate=30"),
            ("link", "</a>; rel=preload"),
            ("link", "</b>; rel=preload"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        StoredHeadParts {
            key: PrimaryKey::from_bytes(b"GET http://origin.test/"),
            status: StatusCode::PARTIAL_CONTENT,
            version: Version::HTTP_2,
            headers,
            selecting: vec![
                (HeaderName::from_static("accept-encoding"), Some([7; 16])),
                (HeaderName::from_static("origin"), None),
            ],
            requested_at: at(1_000_000_000_000_000),
            received_at: at(1_000_000_000_250_000),
            freshness: Freshness {
                dated_at: at(1_000_000_000_000_000),
                initial_age: Duration::from_secs(1),
                lifetime: Duration::from_secs(60),
                source: LifetimeSource::Heuristic,
                always_validate: true,
                must_revalidate: true,
                immutable: true,
                stale_while_revalidate: Duration::from_secs(30),
                stale_if_error: Duration::from_secs(90),
                is_window_final: true,
                no_cache_fields: vec![HeaderName::from_static("set-cookie")],
                retain_until: Some(at(1_000_000_100_000_000)),
            },
            part: Some(Part {
                bytes: 10..20,
                length: 100,
            }),
        }
    }

    fn trailers() -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", HeaderValue::from_static("1"));
        trailers
    }

    fn response() -> Bytes {
        let body = [Bytes::from_static(b"hello "), Bytes::from_static(b"world")];
        encode_response(&head(), Token(42), Some(&trailers()), 11, Some(&body)).expect("a value")
    }

    fn rule_bytes(generation: u64, lines: &str) -> Bytes {
        let prefix = Prefix {
            kind: RULE,
            selector: 0,
            requested_at: 0,
            stale_at: 0,
            token: 0,
            generation,
            head: lines.len() as u32,
            body: 0,
        };
        let mut value = BytesMut::from(&prefix.write()[..]);
        value.put_bytes(0, PREFIX - CHECKSUM_AT);
        let check = check_of_rule(&value, lines.as_bytes());
        value[CHECK_AT..VARIANT_AT].copy_from_slice(&check);
        value.put_slice(lines.as_bytes());
        value.freeze()
    }

    #[test]
    fn a_response_comes_back_as_it_was() {
        let Some(Value::Response(found)) = decode(&response()) else {
            panic!("no response");
        };
        assert_eq!(*found.head, head());
        assert_eq!(found.token, Token(42));
        assert_eq!(found.trailers, Some(trailers()));
        assert!(matches!(found.body, Body::Here(body) if body == "hello world"));
    }

    #[test]
    fn a_response_whose_body_is_elsewhere_comes_back_as_it_was() {
        let value = encode_response(&head(), Token(42), None, 8 << 20, None).expect("a value");
        let Some(Value::Response(found)) = decode(&value) else {
            panic!("no response");
        };
        assert_eq!(*found.head, head());
        assert_eq!(found.trailers, None);
        assert!(matches!(found.body, Body::Elsewhere { length } if length == 8 << 20));
    }

    #[test]
    fn a_rule_is_read_as_scripts_write_it() {
        let value = rule_bytes(9, "\naccept-encoding,origin\n/accept-encoding\n");
        let Some(Value::Rule(rule)) = decode(&value) else {
            panic!("no rule");
        };
        assert_eq!(rule.generation, 9);
        let lines: Vec<String> = rule.selectors.iter().map(Selector::to_string).collect();
        assert_eq!(lines, ["", "accept-encoding,origin", "/accept-encoding"]);
    }

    #[test]
    fn a_part_that_is_none_makes_it_no_value() {
        for (start, end, is_read) in [(10, 100, true), (20, 10, false), (10, 101, false)] {
            let (bytes, length) = (start..end, 100);
            let part = Some(Part { bytes, length });
            let head = StoredHeadParts { part, ..parts() }.into();
            let value = encode_response(&head, Token(42), None, 8 << 20, None).expect("a value");
            assert_eq!(decode(&value).is_some(), is_read);
        }
    }

    #[test]
    fn scripts_may_write_the_generation() {
        let mut value = BytesMut::from(&response()[..]);
        value[GENERATION_AT..GENERATION_AT + 8].copy_from_slice(&77_u64.to_be_bytes());
        let Some(Value::Response(found)) = decode(&value.freeze()) else {
            panic!("no response");
        };
        assert_eq!(found.generation, 77);
    }

    #[test]
    fn any_other_byte_that_changes_makes_it_no_value() {
        let value = response();
        // The generation, and what only scripts check.
        let unread = [40..48, 68..76];
        let is_read = |index: &usize| !unread.iter().any(|unread| unread.contains(index));
        for index in (0..value.len()).filter(is_read) {
            for bit in [0x01, 0x80] {
                let mut changed = BytesMut::from(&value[..]);
                changed[index] ^= bit;
                assert!(decode(&changed.freeze()).is_none(), "byte {index}");
            }
        }
    }

    #[test]
    fn whatever_is_cut_off_or_added_makes_it_no_value() {
        for value in [response(), rule_bytes(1, "a\n")] {
            for length in 0..value.len() {
                assert!(decode(&value.slice(..length)).is_none(), "{length} bytes");
            }
            let longer = Bytes::from([&value[..], b"x"].concat());
            assert!(decode(&longer).is_none());
        }
    }

    #[test]
    fn a_head_is_read_without_its_body() {
        let value = response();
        let found = decode_head(&value.slice(..value.len() - 11));
        let Some(Ok(found)) = found else {
            panic!("no head");
        };
        assert_eq!((found.head, found.body_length), (head(), 11));
        assert_eq!((found.token, found.bytes), (Token(42), value.len() as u64));
        assert!(matches!(
            decode_head(&value.slice(..100)),
            Some(Err(TooShort))
        ));
        assert!(decode_head(&rule_bytes(1, "a\n")).is_none());
    }

    /// What this version writes is what it has always written: where this fails, raise `VERSION`.
    #[test]
    fn the_bytes_are_those_of_the_golden_files() {
        let elsewhere = encode_response(&head(), Token(42), None, 8 << 20, None).expect("a value");
        for (name, value) in [
            ("response", response()),
            ("response_elsewhere", elsewhere),
            ("rule", rule_bytes(9, "\naccept-encoding\n")),
        ] {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("tests/golden")
                .join(format!("{name}.v{VERSION}.bin"));
            let golden =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(golden == value, "{name} is not what {} has", path.display());
            assert!(decode(&golden.into()).is_some(), "{name} cannot be read");
        }
    }

    #[test]
    fn what_earlier_versions_wrote_is_no_value() {
        for name in ["response", "response_elsewhere", "rule"] {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("tests/golden")
                .join(format!("{name}.v1.bin"));
            let value = Bytes::from(fs::read(path).expect("a golden file"));
            assert!(decode(&value).is_none());
            assert!(decode_head(&value).is_none());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_value(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode(&bytes.clone().into()).is_none());
            prop_assert!(decode_head(&bytes.into()).is_none());
        }

        #[test]
        fn arbitrary_heads_behind_a_true_prefix_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            kind in 0_u8..6,
            body in 0_u64..10,
            selector in 0_u16..20,
        ) {
            let head = bytes.len().saturating_sub(body as usize) as u32;
            let prefix = Prefix {
                kind,
                selector,
                requested_at: 1,
                stale_at: 2,
                token: 3,
                generation: 4,
                head,
                body,
            };
            let value = seal(&prefix, &[5; 16], [&[], &bytes], &[]);
            let _ = decode(&value);
            let _ = decode_head(&value);
        }

        #[test]
        fn times_and_durations_of_any_size_come_back(
            micros_since_1970 in any::<u64>(),
            duration in any::<u64>(),
        ) {
            let mut parts = parts();
            parts.received_at = UNIX_EPOCH.checked_add(Duration::from_micros(micros_since_1970))
                .unwrap_or(UNIX_EPOCH);
            parts.freshness.lifetime = Duration::from_micros(duration);
            let head = StoredHead::from(parts);
            let value = encode_response(&head, Token(1), None, 0, Some(&[])).expect("a value");
            let Some(Value::Response(found)) = decode(&value) else {
                panic!("no response");
            };
            prop_assert_eq!(&*found.head, &head);
        }
    }
}
