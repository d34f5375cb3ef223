//! Whoever leaves, at whatever point: nobody else hangs, nobody gets anything wrong, nothing stays
//! behind, and the next request is right.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheMode, Outcome};
use http::{Method, Request};
use http_body_util::Full;
use kit::held::{Arrivals, Asked, get, held, settle, soon};
use kit::{OriginError, not_modified, ok, status};
use tokio::task::yield_now;
use tower_service::Service;

use crate::reading::pattern;
use crate::scene::{Got, Scene, fetch, got, read, with, with_method, with_mode};
use crate::store::{Reads, Store, Trouble};

/// What a request meets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meets {
    /// A response that is stored.
    Fresh,
    /// One with a length that is known beforehand.
    Announced,
    /// One that is empty, and known to be.
    Empty,
    /// One with trailers.
    Trailers,
    /// One that is for each alone.
    Solitary,
    /// One that varies by what each has in a field.
    Varying,
    /// One that breaks off, the first time.
    Breaking,
    /// One that breaks off, the first time, and can be gone on with.
    BreakingTagged,
    /// No response, the first time.
    Failing,
    /// What is stale, and still valid.
    Valid,
    /// What is stale, and has changed.
    Changed,
    /// A stale response that is validated in the background.
    Background,
    /// A stored body that is lost on its way.
    Lost,
    /// A stored body that is lost on its way, of which there is no rest to be had.
    LostForGood,
    /// A change at the same time.
    Change,
    /// Requests of which the second wants to load it again.
    Reload,
}

const ALL: [Meets; 16] = [
    Meets::Fresh,
    Meets::Announced,
    Meets::Empty,
    Meets::Trailers,
    Meets::Solitary,
    Meets::Varying,
    Meets::Breaking,
    Meets::BreakingTagged,
    Meets::Failing,
    Meets::Valid,
    Meets::Changed,
    Meets::Background,
    Meets::Lost,
    Meets::LostForGood,
    Meets::Change,
    Meets::Reload,
];

const REQUESTS: usize = 4;
const LENGTH: usize = 12;

impl Meets {
    fn request(self, number: usize) -> Request<Full<Bytes>> {
        let request = get("/");
        match self {
            Self::Varying => with(request, "x-kind", ["a", "b"][number % 2]),
            Self::Change if number == 2 => with_method(request, Method::PUT),
            Self::Reload if number == 1 => with_mode(request, CacheMode::Reload),
            _ => request,
        }
    }

    fn is_stored_before(self) -> bool {
        matches!(
            self,
            Self::Valid | Self::Changed | Self::Background | Self::Lost | Self::LostForGood
        )
    }

    fn has_tag(self) -> bool {
        matches!(
            self,
            Self::Valid | Self::Changed | Self::Background | Self::Lost | Self::BreakingTagged
        )
    }

    /// Whether who does not leave may see an error.
    fn may_fail(self) -> bool {
        matches!(
            self,
            Self::Breaking | Self::BreakingTagged | Self::Failing | Self::LostForGood
        )
    }

    fn directives(self) -> &'static str {
        match self {
            Self::Solitary => "no-store",
            Self::Background => "max-age=60, stale-while-revalidate=600",
            _ => "max-age=60",
        }
    }
}

/// An origin that does things slowly, a turn for each.
async fn serve(mut arrivals: Arrivals, meets: Meets) {
    let mut number = 0;
    while let Some(asked) = arrivals.next_or_end().await {
        number += 1;
        tokio::spawn(answer(asked, meets, number));
    }
}

async fn answer(asked: Asked, meets: Meets, number: usize) {
    yield_now().await;
    yield_now().await;
    let is_first = number == 1;
    if meets == Meets::Failing && is_first {
        return asked.fail();
    }
    if asked.method == Method::PUT {
        return asked.answer(status(204));
    }
    let whole = pattern(LENGTH);
    let tag = match meets {
        Meets::Changed if number > 1 => "\"2\"",
        _ => "\"1\"",
    };
    let header = |name: &str| {
        let value = asked.headers.get(name)?;
        Some(value.to_str().expect("text").to_owned())
    };
    if header("if-none-match").is_some_and(|known| known == tag) {
        return asked.answer(not_modified().etag(tag).cache_control(meets.directives()));
    }
    let (mut head, mut from) = (status(200), 0);
    let is_wanted = header("if-range").is_none_or(|condition| condition == tag);
    if let Some(range) = header("range").filter(|_| is_wanted) {
        let (_, range) = range.split_once('=').expect("a range");
        let (first, last) = range.split_once('-').expect("a range");
        assert_eq!(last, (LENGTH - 1).to_string());
        from = first.parse().expect("a place");
        let range = format!("bytes {first}-{last}/{LENGTH}");
        head = status(206).with("content-range", &range);
    }
    head = head.cache_control(meets.directives());
    if meets.has_tag() {
        head = head.etag(tag);
    }
    if meets == Meets::Varying {
        head = head.with("vary", "x-kind");
    }
    let feed = match meets {
        Meets::Empty => asked.begin_announced(head, 0),
        Meets::Announced | Meets::BreakingTagged => {
            asked.begin_announced(head, (LENGTH - from) as u64)
        }
        _ => asked.begin(head),
    };
    if meets == Meets::Empty {
        return;
    }
    let is_breaking = matches!(meets, Meets::Breaking | Meets::BreakingTagged) && is_first;
    for (i, at) in (from..LENGTH).step_by(4).enumerate() {
        yield_now().await;
        if is_breaking && i == 2 {
            return feed.break_off();
        }
        feed.data(whole.slice(at..LENGTH.min(at + 4)));
    }
    yield_now().await;
    if meets == Meets::Trailers {
        feed.trailer("checksum", "1");
    }
}

