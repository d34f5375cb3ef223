//! How much is kept of a body on its way, and what becomes of those who are slower than that.

use bytes::Bytes;
use cache_core::Outcome;
use kit::held::{Feed, HeldBody, get, settle};
use kit::{Answer, ok, status};

use crate::reading::{Kept, Reading, WINDOW, pattern};
use crate::scene::{Scene, answer, got, got_all, info};
use crate::store::Store;

const PIECE: usize = 64 << 10;
const LENGTH: usize = 4 * WINDOW;

/// A long body on its way to several readers, the first of which leads.
struct Long {
    scene: Scene,
    whole: Bytes,
    kept: Kept,
    feed: Option<Feed>,
    given: usize,
    readings: Vec<Reading<HeldBody>>,
}

impl Long {
    async fn new(readers: usize, head: Answer) -> Self {
        // A store that keeps nothing: what is kept is kept by those who read.
        let mut scene = Scene::over(Store::forgetful());
        let calls: Vec<_> = (0..readers).map(|_| scene.send(get("/"))).collect();
        let feed = scene.asked().await.begin(head);
        let mut readings = Vec::new();
        for call in calls {
            readings.push(Reading::of(answer(call).await));
        }
        scene.nothing_is_asked().await;
        Self {
            scene,
            whole: pattern(LENGTH),
            kept: Kept::default(),
            feed: Some(feed),
            given: 0,
            readings,
        }
    }

    /// One more piece arrives; whether there was one.
    fn feed(&mut self) -> bool {
        if self.given == LENGTH {
            self.feed = None;
            return false;
        }
        let piece = self.whole.slice(self.given..self.given + PIECE);
        self.given += PIECE;
        let feed = self.feed.as_ref().expect("it is not at its end");
        feed.data(self.kept.hand_out(piece));
        true
    }

    /// What a reader got, who reads what there is for it.
    async fn end(&mut self, reader: usize) -> crate::scene::Got {
        settle().await;
        let mut reading = self.readings.remove(reader);
        assert!(reading.go_on(), "it does not come to its end");
        reading.got()
    }
}

fn untagged() -> Answer {
    ok("").max_age(600)
}

fn tagged() -> Answer {
    untagged()
        .etag("\"1\"")
        .with("content-length", &LENGTH.to_string())
}

/// The rest of it, as an origin would answer.
fn rest(whole: &Bytes, range: &str) -> Answer {
    let first = range.strip_prefix("bytes=").expect("a range");
    let (first, last) = first.split_once('-').expect("a range");
    let first: usize = first.parse().expect("a place");
    assert_eq!(last, (LENGTH - 1).to_string());
    let content_range = format!("bytes {first}-{last}/{LENGTH}");
    status(206)
        .with("content-range", &content_range)
        .etag("\"1\"")
        .chunk(whole.slice(first..))
}

#[tokio::test(start_paused = true)]
async fn readers_that_keep_up_get_a_long_body_whole() {
    let mut long = Long::new(5, untagged()).await;
    let mut turn = 0;
    while long.feed() {
        // One after the other, and not always in the same order.
        for i in 0..5 {
            long.readings[(i + turn) % 5].go_on();
        }
        turn += 1;
        settle().await;
    }
    for _ in 0..5 {
        long.end(0).await.is(&long.whole.clone());
    }
}

/// As those are who are tasks of one runtime.
#[tokio::test(start_paused = true)]
async fn callers_who_read_as_they_are_woken_get_a_long_body_whole() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(20, || get("/")).await;
    let feed = scene.asked().await.begin(untagged());
    let whole = pattern(LENGTH);
    for at in (0..LENGTH).step_by(PIECE) {
        feed.data(whole.slice(at..at + PIECE));
        settle().await;
    }
    feed.end();
    let all = got_all(calls).await;
    let lost = all.iter().filter(|got| got.error.is_some()).count();
    assert_eq!(lost, 0, "of 20 who all read what there was");
    for got in all {
        got.is(&whole);
    }
    assert_eq!(scene.stored(get("/")).await, Outcome::Hit);
}

/// What all have read is given up before anybody is.
#[tokio::test(start_paused = true)]
async fn a_reader_that_is_half_a_window_behind_is_not_left_behind() {
    for slow in [0, 2] {
        let mut long = Long::new(3, untagged()).await;
        while long.feed() {
            for i in (0..3).filter(|i| *i != slow) {
                long.readings[i].go_on();
            }
            while long.readings[slow].len() + WINDOW / 2 < long.given {
                let step = long.readings[slow].step();
                assert!(
                    matches!(step, crate::reading::Step::Data(_)),
                    "{slow}: {step:?} after {} bytes",
                    long.readings[slow].len()
                );
            }
            settle().await;
        }
        for _ in 0..3 {
            long.end(0).await.is(&long.whole.clone());
        }
    }
}

