//! HTTP dates (RFC 9110 §5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Reads a date in one of the three forms of RFC 9110 §5.6.7, names of days and months in any case.
///
/// Anything else, years before 1970 included, is no date.
pub(crate) fn parse(value: &[u8]) -> Option<SystemTime> {
    let mut canonical = [0_u8; LONGEST];
    let value = value.trim_ascii();
    let canonical = canonical.get_mut(..value.len())?;
    // The names are words, so "first letter up, the others down" makes them canonical; the zone is
    // the one word that is upper case throughout, and it is case-sensitive.
    let mut inside_word = false;
    for (to, from) in canonical.iter_mut().zip(value) {
        *to = if inside_word {
            from.to_ascii_lowercase()
        } else {
            from.to_ascii_uppercase()
        };
        inside_word = from.is_ascii_alphabetic();
    }
    if let (Some(zone), Some(tail)) = (canonical.last_chunk_mut::<3>(), value.last_chunk::<3>()) {
        *zone = *tail;
    }
    httpdate::parse_http_date(std::str::from_utf8(canonical).ok()?).ok()
}

/// The date in the single field `name`; several lines, or a malformed one, are no date.
pub(crate) fn read(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let value = lines.next()?;
    match lines.next() {
        None => parse(value.as_bytes()),
        Some(_) => None,
    }
}

/// `at` as a field value in the preferred form, cut down to whole seconds.
///
/// Times that have no HTTP date (before 1970, after 9999) become the nearest one that has.
pub(crate) fn format(at: SystemTime) -> HeaderValue {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let representable = UNIX_EPOCH + since_epoch.min(LAST_SECOND);
    HeaderValue::try_from(httpdate::fmt_http_date(representable))
        .unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// The length of the longest date: `Wednesday, 06-Nov-94 08:49:37 GMT`.
const LONGEST: usize = 33;

/// The last second of the year 9999, counted from 1970.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, seconds: Option<u64>) {
        let expected = seconds.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn the_three_forms_are_read() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("Wednesday, 09-Nov-94 08:49:37 GMT", Some(784_370_977));
    }

    #[test]
    fn names_are_read_in_any_case() {
        check("SUN, 06 nov 1994 08:49:37 GMT", Some(784_111_777));
        check("sUNDAY, 06-NOV-94 08:49:37 GMT", Some(784_111_777));
        check("sun nov  6 08:49:37 1994", Some(784_111_777));
    }

    #[test]
    fn a_two_digit_year_below_seventy_is_in_this_century() {
        check("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 gmt",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT and then some",
            "S\u{fc}n, 06 Nov 1994 08:49:37 GMT",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn times_without_a_date_are_formatted_as_the_nearest_one() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before), "Thu, 01 Jan 1970 00:00:00 GMT");
        let after = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(format(after), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn two_lines_are_no_date() {
        let mut headers = HeaderMap::new();
        let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        headers.append(http::header::EXPIRES, date.clone());
        assert!(read(&headers, &http::header::EXPIRES).is_some());
        headers.append(http::header::EXPIRES, date);
        assert!(read(&headers, &http::header::EXPIRES).is_none());
    }
}
