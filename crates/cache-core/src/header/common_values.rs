//! Field values that nearly every response has. A copy of a static value counts no reference, which is
//! most of what it costs to give out a stored header section, the more so on several threads.

/// The same text, if it is common.
pub(crate) fn find(value: &[u8]) -> Option<&'static str> {
    let is_number = !value.is_empty() && value.len() <= 4 && value.iter().all(u8::is_ascii_digit);
    if is_number {
        let number = value
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        return self::number(number).filter(|text| text.as_bytes() == value);
    }
    let mut common = COMMON.iter().copied();
    common.find(|common| common.as_bytes() == value)
}

/// A number below 10,000.
pub(crate) fn number(number: u64) -> Option<&'static str> {
    let four = DIGITS.get(usize::try_from(number).ok()?)?;
    let leading_zeros = match number {
        0..10 => 3,
        10..100 => 2,
        100..1000 => 1,
        _ => 0,
    };
    std::str::from_utf8(&four[leading_zeros..]).ok()
}

/// The numbers up to 9999, in four digits.
static DIGITS: [[u8; 4]; 10_000] = {
    let mut numbers = [[b'0'; 4]; 10_000];
    let mut number = 0;
    while number < numbers.len() {
        let (mut rest, mut place) = (number, 4);
        while place > 0 {
            place -= 1;
            numbers[number][place] += (rest % 10) as u8;
            rest /= 10;
        }
        number += 1;
    }
    numbers
};

/// Those of responses in the static table of QPACK (RFC 9204, appendix A), which were counted on the
/// web; their other spellings; and the tokens of `Referrer-Policy`.
static COMMON: [&str; 57] = [
    "*",
    "1; mode=block",
    "Accept-Encoding",
    "DENY",
    "Origin",
    "SAMEORIGIN",
    "accept-encoding",
    "application/dns-message",
    "application/javascript",
    "application/javascript; charset=utf-8",
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=utf-8",
    "br",
    "bytes",
    "clear",
    "content-length",
    "deny",
    "get",
    "get, post, options",
    "gzip",
    "image/gif",
    "image/jpeg",
    "image/png",
    "max-age=0",
    "max-age=2592000",
    "max-age=31536000",
    "max-age=31536000; includeSubDomains",
    "max-age=31536000; includeSubDomains; preload",
    "max-age=31536000; includesubdomains",
    "max-age=31536000; includesubdomains; preload",
    "max-age=604800",
    "no-cache",
    "no-referrer",
    "no-referrer-when-downgrade",
    "no-store",
    "nosniff",
    "options",
    "origin",
    "origin-when-cross-origin",
    "prefetch",
    "public, max-age=31536000",
    "same-origin",
    "sameorigin",
    "script-src 'none'; object-src 'none'; base-uri 'none'",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "text/css",
    "text/css; charset=utf-8",
    "text/html",
    "text/html; charset=UTF-8",
    "text/html; charset=utf-8",
    "text/plain",
    "text/plain; charset=utf-8",
    "text/plain;charset=utf-8",
    "true",
    "unsafe-url",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_found_is_the_same_text() {
        for text in COMMON.into_iter().chain(["0", "7", "10", "999", "9999"]) {
            assert_eq!(find(text.as_bytes()), Some(text));
            assert_eq!(HeaderValue::from_static(text), text);
        }
        for text in ["", "00", "010", "10000", "-1", "1.5", "Gzip", "gzip "] {
            assert_eq!(find(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for expected in 0..10_010 {
            let found = number(expected).map(HeaderValue::from_static);
            let expected = HeaderValue::from(expected);
            assert_eq!(found, (expected.len() <= 4).then_some(expected));
        }
        assert_eq!(number(u64::MAX), None);
    }
}
