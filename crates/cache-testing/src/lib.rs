//! For the tests of those who use the HTTP cache: a clock that is moved, an origin that is scripted, and
//! traffic that is recorded once and replayed.
//!
//! ```
//! use cache_testing::{ManualClock, Origin, ok};
//! use cache_tower::{CacheInfo, CacheLayer, MemoryBackend, Outcome};
//! use http_body_util::BodyExt;
//! use std::time::Duration;
//! use tower::{Layer, ServiceExt};
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//!
//! let (clock, origin) = (ManualClock::new(), Origin::new());
//! let layer = CacheLayer::new(MemoryBackend::default()).clock(clock.clone());
//! let client = layer.layer(origin.clone());
//! let get = || http::Request::get("http://origin.test/").body(()).map(|request| {
//!     request.map(|()| http_body_util::Empty::<bytes::Bytes>::new())
//! });
//!
//! origin.answers(ok("hello").max_age(60));
//! for expected in [Outcome::Miss, Outcome::Hit] {
//!     let response = client.clone().oneshot(get()?).await?;
//!     assert_eq!(response.extensions().get::<CacheInfo>().map(|info| info.outcome), Some(expected));
//!     assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! }
//!
//! clock.advance(Duration::from_secs(61));
//! origin.answers(ok("hello again").max_age(60));
//! let response = client.clone().oneshot(get()?).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello again");
//! assert_eq!(origin.sent().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
pub use clock::ManualClock;

mod answer;
pub use answer::{Answer, OriginError, Step, TestBody, not_modified, ok, status};

mod origin;
pub use origin::{Origin, Sent};

mod record;
pub use record::{Record, RecordBody, RecordFuture, RecordLayer};

mod recording;
pub use recording::{Recording, RecordingError};

mod replay;
pub use replay::{Replay, ReplayError};
