//! What is gone stays gone, and what was replaced stays replaced, whatever a 304 says afterwards.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use cache_core::{Backend, Entry, Policy, Retention};
use http::Request;
use kit::contract::{in_language, varying};
use kit::{Answer, ok};

use crate::layout::part;
use crate::support::{Replica, Site, assert_same, long, read, request};

/// The kinds of response that there are.
fn kinds() -> Vec<(&'static str, Answer, String)> {
    let plain = || ok("").max_age(60).etag("\"1\"");
    let ten = || "0123456789".to_owned();
    vec![
        ("small", plain(), "small".to_owned()),
        ("large", plain(), long("large")),
        ("varying", varying("").etag("\"1\""), "small".to_owned()),
        ("large, varying", varying("").etag("\"1\""), long("large")),
        ("part", part(), ten()),
        (
            "part, varying",
            part().with("vary", "accept-language"),
            ten(),
        ),
    ]
}

fn asking() -> Request<()> {
    request("/", &[("accept-language", "en"), ("range", "bytes=0-9")])
}

/// How a response can be gone.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Removed,
    Invalidated,
    Replaced,
    InvalidatedAndReplaced,
    PrimaryDeleted,
    ItselfDeleted,
    BodyDeleted,
    AllDeleted,
    RuleReplaced,
    Overwritten,
    BodyOverwritten,
}

const GONE: [Gone; 11] = [
    Gone::Removed,
    Gone::Invalidated,
    Gone::Replaced,
    Gone::InvalidatedAndReplaced,
    Gone::PrimaryDeleted,
    Gone::ItselfDeleted,
    Gone::BodyDeleted,
    Gone::AllDeleted,
    Gone::RuleReplaced,
    Gone::Overwritten,
    Gone::BodyOverwritten,
];

impl Gone {
    /// Does it; whether it makes a difference to such a response.
    async fn happens(self, site: &Site, other: &Replica, entry: &Entry, answer: &Answer) -> bool {
        let token = format!("{:032x}", entry.token.0);
        let body = format!("{}:b:{token}", site.primary(&asking()));
        let is_large = site.server.keys().contains(&body);
        let home = site.variants(&asking()).into_iter().next();
        let home = home.unwrap_or_else(|| site.primary(&asking()));
        match self {
            Self::Removed => other.remove(entry).await,
            Self::Invalidated => other.invalidate(&asking()).await,
            Self::Replaced => assert!(other.publish(&asking(), answer, "new").await),
            Self::InvalidatedAndReplaced => {
                other.invalidate(&asking()).await;
                assert!(other.publish(&asking(), answer, "new").await);
            }
            Self::PrimaryDeleted => site.delete(&site.primary(&asking())),
            Self::ItselfDeleted => site.delete(&home),
            Self::BodyDeleted if is_large => site.delete(&body),
            Self::BodyOverwritten if is_large => {
                site.delete(&body);
                let _: u64 = site.server.query(&["RPUSH", &body, "one"]);
            }
            Self::BodyDeleted | Self::BodyOverwritten => return false,
            Self::AllDeleted => {
                let _: String = site.server.query(&["FLUSHALL"]);
            }
            Self::RuleReplaced => {
                site.delete(&site.primary(&asking()));
                let asking = in_language("de");
                assert!(other.publish(&asking, &varying(""), "hallo").await);
            }
            Self::Overwritten => site.overwrite(&home, b"something else"),
        }
        true
    }
}

