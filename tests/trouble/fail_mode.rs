//! A store that is away, and an origin that is not to feel it.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheMode, Outcome, Reason, Storing};
use cache_memory::MemoryBackend;
use cache_tower::{BodyErrorKind, CacheLayer, FailMode};
use http::{Method, Request};
use http_body_util::Full;
use kit::held::{get, settle};
use kit::{Operation, ok};
use tokio::time::sleep;

use crate::scene::{Got, Scene, got, with, with_method, with_mode};
use crate::store::{Fault, Reads, Store, Trouble, UNAVAILABLE};

fn closed(store: &Store) -> Scene {
    Scene::with(CacheLayer::new(store.clone()).fail_mode(FailMode::Closed))
}

#[track_caller]
fn is_refused(got: &Got) {
    assert_eq!(got.status, 503);
    assert_eq!(got.headers["retry-after"], "1");
    assert_eq!(got.bytes, b"");
    assert_eq!(got.error, None);
    let why = Reason::BackendUnavailable;
    assert_eq!(got.info.outcome, Outcome::Unsatisfiable);
    assert_eq!(got.info.reason, why);
    assert_eq!(got.info.storing, Storing::Refused(why));
    assert_eq!(got.info.forwarded, None);
}

/// As soon as it fails, while it rests, and while the one who tries it again fails, too.
#[tokio::test(start_paused = true)]
async fn an_origin_that_is_protected_is_not_asked_while_the_store_is_away() {
    for store in [Store::new, Store::later] {
        for fault in [UNAVAILABLE, Fault::Hangs] {
            let store = store();
            let mut scene = closed(&store);
            let before = scene.fetch(get("/"));
            scene.asked().await.answer(ok("one").max_age(600));
            assert_eq!(got(before).await.text(), "one");
            store.set(Operation::Lookup, fault);
            for _ in 0..20 {
                for path in ["/", "/other"] {
                    is_refused(&got(scene.fetch(get(path))).await);
                }
                sleep(Duration::from_millis(150)).await;
                scene.clock.advance(Duration::from_millis(150));
            }
            scene.nothing_is_asked().await;
            store.heal();
            scene.clock.advance(Duration::from_secs(1));
            let after = got(scene.fetch(get("/"))).await;
            assert_eq!((after.text(), after.info.outcome), ("one", Outcome::Hit));
            let miss = scene.fetch(get("/other"));
            scene.asked().await.answer(ok("two"));
            assert_eq!(got(miss).await.text(), "two");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_reaches_the_origin_in_any_case_does_so_while_the_store_is_away() {
    let store = Store::new();
    store.set(Operation::Lookup, UNAVAILABLE);
    let mut scene = closed(&store);
    let mut content = get("/");
    *content.body_mut() = Full::new(Bytes::from_static(b"content"));
    let requests: [Request<Full<Bytes>>; 5] = [
        with_method(get("/"), Method::POST),
        with_method(get("/"), Method::OPTIONS),
        content,
        with(get("/"), "cache-control", "no-store"),
        with_mode(get("/"), CacheMode::Reload),
    ];
    for request in requests {
        let call = scene.fetch(request);
        scene.asked().await.answer(ok("answered"));
        assert_eq!(got(call).await.text(), "answered");
    }
    let stored_only = with_mode(get("/"), CacheMode::OnlyIfCached);
    assert_eq!(got(scene.fetch(stored_only)).await.status, 504);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_can_be_read_only_is_not_away() {
    let store = Store::new();
    store.set(Operation::Write, UNAVAILABLE);
    store.set(Operation::Publish, UNAVAILABLE);
    let mut scene = closed(&store);
    for _ in 0..20 {
        let call = scene.fetch(get("/"));
        scene.asked().await.answer(ok("own").max_age(600));
        assert_eq!(got(call).await.text(), "own");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_such_a_store_loses_is_not_asked_for_again() {
    let reads = Reads::in_windows_of(4);
    let mut scene = closed(&Store::remote(&reads));
    let before = scene.fetch(get("/"));
    let head = ok("a body of some length").max_age(600).etag("\"1\"");
    scene.asked().await.answer(head);
    got(before).await;
    reads.lose(8, Trouble::Error);
    let lost = got(scene.fetch(get("/"))).await;
    assert_eq!(lost.error, Some(BodyErrorKind::Stored));
    assert_eq!(lost.bytes, b"a body o");
    scene.nothing_is_asked().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_word_the_origin_is_asked() {
    let store = Store::new();
    store.set(Operation::Lookup, UNAVAILABLE);
    let mut scene = Scene::over(store);
    let call = scene.fetch(get("/"));
    settle().await;
    scene.asked().await.answer(ok("own"));
    assert_eq!(got(call).await.text(), "own");
    let layer = CacheLayer::new(MemoryBackend::default()).fail_mode(FailMode::Open);
    let mut scene = Scene::with(layer);
    let call = scene.fetch(get("/"));
    scene.asked().await.answer(ok("own"));
    assert_eq!(got(call).await.text(), "own");
}
