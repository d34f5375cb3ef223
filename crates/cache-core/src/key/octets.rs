//! What the bytes of a URI mean.

/// What a byte of a URI means for the key.
pub(super) static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = match byte as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => PLAIN,
            b'%' => PERCENT,
            b'&' => AMPERSAND,
            b'=' => EQUALS,
            _ => 0,
        };
        byte += 1;
    }
    bytes
};

/// It can be in the name of a host, and means nothing but itself.
pub(super) const PLAIN: u8 = 1;
pub(super) const PERCENT: u8 = 2;
pub(super) const AMPERSAND: u8 = 3;
pub(super) const EQUALS: u8 = 4;

/// Percent-encoding in one form (RFC 3986 §6.2.2): digits in upper case, unreserved characters
/// decoded. Reserved ones stay as they are. Behind a `%` that begins no escape stands [`NO_ESCAPE`], so
/// that what is decoded behind it makes none: `%%42F` is not `%BF`.
pub(crate) fn normalise_escapes(text: &[u8], normalised: &mut Vec<u8>) {
    if !has_escape(text) {
        return normalised.extend_from_slice(text);
    }
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let decoded = hex(*high) << 4 | hex(*low);
                if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                    normalised.push(decoded);
                } else {
                    normalised.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                }
                rest = after;
            }
            _ => {
                normalised.push(*first);
                if *first == b'%' {
                    normalised.push(NO_ESCAPE);
                }
                rest = tail;
            }
        }
    }
}

/// Whether there is a `%`.
#[inline]
pub(super) fn has_escape(text: &[u8]) -> bool {
    text.iter().fold(false, |has, byte| has | (*byte == b'%'))
}

/// A byte that no URI has.
pub(crate) const NO_ESCAPE: u8 = 1;

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}