/// More than the window behind: the others go on, and the rest is asked for where that can be told
/// from anything else.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_left_behind_goes_on_from_the_origin() {
    for pieces in [0, 3] {
        let mut long = Long::new(3, tagged()).await;
        for _ in 0..pieces {
            long.feed();
            long.readings[2].step();
        }
        while long.feed() {
            long.readings[0].go_on();
            long.readings[1].go_on();
            settle().await;
        }
        for _ in 0..2 {
            long.end(0).await.is(&long.whole.clone());
        }
        let mut slow = long.readings.remove(0);
        assert!(!slow.is_end_stream());
        if !slow.go_on() {
            let asked = long.scene.asked().await;
            let range = asked.headers["range"].to_str().expect("text").to_owned();
            let from = format!("bytes={}-{}", slow.len(), LENGTH - 1);
            assert_eq!(range, from);
            assert_eq!(asked.headers["if-range"], "\"1\"");
            asked.answer(rest(&long.whole, &range));
            settle().await;
            assert!(slow.go_on());
        }
        slow.got().is(&long.whole);
        long.scene.nothing_is_asked().await;
    }
}

/// It has more to come than is kept.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_left_behind_says_the_truth_of_its_length() {
    let mut long = Long::new(3, tagged()).await;
    while long.feed() {
        long.readings[0].go_on();
        long.readings[1].go_on();
        settle().await;
    }
    let mut slow = long.readings.remove(2);
    if !slow.go_on() {
        let asked = long.scene.asked().await;
        let range = asked.headers["range"].to_str().expect("text").to_owned();
        asked.answer(rest(&long.whole, &range));
        settle().await;
        assert!(slow.go_on());
    }
    let got = slow.got();
    got.is(&long.whole);
    assert_eq!(got.wrong, None);
}

/// What it is the rest of could not be told.
#[tokio::test(start_paused = true)]
async fn a_slow_waiter_that_could_not_go_on_by_itself_is_not_left_behind() {
    let length = LENGTH.to_string();
    for head in [
        untagged(),
        untagged().with("content-length", &length),
        untagged().with("content-length", &length).etag("W/\"1\""),
        untagged().etag("\"1\""),
    ] {
        let mut long = Long::new(3, head).await;
        while long.feed() {
            long.readings[0].go_on();
            long.readings[1].go_on();
            settle().await;
        }
        for _ in 0..2 {
            long.end(0).await.is(&long.whole.clone());
        }
        long.end(0).await.is(&long.whole.clone());
        long.scene.nothing_is_asked().await;
    }
}

/// Whose own request it is, is never left behind; whoever is faster goes on alone.
#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_read_loses_nothing_and_stalls_nobody() {
    let mut long = Long::new(3, tagged()).await;
    while long.feed() {
        long.readings[1].go_on();
        long.readings[2].go_on();
        settle().await;
    }
    for asked in long.scene.asked_for(2).await {
        let range = asked.headers["range"].to_str().expect("text").to_owned();
        assert_eq!(range, format!("bytes={WINDOW}-{}", LENGTH - 1));
        asked.answer(rest(&long.whole, &range));
    }
    for _ in 0..2 {
        long.end(1).await.is(&long.whole.clone());
    }
    long.end(0).await.is(&long.whole.clone());
    assert!(long.scene.all_has_landed());
}

#[tokio::test(start_paused = true)]
async fn whoever_outruns_a_leader_that_does_not_read_never_gets_a_short_body_that_looks_whole() {
    let mut long = Long::new(3, untagged()).await;
    while long.feed() {
        long.readings[1].go_on();
        long.readings[2].go_on();
        settle().await;
    }
    for _ in 0..2 {
        long.end(1).await.is_or_breaks_off(&long.whole.clone());
    }
    long.end(0).await.is(&long.whole.clone());
}

/// A leader that has left is waited for by nobody.
#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_in_the_middle_of_a_long_body_holds_nobody_up() {
    let mut long = Long::new(4, untagged()).await;
    for _ in 0..10 {
        long.feed();
    }
    drop(long.readings.remove(0));
    while long.feed() {
        for reading in &mut long.readings {
            reading.go_on();
        }
        settle().await;
    }
    for _ in 0..3 {
        long.end(0).await.is(&long.whole.clone());
    }
}

/// What the test counts is what nobody has let go of: what it handed out, and what is not yet taken.
#[tokio::test(start_paused = true)]
async fn no_more_than_the_window_and_a_piece_is_kept_of_a_body() {
    // Who reads: all, only the leader, only those who wait, all but one.
    for reading in [&[0, 1, 2][..], &[0], &[1], &[1, 2], &[0, 1]] {
        let mut long = Long::new(3, tagged()).await;
        let mut most = 0;
        while long.feed() {
            for i in reading {
                long.readings[*i].go_on();
            }
            settle().await;
            if long
                .feed
                .as_ref()
                .is_some_and(|feed| feed.taken() * PIECE == long.given)
            {
                most = most.max(long.kept.bytes());
            }
        }
        assert!(
            most <= WINDOW + PIECE,
            "while {reading:?} of three read, {most} bytes are kept"
        );
        long.readings.clear();
        settle().await;
        assert_eq!(long.kept.bytes(), 0, "nobody reads it any more");
        assert!(long.scene.all_has_landed());
    }
}

