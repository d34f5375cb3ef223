//! The test kit: a clock that tests move, an origin that they script, a scenario in which one line
//! is one exchange, backends that record and fail, and the suite that every backend passes.

mod clock;
pub use clock::ManualClock;

mod answer;
pub use answer::{Answer, OriginError, TestBody, not_modified, ok, status};

mod origin;
pub use origin::{Origin, Sent};

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
