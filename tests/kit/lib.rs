//! The test kit: a clock that tests move, an origin that they script, a scenario in which one line
//! is one exchange, backends that record and fail, and the suite that every backend passes.

pub use cache_testing::{
    Answer, ManualClock, Origin, OriginError, Sent, TestBody, not_modified, ok, status,
};

mod http_origin;
pub use http_origin::HttpOrigin;

mod scenario;
pub use scenario::{Call, Scenario, Seen};

mod backends;
pub use backends::{FaultyBackend, Operation, RecordingBackend};

mod log;
pub use log::Log;

pub mod contract;
pub mod held;
pub mod management;
pub mod simulation;

#[cfg(unix)]
pub mod redis;

/// The examples of the documents, which are tests.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../docs/coming-from-requests-cache.md")]
    mod coming_from_requests_cache {}

    #[doc = include_str!("../../docs/events.md")]
    mod events {}

    #[doc = include_str!("../../docs/redirects.md")]
    mod redirects {}

    #[doc = include_str!("../../docs/rules.md")]
    mod rules {}
}
