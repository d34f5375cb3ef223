//! Those who wait read the same body while it arrives.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheMode, Outcome, Policy};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use kit::held::{get, settle};
use kit::{Operation, ok};
use tokio::time::Instant;

use crate::reading::{Reading, Step, pattern};
use crate::scene::{Answered, Scene, Sending, answer, got, got_all, info};
use crate::store::{Fault, Store};

fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

/// Sends so many requests, of which the first leads.
async fn send_all(scene: &Scene, count: usize) -> Vec<Sending> {
    let calls = (0..count).map(|_| scene.send(get("/"))).collect();
    settle().await;
    calls
}

async fn answers(calls: Vec<Sending>) -> Vec<Answered> {
    let mut all = Vec::new();
    for call in calls {
        all.push(answer(call).await);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn who_waits_has_the_head_as_soon_as_the_leader_and_each_piece_as_it_arrives() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let calls = send_all(&scene, 4).await;
        let started = Instant::now();
        let feed = scene.asked().await.begin(ok("").max_age(600));
        let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
        for reading in &mut readings {
            assert_eq!(reading.step(), Step::Pending);
        }
        // Whoever comes first.
        for (piece, order) in [
            ("one ", [3, 0, 2, 1]),
            ("two ", [0, 1, 2, 3]),
            ("three", [2, 3, 1, 0]),
        ] {
            feed.data(piece);
            for i in order {
                assert_eq!(readings[i].step(), data(piece));
                assert_eq!(readings[i].step(), Step::Pending);
                assert!(!readings[i].is_end_stream());
            }
        }
        assert!(started.elapsed() < Duration::from_millis(10));
        assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
        feed.end();
        for reading in &mut readings {
            assert_eq!(reading.step(), Step::End);
        }
        settle().await;
        assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
        assert!(scene.all_has_landed());
    }
}

/// Those who wait in tasks of their own are woken for each piece, whoever of them takes it.
#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_for_each_piece() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(50, || get("/")).await;
    let feed = scene.asked().await.begin(ok("").max_age(600));
    let mut expected = String::new();
    for i in 0..200 {
        let piece = format!("{i} ");
        expected.push_str(&piece);
        feed.data(piece);
        settle().await;
        assert_eq!(feed.taken(), i + 1, "nobody has been woken");
    }
    feed.end();
    for got in got_all(calls).await {
        assert_eq!(got.text(), expected);
    }
}

/// Whoever sleeps, and however: the others read on.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_stalls_nobody() {
    for slow in 0..3 {
        let mut scene = Scene::new();
        let calls = send_all(&scene, 3).await;
        let feed = scene.asked().await.begin(ok("one ").max_age(600));
        let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
        let sleeping = readings.remove(slow);
        feed.data("two ");
        for reading in &mut readings {
            assert_eq!(reading.step(), data("one "));
            assert_eq!(reading.step(), data("two "));
        }
        feed.data("three");
        feed.end();
        for mut reading in readings {
            assert!(reading.go_on());
            assert_eq!(reading.got().text(), "one two three");
        }
        assert_eq!(scene.stored(get("/")).await, Outcome::Hit, "it is whole");
        let mut woken = sleeping;
        assert!(woken.go_on());
        assert_eq!(woken.got().text(), "one two three");
    }
}

