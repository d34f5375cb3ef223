//! A clock by which hits are judged, and which is behind the one by which things are ordered.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::{CacheInfo, Outcome, Policy, Retention};
use cache_memory::MemoryBackend;
use cache_tower::{Cache, CacheBody, CacheLayer, Clock, Filter, SystemClock};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kit::{ManualClock, Origin, TestBody, ok};
use tower_layer::Layer;
use tower_service::Service;

/// What is recent is a little ago.
#[derive(Debug, Clone)]
struct Behind(ManualClock);

const BEHIND: Duration = Duration::from_millis(4);

impl Clock for Behind {
    fn now(&self) -> SystemTime {
        self.0.now()
    }

    fn recent(&self) -> SystemTime {
        self.0.now() - BEHIND
    }
}

struct Scene {
    clock: ManualClock,
    origin: Origin,
    layer: CacheLayer,
    cache: Cache<Origin>,
}

impl Scene {
    fn new() -> Self {
        let (clock, origin) = (ManualClock::new(), Origin::new());
        let layer = CacheLayer::new(MemoryBackend::default())
            .policy(Policy::private())
            .clock(Behind(clock.clone()));
        Self {
            cache: layer.layer(origin.clone()),
            clock,
            origin,
            layer,
        }
    }

    /// A process with a clock of its own, which shares store and origin with others.
    fn beside(backend: &Arc<MemoryBackend>, origin: &Origin, clock: ManualClock) -> Self {
        let policy = Policy::private().retention(Retention::Forever);
        let layer = CacheLayer::new(backend.clone()).policy(policy);
        let layer = layer.clock(clock.clone());
        Self {
            cache: layer.layer(origin.clone()),
            clock,
            origin: origin.clone(),
            layer,
        }
    }

    async fn send(&mut self, method: Method) -> (Outcome, Response<Bytes>) {
        let mut request = Request::get("http://origin.test/")
            .body(Full::<Bytes>::default())
            .expect("a request");
        *request.method_mut() = method;
        let response: Response<CacheBody<TestBody>> =
            self.cache.call(request).await.expect("a response");
        let info = response.extensions().get::<CacheInfo>();
        let outcome = info.expect("what became of it").outcome;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (outcome, Response::from_parts(head, body))
    }

    async fn get(&mut self) -> (Outcome, Response<Bytes>) {
        self.send(Method::GET).await
    }
}

#[tokio::test]
async fn what_arrived_a_moment_ago_is_a_hit_of_no_age() {
    let mut scene = Scene::new();
    scene.origin.answers(ok("one").max_age(60));
    assert_eq!(scene.get().await.0, Outcome::Miss);
    let (outcome, response) = scene.get().await;
    assert_eq!(outcome, Outcome::Hit);
    assert_eq!(response.headers()["age"], "0");
}

#[tokio::test]
async fn what_is_asked_for_right_after_a_change_is_stored() {
    let mut scene = Scene::new();
    scene.origin.answers(ok("one").max_age(60));
    scene.get().await;
    scene.origin.answers(ok("changed"));
    scene.send(Method::PUT).await;
    scene.origin.answers(ok("two").max_age(60));
    assert_eq!(scene.get().await.0, Outcome::Miss);
    let (outcome, response) = scene.get().await;
    assert_eq!((outcome, &**response.body()), (Outcome::Hit, &b"two"[..]));
}

#[tokio::test]
async fn what_is_marked_stale_is_stale_at_once() {
    let mut scene = Scene::new();
    scene.origin.answers(ok("one").max_age(60));
    scene.get().await;
    scene.clock.advance(Duration::from_secs(5));
    let marked = scene.layer.handle().mark_stale(Filter::all()).await;
    assert_eq!(marked.expect("done").done, 1);
    scene.origin.answers(ok("two").max_age(60));
    let (outcome, response) = scene.get().await;
    assert_eq!((outcome, &**response.body()), (Outcome::Miss, &b"two"[..]));
}

