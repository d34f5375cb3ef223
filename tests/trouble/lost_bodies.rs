//! A stored body that gets lost on its way goes on from the origin, or ends with an error: never with
//! wrong bytes, and never short as if it were whole.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use cache_core::Outcome;
use cache_tower::{BodyErrorKind, CacheLayer};
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use kit::held::{Asked, get, settle};
use kit::{Answer, not_modified, ok, status};
use tokio::time::{Instant, sleep};

use crate::reading::{Reading, Step, pattern};
use crate::scene::{Got, Scene, answer, got, with, with_method};
use crate::store::{Reads, Store, Trouble};

const TEXT: &str = "0123456789abcdefghij";
const LENGTH: usize = TEXT.len();

const TROUBLES: [Trouble; 5] = [
    Trouble::Error,
    Trouble::Nothing,
    Trouble::TooMuch,
    Trouble::TooLittle,
    Trouble::Hangs,
];

fn tagged() -> Answer {
    ok(TEXT).max_age(600).etag("\"1\"")
}

fn ranged(range: &str) -> Request<Full<Bytes>> {
    with(get("/"), "range", range)
}

/// A store that has this, and what is read of it.
async fn storing(answer: Answer, window: usize) -> (Scene, Reads) {
    reading(answer, Reads::in_windows_of(window)).await
}

async fn reading(answer: Answer, reads: Reads) -> (Scene, Reads) {
    let scene = with_stored(Scene::over(Store::remote(&reads)), get("/"), answer).await;
    (scene, reads)
}

async fn with_stored(mut scene: Scene, request: Request<Full<Bytes>>, answer: Answer) -> Scene {
    let first = scene.fetch(request);
    scene.asked().await.answer(answer);
    assert_eq!(got(first).await.error, None);
    settle().await;
    scene
}

/// The request for the rest, when a read that hangs has been given up.
async fn asked_for_the_rest(scene: &mut Scene) -> Option<Asked> {
    settle().await;
    if scene.arrivals.is_empty() {
        sleep(Duration::from_secs(6)).await;
    }
    scene.arrivals.now()
}

/// These bytes of the content, as the origin sends them.
fn part(bytes: Range<usize>, length: usize) -> Answer {
    let content_range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
    status(206)
        .with("content-range", &content_range)
        .etag("\"1\"")
}

fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(value.to_str().expect("text").to_owned())
}

/// At every place, in every window, for the whole and for parts.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_lost_anywhere_goes_on_from_the_origin() {
    let requests: [(Option<&str>, Range<usize>); 6] = [
        (None, 0..LENGTH),
        (Some("bytes=2-9"), 2..10),
        (Some("bytes=-5"), LENGTH - 5..LENGTH),
        (Some("bytes=7-"), 7..LENGTH),
        (Some("bytes=0-0"), 0..1),
        (Some("bytes=0-"), 0..LENGTH),
    ];
    let mut how = 0;
    let windows = [1, 3, 7, 100];
    let unknown = windows.map(Reads::in_windows_of);
    for reads in unknown
        .into_iter()
        .chain(windows.map(Reads::in_known_windows_of))
    {
        let (mut scene, reads) = reading(tagged(), reads).await;
        for trouble in TROUBLES {
            for at in 0..=LENGTH {
                for (range, wanted) in &requests {
                    reads.lose(at, trouble);
                    let name = format!("{range:?} of {reads:?}");
                    let call = scene.fetch(range.map_or_else(|| get("/"), ranged));
                    let asked = asked_for_the_rest(&mut scene).await;
                    let lost = reads.lost_behind(wanted, LENGTH);
                    assert_eq!(asked.is_some(), lost.is_some(), "{name}");
                    if let (Some(asked), Some(from)) = (asked, lost) {
                        let rest = format!("bytes={from}-{}", wanted.end - 1);
                        assert_eq!(field(&asked.headers, "range"), Some(rest), "{name}");
                        assert_eq!(asked.headers["if-range"], "\"1\"", "{name}");
                        // As origins do: just that, or more around it, or all of it.
                        how += 1;
                        asked.answer(match how % 4 {
                            0 => part(from..wanted.end, LENGTH).chunk(&TEXT[from..wanted.end]),
                            1 => part(from / 2..LENGTH, LENGTH).chunk(&TEXT[from / 2..]),
                            2 => ok(TEXT).etag("\"1\"").with("content-length", "20"),
                            _ => TEXT
                                .as_bytes()
                                .chunks(3)
                                .fold(status(200).etag("\"1\"").chunk(""), |answer, piece| {
                                    answer.chunk(piece).chunk("")
                                }),
                        });
                    }
                    let got = got(call).await;
                    got.is(&TEXT.as_bytes()[wanted.clone()]);
                    assert_eq!(got.wrong, None, "{name}");
                    assert_eq!(got.info.outcome, Outcome::Hit, "{name}");
                    assert_eq!(got.status, if range.is_some() { 206 } else { 200 });
                    assert_eq!(field(&got.headers, "etag"), Some("\"1\"".into()));
                    let content_range = range
                        .map(|_| format!("bytes {}-{}/{LENGTH}", wanted.start, wanted.end - 1));
                    assert_eq!(field(&got.headers, "content-range"), content_range);
                    assert!(scene.arrivals.is_empty(), "{name}");
                }
            }
        }
        reads.heal();
        let hit = got(scene.fetch(get("/"))).await;
        hit.is(TEXT.as_bytes());
        scene.nothing_is_asked().await;
    }
}

