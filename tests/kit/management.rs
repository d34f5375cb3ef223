//! The part of the suite that a backend passes which can be gone through.
//!
//! A backend runs it with one line: `kit::management_contract!(MemoryBackend::default())`.

#![expect(missing_docs, reason = "the name of a promise says it all")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Listed, Manage, Progress};

use crate::contract::{Store, get, in_language, read, varying};
use cache_testing::ok;

/// Makes one test of each promise for the backend that the expression gives.
#[macro_export]
macro_rules! management_contract {
    ($backend:expr) => {
        $crate::management_contract!(@ $backend;
            a_walk_sees_every_response_without_its_body
            a_walk_through_an_empty_store_sees_nothing
            a_walk_does_not_see_what_was_removed_or_invalidated
            a_walk_does_not_see_what_was_replaced
            what_is_opened_is_what_a_lookup_finds
            what_was_replaced_or_removed_is_not_opened
            removing_what_was_listed_removes_that_and_counts_it
            removing_what_was_listed_leaves_what_replaced_it
            what_was_opened_can_be_freshened
            clearing_removes_everything_and_tells
        );
    };
    (@ $backend:expr; $($promise:ident)*) => {
        mod management {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let store = $crate::contract::Store::new(::std::sync::Arc::new($backend));
                    $crate::management::$promise(store).await;
                }
            )*
        }
    };
}

fn manage(store: &Store) -> &dyn Manage {
    store.backend.manage().expect("a store that can be managed")
}

async fn walk(store: &Store) -> Vec<Listed> {
    let mut walk = manage(store).walk();
    let mut all = Vec::new();
    while let Some(batch) = walk.next_batch().wait().await.expect("a batch") {
        assert_eq!(batch.unreadable, 0);
        all.extend(batch.listed);
    }
    let after = walk.next_batch().wait().await.expect("the end, still");
    assert!(after.is_none());
    all
}

async fn open(store: &Store, listed: &Listed) -> Option<cache_core::Entry> {
    let opened = manage(store).open(listed).wait().await;
    opened.expect("opening succeeds")
}

/// The one that is listed with this in its `ETag`.
async fn listed(store: &Store, tag: &str) -> Listed {
    let all = walk(store).await;
    let mut found = all.into_iter().filter(|listed| {
        listed
            .head
            .headers()
            .get("etag")
            .is_some_and(|of| of == tag)
    });
    let one = found.next().expect("it is listed");
    assert!(found.next().is_none(), "it is listed twice");
    one
}

/// Two resources, of which one has three responses; each with its number of bytes in its `ETag`.
async fn fill(store: &Store) {
    let large = "x".repeat(200_000);
    store
        .publish(&get("/small"), ok("small").max_age(60).etag("\"5\""))
        .await;
    for (language, tag, body) in [("en", "\"6\"", "hello!"), ("de", "\"7\"", "hallo!!")] {
        store
            .publish(&in_language(language), varying(body).etag(tag))
            .await;
    }
    store
        .publish(
            &in_language("fr"),
            varying("").chunk(large).etag("\"200000\""),
        )
        .await;
}

async fn tags(store: &Store) -> Vec<String> {
    let text = |listed: &Listed| {
        let tag = listed.head.headers()["etag"].to_str().expect("text");
        tag.trim_matches('"').to_owned()
    };
    let mut tags: Vec<String> = walk(store).await.iter().map(text).collect();
    tags.sort();
    tags
}

pub async fn a_walk_sees_every_response_without_its_body(store: Store) {
    fill(&store).await;
    let mut seen = BTreeMap::new();
    for listed in walk(&store).await {
        let tag = listed.head.headers()["etag"].clone();
        assert_eq!(tag, format!("\"{}\"", listed.body_length).as_str());
        assert!(listed.bytes > 0, "{listed:?}");
        assert!(seen.insert(listed.body_length, listed).is_none());
    }
    let lengths: Vec<u64> = seen.keys().copied().collect();
    assert_eq!(lengths, [5, 6, 7, 200_000]);
    assert!(seen.values().all(|listed| listed.trailers.is_none()));
    let entry = store.entry(&in_language("de")).await.expect("an entry");
    assert_eq!(seen[&7].head, entry.head);
    assert_eq!(seen[&7].token, entry.token);
    assert_eq!(seen[&7].key(), &store.key(&get("/")));
}

pub async fn a_walk_through_an_empty_store_sees_nothing(store: Store) {
    assert!(walk(&store).await.is_empty());
}

pub async fn a_walk_does_not_see_what_was_removed_or_invalidated(store: Store) {
    fill(&store).await;
    let entry = store.entry(&in_language("en")).await.expect("an entry");
    store.backend.remove(&entry).wait().await.expect("removed");
    assert_eq!(tags(&store).await, ["200000", "5", "7"]);
    let key = store.key(&get("/"));
    let invalidated = store.backend.invalidate(&key, store.now()).wait().await;
    invalidated.expect("invalidated");
    assert_eq!(tags(&store).await, ["5"]);
}

pub async fn a_walk_does_not_see_what_was_replaced(store: Store) {
    fill(&store).await;
    store.wait(1);
    store
        .publish(&in_language("en"), varying("12345678").etag("\"8\""))
        .await;
    store
        .publish(&get("/small"), ok("123456789").max_age(60).etag("\"9\""))
        .await;
    assert_eq!(tags(&store).await, ["200000", "7", "8", "9"]);
}