type Exchange = Pin<Box<dyn Future<Output = Result<Got, OriginError>>>>;

/// Sends four requests, of which some are dropped after so many polls, and looks at what becomes of
/// the others. Whether all were at their end before they were dropped.
async fn run(meets: Meets, is_late: bool, leaving: &[usize], polls: usize) -> bool {
    let name = format!("{meets:?}, late: {is_late}, {leaving:?} leave after {polls} polls");
    let whole = match meets {
        Meets::Empty => Bytes::new(),
        _ => pattern(LENGTH),
    };
    let reads = Reads::in_windows_of(4);
    let store = match meets {
        Meets::Lost | Meets::LostForGood => Store::remote(&reads),
        _ => Store::new(),
    };
    let store = if is_late { store.and_later() } else { store };
    let mut scene = Scene::over(store);
    let (_, nobody) = held();
    let arrivals = std::mem::replace(&mut scene.arrivals, nobody);
    let origin = tokio::spawn(serve(arrivals, meets));
    if meets.is_stored_before() {
        got(scene.fetch(get("/"))).await.is(&whole);
        settle().await;
        if meets.has_tag() && meets != Meets::Lost {
            scene.clock.advance(Duration::from_secs(61));
        }
        reads.lose(5, Trouble::Error);
    }

    let mut staying = Vec::new();
    let mut victims: Vec<Option<Exchange>> = Vec::new();
    for number in 0..REQUESTS {
        let request = meets.request(number);
        if leaving.contains(&number) {
            let mut cache = scene.cache.clone();
            let mut exchange: Exchange =
                Box::pin(async move { Ok(read(cache.call(request).await?).await) });
            // Who comes first, asks first.
            let is_over = polls > 0 && is_over(&mut exchange).await;
            victims.push((!is_over).then_some(exchange));
        } else {
            staying.push((number, fetch(&scene.cache, request)));
            yield_now().await;
        }
    }
    for _ in 1..polls {
        for victim in &mut victims {
            if let Some(exchange) = victim
                && is_over(exchange).await
            {
                *victim = None;
            }
        }
        yield_now().await;
    }
    let all_were_over = victims.iter().all(Option::is_none);
    drop(victims);

    for (number, call) in staying {
        match soon(call).await.expect("no panic") {
            Ok(got) if meets.request(number).method() == Method::PUT => {
                assert_eq!(got.status, 204, "{name}");
            }
            Ok(got) => {
                got.is_or_breaks_off(&whole);
                assert!(got.error.is_none() || meets.may_fail(), "{name}: {got:?}");
            }
            Err(_) => assert!(meets.may_fail(), "{name}"),
        }
    }
    settle().await;
    assert!(scene.all_has_landed(), "{name}");
    reads.heal();
    // Whatever was left half done: now it is right, and then it is stored.
    let request = |number| {
        let request = meets.request(number);
        match meets {
            Meets::Change | Meets::Reload => get("/"),
            _ => request,
        }
    };
    if meets == Meets::Failing || meets == Meets::Breaking || meets == Meets::BreakingTagged {
        // The first time may still be to come.
        let _ = soon(fetch(&scene.cache, request(0))).await;
        settle().await;
    }
    for number in [0, 1, 0, 1] {
        let next = got(fetch(&scene.cache, request(number))).await;
        next.is(&whole);
        settle().await;
    }
    let last = got(fetch(&scene.cache, request(0))).await;
    last.is(&whole);
    let expected = match meets {
        Meets::Solitary => Outcome::Miss,
        _ => Outcome::Hit,
    };
    assert_eq!(last.info.outcome, expected, "{name}");
    if meets == Meets::Trailers {
        assert!(last.trailers.is_some(), "{name}");
    }
    assert!(scene.all_has_landed(), "{name}");
    origin.abort();
    all_were_over
}

async fn is_over(exchange: &mut Exchange) -> bool {
    poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx).is_ready())).await
}

async fn leave_at_every_point(leaving: &[usize]) {
    for meets in ALL {
        for is_late in [false, true] {
            let mut polls = 0;
            while !run(meets, is_late, leaving, polls).await {
                polls += 1;
                assert!(polls < 200, "{meets:?} never ends");
            }
            assert!(polls > 0, "{meets:?}: nobody left on the way");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_may_leave_at_any_point() {
    leave_at_every_point(&[0]).await;
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_may_leave_at_any_point() {
    leave_at_every_point(&[1]).await;
    leave_at_every_point(&[2]).await;
}

#[tokio::test(start_paused = true)]
async fn the_leader_and_the_next_may_leave_at_any_point() {
    leave_at_every_point(&[0, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn all_but_the_leader_may_leave_at_any_point() {
    leave_at_every_point(&[1, 2, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn all_but_the_last_may_leave_at_any_point() {
    leave_at_every_point(&[0, 1, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn all_may_leave_at_any_point() {
    leave_at_every_point(&[0, 1, 2, 3]).await;
}

/// With its layer: who reads is not harmed by that.
#[tokio::test(start_paused = true)]
async fn the_layer_and_its_services_may_be_dropped_at_any_point() {
    for polls in 0..12 {
        let Scene {
            layer,
            cache,
            origin,
            mut arrivals,
            ..
        } = Scene::over(Store::later());
        let calls = [(); 3].map(|()| fetch(&cache, get("/")));
        for _ in 0..polls {
            yield_now().await;
        }
        drop((layer, cache, origin));
        let feed = arrivals.next().await.begin(ok("one ").max_age(60));
        settle().await;
        feed.data("two");
        feed.end();
        for call in calls {
            assert_eq!(got(call).await.text(), "one two");
        }
    }
}