/// A body lost behind its eighth byte, and this as what the origin says to that; what the caller gets.
async fn after(answer: impl FnOnce(Asked)) -> (Scene, Got) {
    let (mut scene, reads) = storing(tagged(), 4).await;
    reads.lose(8, Trouble::Error);
    let call = scene.fetch(get("/"));
    answer(scene.asked().await);
    let got = got(call).await;
    scene.nothing_is_asked().await;
    (scene, got)
}

#[tokio::test(start_paused = true)]
async fn what_is_the_rest_of_something_else_is_not_sent_as_the_rest() {
    let other = "ABCDEFGHIJKLMNOPQRST";
    let rest = |tag: &'static str| {
        status(206)
            .with("content-range", "bytes 8-19/20")
            .etag(tag)
            .chunk(&other[8..])
    };
    let said = |range: &'static str| {
        let answer = status(206).etag("\"1\"").chunk(&other[8..]);
        answer.with("content-range", range)
    };
    let answers = [
        ("200, another tag", ok(other).etag("\"2\"")),
        ("200, weak tag", ok(other).etag("W/\"1\"")),
        ("200, no tag", ok(other)),
        ("200, a tag without quotes", ok(other).etag("1")),
        (
            "200, another length",
            ok(other).etag("\"1\"").with("content-length", "21"),
        ),
        ("203, same tag", status(203).etag("\"1\"").chunk(other)),
        ("206, another tag", rest("\"2\"")),
        ("206, weak tag", rest("W/\"1\"")),
        (
            "206, no tag",
            status(206)
                .with("content-range", "bytes 8-19/20")
                .chunk(&other[8..]),
        ),
        ("206, begins later", said("bytes 9-19/20")),
        ("206, ends earlier", said("bytes 8-18/20")),
        ("206, of another length", said("bytes 8-19/21")),
        ("206, of a length that is not said", said("bytes 8-19/*")),
        ("206, of nothing", said("bytes */20")),
        ("206, of something else", said("lines 8-19/20")),
        ("206, backwards", said("bytes 19-8/20")),
        ("206, nonsense", said("bytes 8-19")),
        (
            "206, no range",
            status(206).etag("\"1\"").chunk(&other[8..]),
        ),
        (
            "206, parts",
            status(206)
                .etag("\"1\"")
                .with("content-type", "multipart/byteranges; boundary=x")
                .chunk("--x\r\ncontent-range: bytes 8-19/20\r\n\r\n"),
        ),
        ("304", not_modified().etag("\"1\"")),
        ("404", status(404).etag("\"1\"").chunk(other)),
        ("416", status(416).with("content-range", "bytes */20")),
        ("500", status(500).etag("\"1\"").chunk(other)),
        ("302", status(302).etag("\"1\"").with("location", "/other")),
    ];
    for (name, answer) in answers {
        let (mut scene, got) = after(|asked| asked.answer(answer)).await;
        assert_eq!(got.bytes, &TEXT.as_bytes()[..8], "{name}");
        assert_eq!(got.error, Some(BodyErrorKind::Stored), "{name}");
        scene.nothing_is_asked().await;
    }
    let (_, got) = after(Asked::fail).await;
    assert_eq!(got.bytes, &TEXT.as_bytes()[..8]);
    assert_eq!(got.error, Some(BodyErrorKind::Stored));
}