#[tokio::test]
async fn what_ends_is_stale_as_soon_as_the_clock_that_is_behind_says_so() {
    let mut scene = Scene::new();
    scene.origin.answers(ok("one").max_age(60));
    scene.get().await;
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(scene.get().await.0, Outcome::Hit);
    scene.clock.advance(BEHIND);
    scene.origin.answers(ok("two").max_age(60));
    assert_eq!(scene.get().await.0, Outcome::Miss);
}

#[test]
fn what_the_system_says_is_recent_is_no_later_than_now_and_never_goes_back() {
    let clock = SystemClock;
    let mut last = SystemTime::UNIX_EPOCH;
    for _ in 0..100_000 {
        let before = clock.now();
        let recent = clock.recent();
        assert!(recent <= clock.now(), "it is in the future");
        assert!(recent >= last, "it went back");
        assert!(recent + Duration::from_secs(1) > before, "it is not recent");
        last = recent;
    }
}

#[tokio::test]
async fn what_was_stored_before_the_clock_was_set_back_is_stale() {
    for (back, outcome, body) in [(60, Outcome::Hit, "one"), (61, Outcome::Miss, "two")] {
        let later = ManualClock::new();
        let earlier = ManualClock::at(later.now() - Duration::from_secs(back));
        let origin = Origin::new();
        let backend = Arc::new(MemoryBackend::default());
        let [mut before, mut after] =
            [later, earlier].map(|clock| Scene::beside(&backend, &origin, clock));
        origin.answers(ok("one").max_age(3600));
        assert_eq!(before.get().await.0, Outcome::Miss);
        origin.answers(ok("two").max_age(3600));
        let (seen, response) = after.get().await;
        assert_eq!((seen, &**response.body()), (outcome, body.as_bytes()));
        if outcome == Outcome::Hit {
            continue;
        }
        // It only removed the other, which was asked for later.
        origin.answers(ok("three").max_age(3600));
        for outcome in [Outcome::Miss, Outcome::Hit] {
            let (seen, response) = after.get().await;
            assert_eq!((seen, &**response.body()), (outcome, &b"three"[..]));
        }
    }
}

/// What is changed by hand while the clock is behind holds when it has caught up, too.
#[tokio::test]
async fn what_is_made_stale_or_fresh_before_the_clock_caught_up_is_so_afterwards() {
    let hour = Duration::from_secs(3600);
    for is_fresh in [false, true] {
        let start = ManualClock::new().now();
        let backend = Arc::new(MemoryBackend::default());
        let origin = Origin::new();
        let at = |later| Scene::beside(&backend, &origin, ManualClock::at(start + later));
        origin.answers(ok("one").max_age(3 * 3600));
        assert_eq!(at(hour).get().await.0, Outcome::Miss);
        let handle = at(Duration::ZERO).layer.handle();
        let changed = match is_fresh {
            true => handle.set_ttl(Filter::all(), 2 * hour).await,
            false => handle.mark_stale(Filter::all()).await,
        };
        assert_eq!(changed.expect("done").done, 1);
        if is_fresh {
            let (outcome, response) = at(hour).get().await;
            assert_eq!(outcome, Outcome::Hit);
            assert_eq!(response.headers()["age"], "3600");
        }
        origin.answers(ok("two"));
        let later = if is_fresh { 2 * hour } else { hour };
        assert_eq!(at(later).get().await.0, Outcome::Miss);
    }
}

#[tokio::test]
async fn what_nobody_knows_the_age_of_is_given_as_stale() {
    let later = ManualClock::new();
    let earlier = ManualClock::at(later.now() - Duration::from_secs(3600));
    let origin = Origin::new();
    let backend = Arc::new(MemoryBackend::default());
    let [mut before, mut after] =
        [later, earlier].map(|clock| Scene::beside(&backend, &origin, clock));
    origin.answers(ok("one").max_age(7200));
    assert_eq!(before.get().await.0, Outcome::Miss);
    origin.fails();
    let (outcome, response) = after.get().await;
    assert_eq!(outcome, Outcome::StaleHit);
    assert_eq!(response.headers()["age"], "2147483648");
}
