//! Compression, encryption and signatures for what an HTTP cache stores, over any backend.
//!
//! ```
//! use cache_codec::{Codec, CodecBackend, Key, Keys};
//! use cache_memory::MemoryBackend;
//!
//! let keys = Keys::new(Key::new(2, b"what only this service knows, now")?)
//!     .and_older(Key::new(1, b"what only this service knew before")?);
//! let codec = Codec::new().sign(keys);
//! let backend = CodecBackend::new(MemoryBackend::default(), codec)?;
//! # let _ = backend;
//! # Ok::<(), cache_codec::InvalidCodec>(())
//! ```
//!
//! Responses are cut into frames, each of which is compressed where that pays, and then encrypted or
//! signed; so bodies stream into the store and out of it, and a range of a large one costs what it is
//! long. What was changed in the store, swapped or cut off is a miss: it is counted, and logged.
//!
//! The features are `zstd`, `lz4` and `encryption`; signatures need none.

mod codec;
pub use codec::Codec;

mod keys;
pub use keys::{InvalidCodec, Key, Keys};

mod backend;
pub use backend::CodecBackend;

mod body;
mod compression;
mod envelope;
mod manage;
mod protection;
mod writer;
