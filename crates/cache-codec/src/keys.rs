//! The keys that values are encrypted or signed with.

use std::error::Error as StdError;
use std::fmt;

/// A secret, and the number by which values name it.
#[derive(Clone)]
pub struct Key {
    pub(crate) id: u32,
    pub(crate) material: [u8; 32],
}

impl Key {
    /// A key made of a secret of 16 bytes or more, which nobody can guess: random ones, say.
    ///
    /// # Errors
    ///
    /// Where the secret is shorter.
    pub fn new(id: u32, secret: &[u8]) -> Result<Self, InvalidCodec> {
        if secret.len() < SHORTEST {
            return Err(InvalidCodec::ShortSecret { id });
        }
        Ok(Self {
            id,
            material: blake3::derive_key("cache-codec 2026 key v1", secret),
        })
    }

    /// Of this key, for one purpose.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.material)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The key that is written with, and others that can be read still.
///
/// To change the key, let all replicas read with the new one first (`Keys::new(old).and_older(new)`),
/// then write with it (`Keys::new(new).and_older(old)`), and leave the old one out when nothing is
/// stored any more that was written with it.
#[derive(Debug, Clone)]
pub struct Keys {
    keys: Vec<Key>,
}

impl Keys {
    /// This key for everything.
    #[must_use]
    pub fn new(current: Key) -> Self {
        Self {
            keys: vec![current],
        }
    }

    /// The same, and this one for what was written with it.
    #[must_use]
    pub fn and_older(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    pub(crate) fn current(&self) -> &Key {
        &self.keys[0]
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidCodec> {
        for (index, key) in self.keys.iter().enumerate() {
            if self.keys[..index].iter().any(|other| other.id == key.id) {
                return Err(InvalidCodec::SameId { id: key.id });
            }
        }
        Ok(())
    }
}

/// A codec that cannot work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCodec {
    /// The secret of a key is too short.
    ShortSecret {
        /// The key's.
        id: u32,
    },
    /// Two keys have one number.
    SameId {
        /// Theirs.
        id: u32,
    },
    /// The codec does nothing.
    Nothing,
    /// The backend cannot be gone through.
    NotManageable,
}

impl fmt::Display for InvalidCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShortSecret { id } => write!(
                f,
                "the secret of key {id} can be guessed; write {SHORTEST} random bytes or more"
            ),
            Self::SameId { id } => write!(
                f,
                "two keys have the number {id}; write another for the newer one"
            ),
            Self::Nothing => f.write_str(
                "the codec does nothing; write .encrypt(keys), .sign(keys), .zstd(3) or .lz4()",
            ),
            Self::NotManageable => f.write_str(
                "the backend cannot open what it has stored, which freshening needs; write one whose \
                 `manage` gives something",
            ),
        }
    }
}

impl StdError for InvalidCodec {}

const SHORTEST: usize = 16;
