//! `Age` (RFC 9111 §5.1) and delta-seconds (§1.2.2).

use std::time::Duration;

use http::header::{AGE, HeaderMap};

use super::list;

/// A non-negative number of seconds; what does not fit is 2³¹ (RFC 9111 §1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DeltaSeconds(u32);

impl DeltaSeconds {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const MAX: Self = Self(1 << 31);

    /// Reads digits and nothing but digits.
    pub(crate) fn parse(digits: &[u8]) -> Option<Self> {
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = digits.iter().fold(0_u32, |seconds, digit| {
            seconds
                .saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'))
        });
        Some(Self(seconds.min(Self::MAX.0)))
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

/// The value of `Age`: the first member of the first line counts, and one that is not a
/// non-negative integer is ignored (RFC 9111 §5.1).
pub(crate) fn read(headers: &HeaderMap) -> Option<DeltaSeconds> {
    let line = headers.get(AGE)?;
    DeltaSeconds::parse(list::members(line.as_bytes()).next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[track_caller]
    fn check(lines: &[&'static str], seconds: Option<u64>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AGE, HeaderValue::from_static(line));
        }
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(read(&headers).map(DeltaSeconds::duration), expected);
    }

    #[test]
    fn the_first_member_of_the_first_line_counts() {
        check(&["7200, 0"], Some(7200));
        check(&["0", "7200"], Some(0));
        check(&["3600", "3600"], Some(3600));
    }

    #[test]
    fn what_is_not_a_non_negative_integer_is_ignored() {
        for value in [
            "",
            "-7200",
            "7200.0",
            "7200;foo=1",
            "\"7200\"",
            "+1",
            "0x10",
        ] {
            check(&[value], None);
        }
        check(&[], None);
    }

    #[test]
    fn what_does_not_fit_saturates() {
        check(&["2147483647"], Some(2_147_483_647));
        check(&["2147483648"], Some(2_147_483_648));
        check(&["18446744073709551615"], Some(2_147_483_648));
        check(&["99999999999999999999999999999999"], Some(2_147_483_648));
    }
}
