//! Whoever asks after a change was answered is not given what was asked for before it.

use std::time::Duration;

use cache_core::{CacheMode, Outcome};
use http::Method;
use kit::held::{get, settle};
use kit::{Answer, Operation, not_modified, ok, status};
use tokio::time::sleep;

use crate::scene::{Fetching, Scene, got, got_all, with, with_method, with_mode};
use crate::store::{Fault, Store, UNAVAILABLE};

/// Where the older answer is, while something is changed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Older {
    /// Its head is not here yet.
    Asked,
    /// Its body is on its way.
    Arriving,
    /// Its body is here, and the store takes its time.
    Storing,
}

const ALL: [Older; 3] = [Older::Asked, Older::Arriving, Older::Storing];

/// Stores that invalidate at once, later, not at all, and never.
fn stores() -> Vec<(&'static str, Store)> {
    let failing = |store: Store, fault| {
        store.set(Operation::Invalidate, fault);
        store
    };
    vec![
        ("at once", Store::new()),
        ("later", Store::later()),
        ("fails", failing(Store::new(), UNAVAILABLE)),
        ("fails later", failing(Store::later(), UNAVAILABLE)),
        ("hangs", failing(Store::new(), Fault::Hangs)),
        (
            "takes a second",
            failing(Store::new(), Fault::Takes(Duration::from_secs(1))),
        ),
    ]
}

fn fresh(body: &'static str) -> Answer {
    ok(body).max_age(600)
}

/// Changes it, and waits for the answer.
async fn change(scene: &mut Scene, target: &str, method: Method, answer: Answer) {
    let change = scene.fetch(with_method(get(target), method));
    scene.asked().await.answer(answer);
    assert_eq!(got(change).await.info.outcome, Outcome::Bypass);
}

/// What a request gives, whether it is stored or the origin is asked, which has this.
async fn gives(scene: &mut Scene, now: &'static str) -> String {
    let call = scene.fetch(get("/"));
    settle().await;
    if let Some(asked) = scene.arrivals.now() {
        asked.answer(fresh(now));
    }
    got(call).await.text().to_owned()
}