/// The body is not pulled before anybody wants it.
#[tokio::test(start_paused = true)]
async fn a_body_arrives_no_faster_than_the_fastest_reads() {
    let mut scene = Scene::new();
    let calls = send_all(&scene, 3).await;
    let feed = scene.asked().await.begin(ok("").max_age(600));
    for _ in 0..10 {
        feed.data("piece");
    }
    let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
    settle().await;
    assert_eq!(feed.taken(), 0);
    readings[1].step();
    readings[1].step();
    readings[2].step();
    settle().await;
    assert_eq!(feed.taken(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_the_body_from_its_beginning() {
    let mut scene = Scene::new();
    let mut early = Reading::of({
        let call = scene.send(get("/"));
        let feed = scene.asked().await.begin(ok("one ").max_age(600));
        let early = answer(call).await;
        feed.data("two ");
        let late = answer(scene.send(get("/"))).await;
        assert!(info(&late).collapsed);
        let mut late = Reading::of(late);
        assert!(!late.go_on());
        assert_eq!(late.len(), "one two ".len());
        let later = scene.fetch(get("/"));
        settle().await;
        feed.data("three");
        feed.end();
        assert!(late.go_on());
        assert_eq!(late.got().text(), "one two three");
        assert_eq!(got(later).await.text(), "one two three");
        early
    });
    assert!(early.go_on());
    assert_eq!(early.got().text(), "one two three");
    scene.nothing_is_asked().await;
}

/// Between its end and the moment in which it can be found in the store.
#[tokio::test(start_paused = true)]
async fn who_comes_while_the_store_takes_its_time_gets_the_body_too() {
    let store = Store::new();
    store.set(Operation::Publish, Fault::Takes(Duration::from_secs(2)));
    let mut scene = Scene::over(store);
    let first = scene.fetch(get("/"));
    let feed = scene.asked().await.begin(ok("one").max_age(600));
    feed.trailer("checksum", "1");
    got(first).await;
    for _ in 0..3 {
        let late = got(scene.fetch(get("/"))).await;
        assert_eq!(late.text(), "one");
        assert!(late.info.collapsed);
        assert_eq!(late.trailers.expect("trailers")["checksum"], "1");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.info.outcome, Outcome::Hit);
    assert!(scene.all_has_landed());
}

/// A store that never ends to publish keeps the flight no longer than its time.
#[tokio::test(start_paused = true)]
async fn a_store_that_never_ends_to_publish_keeps_nothing_in_the_air() {
    let store = Store::new();
    store.set(Operation::Publish, Fault::Hangs);
    let mut scene = Scene::over(store);
    let first = scene.fetch(get("/"));
    scene.asked().await.answer(ok("one").max_age(600));
    got(first).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(scene.all_has_landed());
    let next = scene.fetch(get("/"));
    scene.asked().await.answer(ok("two"));
    assert_eq!(got(next).await.text(), "two");
}

#[tokio::test(start_paused = true)]
async fn trailers_reach_everybody() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let calls = scene.fetch_all(3, || get("/")).await;
        let feed = scene.asked().await.begin(ok("one ").max_age(600));
        settle().await;
        let late = scene.fetch(get("/"));
        settle().await;
        feed.data("two");
        feed.trailer("checksum", "1");
        let mut seen = got_all(calls).await;
        seen.push(got(late).await);
        settle().await;
        seen.push(got(scene.fetch(get("/"))).await);
        assert_eq!(seen[4].info.outcome, Outcome::Hit);
        for got in seen {
            assert_eq!(got.text(), "one two");
            assert_eq!(got.trailers.expect("trailers")["checksum"], "1");
        }
    }
}

/// Trailers, and nothing before them.
#[tokio::test(start_paused = true)]
async fn trailers_behind_an_empty_body_reach_everybody() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(3, || get("/")).await;
    let answer = ok("").max_age(600).trailer("checksum", "1");
    scene.asked().await.answer(answer);
    for got in got_all(calls).await {
        assert_eq!(got.text(), "");
        assert_eq!(got.trailers.expect("trailers")["checksum"], "1");
    }
}

/// Known to be empty beforehand, or only found to be.
#[tokio::test(start_paused = true)]
async fn an_empty_body_is_empty_for_everybody_and_is_stored() {
    for is_announced in [false, true] {
        for store in [Store::new(), Store::later()] {
            let mut scene = Scene::over(store);
            let calls = send_all(&scene, 3).await;
            let asked = scene.asked().await;
            drop(match is_announced {
                true => asked.begin_announced(ok("").max_age(600), 0),
                false => asked.begin(ok("").max_age(600)),
            });
            for response in answers(calls).await {
                let mut reading = Reading::of(response);
                assert!(!is_announced || reading.is_end_stream());
                assert_eq!(reading.step(), Step::End);
                assert_eq!(reading.got().text(), "");
            }
            settle().await;
            assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
            assert!(scene.all_has_landed());
        }
    }
}

/// Nobody polls a body that is at its end already.
#[tokio::test(start_paused = true)]
async fn an_empty_body_that_nobody_reads_is_stored() {
    let mut scene = Scene::new();
    let calls = send_all(&scene, 3).await;
    let asked = scene.asked().await;
    drop(asked.begin_announced(ok("").max_age(600), 0));
    drop(answers(calls).await);
    assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
    assert!(scene.all_has_landed());
}

/// As a reader does who counts, and never sees the end.
#[tokio::test(start_paused = true)]
async fn a_body_of_which_all_bytes_were_read_is_stored_though_nobody_saw_its_end() {
    let mut scene = Scene::new();
    let calls = send_all(&scene, 2).await;
    let answer = ok("").with("content-length", "6").max_age(600);
    let feed = scene.asked().await.begin(answer);
    let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
    feed.data("one");
    feed.data("two");
    for reading in &mut readings {
        assert_eq!(reading.step(), data("one"));
        assert_eq!(reading.step(), data("two"));
    }
    drop(readings);
    assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
    drop(feed);
}

