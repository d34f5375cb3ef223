//! How much room a hit takes: it is moved about, or allocated, for each request.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{Begin, RequestHead};
use cache_memory::MemoryBackend;
use http::{Request, Response};
use http_body_util::Full;
use tower_service::Service;

use crate::body::CacheBody;
use crate::budget::Budget;
use crate::engine::{Engine, Exchange};
use crate::future::ResponseFuture;

type Body = Full<Bytes>;

#[derive(Clone)]
struct Origin;

impl Service<Request<Body>> for Origin {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}

#[test]
fn what_is_moved_for_a_hit_is_small() {
    assert!(size_of::<CacheBody<Body>>() <= 48);
    assert!(size_of::<ResponseFuture<Body, Infallible>>() <= 160);
}

#[test]
fn what_is_allocated_for_a_hit_in_a_store_that_answers_later_is_small() {
    let engine = Arc::new(Engine::new(Arc::new(MemoryBackend::default())));
    let request = Request::get("http://a.test/").body(Body::default());
    let request = request.expect("a request");
    let now = SystemTime::UNIX_EPOCH;
    let head = RequestHead::from(&request);
    let Begin::Lookup(lookup) = Begin::new(&engine.policy, &head, now) else {
        panic!("a plain GET is looked up");
    };
    let exchange = Exchange {
        budget: Budget::new(engine.backend_budget),
        engine,
        inner: Origin,
        all_ended: 0,
        ended: None,
        in_background: false,
    };
    let looking_up = exchange.look_up(lookup, request, now);
    assert!(
        size_of_val(&looking_up) <= 1_408,
        "{}",
        size_of_val(&looking_up)
    );
}
