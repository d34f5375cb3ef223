//! Whom a request is for.

use http::Uri;
use http::header::{HOST, HeaderMap};
use http::uri::Authority;

use super::octets::{BYTES, PLAIN};

/// Whom a request is for, as the target of the request or `Host` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) user: Option<&'a [u8]>,
    pub(super) host: &'a [u8],
    pub(super) port: Option<u16>,
}

impl<'a> Target<'a> {
    /// Nothing where there is something behind the host that is no port: the origin may make
    /// something of it that the key would not have.
    #[inline]
    pub(super) fn of(authority: &'a Authority) -> Option<Self> {
        Self::plain(authority.as_str().as_bytes()).or_else(|| Self::parsed(authority))
    }

    /// The same for a name and perhaps a port, with nothing that would have to be parsed; `None`: it
    /// is none.
    #[inline]
    pub(super) fn plain(authority: &'a [u8]) -> Option<Self> {
        let is_plain = |byte: &u8| BYTES[usize::from(*byte)] == PLAIN;
        let end = authority.iter().position(|byte| !is_plain(byte));
        let (host, rest) = authority.split_at(end.unwrap_or(authority.len()));
        if host.is_empty() {
            return None;
        }
        let port = match rest {
            [] => None,
            [b':', port @ ..] => Some(number(port)?),
            _ => return None,
        };
        let user = None;
        Some(Self { user, host, port })
    }

    pub(super) fn parsed(authority: &'a Authority) -> Option<Self> {
        let (user, rest) = match authority.as_str().rsplit_once('@') {
            Some((user, rest)) => (Some(user.as_bytes()), rest),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        let port = match rest.strip_prefix(host)? {
            "" => None,
            port => Some(number(port.strip_prefix(':')?.as_bytes())?),
        };
        let host = host.as_bytes();
        Some(Self { user, host, port })
    }

    /// Whether a `Host` field names this target, and so says nothing new.
    pub(super) fn is_named_by(&self, host: &[u8], default_port: Option<u16>) -> bool {
        let port_of = |target: &Target<'_>| target.port.filter(|port| Some(*port) != default_port);
        let is_same = |named: Target<'_>| {
            named.user.is_none()
                && named.host.eq_ignore_ascii_case(self.host)
                && port_of(&named) == port_of(self)
        };
        match Target::plain(host) {
            Some(named) => is_same(named),
            None => Authority::try_from(host)
                .is_ok_and(|authority| Target::parsed(&authority).is_some_and(is_same)),
        }
    }
}

/// The port of a URI that names none (RFC 9110 §4.2).
pub(super) fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    }
}

/// A port: digits and nothing else.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u16, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u16::from(digit - b'0')),
        _ => None,
    })
}

/// The value of `Host`, which is there; nothing where it is not one line.
#[inline]
pub(super) fn host(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(HOST).iter();
    let value = lines.next()?;
    lines.next().is_none().then_some(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_target_is_what_it_would_be_parsed_as(
            text in "[a-zA-Z0-9._:@%\\[\\]~-]{0,12}(:[0-9]{0,6})?",
        ) {
            if let Some(plain) = Target::plain(text.as_bytes()) {
                let authority = Authority::try_from(text.as_bytes()).expect("an authority");
                prop_assert_eq!(Some(plain), Target::parsed(&authority));
            }
        }
    }
}
