//! What a backend holds.

use bytes::Bytes;
use cache_core::{Backend, Begin, Candidates, Policy, RequestHead};
use cache_tower::Clock;
use http::Request;
use http_body_util::Full;
use kit::ManualClock;

/// What a backend in memory holds for a request, whatever it was selected by.
pub(crate) fn found(
    backend: &impl Backend,
    policy: &Policy,
    clock: &ManualClock,
    request: &Request<Full<Bytes>>,
) -> Candidates {
    let head = RequestHead::from(request);
    let Begin::Lookup(lookup) = Begin::new(policy, &head, clock.now()) else {
        panic!("the request is not looked up")
    };
    let query = lookup.query(policy, head);
    match backend.lookup(query, clock.now()) {
        cache_core::Answer::Now(found) => found.expect("it works"),
        cache_core::Answer::Later(_) => panic!("it is not in memory"),
    }
}