/// A head that contradicts itself: it is of the same, or of something else.
#[tokio::test(start_paused = true)]
async fn what_has_two_tags_is_not_sent_as_the_rest() {
    let other = "ABCDEFGHIJKLMNOPQRST";
    let rest = |tag| {
        let answer = part(8..LENGTH, LENGTH).chunk(&other[8..]);
        answer.with("etag", tag)
    };
    let whole = |tag| ok(other).etag("\"1\"").with("etag", tag);
    for answer in [rest("\"2\""), whole("\"2\""), rest("W/\"1\"")] {
        let (_, got) = after(|asked| asked.answer(answer)).await;
        assert_eq!(got.bytes, &TEXT.as_bytes()[..8]);
        assert_eq!(got.error, Some(BodyErrorKind::Stored));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_too_short_or_breaks_off_is_an_error() {
    let rest = || part(8..LENGTH, LENGTH);
    let whole = || status(200).etag("\"1\"");
    let answers = [
        ("nothing", rest()),
        ("too short", rest().chunk(&TEXT[8..19])),
        (
            "too short, and trailers",
            rest().chunk("8").trailer("end", "1"),
        ),
        ("breaks off", rest().chunk(&TEXT[8..12]).breaks_off()),
        ("breaks off at once", rest().breaks_off()),
        ("200 with nothing", whole()),
        ("200, short of what was sent", whole().chunk(&TEXT[..5])),
        ("200, as long as what was sent", whole().chunk(&TEXT[..8])),
        ("200, too short", whole().chunk(&TEXT[..19])),
        ("200, breaks off", whole().chunk(&TEXT[..12]).breaks_off()),
    ];
    for (name, answer) in answers {
        let (_, got) = after(|asked| asked.answer(answer)).await;
        got.is_or_breaks_off(TEXT.as_bytes());
        assert_eq!(got.error, Some(BodyErrorKind::Inner), "{name}");
        assert!(got.bytes.len() >= 8, "{name}");
    }
}

/// What is behind it is not of it.
#[tokio::test(start_paused = true)]
async fn of_a_rest_that_is_too_long_no_byte_too_many_is_sent() {
    let answers = [
        part(8..LENGTH, LENGTH).chunk(&TEXT[8..]).chunk("and more"),
        part(8..LENGTH, LENGTH).chunk(format!("{}and more", &TEXT[8..])),
        status(200).etag("\"1\"").chunk(format!("{TEXT}and more")),
        part(8..LENGTH, LENGTH).chunk(&TEXT[8..]).breaks_off(),
    ];
    for answer in answers {
        let (_, got) = after(|asked| asked.answer(answer)).await;
        got.is_or_breaks_off(TEXT.as_bytes());
    }
}

/// It ends when the origin has come to an end, and not as if it were whole.
#[tokio::test(start_paused = true)]
async fn while_the_origin_hangs_a_body_does_not_end_as_if_it_were_whole() {
    for has_head in [false, true] {
        let (mut scene, reads) = storing(tagged(), 4).await;
        reads.lose(8, Trouble::Error);
        let call = scene.fetch(get("/"));
        let asked = scene.asked().await;
        let (mut hanging, mut feed) = (Some(asked), None);
        if has_head {
            feed = hanging
                .take()
                .map(|asked| asked.begin(part(8..LENGTH, LENGTH).chunk(&TEXT[8..12])));
        }
        sleep(Duration::from_secs(3_600)).await;
        if call.is_finished() {
            assert!(got(call).await.error.is_some());
            continue;
        }
        if let Some(asked) = hanging {
            asked.answer(part(8..LENGTH, LENGTH).chunk(&TEXT[8..]));
        }
        if let Some(feed) = feed.take() {
            feed.data(&TEXT[12..]);
        }
        got(call).await.is(TEXT.as_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_a_strong_tag_that_is_lost_breaks_off() {
    let heads = [
        ok(TEXT).max_age(600),
        ok(TEXT).max_age(600).etag("W/\"1\""),
        ok(TEXT).max_age(600).etag("1"),
        ok(TEXT).max_age(600).etag("\"1"),
        ok(TEXT)
            .max_age(600)
            .with("last-modified", "Sat, 01 Jan 2022 00:00:00 GMT"),
    ];
    for head in heads {
        let (mut scene, reads) = storing(head, 4).await;
        for range in [None, Some("bytes=2-15")] {
            for trouble in TROUBLES {
                reads.lose(8, trouble);
                let call = scene.fetch(range.map_or_else(|| get("/"), ranged));
                assert!(asked_for_the_rest(&mut scene).await.is_none());
                let got = got(call).await;
                let expected = match range {
                    None => TEXT,
                    Some(_) => &TEXT[2..16],
                };
                got.is_or_breaks_off(expected.as_bytes());
                let wanted = range.map_or(0..LENGTH, |_| 2..16);
                let is_lost = reads.lost_behind(&wanted, LENGTH).is_some();
                assert_eq!(got.error.is_some(), is_lost, "{range:?} {trouble:?}");
            }
        }
    }
}

/// Other than 200: there are no ranges of it.
#[tokio::test(start_paused = true)]
async fn a_stored_error_that_is_lost_breaks_off() {
    let head = status(404).chunk(TEXT).max_age(600).etag("\"1\"");
    let (mut scene, reads) = storing(head, 4).await;
    reads.lose(8, Trouble::Error);
    let got = got(scene.fetch(get("/"))).await;
    assert_eq!(got.bytes, &TEXT.as_bytes()[..8]);
    assert!(got.error.is_some());
    scene.nothing_is_asked().await;
}

#[tokio::test(start_paused = true)]
async fn answers_without_a_body_need_none() {
    let (mut scene, reads) = storing(tagged(), 4).await;
    reads.lose(0, Trouble::Error);
    let head = with_method(get("/"), Method::HEAD);
    for (request, code) in [
        (head, 200),
        (with(get("/"), "if-none-match", "\"1\""), 304),
        (with(get("/"), "if-none-match", "W/\"1\""), 304),
        (ranged("bytes=20-"), 416),
        (with(ranged("bytes=2-3"), "if-none-match", "\"1\""), 304),
    ] {
        let got = got(scene.fetch(request)).await;
        assert_eq!(got.status, code);
        assert_eq!(got.text(), "");
        assert_eq!(got.info.outcome, Outcome::Hit);
    }
    scene.nothing_is_asked().await;
    assert_eq!(reads.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_cannot_get_lost() {
    let (mut scene, reads) = storing(ok("").max_age(600).etag("\"1\""), 4).await;
    reads.lose(0, Trouble::Error);
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.text(), "");
    assert_eq!(hit.info.outcome, Outcome::Hit);
    scene.nothing_is_asked().await;
    assert_eq!(reads.count(), 0);
}

/// What the caller had asked for beside, and not what the cache has answered already.
#[tokio::test(start_paused = true)]
async fn the_rest_is_asked_for_with_the_fields_of_the_caller_but_for_its_conditions() {
    let (mut scene, reads) = storing(tagged(), 4).await;
    reads.lose(8, Trouble::Error);
    let date = "Sat, 01 Jan 2022 00:00:00 GMT";
    let own: [&[(&str, &str)]; 4] = [
        &[("if-none-match", "\"2\"")],
        &[
            ("if-none-match", "\"2\", W/\"3\""),
            ("if-modified-since", date),
        ],
        &[("range", "bytes=2-9"), ("if-range", "\"2\"")],
        &[("range", "bytes=2-9"), ("if-range", date)],
    ];
    for fields in own {
        let mut request = with(get("/"), "accept", "text/plain");
        for (name, value) in fields {
            request = with(request, name, value);
        }
        request = with(request, "x-own", "1");
        let call = scene.fetch(request);
        let asked = scene.asked().await;
        let sent = |name| field(&asked.headers, name);
        assert_eq!(asked.method, Method::GET);
        assert_eq!(sent("range").as_deref(), Some("bytes=8-19"));
        assert_eq!(sent("if-range").as_deref(), Some("\"1\""));
        assert_eq!(sent("accept").as_deref(), Some("text/plain"));
        assert_eq!(sent("x-own").as_deref(), Some("1"));
        for name in ["if-none-match", "if-modified-since", "if-match"] {
            assert_eq!(sent(name), None, "{fields:?}");
        }
        for name in ["range", "if-range"] {
            assert_eq!(asked.headers.get_all(name).iter().count(), 1);
        }
        asked.answer(part(8..LENGTH, LENGTH).chunk(&TEXT[8..]));
        got(call).await.is(TEXT.as_bytes());
    }
}

/// The places are those of the content, not of what is stored of it.
#[tokio::test(start_paused = true)]
async fn a_stored_part_that_is_lost_goes_on_in_its_place() {
    let reads = Reads::in_windows_of(4);
    let whole = pattern(1_000);
    let answer = part(100..120, 1_000)
        .chunk(whole.slice(100..120))
        .max_age(600);
    let scene = Scene::over(Store::remote(&reads));
    let mut scene = with_stored(scene, ranged("bytes=100-119"), answer).await;
    for at in 0..20 {
        reads.lose(at, Trouble::Error);
        let call = scene.fetch(ranged("bytes=105-110"));
        settle().await;
        if at < 11 {
            let asked = scene.asked().await;
            let from = 100 + at.max(5);
            let range = field(&asked.headers, "range");
            assert_eq!(range, Some(format!("bytes={from}-110")));
            asked.answer(match at % 3 {
                0 => part(from..111, 1_000).chunk(whole.slice(from..111)),
                1 => part(90..1_000, 1_000).chunk(whole.slice(90..)),
                _ => status(200).etag("\"1\"").chunk(whole.clone()),
            });
        }
        let got = got(call).await;
        assert_eq!(got.status, 206);
        got.is(&whole[105..111]);
    }
}

/// What was already sent upstream, or is used for something else, cannot be sent again; a second request
/// is.
#[tokio::test(start_paused = true)]
async fn a_body_of_a_stale_response_that_is_lost_goes_on() {
    for way in [
        "while revalidating",
        "validated",
        "standing in",
        "max-stale",
    ] {
        let directives = match way {
            "while revalidating" => "max-age=60, stale-while-revalidate=600",
            "standing in" => "max-age=60, stale-if-error=600",
            _ => "max-age=60",
        };
        let head = ok(TEXT).cache_control(directives).etag("\"1\"");
        let (mut scene, reads) = storing(head, 4).await;
        scene.clock.advance(Duration::from_secs(61));
        reads.lose(8, Trouble::Error);
        let request = match way {
            "max-stale" => with(get("/"), "cache-control", "max-stale"),
            _ => get("/"),
        };
        let call = scene.fetch(request);
        settle().await;
        while let Some(asked) = scene.arrivals.now() {
            if asked.headers.contains_key("range") {
                assert_eq!(field(&asked.headers, "if-none-match"), None, "{way}");
                asked.answer(part(8..LENGTH, LENGTH).chunk(&TEXT[8..]));
            } else if way == "standing in" {
                asked.answer(status(503));
            } else {
                asked.answer(not_modified().etag("\"1\""));
            }
            settle().await;
        }
        let got = got(call).await;
        assert!(got.info.is_hit(), "{way}");
        got.is(TEXT.as_bytes());
    }
}

/// Of what another has had validated for all.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_lost_to_those_who_waited_for_its_validation_goes_on() {
    let (mut scene, reads) = storing(tagged(), 4).await;
    scene.clock.advance(Duration::from_secs(601));
    reads.lose(8, Trouble::Error);
    let calls = scene.fetch_all(4, || get("/")).await;
    let validated = not_modified().etag("\"1\"").max_age(600);
    scene.asked().await.answer(validated);
    for asked in scene.asked_for(4).await {
        let range = field(&asked.headers, "range");
        assert_eq!(range.as_deref(), Some("bytes=8-19"));
        asked.answer(part(8..LENGTH, LENGTH).chunk(&TEXT[8..]));
    }
    let mut outcomes = Vec::new();
    for call in calls {
        let got = got(call).await;
        got.is(TEXT.as_bytes());
        outcomes.push(got.info.outcome);
    }
    let hit = Outcome::Hit;
    assert_eq!(outcomes, [Outcome::Revalidated, hit, hit, hit]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_given_up_after_its_time() {
    let reads = Reads::in_windows_of(4);
    let layer = CacheLayer::new(Store::remote(&reads)).backend_timeout(Duration::from_millis(300));
    let mut scene = with_stored(Scene::with(layer), get("/"), tagged()).await;
    reads.lose(8, Trouble::Hangs);
    let started = Instant::now();
    let call = scene.fetch(get("/"));
    let asked = scene.arrivals.next().await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_millis(320));
    asked.answer(part(8..LENGTH, LENGTH).chunk(&TEXT[8..]));
    got(call).await.is(TEXT.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_its_time_is_waited_for() {
    let (mut scene, reads) = storing(tagged(), 4).await;
    reads.lose(8, Trouble::Takes(Duration::from_millis(4_900)));
    got(scene.fetch(get("/"))).await.is(TEXT.as_bytes());
    scene.nothing_is_asked().await;
}

/// Each asks for its own rest; nobody gets another's.
#[tokio::test(start_paused = true)]
async fn bodies_that_are_lost_at_the_same_time_go_on_each_for_itself() {
    let (mut scene, reads) = storing(tagged(), 4).await;
    reads.lose(8, Trouble::Error);
    let ranges: [Range<usize>; 4] = [0..LENGTH, 2..15, 8..12, 9..LENGTH];
    let mut calls = Vec::new();
    for wanted in &ranges {
        let range = format!("bytes={}-{}", wanted.start, wanted.end - 1);
        calls.push((wanted.clone(), scene.fetch(ranged(&range))));
    }
    for asked in scene.asked_for(4).await.into_iter().rev() {
        let range = field(&asked.headers, "range").expect("a range");
        let (_, range) = range.split_once('=').expect("a range");
        let (first, last) = range.split_once('-').expect("a range");
        let first: usize = first.parse().expect("a place");
        let end = last.parse::<usize>().expect("a place") + 1;
        asked.answer(part(first..end, LENGTH).chunk(&TEXT[first..end]));
    }
    for (wanted, call) in calls {
        got(call).await.is(&TEXT.as_bytes()[wanted]);
    }
}

/// As it comes: what is there of it is not held back.
#[tokio::test(start_paused = true)]
async fn the_rest_reaches_the_caller_piece_by_piece() {
    let (mut scene, reads) = storing(tagged(), 8).await;
    reads.lose(8, Trouble::Error);
    let mut reading = Reading::of(answer(scene.send(get("/"))).await);
    assert_eq!(reading.step(), Step::Data("01234567".into()));
    assert_eq!(reading.step(), Step::Pending);
    let asked = scene.asked().await;
    assert_eq!(reading.step(), Step::Pending);
    let feed = asked.begin(part(8..LENGTH, LENGTH));
    assert_eq!(reading.step(), Step::Pending);
    for at in 8..LENGTH {
        assert!(!reading.is_end_stream());
        let piece = &TEXT[at..=at];
        feed.data(piece);
        assert_eq!(reading.step(), Step::Data(piece.into()));
    }
    assert!(reading.is_end_stream());
    assert_eq!(reading.step(), Step::End);
    assert_eq!(reading.got().text(), TEXT);
}

/// Dropped at any point, nothing is left of it at the origin.
#[tokio::test(start_paused = true)]
async fn who_leaves_while_the_rest_comes_gives_it_up() {
    let (mut scene, reads) = storing(tagged(), 8).await;
    reads.lose(8, Trouble::Error);
    let reading = scene.fetch(get("/"));
    let asked = scene.asked().await;
    reading.abort();
    settle().await;
    assert!(asked.is_given_up());
    let reading = scene.fetch(get("/"));
    let feed = scene.asked().await.begin(part(8..LENGTH, LENGTH));
    settle().await;
    feed.data("8");
    reading.abort();
    settle().await;
    assert!(feed.is_dropped());
    reads.heal();
    got(scene.fetch(get("/"))).await.is(TEXT.as_bytes());
}

/// What was stored with the body is known, however the body came.
#[tokio::test(start_paused = true)]
async fn trailers_behind_a_body_that_was_lost_are_not_lost_with_it() {
    let (mut scene, reads) = storing(tagged().trailer("checksum", "1"), 4).await;
    let hit = got(scene.fetch(get("/"))).await;
    assert_eq!(hit.trailers.expect("trailers")["checksum"], "1");
    reads.lose(8, Trouble::Error);
    let call = scene.fetch(get("/"));
    let rest = part(8..LENGTH, LENGTH).chunk(&TEXT[8..]);
    scene.asked().await.answer(rest.trailer("checksum", "1"));
    let got = got(call).await;
    got.is(TEXT.as_bytes());
    assert_eq!(got.trailers.expect("trailers")["checksum"], "1");
}