#[tokio::test(start_paused = true)]
async fn what_a_shared_body_says_of_its_length_and_its_end_is_true_for_each_reader() {
    let mut scene = Scene::new();
    let calls = send_all(&scene, 3).await;
    let asked = scene.asked().await;
    let feed = asked.begin_announced(ok("one ").max_age(600), 13);
    let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
    readings[1].step();
    feed.data("two ");
    readings[1].step();
    readings[2].step();
    feed.data("three");
    readings[1].step();
    assert!(readings[1].is_end_stream());
    assert!(!readings[0].is_end_stream());
    assert!(!readings[2].is_end_stream());
    for mut reading in readings {
        assert!(reading.go_on());
        let got = reading.got();
        assert_eq!(got.text(), "one two three");
        assert_eq!(got.wrong, None);
    }
}

/// A head that announces more, or less, than comes.
#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_announced_is_the_same_for_everybody_and_stored_for_nobody() {
    for announced in ["3", "100"] {
        let mut scene = Scene::new();
        let calls = scene.fetch_all(4, || get("/")).await;
        let head = ok("one ").with("content-length", announced);
        let feed = scene.asked().await.begin(head.max_age(600));
        settle().await;
        feed.data("two ");
        feed.data("three");
        feed.end();
        for got in got_all(calls).await {
            assert_eq!(got.text(), "one two three");
        }
        assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
        assert!(scene.all_has_landed());
        let next = scene.fetch(get("/"));
        scene.asked().await.answer(ok("four"));
        assert_eq!(got(next).await.text(), "four");
    }
}

/// Nobody knows of which length the rest would be, or of what it would be the rest.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_breaks_off_for_everybody_and_is_not_stored() {
    for tag in [None, Some("W/\"1\""), Some("\"1\"")] {
        let mut scene = Scene::new();
        let calls = scene.fetch_all(4, || get("/")).await;
        let head = ok("one ").max_age(600);
        let head = match tag {
            Some(tag) => head.etag(tag),
            None => head.with("content-length", "13"),
        };
        let feed = scene.asked().await.begin(head);
        settle().await;
        feed.data("two ");
        feed.break_off();
        for got in got_all(calls).await {
            assert_eq!(got.bytes, b"one two ");
            assert!(got.error.is_some());
        }
        scene.nothing_is_asked().await;
        assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
        assert!(scene.all_has_landed());
        let next = scene.fetch(get("/"));
        scene.asked().await.answer(ok("four"));
        assert_eq!(got(next).await.text(), "four");
    }
}

/// Each of them but the leader, whose own request it was that broke off.
#[tokio::test(start_paused = true)]
async fn where_a_body_breaks_off_those_who_waited_go_on_from_the_origin_if_they_can() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(4, || get("/")).await;
    let head = ok("one ").with("content-length", "13").etag("\"1\"");
    let feed = scene.asked().await.begin(head.max_age(600));
    settle().await;
    feed.data("two ");
    feed.break_off();
    for asked in scene.asked_for(3).await {
        assert_eq!(asked.headers["range"], "bytes=8-12");
        assert_eq!(asked.headers["if-range"], "\"1\"");
        let part = kit::status(206)
            .with("content-range", "bytes 8-12/13")
            .etag("\"1\"")
            .chunk("th")
            .chunk("ree");
        asked.answer(part);
    }
    let seen = got_all(calls).await;
    assert_eq!(seen[0].bytes, b"one two ");
    assert!(seen[0].error.is_some());
    for got in &seen[1..] {
        assert_eq!(got.text(), "one two three");
    }
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
}

/// Between what was lost and what comes in its place, too.
#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_from_the_origin_says_the_truth_of_its_length() {
    let mut scene = Scene::new();
    let calls = send_all(&scene, 2).await;
    let asked = scene.asked().await;
    let head = ok("one ").etag("\"1\"").max_age(600);
    let feed = asked.begin_announced(head, 13);
    let mut readings: Vec<_> = answers(calls).await.into_iter().map(Reading::of).collect();
    let mut waited = readings.remove(1);
    waited.go_on();
    feed.data("two ");
    feed.break_off();
    assert!(readings[0].go_on());
    waited.go_on();
    let rest = kit::status(206).with("content-range", "bytes 8-12/13");
    scene
        .asked()
        .await
        .answer(rest.etag("\"1\"").chunk("three"));
    settle().await;
    assert!(waited.go_on());
    let got = waited.got();
    assert_eq!(got.text(), "one two three");
    assert_eq!(got.wrong, None);
}

/// There is no rest to ask for.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_behind_its_last_byte_asks_for_nothing_more() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(3, || get("/")).await;
    let head = ok("one two").with("content-length", "7").etag("\"1\"");
    let feed = scene.asked().await.begin(head.max_age(600));
    settle().await;
    feed.break_off();
    scene.nothing_is_asked().await;
    for got in got_all(calls).await {
        got.is_or_breaks_off(b"one two");
    }
}

