//! The keys: what they are called, whose they are, and where a cluster puts them.

use std::collections::BTreeSet;

use cache_core::{Backend, Policy};
use cache_redis::{Namespace, Options};
use http::HeaderMap;
use kit::contract::{get, in_language, varying};
use kit::redis::{RedisCluster, RedisServer};
use kit::{Answer, ok, status};

use crate::support::{Replica, Site, assert_same, long, noise, read, request, small_bodies};

/// A part of a content of 1000 bytes.
pub(crate) fn part() -> Answer {
    status(206)
        .max_age(60)
        .etag("\"1\"")
        .with("content-range", "bytes 0-9/1000")
}

/// Leaves something of everything that there can be, at every resource whose path begins so.
async fn leave_something_of_everything(replica: &Replica, path: &str) {
    let at = |name: &str| get(&format!("{path}/{name}"));
    let in_english = |name: &str| {
        let fields = [("accept-language", "en"), ("range", "bytes=0-9")];
        request(&format!("{path}/{name}"), &fields)
    };
    let plain = ok("").max_age(60);
    for (name, answer) in [
        ("plain", &plain),
        ("varying", &varying("")),
        ("part", &part()),
    ] {
        assert!(
            replica
                .publish(&in_english(name), answer, "0123456789")
                .await
        );
        let name = format!("large-{name}");
        let body = if answer.clone().response().status() == 206 {
            "0123456789".to_owned()
        } else {
            long(&name)
        };
        assert!(replica.publish(&in_english(&name), answer, body).await);
    }
    assert!(replica.publish(&at("both"), &plain, long("any")).await);
    replica.wait(1);
    assert!(
        replica
            .publish(&in_english("both"), &varying(""), "hello")
            .await
    );
    assert!(
        replica
            .publish(&in_english("both"), &part(), "0123456789")
            .await
    );
    replica.invalidate(&at("gone")).await;
}