fn ttls(site: &Site) -> BTreeMap<String, bool> {
    let keys = site.server.keys();
    keys.into_iter()
        .map(|key| (key.clone(), site.pttl(&key) == -1))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_to_what_is_gone_changes_nothing() {
    for policy in [
        Policy::private(),
        Policy::private().retention(Retention::Forever),
    ] {
        let site = Site::small(policy).await;
        let other = site.other();
        for (kind, answer, body) in kinds() {
            for gone in GONE {
                let _: String = site.server.query(&["FLUSHALL"]);
                assert!(site.publish(&asking(), &answer, body.clone()).await);
                let entry = site.one(&asking()).await;
                site.wait(1);
                let head = site.head(&asking(), &answer);
                site.wait(1);
                if !gone.happens(&site, &other, &entry, &answer).await {
                    continue;
                }
                let (before, ttls_before) = (site.server.dump(), ttls(&site));
                // One that was asked for before it was gone, and one that was after.
                for head in [head, site.head(&asking(), &answer)] {
                    site.freshen(&entry, head).await;
                    let what = format!("{kind}, {gone:?}");
                    assert_same(&site.server.dump(), &before, &what);
                    assert_eq!(ttls(&site), ttls_before, "{kind}, {gone:?}");
                }
                for replica in [&*site, &other] {
                    for found in replica.matching(&asking()).await {
                        assert_ne!(found.token, entry.token, "{kind}, {gone:?}");
                        assert_eq!(read(&found).await.expect("a body"), b"new");
                    }
                }
                if !matches!(gone, Gone::BodyDeleted | Gone::BodyOverwritten) {
                    site.remove(&entry).await;
                    let what = format!("removed: {kind}, {gone:?}");
                    assert_same(&site.server.dump(), &before, &what);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_to_what_has_expired_changes_nothing() {
    let site = Site::small(Policy::private()).await;
    for (kind, answer, body) in kinds() {
        let _: String = site.server.query(&["FLUSHALL"]);
        assert!(site.publish(&asking(), &answer, body).await);
        let entry = site.one(&asking()).await;
        for key in site.server.keys() {
            if !key.contains(":b:") {
                let _: u64 = site.server.query(&["PEXPIRE", &key, "1"]);
            }
        }
        crate::support::until("it has expired", || {
            site.server.keys().iter().all(|key| key.contains(":b:"))
        })
        .await;
        let before = site.server.dump();
        site.freshen(&entry, site.head(&asking(), &answer)).await;
        assert_same(&site.server.dump(), &before, kind);
        assert!(!site.is_found(&asking()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_keeps_the_body_the_trailers_and_the_token() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for (kind, answer, body) in kinds() {
        let _: String = site.server.query(&["FLUSHALL"]);
        let mut trailers = http::HeaderMap::new();
        trailers.insert("checksum", "1".parse().expect("a value"));
        let head = site.head(&asking(), &answer);
        assert!(
            site.write_with(head, body.clone(), Some(trailers.clone()))
                .await
        );
        let entry = site.one(&asking()).await;
        let mut before = site.server.keys();
        for round in 0..3 {
            site.wait(10);
            let answer = answer.clone().with("x-round", &round.to_string());
            let head = site.head(&asking(), &answer);
            site.freshen(&entry, head.clone()).await;
            for replica in [&*site, &other] {
                let found = replica.one(&asking()).await;
                assert_eq!(*found.head, head, "{kind}");
                assert_eq!(found.token, entry.token, "{kind}");
                assert_eq!(found.body.trailers(), Some(&trailers), "{kind}");
                assert_eq!(
                    read(&found).await.expect("a body"),
                    body.as_bytes(),
                    "{kind}"
                );
            }
            before.sort();
            assert_eq!(site.server.keys(), before, "{kind}");
        }
    }
}

/// The ways to vary, and what stands beside the response that is freshened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_that_varies_by_something_else_moves_the_response() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let ways = ["", "a", "b", "a, b"];
    let asking = request("/", &[("a", "1"), ("b", "1")]);
    let answer = |vary: &str| {
        let answer = ok("").max_age(60);
        if vary.is_empty() {
            answer
        } else {
            answer.with("vary", vary)
        }
    };
    for before in ways {
        for after in ways {
            for beside in ways.iter().map(|way| Some(*way)).chain([None]) {
                for body in ["small".to_owned(), long("large")] {
                    let what = format!("from {before:?} to {after:?} beside {beside:?}");
                    let _: String = site.server.query(&["FLUSHALL"]);
                    if let Some(beside) = beside {
                        site.publish(&asking, &answer(beside), "beside").await;
                        site.wait(1);
                    }
                    assert!(site.publish(&asking, &answer(before), body.clone()).await);
                    let found = site.matching(&asking).await;
                    let entry = found
                        .iter()
                        .find(|entry| entry.body.len() == body.len() as u64)
                        .expect("it is there");
                    site.wait(1);
                    site.freshen(entry, site.head(&asking, &answer(after)))
                        .await;
                    let mut expected = vec![body.clone()];
                    if beside.is_some_and(|beside| beside != before && beside != after) {
                        expected.push("beside".to_owned());
                    }
                    expected.sort();
                    for replica in [&*site, &other] {
                        assert_eq!(replica.bodies(&asking).await, expected, "{what}");
                        let found = replica.matching(&asking).await;
                        let moved = found.iter().find(|found| found.token == entry.token);
                        let moved = moved.expect("it is the same one");
                        let names: Vec<_> = moved
                            .head
                            .selecting()
                            .iter()
                            .map(|field| field.name().as_str())
                            .collect();
                        assert_eq!(names.join(", "), after, "{what}");
                        // By what it was selected before, it is not found any more.
                        let stranger = request("/", &[("a", "2"), ("b", "2")]);
                        let found = replica.bodies(&stranger).await;
                        assert_eq!(found.contains(&body), after.is_empty(), "{what}");
                    }
                    site.all_expire();
                    site.invalidate(&asking).await;
                    assert!(!other.is_found(&asking).await, "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_that_moves_what_is_kept_for_ever_leaves_nothing_behind() {
    let site = Site::small(Policy::private().retention(Retention::Forever)).await;
    let asking = request("/", &[("a", "1"), ("b", "1")]);
    let answer = |vary: &str| {
        let answer = ok("").max_age(60);
        if vary.is_empty() {
            answer
        } else {
            answer.with("vary", vary)
        }
    };
    let ways = ["", "a", "b", "a, b"];
    for before in ways {
        for after in ways {
            let _: String = site.server.query(&["FLUSHALL"]);
            assert!(site.publish(&asking, &answer(before), long("large")).await);
            let entry = site.one(&asking).await;
            site.wait(1);
            site.freshen(&entry, site.head(&asking, &answer(after)))
                .await;
            assert_eq!(site.bodies(&asking).await, [long("large")]);
            site.wait(1);
            site.invalidate(&asking).await;
            let eternal = site.eternal();
            assert!(
                eternal.is_empty(),
                "from {before:?} to {after:?}: {eternal:?}"
            );
        }
    }
}

/// Two 304s cross on their way: that of the request that was sent later says how it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_does_not_push_out_a_newer_response_of_the_variant_that_it_moves_to() {
    let site = Site::small(Policy::private()).await;
    let asking = request("/", &[("a", "1")]);
    assert!(site.publish(&asking, &ok("").max_age(60), "old").await);
    let entry = site.one(&asking).await;
    site.wait(1);
    let varies = ok("").max_age(60).with("vary", "a");
    let slow = site.head(&asking, &varies);
    site.wait(1);
    assert!(site.publish(&asking, &varies, "new").await);
    site.freshen(&entry, slow).await;
    assert!(site.bodies(&asking).await.contains(&"new".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_one_of_several_leaves_the_others_and_a_large_one_to_its_readers() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for (language, body) in [("en", "hello"), ("de", "hallo"), ("fr", "salut")] {
        assert!(
            site.publish(&in_language(language), &varying(""), long(body))
                .await
        );
    }
    let entry = site.one(&in_language("de")).await;
    other.remove(&entry).await;
    assert!(!site.is_found(&in_language("de")).await);
    assert_eq!(site.bodies(&in_language("en")).await, [long("hello")]);
    assert_eq!(site.bodies(&in_language("fr")).await, [long("salut")]);
    assert_eq!(
        read(&entry).await.expect("a body"),
        long("hallo").as_bytes()
    );
    other.remove(&entry).await;
    assert_eq!(site.variants(&in_language("de")).len(), 2);
}

/// Whoever found a response when it was the only one finds it again when it is one of several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_became_one_of_several_meanwhile_is_freshened_and_removed() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let answer = ok("").max_age(60).etag("\"1\"");
    for body in ["small".to_owned(), long("large")] {
        for is_freshened in [true, false] {
            let _: String = site.server.query(&["FLUSHALL"]);
            assert!(
                site.publish(&in_language("en"), &answer, body.clone())
                    .await
            );
            let entry = site.one(&in_language("en")).await;
            site.wait(1);
            assert!(
                other
                    .publish(&in_language("de"), &varying(""), "hallo")
                    .await
            );
            site.wait(1);
            if is_freshened {
                let head = site.head(&in_language("en"), &answer);
                site.freshen(&entry, head.clone()).await;
                let found = other.one(&in_language("en")).await;
                assert_eq!((&*found.head, found.token), (&head, entry.token));
                assert_eq!(read(&found).await.expect("a body"), body.as_bytes());
            } else {
                site.remove(&entry).await;
                assert!(!other.is_found(&in_language("en")).await);
                assert_eq!(other.bodies(&in_language("de")).await, ["hallo"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_given_up_at_any_point_is_done_or_not() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for (_, answer, body) in kinds() {
        for polls in 0..6 {
            let _: String = site.server.query(&["FLUSHALL"]);
            assert!(site.publish(&asking(), &answer, body.clone()).await);
            let entry = site.one(&asking()).await;
            site.wait(1);
            let head = std::sync::Arc::new(site.head(&asking(), &answer));
            let key = site.store.key(&asking());
            let now = site.store.now();
            given_up(site.backend.freshen(&entry, head.clone(), now), polls).await;
            let found = other.one(&asking()).await;
            assert!([&entry.head, &head].contains(&&found.head));
            assert_eq!(read(&found).await.expect("a body"), body.as_bytes());
            given_up(site.backend.remove(&entry), polls).await;
            for found in other.matching(&asking()).await {
                assert_eq!(read(&found).await.expect("a body"), body.as_bytes());
            }
            given_up(site.backend.invalidate(&key, now), polls).await;
            for found in other.matching(&asking()).await {
                assert_eq!(read(&found).await.expect("a body"), body.as_bytes());
            }
            site.all_expire();
        }
    }
}

async fn given_up<T>(answer: cache_core::Answer<'_, T>, polls: usize) {
    let mut waiting = Box::pin(answer.wait());
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}