/// It goes on for all who read it, longer than it may be to be stored.
#[tokio::test(start_paused = true)]
async fn a_body_that_grows_too_long_to_be_stored_reaches_everybody() {
    let policy = Policy::private().max_body_bytes(1_000);
    let mut scene = Scene::with(CacheLayer::new(MemoryBackend::default()).policy(policy));
    let whole = pattern(5_000);
    let calls = scene.fetch_all(4, || get("/")).await;
    let feed = scene.asked().await.begin(ok("").max_age(600));
    for at in (0..5_000).step_by(500) {
        feed.data(whole.slice(at..at + 500));
        settle().await;
    }
    feed.end();
    for got in got_all(calls).await {
        got.is(&whole);
    }
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
    assert!(scene.all_has_landed());
}

/// What the store does not take is no reason to break a body.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_a_body_on_its_way_does_not_break_it() {
    for operation in [Operation::Write, Operation::Publish] {
        let store = Store::new();
        store.set(operation, crate::store::UNAVAILABLE);
        let mut scene = Scene::over(store);
        let calls = scene.fetch_all(4, || get("/")).await;
        let feed = scene.asked().await.begin(ok("one ").max_age(600));
        settle().await;
        feed.data("two");
        feed.trailer("checksum", "1");
        for got in got_all(calls).await {
            assert_eq!(got.text(), "one two");
            assert_eq!(got.trailers.expect("trailers")["checksum"], "1");
        }
        assert!(scene.all_has_landed());
    }
}

/// However long the head has been there: who comes need not wait for anything.
#[tokio::test(start_paused = true)]
async fn a_body_that_takes_long_is_joined_or_asked_for_by_one() {
    let mut scene = Scene::new();
    let first = scene.fetch(get("/"));
    let feed = scene.asked().await.begin(ok("one ").max_age(600));
    tokio::time::sleep(Duration::from_secs(6)).await;
    let late = scene.fetch_all(10, || get("/")).await;
    if let Some(asked) = scene.arrivals.now() {
        asked.answer(ok("one two").max_age(600));
    }
    scene.nothing_is_asked().await;
    feed.data("two");
    feed.end();
    assert_eq!(got(first).await.text(), "one two");
    for got in got_all(late).await {
        assert_eq!(got.text(), "one two");
    }
    assert!(scene.all_has_landed());
}

/// The request's own wishes do not change what the others get.
#[tokio::test(start_paused = true)]
async fn a_mode_that_takes_stale_responses_waits_as_well() {
    let mut scene = Scene::new();
    let first = scene.fetch(get("/"));
    let asked = scene.asked().await;
    let second = scene.fetch(crate::scene::with_mode(get("/"), CacheMode::ForceCache));
    scene.nothing_is_asked().await;
    asked.answer(ok("one").max_age(600));
    for call in [first, second] {
        assert_eq!(got(call).await.text(), "one");
    }
}

/// A body whose pieces are empty, and one in a thousand pieces.
#[tokio::test(start_paused = true)]
async fn pieces_of_nothing_and_very_many_pieces_make_no_difference() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(3, || get("/")).await;
    let feed = scene.asked().await.begin(ok("").max_age(600));
    let whole = pattern(3_000);
    for at in 0..3_000 {
        if at % 3 == 0 {
            feed.data(Bytes::new());
        }
        feed.data(whole.slice(at..=at));
    }
    feed.data(Bytes::new());
    feed.end();
    for got in got_all(calls).await {
        got.is(&whole);
    }
    got(scene.fetch(get("/"))).await.is(&whole);
}

/// As it is where nothing is slow: the one who asked has read all of it before the others are run.
/// What it got is kept for them, stored or not.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_whole_before_those_who_wait_have_looked_is_theirs_as_well() {
    let stores = [
        Store::new(),
        Store::later(),
        Store::forgetful(),
        faulty(Operation::Write),
        faulty(Operation::Publish),
    ];
    for (i, store) in stores.into_iter().enumerate() {
        let mut scene = Scene::over(store);
        let calls = scene.fetch_all(100, || get("/")).await;
        scene.asked().await.answer(ok("one").max_age(600));
        let mut requests = 1;
        settle().await;
        while let Some(asked) = scene.arrivals.now() {
            requests += 1;
            asked.answer(ok("one").max_age(600));
            settle().await;
        }
        for got in got_all(calls).await {
            assert_eq!(got.text(), "one");
        }
        assert_eq!(requests, 1, "store {i}");
    }
}

/// A store that refuses this.
fn faulty(operation: Operation) -> Store {
    let store = Store::new();
    store.set(operation, crate::store::UNAVAILABLE);
    store
}