fn is_ours(namespace: &str, key: &str) -> bool {
    let is_hex = |text: &str| {
        text.len() == 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let Some((digest, rest)) = key
        .strip_prefix(namespace)
        .and_then(|rest| rest.strip_prefix(":{"))
        .and_then(|rest| rest.split_once('}'))
    else {
        return false;
    };
    let is_known = match rest.split_at_checked(3) {
        None => ["", ":i", ":l", ":t"].contains(&rest),
        Some((":v:" | ":p:", variant)) => variant == "any" || is_hex(variant),
        Some((":b:", token)) => is_hex(token),
        _ => false,
    };
    is_hex(digest) && is_known
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_a_namespace_a_digest_as_hash_tag_and_what_it_is() {
    let retentions = [
        Policy::private(),
        Policy::private().retention(cache_core::Retention::Forever),
    ];
    for policy in retentions {
        let mut site = Site::with(Options {
            namespace: "catalogue:v2/x_y.z-1".parse().expect("a namespace"),
            ..small_bodies()
        })
        .await;
        site.replica.store.policy = policy;
        leave_something_of_everything(&site, "").await;
        let keys = site.server.keys();
        for key in &keys {
            assert!(is_ours("catalogue:v2/x_y.z-1", key), "{key}");
        }
        let kinds: BTreeSet<_> = keys
            .iter()
            .filter_map(|key| key.rsplit_once('}').map(|(_, rest)| rest.get(..2)))
            .collect();
        for kind in [None, Some(":v"), Some(":p"), Some(":b")] {
            assert!(kinds.contains(&kind), "{kind:?} is none of {keys:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_resource_begin_with_its_primary_key() {
    let site = Site::small(Policy::private()).await;
    let asking = in_language("en");
    site.publish(&asking, &varying(""), long("hello")).await;
    site.publish(&get("/"), &ok("").max_age(60), "any").await;
    let keys = site.server.keys();
    assert_eq!(keys.len(), 4, "rule, two variants, a body: {keys:?}");
    for key in keys {
        assert!(key.starts_with(&site.primary(&asking)), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_request_is_readable_in_a_key_or_a_value_but_the_uri() {
    let site = Site::start().await;
    let asking = request(
        "/path?token=hunter2",
        &[("authorization", "hunter2"), ("x-api-key", "hunter2")],
    );
    let answer = ok("").max_age(60).with("vary", "authorization, x-api-key");
    site.publish(&asking, &answer, "one").await;
    for (key, values) in site.server.dump() {
        assert!(!key.contains("hunter2") && !key.contains("path"), "{key}");
        for value in values {
            let is_readable = value.windows(7).any(|window| window == b"hunter2");
            assert!(!is_readable, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_do_not_see_each_other() {
    let server = RedisServer::start().await;
    let names = ["a", "a:b", "a:b:c", "b", "A", "a/", "http-cache"];
    let replicas: Vec<Replica> = names
        .iter()
        .map(|name| {
            let options = Options {
                namespace: name.parse().expect("a namespace"),
                ..small_bodies()
            };
            Replica::at(&server.url(), options)
        })
        .collect();
    for (replica, name) in replicas.iter().zip(names) {
        for other in &replicas {
            assert!(!other.bodies(&in_language("en")).await.contains(&long(name)));
        }
        assert!(
            replica
                .publish(&in_language("en"), &varying(""), long(name))
                .await
        );
        assert!(
            replica
                .publish(&get("/other"), &ok("").max_age(60), name)
                .await
        );
    }
    for (index, replica) in replicas.iter().enumerate() {
        for (replica, name) in replicas.iter().zip(names).skip(index) {
            assert_eq!(replica.bodies(&in_language("en")).await, [long(name)]);
            assert_eq!(replica.bodies(&get("/other")).await, [name]);
        }
        let others = |server: &RedisServer| {
            let mut dump = server.dump();
            dump.retain(|key, _| !is_ours(names[index], key));
            dump
        };
        let before = others(&server);
        let entry = replica.one(&get("/other")).await;
        replica.wait(1);
        replica
            .freshen(&entry, replica.head(&get("/other"), &ok("").max_age(9)))
            .await;
        replica.remove(&entry).await;
        replica.invalidate(&in_language("en")).await;
        assert_same(&others(&server), &before, names[index]);
    }
}

#[test]
fn a_namespace_is_1_to_64_bytes_that_mean_nothing_to_redis() {
    let longest = "x".repeat(64);
    for text in ["a", "0", "a-b_c.d:e/f", "Catalogue:v2", ":", "/", &longest] {
        let namespace: Namespace = text.parse().expect(text);
        assert_eq!(namespace.as_str(), text);
    }
    let too_long = "x".repeat(65);
    for text in [
        "", " ", "a b", "a*", "a?", "[a]", "a\\", "{a}", "{", "}", "a\n", "a\0", "ä", "a%20", "a'",
        "a\"", "a+b", "a,b", "a;b", "a@b", "a=b", "a&b", "a#b", "a$b", "a!", "a^", "a|b", "a~",
        "(a)", "<a>", &too_long,
    ] {
        let error = text.parse::<Namespace>().expect_err(text);
        let message = error.to_string();
        assert!(message.contains(&format!("{text:?}")), "{message}");
        assert!(
            message.contains("write 1 to 64 letters, digits"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_stored_another_finds() {
    let site = Site::small(Policy::private()).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "1".parse().expect("a value"));
    let answers = [
        ("small", ok("").max_age(60).etag("\"1\""), 10),
        ("large", ok("").max_age(60).etag("\"1\""), 300_000),
        ("varying", varying("").etag("\"1\""), 10),
        ("varying-large", varying("").etag("\"1\""), 300_000),
        ("part", part(), 10),
        ("part-varying", part().with("vary", "accept-language"), 10),
        ("empty", ok("").max_age(60), 0),
    ];
    let asking = |name: &str| {
        request(
            &format!("/{name}"),
            &[("accept-language", "en"), ("range", "bytes=0-9")],
        )
    };
    for (name, answer, length) in &answers {
        let head = site.head(&asking(name), answer);
        let body = noise(*length, 1);
        assert!(
            site.write_with(head, body, Some(trailers.clone())).await,
            "{name}"
        );
    }
    for (name, answer, length) in &answers {
        // Each with a memo that is empty, and then with one that is not.
        let other = site.other();
        for _ in 0..2 {
            let entry = other.one(&asking(name)).await;
            assert_eq!(*entry.head, site.head(&asking(name), answer), "{name}");
            assert!(
                read(&entry).await.expect("a body") == noise(*length, 1),
                "{name}"
            );
            assert_eq!(entry.body.trailers(), Some(&trailers), "{name}");
            assert_eq!(entry.token, site.one(&asking(name)).await.token, "{name}");
        }
        assert_eq!(other.backend.undecodable(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_all_keys_of_a_resource_are_in_one_slot() {
    let cluster = RedisCluster::start(3, 0).await;
    let replica = Replica::at(&cluster.url(), small_bodies());
    for number in 0..8 {
        leave_something_of_everything(&replica, &format!("/{number}")).await;
    }
    let mut keys = BTreeSet::new();
    for node in cluster.nodes() {
        assert!(!node.keys().is_empty(), "the resources are spread");
        keys.extend(node.keys());
    }
    for key in keys {
        let (primary, _) = key.rsplit_once('}').expect("a hash tag");
        let primary = format!("{primary}}}");
        assert_eq!(cluster.slot_of(&key), cluster.slot_of(&primary), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_everything_can_be_done_with_every_kind_of_response() {
    let cluster = RedisCluster::start(3, 0).await;
    for policy in [
        Policy::private(),
        Policy::private().retention(cache_core::Retention::Forever),
    ] {
        let mut replica = Replica::at(&cluster.url(), small_bodies());
        replica.store.policy = policy;
        for number in 0..6 {
            let path = format!("/{number}");
            leave_something_of_everything(&replica, &path).await;
            for name in ["plain", "varying", "large-plain", "large-varying", "both"] {
                let asking = request(&format!("{path}/{name}"), &[("accept-language", "en")]);
                let mut found = replica.matching(&asking).await;
                let entry = found.pop().expect(name);
                read(&entry).await.expect("a body");
                replica.wait(1);
                // It varies by something else now, so it moves.
                let answer = ok("").max_age(60).with("vary", "origin");
                replica
                    .freshen(&entry, replica.head(&asking, &answer))
                    .await;
                let moved = replica.matching(&asking).await;
                let moved = moved.iter().find(|moved| moved.token == entry.token);
                read(moved.expect(name)).await.expect("a body");
                replica.remove(moved.expect(name)).await;
                replica.invalidate(&asking).await;
                assert!(!replica.is_found(&asking).await, "{name}");
            }
        }
        replica.backend.clear(|_| ()).await.expect("cleared");
        for node in cluster.nodes() {
            assert_eq!(node.keys(), [""; 0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_leaves_one_key_and_it_is_small() {
    let site = Site::start().await;
    site.invalidate(&get("/")).await;
    let [key] = &site.server.keys()[..] else {
        panic!("{:?}", site.server.keys());
    };
    assert!(key.starts_with(&site.primary(&get("/"))));
    assert!(site.value(key).len() < 100);
    let key = site.store.key(&get("/"));
    site.backend
        .invalidate(&key, site.store.now())
        .wait()
        .await
        .expect("invalidated again");
    assert_eq!(site.server.keys().len(), 1);
}
