//! Those who are measured.

use cache_tower::{CacheLayer, MemoryBackend};
use tower::Layer;

use crate::candidate::{Candidate, Measured};
use crate::exchange::{Origin, Prebuilt};

/// The limit, and ours without and with what it says on each response, and the peers if they are compiled; each with a store of
/// its own that has a body of this many bytes.
pub fn candidates(body_bytes: usize) -> Vec<Box<dyn Candidate>> {
    let prebuilt = Prebuilt::new(body_bytes);
    let limit = Measured::new(LIMIT, prebuilt.clone(), prebuilt.clone(), body_bytes, None);
    let origin = Origin::new(prebuilt.clone());
    let layer = CacheLayer::new(MemoryBackend::default()).cache_info(false);
    let service = layer.layer(origin.clone());
    let ours = Measured::new(OURS, service, prebuilt.clone(), body_bytes, Some(origin));
    let origin = Origin::new(prebuilt.clone());
    let service = CacheLayer::new(MemoryBackend::default()).layer(origin.clone());
    let telling = Measured::new(TELLING, service, prebuilt.clone(), body_bytes, Some(origin));
    #[cfg_attr(
        not(feature = "peers"),
        expect(unused_mut, reason = "the peers are pushed to it")
    )]
    let mut all: Vec<Box<dyn Candidate>> = vec![Box::new(limit), Box::new(ours), Box::new(telling)];
    #[cfg(feature = "peers")]
    all.extend(crate::peers::peers(&prebuilt, body_bytes));
    all
}

/// The name of the limit.
pub const LIMIT: &str = "limit";

/// Ours, without a `CacheInfo` on each response.
pub const OURS: &str = "ours";

/// Ours with its defaults.
pub const TELLING: &str = "ours, with CacheInfo";

/// Those who are no peers.
pub(crate) const OWN: [&str; 5] = [LIMIT, OURS, TELLING, CHECKOUT, APART];

/// A connection of the pool for each command, as its documentation shows it.
pub(crate) const CHECKOUT: &str = "a checkout per GET";

/// A connection for what is small, and one for what is large.
pub(crate) const APART: &str = "a connection for each size";
