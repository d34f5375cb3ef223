//! `Codec`.

use crate::compression::Compression;
use crate::keys::{InvalidCodec, Keys};
use crate::protection::Protection;

/// What is done to what is stored: compression first, then encryption or a signature.
///
/// Whoever reads has to have the same protection as who wrote, and a key of theirs; what was compressed
/// in another way, or not at all, can be read.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Codec {
    pub(crate) compression: Compression,
    pub(crate) protection: Protection,
}

impl Codec {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses with zstd at this level, 1 to 22, where that makes it shorter by an eighth or more;
    /// not what has a `Content-Encoding` already.
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self, level: i32) -> Self {
        self.compression = Compression::Zstd(level);
        self
    }

    /// Compresses with LZ4, where that makes it shorter by an eighth or more; not what has a
    /// `Content-Encoding` already.
    #[cfg(feature = "lz4")]
    pub fn lz4(mut self) -> Self {
        self.compression = Compression::Lz4;
        self
    }

    /// Encrypts with XChaCha20-Poly1305: status, header fields, URL, body and trailers. What stays
    /// readable are times, lifetimes and lengths, the names of fields that `Vary` named, and digests:
    /// of the key, by which a guess of a URL can be tested, and of selecting fields.
    #[cfg(feature = "encryption")]
    pub fn encrypt(mut self, keys: Keys) -> Self {
        self.protection = Protection::Encrypt(keys);
        self
    }

    /// Signs with a keyed BLAKE3: everything can be read, and nothing changed.
    pub fn sign(mut self, keys: Keys) -> Self {
        self.protection = Protection::Sign(keys);
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidCodec> {
        match &self.protection {
            Protection::None if self.compression.is_none() => Err(InvalidCodec::Nothing),
            Protection::None => Ok(()),
            Protection::Sign(keys) => keys.check(),
            #[cfg(feature = "encryption")]
            Protection::Encrypt(keys) => keys.check(),
        }
    }
}
