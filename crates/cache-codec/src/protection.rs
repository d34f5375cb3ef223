//! Encryption and signatures.
//!
//! ```text
//! nothing      0 · data
//! signed       1 · number of the key (4) · signature (32) · data
//! encrypted    2 · number of the key (4) · nonce (24) · what the cipher made of the data, and its tag
//! ```
//!
//! What a value is for, and what it belongs to, is signed along or authenticated by the cipher, so that
//! none passes for another. A frame of a body has no number and no nonce of its own: the identity of the
//! response and the number of the frame are its nonce, and the tail of the response names the key.

use crate::keys::{Key, Keys};

/// How values are protected.
#[derive(Debug, Clone, Default)]
pub(crate) enum Protection {
    #[default]
    None,
    Sign(Keys),
    #[cfg(feature = "encryption")]
    Encrypt(Keys),
}

/// What tells one response from all others.
pub(crate) type Id = [u8; 16];

/// What a value is for, and what it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) purpose: &'static [u8],
    pub(crate) of: &'a [u8],
}

impl Context<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.purpose.len() + self.of.len() + 16);
        for part in [self.purpose, self.of] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

const NOTHING: u8 = 0;
const SIGNED: u8 = 1;
const SIGNATURE: usize = 32;
#[cfg(feature = "encryption")]
const ENCRYPTED: u8 = 2;

impl Protection {
    /// Whether nothing is to be readable.
    pub(crate) fn hides(&self) -> bool {
        match self {
            Self::None | Self::Sign(_) => false,
            #[cfg(feature = "encryption")]
            Self::Encrypt(_) => true,
        }
    }

    /// The number of the key that is written with.
    pub(crate) fn key_id(&self) -> u32 {
        match self {
            Self::None => 0,
            Self::Sign(keys) => keys.current().id,
            #[cfg(feature = "encryption")]
            Self::Encrypt(keys) => keys.current().id,
        }
    }

    /// A value of its own; `None`: there is no randomness to be had.
    pub(crate) fn seal(&self, context: Context<'_>, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => Some([&[NOTHING], data].concat()),
            Self::Sign(keys) => {
                let key = keys.current();
                let signature = sign(key, &context.bytes(), data);
                let id = key.id.to_le_bytes();
                Some([&[SIGNED], &id[..], &signature, data].concat())
            }
            #[cfg(feature = "encryption")]
            Self::Encrypt(keys) => {
                let key = keys.current();
                let mut nonce = [0; cipher::NONCE];
                getrandom::fill(&mut nonce).ok()?;
                let hidden = cipher::encrypt(key, &nonce, &context.bytes(), data)?;
                let id = key.id.to_le_bytes();
                Some([&[ENCRYPTED], &id[..], &nonce, &hidden].concat())
            }
        }
    }

    /// What was sealed in this context, unless it was changed.
    pub(crate) fn open(&self, context: Context<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
        let (kind, rest) = sealed.split_first()?;
        match (self, *kind) {
            (Self::None, NOTHING) => Some(rest.to_vec()),
            (Self::Sign(keys), SIGNED) => {
                let (id, rest) = rest.split_first_chunk()?;
                let (signature, data) = rest.split_first_chunk::<SIGNATURE>()?;
                let key = keys.get(u32::from_le_bytes(*id))?;
                is_signed(key, &context.bytes(), data, signature).then(|| data.to_vec())
            }
            #[cfg(feature = "encryption")]
            (Self::Encrypt(keys), ENCRYPTED) => {
                let (id, rest) = rest.split_first_chunk()?;
                let (nonce, hidden) = rest.split_first_chunk()?;
                let key = keys.get(u32::from_le_bytes(*id))?;
                cipher::decrypt(key, nonce, &context.bytes(), hidden)
            }
            _ => None,
        }
    }

    /// A frame of a body.
    pub(crate) fn seal_frame(&self, id: &Id, number: u64, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(data.to_vec()),
            Self::Sign(keys) => {
                let signature = sign(keys.current(), &frame_context(id, number), data);
                Some([&signature, data].concat())
            }
            #[cfg(feature = "encryption")]
            Self::Encrypt(keys) => {
                cipher::encrypt(keys.current(), &frame_nonce(id, number), FRAME, data)
            }
        }
    }

    /// A frame that was sealed with the key of this number, unless it was changed.
    pub(crate) fn open_frame(
        &self,
        key: u32,
        id: &Id,
        number: u64,
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(sealed.to_vec()),
            Self::Sign(keys) => {
                let (signature, data) = sealed.split_first_chunk::<SIGNATURE>()?;
                is_signed(keys.get(key)?, &frame_context(id, number), data, signature)
                    .then(|| data.to_vec())
            }
            #[cfg(feature = "encryption")]
            Self::Encrypt(keys) => {
                cipher::decrypt(keys.get(key)?, &frame_nonce(id, number), FRAME, sealed)
            }
        }
    }
}

/// Names no purpose that a context has.
const FRAME: &[u8] = b"frame";

fn frame_context(id: &Id, number: u64) -> Vec<u8> {
    [FRAME, id, &number.to_le_bytes()].concat()
}

#[cfg(feature = "encryption")]
fn frame_nonce(id: &Id, number: u64) -> [u8; cipher::NONCE] {
    let mut nonce = [0; cipher::NONCE];
    nonce[..16].copy_from_slice(id);
    nonce[16..].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn signature(key: &Key, context: &[u8], data: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&key.derive("cache-codec 2026 signature v1"));
    hasher.update(&(context.len() as u64).to_le_bytes());
    hasher.update(context);
    hasher.update(data);
    hasher.finalize()
}

fn sign(key: &Key, context: &[u8], data: &[u8]) -> [u8; SIGNATURE] {
    *signature(key, context, data).as_bytes()
}

fn is_signed(key: &Key, context: &[u8], data: &[u8], found: &[u8; SIGNATURE]) -> bool {
    // Hashes compare in constant time.
    signature(key, context, data) == *found
}

#[cfg(feature = "encryption")]
mod cipher {
    use chacha20poly1305::XChaCha20Poly1305;
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};

    use crate::keys::Key;

    pub(super) const NONCE: usize = 24;

    fn cipher(key: &Key) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&key.derive("cache-codec 2026 encryption v1").into())
    }

    pub(super) fn encrypt(
        key: &Key,
        nonce: &[u8; NONCE],
        context: &[u8],
        data: &[u8],
    ) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: data,
            aad: context,
        };
        cipher(key).encrypt(&(*nonce).into(), payload).ok()
    }

    pub(super) fn decrypt(
        key: &Key,
        nonce: &[u8; NONCE],
        context: &[u8],
        hidden: &[u8],
    ) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: hidden,
            aad: context,
        };
        cipher(key).decrypt(&(*nonce).into(), payload).ok()
    }
}
