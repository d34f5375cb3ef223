//! What the benchmarks have in common: one request, one response, and those who answer.

mod exchange;

mod candidate;
pub use candidate::Candidate;

mod candidates;
pub use candidates::{LIMIT, OURS, TELLING, candidates};

#[cfg(feature = "peers")]
mod peers;

mod rounds;
pub use rounds::{Case, Options, measure};

mod over_redis;
pub use over_redis::{Server, over_redis};

pub mod table;

/// The sizes of the bodies that are measured, in bytes.
pub const SIZES: [usize; 2] = [1 << 10, 128 << 10];

/// A size for people.
pub fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}
