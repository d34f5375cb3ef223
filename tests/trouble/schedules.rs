//! Readers, origin and store in a random order, many times, against what may come of it.

use bytes::Bytes;
use kit::held::{Feed, HeldBody, get, settle};
use kit::{Answer, ok, status};

use crate::reading::{Kept, Reading, Step, WINDOW, pattern};
use crate::scene::{Scene, Sending, answer, got};
use crate::store::Store;

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

const LONGEST: usize = 3 * WINDOW;
const LARGEST_PIECE: usize = 300_000;

struct Reader {
    reading: Reading<HeldBody>,
    /// How many sides the dice has by which it goes on: the more, the slower.
    slowness: usize,
}

/// The answer of an origin that knows ranges.
fn of(whole: &Bytes, head: &impl Fn() -> Answer, range: Option<&str>) -> Answer {
    let Some(range) = range else {
        return head().chunk(whole.clone());
    };
    let (_, range) = range.split_once('=').expect("a range");
    let (first, last) = range.split_once('-').expect("a range");
    let first: usize = first.parse().expect("a place");
    let last: usize = last.parse().expect("a place");
    assert!(first <= last, "a range of nothing is asked for");
    let content_range = format!("bytes {first}-{last}/{}", whole.len());
    status(206)
        .with("content-range", &content_range)
        .etag("\"1\"")
        .chunk(whole.slice(first..=last))
}

/// One order; how many readers came to the end, and how many broke off.
async fn play(seed: u64, all: &Bytes) -> (usize, usize) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let length = match dice.roll(3) {
        0 => 1 + dice.roll(1_000),
        1 => 1 + dice.roll(WINDOW),
        _ => 1 + dice.roll(LONGEST),
    };
    let whole = all.slice(..length);
    let is_tagged = dice.roll(2) == 0;
    let breaks_at = (dice.roll(4) == 0).then(|| dice.roll(length));
    let keeps = dice.roll(2) == 0;
    let head = || {
        let head = ok("").max_age(600);
        if !is_tagged {
            return head;
        }
        head.etag("\"1\"")
            .with("content-length", &length.to_string())
    };
    let mut scene = Scene::over(if keeps {
        Store::new()
    } else {
        Store::forgetful()
    });
    let kept = Kept::default();
    let mut readers: Vec<Reader> = Vec::new();
    let mut coming: Vec<Sending> = vec![scene.send(get("/"))];
    let feed = scene.asked().await.begin(head());
    let mut feed: Option<Feed> = Some(feed);
    let (mut given, mut pieces) = (0, 0);
    let (mut whole_ones, mut broken) = (0, 0);
    let most_readers = 1 + dice.roll(8);
    let mut sent = 1;
    let mut turns = 0;
    while feed.is_some() || !readers.is_empty() || !coming.is_empty() {
        turns += 1;
        assert!(turns < 20_000, "seed {seed} hangs");
        match dice.roll(12) {
            // One more comes.
            0 if sent < most_readers => {
                coming.push(scene.send(get("/")));
                sent += 1;
            }
            // One leaves.
            1 if dice.roll(8) == 0 && !readers.is_empty() => {
                let leaving = dice.roll(readers.len());
                drop(readers.remove(leaving));
            }
            // The body goes on.
            2..=5 => {
                if let Some(fed) = &feed {
                    let end = breaks_at.unwrap_or(length);
                    if given < end {
                        let size = 1 + dice.roll(LARGEST_PIECE.min(end - given));
                        fed.data(kept.hand_out(whole.slice(given..given + size)));
                        given += size;
                        pieces += 1;
                    } else if let Some(fed) = feed.take() {
                        match breaks_at {
                            Some(_) => fed.break_off(),
                            None => fed.end(),
                        }
                    }
                }
            }
            // Somebody reads.
            _ => {
                for reader in &mut readers {
                    if dice.roll(reader.slowness) == 0 {
                        reader.reading.step();
                    }
                }
            }
        }
        settle().await;
        while let Some(asked) = scene.arrivals.now() {
            let range = asked.headers.get("range");
            let range = range.map(|range| range.to_str().expect("text").to_owned());
            asked.answer(of(&whole, &head, range.as_deref()));
            settle().await;
        }
        let mut waiting = Vec::new();
        for call in coming.drain(..) {
            if call.is_finished() {
                let reading = Reading::of(answer(call).await);
                let slowness = [1, 1, 2, 10, 50][dice.roll(5)];
                readers.push(Reader { reading, slowness });
            } else {
                waiting.push(call);
            }
        }
        coming = waiting;
        let is_all_taken = feed.as_ref().is_some_and(|feed| feed.taken() == pieces);
        // While there is a reader who could not go on alone, more is kept.
        if !keeps && is_tagged && coming.is_empty() && is_all_taken {
            let most = WINDOW + LARGEST_PIECE;
            assert!(
                kept.bytes() <= most,
                "seed {seed}: {} bytes are kept",
                kept.bytes()
            );
        }
        let mut reading = Vec::new();
        for reader in readers {
            if !reader.reading.is_over() {
                reading.push(reader);
                continue;
            }
            let got = reader.reading.got();
            got.is_or_breaks_off(&whole);
            match got.error {
                None => whole_ones += 1,
                Some(_) => broken += 1,
            }
            let may_break = breaks_at.is_some() || !is_tagged && length > WINDOW;
            assert!(
                got.error.is_none() || may_break,
                "seed {seed}: broke off after {} bytes of {length}",
                got.bytes.len()
            );
        }
        readers = reading;
    }
    settle().await;
    assert!(scene.all_has_landed(), "seed {seed}");
    let next = scene.fetch(get("/"));
    settle().await;
    if let Some(asked) = scene.arrivals.now() {
        asked.answer(of(&whole, &head, None));
    }
    got(next).await.is(&whole);
    settle().await;
    assert!(keeps || kept.bytes() == 0, "seed {seed}: it leaks");
    (whole_ones, broken)
}

#[tokio::test(start_paused = true)]
async fn in_whatever_order_they_read_all_get_the_body_or_an_error() {
    let all = pattern(LONGEST);
    let (mut whole, mut broken) = (0, 0);
    for seed in 1..=150 {
        let (more_whole, more_broken) = play(seed, &all).await;
        whole += more_whole;
        broken += more_broken;
    }
    assert!(whole > 100 && broken > 10, "{whole} whole, {broken} broken");
}

/// The first reader is never the one who pays.
#[tokio::test(start_paused = true)]
async fn whose_own_request_it_is_gets_all_of_it_however_slowly_it_reads() {
    let whole = pattern(LONGEST);
    for seed in 1..=10 {
        let mut dice = Dice(seed);
        let mut scene = Scene::over(Store::forgetful());
        let first = scene.send(get("/"));
        let asked = scene.asked().await;
        let others = [(); 3].map(|()| scene.send(get("/")));
        settle().await;
        let feed = asked.begin(ok("").max_age(600));
        let mut own = Reading::of(answer(first).await);
        let mut readings = Vec::new();
        for other in others {
            readings.push(Reading::of(answer(other).await));
        }
        let mut given = 0;
        while given < LONGEST {
            let size = (1 + dice.roll(LARGEST_PIECE)).min(LONGEST - given);
            feed.data(whole.slice(given..given + size));
            given += size;
            for reading in &mut readings {
                if dice.roll(3) > 0 {
                    reading.go_on();
                }
            }
            if dice.roll(4) == 0 {
                assert!(!matches!(own.step(), Step::Broken(_) | Step::End));
            }
            settle().await;
        }
        feed.end();
        assert!(own.go_on());
        own.got().is(&whole);
        drop(readings);
    }
}
