//! Looking after what is stored, beside the way of requests.

mod handle;
pub use handle::CacheHandle;

mod filter;
pub use filter::Filter;

mod entries;
pub use entries::Entries;

mod sweep;
pub use sweep::Sweep;

mod put;
pub use put::PutError;

mod stats;
pub use stats::Stats;

mod copy;
