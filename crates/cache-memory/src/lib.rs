//! The in-memory backend of the HTTP cache, and its embedded default.
//!
//! It is bounded in bytes, keeps every response no longer than it may be kept, and answers at once:
//! no lookup waits, and bodies are shared with the responses that are made from them, not copied.

mod backend;
pub use backend::{InvalidCapacity, MemoryBackend};

mod ledger;
mod manage;
mod slot;
mod table;
mod writer;
