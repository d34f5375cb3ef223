//! The preimage: length-framed fields.

use http::Uri;

use super::octets::{AMPERSAND, BYTES, PERCENT, PLAIN, has_escape, normalise_escapes};
use super::{Digest, Target};
use crate::policy::Policy;

/// Bytes of length-framed fields.
pub(super) struct Framed {
    pub(super) bytes: Vec<u8>,
}

impl Framed {
    /// Room for what nearly every key has, to the byte, so that it is allocated once.
    #[inline]
    pub(super) fn with_room_for(uri: &Uri, target: &Target<'_>, partition: Option<Digest>) -> Self {
        let fields = [
            2,
            uri.scheme_str().map_or(0, str::len),
            target.host.len() + target.port.map_or(0, |port| 1 + digits(port)),
            uri.path().len().max(1),
            uri.query().map_or(0, |query| 1 + query.len()),
            0,
            0,
            partition.map_or(0, |digest| digest.len()),
        ];
        let capacity = fields.iter().map(|length| FRAME + length).sum();
        Self {
            bytes: Vec::with_capacity(capacity),
        }
    }

    #[inline]
    pub(super) fn field(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(&frame(field));
        self.bytes.extend_from_slice(field);
    }

    /// A field that is written by `write`.
    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; FRAME]);
        write(&mut self.bytes);
        let length = frame(&self.bytes[start + FRAME..]);
        self.bytes[start..start + FRAME].copy_from_slice(&length);
    }

    #[inline]
    pub(super) fn lower(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(&frame(field));
        extend_lower(&mut self.bytes, field);
    }

    /// A digest, or an empty field.
    #[inline]
    pub(super) fn digest(&mut self, digest: Option<Digest>) {
        self.field(digest.as_ref().map_or(&[], |digest| digest));
    }

    /// What goes before all: the version, whose cache it is, and the scheme, which tells the default
    /// port (RFC 9110 §4.2).
    #[inline]
    pub(super) fn scheme(&mut self, policy: &Policy, uri: &Uri) -> Option<u16> {
        let kind = policy.kind as u8;
        match uri.scheme_str() {
            Some("http") => {
                self.bytes.extend_from_slice(b"\x02\0\0\0");
                self.bytes.extend_from_slice(&[VERSION, kind]);
                self.bytes.extend_from_slice(b"\x04\0\0\0http");
                Some(80)
            }
            Some("https") => {
                self.bytes.extend_from_slice(b"\x02\0\0\0");
                self.bytes.extend_from_slice(&[VERSION, kind]);
                self.bytes.extend_from_slice(b"\x05\0\0\0https");
                Some(443)
            }
            scheme => {
                self.field(&[VERSION, kind]);
                self.lower(scheme.unwrap_or_default().as_bytes());
                None
            }
        }
    }

    /// Host and port, in lower case and without the default port (RFC 9110 §4.2.3).
    #[inline]
    pub(super) fn target(&mut self, target: &Target<'_>, default_port: Option<u16>) {
        match target.port.filter(|port| Some(*port) != default_port) {
            None => self.lower(target.host),
            Some(port) => self.written(|bytes| {
                extend_lower(bytes, target.host);
                bytes.push(b':');
                bytes.extend_from_slice(port.to_string().as_bytes());
            }),
        }
    }

    #[inline]
    pub(super) fn path(&mut self, uri: &Uri) {
        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        match has_escape(path.as_bytes()) {
            false => self.field(path.as_bytes()),
            true => self.written(|bytes| normalise_escapes(path.as_bytes(), bytes)),
        }
    }

    /// The query with its `?`, so that an absent one is not an empty one. Values of parameters that
    /// hold secrets are replaced by their digests, behind a byte that no query has.
    #[inline]
    pub(super) fn query(&mut self, policy: &Policy, uri: &Uri) {
        let Some(query) = uri.query() else {
            return self.field(b"");
        };
        if is_normal(policy, query.as_bytes()) {
            let [a, b, c, d] = u32::try_from(query.len() + 1)
                .unwrap_or(u32::MAX)
                .to_le_bytes();
            self.bytes.extend_from_slice(&[a, b, c, d, b'?']);
            return self.bytes.extend_from_slice(query.as_bytes());
        }
        self.parameters(policy, query);
    }

    fn parameters(&mut self, policy: &Policy, query: &str) {
        self.written(|bytes| {
            for (index, parameter) in query.split('&').enumerate() {
                bytes.push(if index == 0 { b'?' } else { b'&' });
                let Some((name, value)) = parameter.split_once('=') else {
                    normalise_escapes(parameter.as_bytes(), bytes);
                    continue;
                };
                let start = bytes.len();
                normalise_escapes(name.as_bytes(), bytes);
                let is_secret = policy.is_secret_parameter(&bytes[start..]);
                bytes.push(b'=');
                if is_secret {
                    let mut normalised = Vec::with_capacity(value.len());
                    normalise_escapes(value.as_bytes(), &mut normalised);
                    let mut digest = policy.secret.digest(b"parameter");
                    digest.field(&normalised);
                    bytes.push(0);
                    bytes.extend_from_slice(&digest.finish());
                } else {
                    normalise_escapes(value.as_bytes(), bytes);
                }
            }
        });
    }
}

fn digits(number: u16) -> usize {
    1 + number.checked_ilog10().unwrap_or_default() as usize
}

fn extend_lower(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(text.iter().map(u8::to_ascii_lowercase));
}

/// Whether a query is in the key as it is: it has no escapes and no parameter that holds a secret.
fn is_normal(policy: &Policy, query: &[u8]) -> bool {
    let mut parameter = 0;
    for (index, byte) in query.iter().enumerate() {
        let byte = BYTES[usize::from(*byte)];
        if byte <= PLAIN {
            continue;
        }
        if byte == AMPERSAND {
            parameter = index + 1;
        } else if byte == PERCENT {
            return false;
        } else if parameter <= index {
            // Of the first only: what is behind it in the same parameter is no name.
            if policy.is_secret_parameter(&query[parameter..index]) {
                return false;
            }
            parameter = usize::MAX;
        }
    }
    true
}

/// The length of a field, which goes before it.
#[inline]
pub(super) fn frame(field: &[u8]) -> [u8; FRAME] {
    u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes()
}

pub(super) const FRAME: usize = 4;

/// The version of the key; another one makes every stored response a miss.
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_query_is_normal_only_where_normalising_changes_nothing(
            query in "((a|B|key|Token|sig|%|%41|%4|=|&|\\?|/){0,3}(=|&)?){0,4}",
        ) {
            let policy = Policy::private();
            if is_normal(&policy, query.as_bytes()) {
                let mut key = Framed { bytes: Vec::new() };
                key.parameters(&policy, &query);
                let expected = format!("?{query}");
                prop_assert_eq!(&key.bytes[4..], expected.as_bytes());
            }
        }
    }
}