/// It is not only who reads that counts, but also what they leave behind.
#[tokio::test(start_paused = true)]
async fn nothing_is_kept_for_readers_that_have_left() {
    let mut long = Long::new(3, untagged()).await;
    for _ in 0..8 {
        long.feed();
    }
    long.readings.truncate(2);
    drop(long.readings.remove(1));
    let mut most = 0;
    while long.feed() {
        long.readings[0].go_on();
        most = most.max(long.kept.bytes());
    }
    assert!(most <= WINDOW + PIECE, "{most} bytes are kept");
    long.end(0).await.is(&long.whole.clone());
}

/// The beginning is gone.
#[tokio::test(start_paused = true)]
async fn who_comes_late_to_a_long_body_asks_for_it() {
    let mut long = Long::new(2, untagged()).await;
    while long.given < 2 * WINDOW {
        long.feed();
        long.readings.iter_mut().for_each(|reading| {
            reading.go_on();
        });
        settle().await;
    }
    let late = [(); 3].map(|()| long.scene.fetch(get("/")));
    settle().await;
    assert!((1..=3).contains(&long.scene.arrivals.len()));
    while let Some(asked) = long.scene.arrivals.now() {
        assert!(!asked.headers.contains_key("range"));
        asked.answer(untagged().chunk(long.whole.clone()));
        settle().await;
    }
    for call in late {
        got(call).await.is(&long.whole);
    }
    drop(long.readings);
}

/// In one piece, longer than the window.
#[tokio::test(start_paused = true)]
async fn a_piece_longer_than_the_window_reaches_everybody() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(5, || get("/")).await;
    let feed = scene.asked().await.begin(untagged());
    settle().await;
    let whole = pattern(3 * WINDOW);
    feed.data(whole.clone());
    settle().await;
    feed.data("end");
    feed.end();
    let expected = [&whole[..], b"end"].concat();
    for got in got_all(calls).await {
        got.is(&expected);
    }
}

/// All of it can be read before the others have had their turn: they are not too slow for that.
#[tokio::test(start_paused = true)]
async fn a_long_body_that_is_there_at_once_reaches_everybody() {
    for store in [Store::new(), Store::later(), Store::forgetful()] {
        for piece in [PIECE, 2 * WINDOW] {
            let mut scene = Scene::over(store.clone());
            let calls = scene.fetch_all(20, || get("/")).await;
            let whole = pattern(LENGTH);
            settle().await;
            while let Some(asked) = scene.arrivals.now() {
                let pieces = (0..LENGTH).step_by(piece);
                asked.answer(pieces.fold(untagged(), |answer, at| {
                    answer.chunk(whole.slice(at..at + piece))
                }));
                settle().await;
            }
            for got in got_all(calls).await {
                got.is(&whole);
            }
        }
    }
}

/// More than the window is there when they are woken, and each is only waiting for its turn.
#[tokio::test(start_paused = true)]
async fn who_has_not_had_its_turn_is_not_left_behind() {
    for burst in [PIECE, 2 * WINDOW, LENGTH] {
        let mut scene = Scene::new();
        let calls = scene.fetch_all(20, || get("/")).await;
        let feed = scene.asked().await.begin(tagged());
        settle().await;
        let whole = pattern(LENGTH);
        for at in (0..LENGTH).step_by(PIECE) {
            feed.data(whole.slice(at..at + PIECE));
            if (at + PIECE).is_multiple_of(burst) {
                settle().await;
            }
        }
        feed.end();
        settle().await;
        let requests = 1 + scene.arrivals.len();
        while let Some(asked) = scene.arrivals.now() {
            let range = asked.headers["range"].to_str().expect("text").to_owned();
            asked.answer(rest(&whole, &range));
        }
        for got in got_all(calls).await {
            got.is(&whole);
        }
        assert_eq!(requests, 1, "in bursts of {burst} bytes");
    }
}

/// What becomes of a waiter that is left behind is not what becomes of what is stored.
#[tokio::test(start_paused = true)]
async fn a_body_that_somebody_was_left_behind_of_is_stored_whole() {
    let mut scene = Scene::new();
    let calls = [(); 3].map(|()| scene.send(get("/")));
    let feed = scene.asked().await.begin(untagged());
    let mut readings = Vec::new();
    for call in calls {
        let response = answer(call).await;
        assert_eq!(info(&response).collapsed, !readings.is_empty());
        readings.push(Reading::of(response));
    }
    let whole = pattern(LENGTH);
    for at in (0..LENGTH).step_by(PIECE) {
        feed.data(whole.slice(at..at + PIECE));
        readings[0].go_on();
        readings[1].go_on();
        settle().await;
    }
    feed.end();
    readings[0].go_on();
    readings.clear();
    settle().await;
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.info.outcome, Outcome::Hit);
    hit.is(&whole);
}
