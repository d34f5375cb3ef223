//! `Range` and `Content-Range` (RFC 9110 §14).

use std::ops::Range;

use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};

use super::list;

/// A range of bytes as a request names it, without knowing how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// `0-4`
    Bounded(u64, u64),
    /// `5-`
    From(u64),
    /// `-5`
    Suffix(u64),
}

impl ByteRange {
    /// The one range that a request asks for; several, other units and what is malformed are
    /// none, and `Range` may then be ignored (RFC 9110 §14.2).
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(RANGE).iter();
        let value = lines.next().filter(|_| lines.next().is_none())?.as_bytes();
        let (unit, set) = split_once(value, b'=')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut ranges = list::members(set);
        let (first, last) = split_once(ranges.next().filter(|_| ranges.next().is_none())?, b'-')?;
        match (first, last) {
            (b"", last) => Some(Self::Suffix(number(last)?)),
            (first, b"") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Bounded(first, last))
            }
        }
    }

    /// The bytes that it means of a content of this length; `None`: of none of them
    /// (RFC 9110 §14.1.2).
    pub(crate) fn of(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Bounded(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Suffix(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What part of a content a response brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its bytes.
    pub bytes: Range<u64>,
    /// The length of the whole.
    pub length: u64,
}

impl Part {
    /// The part that `Content-Range` names; one whose whole is of unknown length is none.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CONTENT_RANGE).iter();
        let value = lines.next().filter(|_| lines.next().is_none())?.as_bytes();
        let (unit, range) = split_once(value, b' ')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let (range, length) = split_once(range, b'/')?;
        let (first, last) = split_once(range, b'-')?;
        let (first, last, length) = (number(first)?, number(last)?, number(length)?);
        (first <= last && last < length).then(|| Self {
            bytes: first..last + 1,
            length,
        })
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Whether it has all bytes of a range.
    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        self.bytes.start <= range.start && range.end <= self.bytes.end
    }

    /// The field that names it.
    pub(crate) fn content_range(&self) -> Option<HeaderValue> {
        let Self { bytes, length } = self;
        let last = bytes.end.checked_sub(1)?;
        HeaderValue::try_from(format!("bytes {}-{last}/{length}", bytes.start)).ok()
    }
}

/// Whether `Content-Range` speaks of bytes, whatever it says of them.
pub(crate) fn is_of_bytes(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_RANGE).is_some_and(|value| {
        split_once(value.as_bytes(), b' ')
            .is_some_and(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes"))
    })
}

/// The field that says how long a content is of which no asked byte exists (RFC 9110 §15.5.17).
pub(crate) fn unsatisfied(length: u64) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("bytes */{length}")).ok()
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == separator)?;
    Some((bytes[..at].trim_ascii(), bytes[at + 1..].trim_ascii()))
}

/// Digits and nothing else; what does not fit is as large as can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn range(value: &'static str, length: u64) -> Option<Option<Range<u64>>> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static(value));
        Some(ByteRange::read(&headers)?.of(length))
    }

    #[test]
    fn one_range_is_read() {
        assert_eq!(range("bytes=0-4", 10), Some(Some(0..5)));
        assert_eq!(range("Bytes= 0 - 4 ", 10), Some(Some(0..5)));
        assert_eq!(range("bytes=5-", 10), Some(Some(5..10)));
        assert_eq!(range("bytes=-3", 10), Some(Some(7..10)));
        assert_eq!(range("bytes=-30", 10), Some(Some(0..10)));
        assert_eq!(range("bytes=8-30", 10), Some(Some(8..10)));
        assert_eq!(
            range("bytes=0-99999999999999999999999", 10),
            Some(Some(0..10))
        );
    }

    #[test]
    fn a_range_of_no_bytes_is_not_satisfiable() {
        assert_eq!(range("bytes=10-", 10), Some(None));
        assert_eq!(range("bytes=10-20", 10), Some(None));
        assert_eq!(range("bytes=-0", 10), Some(None));
        assert_eq!(range("bytes=0-", 0), Some(None));
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_none() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=4-0",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=a-b",
            "bytes=0x1-",
        ] {
            assert_eq!(range(value, 10), None, "{value}");
        }
    }

    fn part(value: &'static str) -> Option<Part> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_static(value));
        Part::read(&headers)
    }

    #[test]
    fn a_part_is_read_and_written() {
        let found = part("bytes 4-9/10").expect("a part");
        assert_eq!(
            (found.bytes.clone(), found.length, found.len()),
            (4..10, 10, 6)
        );
        assert_eq!(found.content_range().expect("a value"), "bytes 4-9/10");
        assert!(found.contains(&(4..10)) && found.contains(&(5..6)));
        assert!(!found.contains(&(3..5)) && !found.contains(&(9..11)));
    }

    #[test]
    fn what_is_no_part_of_a_known_whole_is_none() {
        for value in [
            "bytes 4-9/*",
            "bytes */10",
            "bytes 4-10/10",
            "bytes 9-4/10",
            "lines 0-1/2",
            "bytes 0-1",
            "odd",
        ] {
            assert_eq!(part(value), None, "{value}");
        }
    }
}
