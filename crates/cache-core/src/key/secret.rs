//! Keyed digests, which stand for what must not be readable at rest.

use std::fmt;

use super::Digest;
use super::framed::frame;

/// The secret that keyed digests are made with; never shown.
#[derive(Clone, Copy)]
pub struct Secret([u8; 32]);

impl Secret {
    /// No secret: digests are one-way, but a guess can be tested.
    #[must_use]
    pub const fn none() -> Self {
        Self([0; 32])
    }

    /// A secret of any length; 16 random bytes or more are enough.
    #[must_use]
    pub fn new(material: &[u8]) -> Self {
        Self(blake3::derive_key(
            "cache-core 2026 keyed digests v1",
            material,
        ))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// A keyed digest over framed fields, of its own for each `purpose`.
    pub(crate) fn digest(&self, purpose: &[u8]) -> KeyedDigest {
        let mut digest = KeyedDigest {
            secret: *self,
            short: [0; SHORT_BYTES],
            length: 0,
            long: None,
        };
        digest.field(purpose);
        digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A keyed digest in the making.
pub(crate) struct KeyedDigest {
    secret: Secret,
    /// The bytes so far, as long as they fit: hashing them at once takes half the time.
    short: [u8; SHORT_BYTES],
    length: usize,
    long: Option<Box<blake3::Hasher>>,
}

impl KeyedDigest {
    pub(crate) fn field(&mut self, field: &[u8]) {
        self.update(&frame(field));
        self.update(field);
    }

    fn update(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match (&mut self.long, self.short.get_mut(self.length..end)) {
            (None, Some(free)) => {
                free.copy_from_slice(bytes);
                self.length = end;
            }
            (long, _) => {
                let begin = || {
                    let mut hasher = Box::new(blake3::Hasher::new_keyed(&self.secret.0));
                    hasher.update(&self.short[..self.length]);
                    hasher
                };
                long.get_or_insert_with(begin).update(bytes);
            }
        }
    }

    pub(crate) fn finish(&self) -> Digest {
        truncate(&match &self.long {
            Some(hasher) => hasher.finalize(),
            None => blake3::keyed_hash(&self.secret.0, &self.short[..self.length]),
        })
    }
}

/// As much as a selecting field takes, or the value of a secret parameter; cookies take more.
const SHORT_BYTES: usize = 128;

pub(super) fn truncate(hash: &blake3::Hash) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_digest_is_the_same_whether_it_is_made_at_once_or_bit_by_bit() {
        let bytes: Vec<u8> = (0..=255).collect();
        for first in 0..=SHORT_BYTES + 1 {
            for second in [0, 1, SHORT_BYTES - first.min(SHORT_BYTES), SHORT_BYTES] {
                let (first, second) = (&bytes[..first], &bytes[..second]);
                let mut digest = Secret::new(b"s").digest(b"test");
                digest.field(first);
                digest.field(second);
                let mut hasher = blake3::Hasher::new_keyed(&Secret::new(b"s").0);
                for field in [&b"test"[..], first, second] {
                    hasher.update(&(field.len() as u32).to_le_bytes());
                    hasher.update(field);
                }
                assert_eq!(digest.finish(), hasher.finalize().as_bytes()[..16]);
            }
        }
    }
}
