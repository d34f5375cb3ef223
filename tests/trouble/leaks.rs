//! What stays behind of a body on its way: nothing, whoever leaves when, and never more than its bound.

use bytes::Bytes;
use cache_core::{CacheMode, Outcome, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use kit::held::{Feed, HeldBody, get, settle};
use kit::{Answer, Operation, ok};
use tower_service::Service;

use crate::reading::{Kept, Reading, Step, WINDOW, pattern};
use crate::scene::{Scene, answer, got, is_ready, with_mode};
use crate::store::{Fault, Store};

const PIECE: usize = 64 << 10;

/// The most that is kept while somebody reads who could not go on alone.
const LONG_WINDOW: usize = 16 << 20;

fn untagged() -> Answer {
    ok("").max_age(600)
}

/// What becomes of a body, and of those who read it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// It is read to its end.
    Read,
    /// It is read, and dropped in the middle.
    Dropped,
    /// It is dropped unread.
    Unread,
    /// Of one who waits: gone before it has looked.
    Left,
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_behind_whoever_leaves_when() {
    let ends = [End::Read, End::Dropped, End::Unread, End::Left];
    for leading in [End::Read, End::Dropped, End::Unread] {
        for one in ends {
            for other in ends {
                for breaks_off in [false, true] {
                    for leader_is_last in [false, true] {
                        let ways = [leading, one, other];
                        stays_behind(ways, breaks_off, leader_is_last).await;
                    }
                }
            }
        }
    }
}

async fn stays_behind(ways: [End; 3], breaks_off: bool, leader_is_last: bool) {
    let name = format!("{ways:?}, breaks off: {breaks_off}, leader last: {leader_is_last}");
    let kept = Kept::default();
    let mut scene = Scene::over(Store::forgetful());
    let mut leading = Box::pin(scene.cache.clone().call(get("/")));
    assert!(!is_ready(leading.as_mut()).await);
    let asked = scene.asked().await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut waits = Box::pin(scene.cache.clone().call(get("/")));
        assert!(!is_ready(waits.as_mut()).await);
        waiting.push(waits);
    }
    let piece = || kept.hand_out(pattern(1_000));
    let feed: Feed = asked.begin(untagged().chunk(piece()));
    let response = leading.await.expect("a response");
    // Those who leave do so when they have been told, and before they look.
    let mut readings: Vec<Option<Reading<HeldBody>>> = vec![Some(Reading::of(response))];
    for (way, waits) in ways[1..].iter().zip(waiting) {
        readings.push(match way {
            End::Left => None,
            _ => Some(Reading::of(waits.await.expect("a response"))),
        });
    }
    let order = match leader_is_last {
        true => [2, 1, 0],
        false => [0, 1, 2],
    };
    for i in order {
        if let (Some(reading), End::Read | End::Dropped) = (&mut readings[i], ways[i]) {
            assert!(matches!(reading.step(), Step::Data(_)), "{name}");
        }
    }
    for i in order {
        if ways[i] != End::Read {
            readings[i] = None;
        }
    }
    feed.data(piece());
    match breaks_off {
        true => feed.break_off(),
        false => feed.end(),
    }
    for i in order {
        if let Some(reading) = &mut readings[i] {
            assert!(reading.go_on(), "{name}");
        }
    }
    readings.clear();
    settle().await;
    assert_eq!(kept.bytes(), 0, "{name}");
    assert!(scene.all_has_landed(), "{name}");
    scene.nothing_is_asked().await;
}

/// The body itself is let go of as soon as nobody reads it, and not when the last has looked.
#[tokio::test(start_paused = true)]
async fn a_body_is_dropped_when_nobody_reads_it_any_more() {
    let mut scene = Scene::new();
    let leading = scene.send(get("/"));
    let asked = scene.asked().await;
    let waiting = scene.send(get("/"));
    settle().await;
    let feed = asked.begin(ok("one ").max_age(600));
    let (led, waited) = (answer(leading).await, answer(waiting).await);
    drop(led);
    assert!(!feed.is_dropped());
    drop(waited);
    assert!(feed.is_dropped());
    assert!(scene.all_has_landed());
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
}

/// A long body, of which everybody but the slow one reads what there is.
async fn feed_all(
    feed: &Feed,
    whole: &Bytes,
    kept: &Kept,
    readings: &mut [Reading<HeldBody>],
) -> usize {
    let mut most = 0;
    for at in (0..whole.len()).step_by(PIECE) {
        feed.data(kept.hand_out(whole.slice(at..whole.len().min(at + PIECE))));
        for reading in &mut *readings {
            reading.go_on();
        }
        settle().await;
        most = most.max(kept.bytes());
    }
    most
}

