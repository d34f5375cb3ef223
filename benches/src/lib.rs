//! What the benchmarks have in common: one request, one response, and those who answer.

mod exchange;
pub use exchange::Prebuilt;

mod ask;

mod candidate;
pub use candidate::{Candidate, Reader};

mod candidates;
pub use candidates::{LIMIT, OURS, TELLING, candidates};

#[cfg(feature = "peers")]
mod peers;

mod rounds;
pub use rounds::{Case, Options, measure, run, times, to_json};

mod beside;

mod samples;
pub use samples::Samples;

mod process;
pub use process::{Memory, Process, cpu_time, free_port, on_core, own_cpu_time, until_gone};

mod serve;
pub use serve::{BoxError, serve};

mod over_redis;
pub use over_redis::{Server, beside_large, ours_over_redis, over_redis};

pub mod growth;

pub mod memory;

mod plot;

pub mod table;

/// The sizes of the bodies that are measured, in bytes.
pub const SIZES: [usize; 2] = [1 << 10, 128 << 10];

/// A size for people.
pub fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}