pub async fn what_is_opened_is_what_a_lookup_finds(store: Store) {
    fill(&store).await;
    store
        .publish(
            &get("/trailers"),
            ok("four")
                .max_age(60)
                .etag("\"4\"")
                .trailer("checksum", "1"),
        )
        .await;
    for (tag, request) in [
        ("\"4\"", get("/trailers")),
        ("\"5\"", get("/small")),
        ("\"6\"", in_language("en")),
        ("\"200000\"", in_language("fr")),
    ] {
        let listed = listed(&store, tag).await;
        let opened = open(&store, &listed).await.expect("it is there");
        assert_eq!(listed.trailers.as_ref(), opened.body.trailers());
        let found = store.entry(&request).await.expect("an entry");
        assert_eq!(opened.head, found.head);
        assert_eq!(opened.token, found.token);
        assert_eq!(opened.body.trailers(), found.body.trailers());
        assert!(
            read(&opened).await == read(&found).await,
            "the bytes differ"
        );
    }
}

pub async fn what_was_replaced_or_removed_is_not_opened(store: Store) {
    fill(&store).await;
    let (five, six) = (listed(&store, "\"5\"").await, listed(&store, "\"6\"").await);
    store.wait(1);
    store.publish(&get("/small"), ok("new").max_age(60)).await;
    assert!(open(&store, &five).await.is_none());
    let key = store.key(&get("/"));
    let invalidated = store.backend.invalidate(&key, store.now()).wait().await;
    invalidated.expect("invalidated");
    assert!(open(&store, &six).await.is_none());
    store.wait(1);
    store.publish(&in_language("en"), varying("new")).await;
    store.publish(&in_language("de"), varying("neu")).await;
    assert!(open(&store, &six).await.is_none());
}

pub async fn removing_what_was_listed_removes_that_and_counts_it(store: Store) {
    fill(&store).await;
    let listed = [
        listed(&store, "\"5\"").await,
        listed(&store, "\"6\"").await,
        listed(&store, "\"200000\"").await,
    ];
    let remove = || async {
        let removed = manage(&store).remove_listed(&listed).wait().await;
        removed.expect("removed")
    };
    assert_eq!(remove().await, 3);
    assert_eq!(tags(&store).await, ["7"]);
    assert_eq!(store.body(&get("/small")).await, None);
    assert_eq!(store.body(&in_language("en")).await, None);
    assert_eq!(
        store.body(&in_language("de")).await.as_deref(),
        Some("hallo!!")
    );
    assert_eq!(remove().await, 0);
}

pub async fn removing_what_was_listed_leaves_what_replaced_it(store: Store) {
    fill(&store).await;
    let old = [listed(&store, "\"5\"").await, listed(&store, "\"7\"").await];
    store.wait(1);
    store.publish(&get("/small"), ok("new").max_age(60)).await;
    store.publish(&in_language("de"), varying("neu")).await;
    let removed = manage(&store).remove_listed(&old).wait().await;
    assert_eq!(removed.expect("nothing is done"), 0);
    assert_eq!(store.body(&get("/small")).await.as_deref(), Some("new"));
    assert_eq!(store.body(&in_language("de")).await.as_deref(), Some("neu"));
}

pub async fn what_was_opened_can_be_freshened(store: Store) {
    fill(&store).await;
    store.wait(10);
    for (tag, request) in [
        ("\"5\"", get("/small")),
        ("\"6\"", in_language("en")),
        ("\"200000\"", in_language("fr")),
    ] {
        let opened = open(&store, &listed(&store, tag).await).await;
        let opened = opened.expect("it is there");
        let before = read(&opened).await;
        let head = Arc::new(opened.head.stale_from(store.now()));
        let freshened = store
            .backend
            .freshen(&opened, head.clone(), store.now())
            .wait()
            .await;
        freshened.expect("freshened");
        let found = store.entry(&request).await.expect("an entry");
        assert_eq!(found.head, head);
        assert_eq!(found.head.remaining(store.now()), Duration::ZERO);
        assert!(read(&found).await == before, "the bytes differ");

        let head = Arc::new(head.fresh_for(Duration::from_secs(300), store.now()));
        let freshened = store
            .backend
            .freshen(&found, head.clone(), store.now())
            .wait()
            .await;
        freshened.expect("freshened");
        let found = store.entry(&request).await.expect("an entry");
        assert_eq!(found.head.remaining(store.now()), Duration::from_secs(300));
        assert!(read(&found).await == before, "the bytes differ");
    }
    assert_eq!(tags(&store).await, ["200000", "5", "6", "7"]);
}

pub async fn clearing_removes_everything_and_tells(store: Store) {
    fill(&store).await;
    let mut told = Vec::new();
    let mut tell = |progress: Progress| told.push(progress);
    let cleared = manage(&store).clear(&mut tell).wait().await;
    let cleared = cleared.expect("cleared");
    assert!(cleared.done > 0 && cleared.seen >= cleared.done);
    assert_eq!(told.last(), Some(&cleared));
    assert!(walk(&store).await.is_empty());
    assert_eq!(store.body(&get("/small")).await, None);
    assert_eq!(store.body(&in_language("de")).await, None);
    store.wait(1);
    store.publish(&get("/small"), ok("new").max_age(60)).await;
    assert_eq!(store.body(&get("/small")).await.as_deref(), Some("new"));
}