/// Not dropped, but not polled either, before it has looked: it is not waited for without a bound.
#[tokio::test(start_paused = true)]
async fn one_who_waits_and_never_looks_keeps_no_more_than_the_bound() {
    let kept = Kept::default();
    let mut scene = Scene::over(Store::forgetful());
    let leading = scene.send(get("/"));
    let asked = scene.asked().await;
    let mut never_polled = Box::pin(scene.cache.clone().call(get("/")));
    assert!(!is_ready(never_polled.as_mut()).await);
    let feed = asked.begin(untagged());
    let mut readings = [Reading::of(answer(leading).await)];
    let whole = pattern(LONG_WINDOW + 4 * WINDOW);
    let most = feed_all(&feed, &whole, &kept, &mut readings).await;
    assert!(most <= LONG_WINDOW + 2 * PIECE, "{most} bytes are kept");
    feed.end();
    let [mut led] = readings;
    assert!(led.go_on());
    led.got().is(&whole);
    // It asks for itself then.
    let own = tokio::spawn(never_polled);
    scene.asked().await.answer(ok("own"));
    drop(own);
    settle().await;
    assert_eq!(kept.bytes(), 0);
    assert!(scene.all_has_landed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_could_not_go_on_alone_keeps_no_more_than_the_bound() {
    let kept = Kept::default();
    let mut scene = Scene::over(Store::forgetful());
    let calls = [(); 3].map(|()| scene.send(get("/")));
    let feed = scene.asked().await.begin(untagged());
    let mut readings = Vec::new();
    for call in calls {
        readings.push(Reading::of(answer(call).await));
    }
    let mut slow = readings.remove(2);
    let whole = pattern(LONG_WINDOW + 4 * WINDOW);
    let most = feed_all(&feed, &whole, &kept, &mut readings).await;
    assert!(most <= LONG_WINDOW + 2 * PIECE, "{most} bytes are kept");
    feed.end();
    for mut reading in readings {
        assert!(reading.go_on());
        reading.got().is(&whole);
    }
    assert!(slow.go_on());
    let slow = slow.got();
    slow.is_or_breaks_off(&whole);
    assert!(slow.error.is_some());
    settle().await;
    assert_eq!(kept.bytes(), 0);
}

/// Kept for one who has left meanwhile: nobody has a use for it, however long the store takes.
#[tokio::test(start_paused = true)]
async fn what_was_kept_for_one_who_has_left_is_not_kept_while_the_store_takes_its_time() {
    let kept = Kept::default();
    let store = Store::forgetful();
    store.set(Operation::Publish, Fault::Hangs);
    let mut scene = Scene::over(store);
    let calls = [(); 2].map(|()| scene.send(get("/")));
    let feed = scene.asked().await.begin(untagged());
    let mut readings = Vec::new();
    for call in calls {
        readings.push(Reading::of(answer(call).await));
    }
    let slow = readings.remove(1);
    let whole = pattern(8 * WINDOW);
    feed_all(&feed, &whole, &kept, &mut readings).await;
    feed.end();
    assert!(readings[0].go_on());
    drop((slow, readings));
    settle().await;
    assert!(
        kept.bytes() <= WINDOW + PIECE,
        "{} bytes are kept",
        kept.bytes()
    );
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!(kept.bytes(), 0);
    assert!(scene.all_has_landed());
    let next = scene.fetch(get("/"));
    scene.asked().await.answer(ok("next"));
    assert_eq!(got(next).await.text(), "next");
}

/// An endless one, such as a stream of events, would be read for ever, and hold its place among the tasks in the
/// background.
#[tokio::test(start_paused = true)]
async fn what_is_not_stored_is_not_read_in_the_background() {
    let layer = CacheLayer::new(MemoryBackend::default());
    let mut scene = Scene::with(layer.policy(Policy::private().max_body_bytes(1 << 10)));
    for answer in [ok("").cache_control("no-store"), ok("").max_age(600)] {
        let first = scene.fetch(with_mode(get("/"), CacheMode::Reload));
        let stale = ok("one").cache_control("max-age=0, stale-while-revalidate=600");
        scene.asked().await.answer(stale);
        got(first).await;
        let hit = got(scene.fetch(get("/"))).await;
        assert_eq!(hit.info.reason, Reason::StaleWhileRevalidate);
        let feed = scene.asked().await.begin(answer);
        for _ in 0..3 {
            feed.data(vec![0; 1 << 10]);
            settle().await;
        }
        assert!(feed.is_dropped());
    }
    assert!(is_ready(scene.layer.shutdown()).await);
}

/// It has places of its own among the tasks in the background.
#[tokio::test(start_paused = true)]
async fn a_validation_that_hangs_keeps_nothing_from_being_stored() {
    let layer = CacheLayer::new(Store::later()).background_tasks(1);
    let mut scene = Scene::with(layer);
    let first = scene.fetch(get("/"));
    let stale = ok("one").cache_control("max-age=0, stale-while-revalidate=600");
    scene.asked().await.answer(stale);
    got(first).await;
    settle().await;
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.info.reason, Reason::StaleWhileRevalidate);
    let hanging = scene.asked().await;
    let other = scene.fetch(get("/other"));
    scene.asked().await.answer(ok("two").max_age(600));
    got(other).await;
    settle().await;
    assert_eq!(scene.stored(get("/other")).await, Outcome::Hit);
    drop(hanging);
}