/// Whichever of the two answers comes first.
async fn nobody_gets_the_older_one(
    name: &str,
    store: Store,
    older: Older,
    older_is_first: bool,
    change: impl AsyncFnOnce(&mut Scene),
) {
    let name = format!("{name}, {older:?}, older first: {older_is_first}");
    if older == Older::Storing {
        store.set(
            Operation::Publish,
            Fault::Takes(Duration::from_millis(2_500)),
        );
    }
    let mut scene = Scene::over(store.clone());
    let early = scene.fetch_all(2, || get("/")).await;
    let asked = scene.asked().await;
    let (mut asked, mut feed) = (Some(asked), None);
    if older != Older::Asked {
        feed = asked.take().map(|asked| asked.begin(fresh("older ")));
        settle().await;
    }
    let finish_older = |asked: Option<kit::held::Asked>, feed: Option<kit::held::Feed>| {
        let feed = feed.or_else(|| asked.map(|asked| asked.begin(fresh("older "))));
        if let Some(feed) = feed {
            feed.data("one");
        }
    };
    if older == Older::Storing {
        finish_older(asked.take(), feed.take());
        settle().await;
    }
    scene.clock.advance(Duration::from_secs(1));
    change(&mut scene).await;
    scene.clock.advance(Duration::from_secs(1));

    let late = scene.fetch_all(3, || get("/")).await;
    let newer = scene.asked().await;
    if older_is_first {
        finish_older(asked.take(), feed.take());
        settle().await;
    }
    let newest = scene.fetch(get("/"));
    scene.nothing_is_asked().await;
    newer.answer(fresh("newer"));
    finish_older(asked.take(), feed.take());
    for got in got_all(early).await {
        // Who asked before may get either.
        assert!(["older one", "newer"].contains(&got.text()), "{name}");
    }
    for got in got_all(late).await {
        assert_eq!(got.text(), "newer", "{name}");
    }
    assert_eq!(got(newest).await.text(), "newer", "{name}");
    for _ in 0..3 {
        assert_eq!(gives(&mut scene, "newer").await, "newer", "{name}");
        sleep(Duration::from_secs(2)).await;
    }
    store.heal();
    assert_eq!(gives(&mut scene, "newer").await, "newer", "{name}");
    assert!(scene.all_has_landed(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_after_a_change_is_not_given_what_was_asked_for_before() {
    for older in ALL {
        for older_is_first in [false, true] {
            for (name, store) in stores() {
                let change = async |scene: &mut Scene| {
                    change(scene, "/", Method::POST, ok("changed")).await;
                };
                nobody_gets_the_older_one(name, store, older, older_is_first, change).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_that_changes_something_ends_the_waiting_for_older_answers() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "MKCOL"] {
        let name = Method::from_bytes(method.as_bytes()).expect("a method");
        let change = async |scene: &mut Scene| {
            change(scene, "/", name, status(204)).await;
        };
        let store = Store::new();
        nobody_gets_the_older_one(method, store, Older::Arriving, false, change).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_change_names_is_not_given_from_before_it_either() {
    for field in ["location", "content-location"] {
        for older in ALL {
            let change = async |scene: &mut Scene| {
                let answer = status(201).with(field, "/");
                change(scene, "/form", Method::POST, answer).await;
            };
            nobody_gets_the_older_one(field, Store::later(), older, true, change).await;
        }
    }
}

/// For every value of the fields that it varies by.
#[tokio::test(start_paused = true)]
async fn who_waits_among_its_like_is_not_given_what_was_asked_for_before_either() {
    let mut scene = Scene::new();
    let request = |language: &'static str| with(get("/"), "accept-language", language);
    let varying = |body| fresh(body).with("vary", "accept-language");
    let english = scene.fetch(request("en"));
    let first = scene.asked().await;
    let german: Vec<Fetching> = (0..2).map(|_| scene.fetch(request("de"))).collect();
    scene.nothing_is_asked().await;
    let feed = first.begin(varying("older"));
    let older = scene.asked().await;
    scene.clock.advance(Duration::from_secs(1));
    change(&mut scene, "/", Method::PUT, status(204)).await;
    scene.clock.advance(Duration::from_secs(1));
    let late: Vec<_> = (0..2).map(|_| scene.fetch(request("de"))).collect();
    let newer = scene.asked().await;
    older.answer(varying("older"));
    feed.end();
    newer.answer(varying("newer"));
    assert_eq!(got(english).await.text(), "older");
    for got in got_all(german).await {
        assert!(["older", "newer"].contains(&got.text()));
    }
    for got in got_all(late).await {
        assert_eq!(got.text(), "newer");
    }
    assert_eq!(got(scene.fetch(request("de"))).await.text(), "newer");
}

/// The older flight ends while the newer is in the air, in whatever way.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_older_flight_does_not_end_a_newer_one() {
    for ending in ["answered", "failed", "left"] {
        let mut scene = Scene::new();
        let early = scene.fetch(get("/"));
        let older = scene.asked().await;
        scene.clock.advance(Duration::from_secs(1));
        change(&mut scene, "/", Method::PUT, status(204)).await;
        let late = scene.fetch(get("/"));
        let newer = scene.asked().await;
        match ending {
            "answered" => older.answer(fresh("older")),
            "failed" => older.fail(),
            _ => early.abort(),
        }
        settle().await;
        let latest = scene.fetch(get("/"));
        scene.nothing_is_asked().await;
        newer.answer(fresh("newer"));
        for call in [late, latest] {
            assert_eq!(got(call).await.text(), "newer", "{ending}");
        }
        assert!(scene.all_has_landed());
    }
}

/// A validation that was asked for before says nothing of what is there after.
#[tokio::test(start_paused = true)]
async fn a_validation_from_before_a_change_makes_nothing_fresh_after_it() {
    for (name, store) in stores() {
        let mut scene = Scene::over(store);
        let first = scene.fetch(get("/"));
        let answer = ok("older").cache_control("max-age=60").etag("\"1\"");
        scene.asked().await.answer(answer);
        got(first).await;
        settle().await;
        scene.clock.advance(Duration::from_secs(61));
        let early = scene.fetch_all(3, || get("/")).await;
        let validating = scene.asked().await;
        scene.clock.advance(Duration::from_secs(1));
        change(&mut scene, "/", Method::PUT, status(204)).await;
        scene.clock.advance(Duration::from_secs(1));
        let late = scene.fetch_all(3, || get("/")).await;
        let newer = scene.asked().await;
        assert!(!newer.headers.contains_key("if-none-match"), "{name}");
        validating.answer(not_modified().etag("\"1\"").max_age(600));
        settle().await;
        // Those who waited for it may go by themselves.
        while let Some(asked) = scene.arrivals.now() {
            asked.answer(fresh("newer"));
        }
        newer.answer(fresh("newer").etag("\"2\""));
        for got in got_all(early).await {
            assert!(["older", "newer"].contains(&got.text()), "{name}");
        }
        for got in got_all(late).await {
            assert_eq!(got.text(), "newer", "{name}");
        }
        assert_eq!(gives(&mut scene, "newer").await, "newer", "{name}");
    }
}

/// What changed nothing, or must not write, leaves those who wait alone.
#[tokio::test(start_paused = true)]
async fn what_changes_nothing_ends_no_waiting() {
    for (request, answer) in [
        (with_method(get("/"), Method::POST), status(500)),
        (with_method(get("/"), Method::POST), status(404)),
        (with_method(get("/"), Method::OPTIONS), status(204)),
        (with_method(get("/other"), Method::POST), status(204)),
        (
            with_mode(with_method(get("/"), Method::POST), CacheMode::ReadOnly),
            status(204),
        ),
    ] {
        let mut scene = Scene::new();
        let early = scene.fetch(get("/"));
        let asked = scene.asked().await;
        let call = scene.fetch(request);
        scene.asked().await.answer(answer);
        got(call).await;
        let late = scene.fetch(get("/"));
        scene.nothing_is_asked().await;
        asked.answer(fresh("one"));
        for call in [early, late] {
            assert_eq!(got(call).await.text(), "one");
        }
    }
}

/// The caller of a change leaves while the store invalidates: it is done all the same.
#[tokio::test(start_paused = true)]
async fn a_change_whose_caller_has_left_still_ends_the_waiting() {
    for (name, store) in stores() {
        let mut scene = Scene::over(store.clone());
        let _early = scene.fetch(get("/"));
        let older = scene.asked().await;
        scene.clock.advance(Duration::from_secs(1));
        let change = scene.fetch(with_method(get("/"), Method::PUT));
        scene.asked().await.answer(status(204));
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        change.abort();
        sleep(Duration::from_secs(6)).await;
        scene.clock.advance(Duration::from_secs(1));
        older.answer(fresh("older"));
        settle().await;
        store.heal();
        assert_eq!(gives(&mut scene, "newer").await, "newer", "{name}");
    }
}

/// Fetched anew on purpose: who asks after it was answered and read gets that, or something newer.
#[tokio::test(start_paused = true)]
async fn who_asks_after_a_reload_is_not_given_what_was_asked_for_before() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let early = scene.fetch(get("/"));
        let older = scene.asked().await;
        scene.clock.advance(Duration::from_secs(1));
        let reload = scene.fetch(with_mode(get("/"), CacheMode::Reload));
        scene.asked().await.answer(fresh("newer"));
        assert_eq!(got(reload).await.text(), "newer");
        settle().await;
        assert_eq!(gives(&mut scene, "newer").await, "newer");
        older.answer(fresh("older"));
        assert_eq!(got(early).await.text(), "older");
        settle().await;
        assert_eq!(gives(&mut scene, "newer").await, "newer");
    }
}

/// One that hangs fails after one that came later, and speaks of an earlier time.
#[tokio::test(start_paused = true)]
async fn an_invalidation_that_fails_late_does_not_undo_what_is_known_of_a_later_one() {
    let store = Store::new();
    let mut scene = Scene::over(store.clone());
    store.set(Operation::Invalidate, Fault::Hangs);
    change(&mut scene, "/", Method::POST, ok("changed")).await;
    store.heal();
    scene.clock.advance(Duration::from_secs(1));
    let between = scene.fetch(get("/"));
    scene.asked().await.answer(fresh("between"));
    assert_eq!(got(between).await.text(), "between");
    scene.clock.advance(Duration::from_secs(1));
    store.set(Operation::Invalidate, UNAVAILABLE);
    change(&mut scene, "/", Method::POST, ok("changed again")).await;
    // By now the first has failed, too.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(gives(&mut scene, "after").await, "after");
}

/// hyper drops the response when its client hangs up.
#[tokio::test(start_paused = true)]
async fn a_change_whose_caller_leaves_while_the_store_is_told_is_told_of_all_the_same() {
    let store = Store::later();
    store.set(
        Operation::Invalidate,
        Fault::Takes(Duration::from_millis(20)),
    );
    let mut scene = Scene::over(store);
    let targets = ["/", "/new", "/other"];
    for target in targets {
        let first = scene.fetch(get(target));
        scene.asked().await.answer(fresh("one"));
        got(first).await;
    }
    let changing = with(
        with_method(get("/"), Method::POST),
        "authorization",
        "alice",
    );
    let change = scene.fetch(changing);
    let made = status(201)
        .with("location", "/new")
        .with("content-location", "/other");
    scene.asked().await.answer(made);
    sleep(Duration::from_millis(5)).await;
    change.abort();
    sleep(Duration::from_secs(1)).await;
    for target in targets {
        assert_eq!(
            scene.stored(get(target)).await,
            Outcome::Unsatisfiable,
            "{target}"
        );
    }
}
