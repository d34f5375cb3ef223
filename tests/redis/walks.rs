//! Going through all that is stored, and clearing it: all of the namespace, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_core::{Policy, Retention};
use cache_redis::{Listing, Options, Progress, Stored};
use kit::contract::{get, in_language, varying};
use kit::redis::{RedisCluster, RedisServer};
use kit::{Answer, ok};

use crate::layout::part;
use crate::support::{Replica, Site, assert_same, long, noise, request, small_bodies};

async fn whole(mut listing: Listing) -> (Vec<Stored>, Progress, usize) {
    let (mut all, mut batches) = (Vec::new(), 0);
    let mut before = Progress::default();
    while let Some(batch) = listing.next_batch().await.expect("a batch") {
        all.extend(batch);
        batches += 1;
        let progress = listing.progress();
        assert!(progress.keys >= before.keys && progress.removed == 0);
        before = progress;
    }
    assert!(
        listing
            .next_batch()
            .await
            .expect("the end, still")
            .is_none()
    );
    (all, before, batches)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stored_response_is_listed_with_its_head_its_length_and_its_ttl() {
    let site = Site::small(Policy::private().grace(Duration::ZERO)).await;
    let mut expected = BTreeMap::new();
    let fields = [("accept-language", "en"), ("range", "bytes=0-9")];
    for (name, answer, length) in [
        ("small", ok("").max_age(100), 10),
        ("empty", ok("").max_age(100), 0),
        ("large", ok("").max_age(100), 1000),
        ("varying", varying(""), 20),
        ("large-varying", varying(""), 2000),
        ("part", part(), 10),
    ] {
        let asking = request(&format!("/{name}"), &fields);
        let head = site.head(&asking, &answer);
        assert!(site.write(head.clone(), noise(length, 1)).await);
        expected.insert(head.key().as_bytes().to_vec(), (head, length));
    }
    site.invalidate(&get("/gone")).await;
    let (found, progress, _) = whole(site.backend.list()).await;
    assert_eq!(found.len(), expected.len());
    assert_eq!(progress.keys, site.server.keys().len() as u64);
    for stored in found {
        let (head, length) = &expected[stored.head.key().as_bytes()];
        assert_eq!(stored.head, *head);
        assert_eq!(stored.body_length, *length as u64);
        let kept = head.retain_until().expect("not for ever");
        let kept = kept.duration_since(head.received_at()).expect("a while");
        let ttl = stored.ttl.expect("not for ever");
        assert!(
            ttl <= kept && ttl + Duration::from_secs(10) > kept,
            "{ttl:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_ever_is_listed_without_a_ttl() {
    let site = Site::small(Policy::private().retention(Retention::Forever)).await;
    site.publish(&get("/"), &ok("").max_age(60), long("one"))
        .await;
    let (found, _, _) = whole(site.backend.list()).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].ttl, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_any_size_are_listed() {
    let site = Site::small(Policy::private().max_head_bytes(200_000)).await;
    for length in [3_900, 4_000, 4_096, 4_200, 30_000, 61_440, 100_000] {
        let asking = get(&format!("/{length}"));
        let answer = ok("").max_age(60).with("x-long", &"x".repeat(length));
        assert!(site.publish(&asking, &answer, "one").await, "{length}");
        let varying = answer.with("vary", "accept-language");
        assert!(
            site.publish(&asking, &varying, long("two")).await,
            "{length}"
        );
    }
    let (found, _, _) = whole(site.backend.list()).await;
    let mut lengths: Vec<usize> = found
        .iter()
        .map(|stored| stored.head.headers()["x-long"].len())
        .collect();
    lengths.sort_unstable();
    let twice = |length: &usize| [*length; 2];
    let expected = [3_900, 4_000, 4_096, 4_200, 30_000, 61_440, 100_000];
    assert_eq!(lengths, expected.iter().flat_map(twice).collect::<Vec<_>>());
}

/// Keys of others, whose names are like ours, or mean something to `SCAN`.
const THEIRS: [&str; 17] = [
    "a",
    "a:",
    "a{",
    "a:b",
    "ab:{0123456789abcdef0123456789abcdef}",
    "a:b:{0123456789abcdef0123456789abcdef}",
    "aa:{0123456789abcdef0123456789abcdef}",
    "A:{0123456789abcdef0123456789abcdef}",
    "*",
    "?",
    "[a]",
    "a*",
    "a:*",
    "\\a:{",
    "x a:{0123456789abcdef0123456789abcdef}",
    "",
    "{a}:{0123456789abcdef0123456789abcdef}",
];

fn theirs(namespace: &str) -> impl Iterator<Item = &'static str> {
    let ours = format!("{namespace}:{{");
    THEIRS
        .into_iter()
        .filter(move |key| !key.starts_with(&ours))
}

async fn site_in(namespace: &str) -> Site {
    Site::with(Options {
        namespace: namespace.parse().expect("a namespace"),
        ..small_bodies()
    })
    .await
}

async fn fill(replica: &Replica) {
    for number in 0..20 {
        let asking = request(&format!("/{number}"), &[("accept-language", "en")]);
        let answer: Answer = if number % 3 == 0 {
            varying("")
        } else {
            ok("").max_age(60)
        };
        let body = if number % 2 == 0 {
            long("one")
        } else {
            "one".to_owned()
        };
        assert!(replica.publish(&asking, &answer, body).await);
    }
    replica.invalidate(&get("/gone")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_removes_all_of_the_namespace_and_nothing_else() {
    let names = ["a", "a:b", "a:b:c", "b", "a/b", "a.b", "aXb"];
    for namespace in names {
        let site = site_in(namespace).await;
        for key in theirs(namespace) {
            let _: String = site.server.query(&["SET", key, "theirs"]);
        }
        let others: Vec<Replica> = names
            .iter()
            .filter(|name| **name != namespace)
            .map(|name| {
                site.other_with(Options {
                    namespace: name.parse().expect("a namespace"),
                    ..small_bodies()
                })
            })
            .collect();
        for other in &others {
            fill(other).await;
        }
        let before = site.server.dump();
        fill(&site).await;
        let ours = site.server.keys().len() - before.len();
        let (listed, _, _) = whole(site.backend.list()).await;
        assert_eq!(listed.len(), 20);

        let progress = site.backend.clear(|_| ()).await.expect("cleared");
        assert_eq!(progress.removed, ours as u64, "{namespace}");
        assert_same(&site.server.dump(), &before, namespace);
        for number in 0..20 {
            assert!(!site.is_found(&get(&format!("/{number}"))).await);
        }
        for other in &others {
            assert_eq!(whole(other.backend.list()).await.0.len(), 20, "{namespace}");
        }
    }
}

/// So many more keys in the namespace, each with a copy of a value.
fn multiply(server: &RedisServer, key: &str, namespace: &str, count: u32) {
    let script = "for i = 1, ARGV[2] do \
                  redis.call('COPY', KEYS[1], ARGV[1] .. ':{' .. string.format('%032x', i) .. '}') \
                  end return ARGV[2]";
    let count = count.to_string();
    let _: String = server.query(&["EVAL", script, "1", key, namespace, &count]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_responses_are_listed_and_cleared_in_batches() {
    let site = site_in("a").await;
    site.publish(&get("/"), &ok("").max_age(60), "one").await;
    multiply(&site.server, &site.primary(&get("/")), "a", 10_000);
    multiply(&site.server, &site.primary(&get("/")), "a:b", 1000);
    let (found, progress, batches) = whole(site.backend.list()).await;
    assert!(found.len() >= 10_001);
    assert!(progress.keys >= 10_001);
    assert!((10..=200).contains(&batches), "{batches} batches");

    let mut steps = Vec::new();
    let last = site.backend.clear(|progress| steps.push(progress)).await;
    let last = last.expect("cleared");
    assert_eq!(last.removed, 10_001);
    assert!(last.keys >= last.removed);
    assert_eq!(steps.last(), Some(&last));
    assert!((10..=200).contains(&steps.len()), "{} batches", steps.len());
    for pair in steps.windows(2) {
        assert!(pair[0].keys <= pair[1].keys && pair[0].removed <= pair[1].removed);
    }
    // Something was told while most was to be done still.
    assert!(steps[steps.len() / 2].removed < 8_000);
    assert_eq!(site.server.keys().len(), 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_that_is_given_up_removes_what_it_had_come_to_and_can_be_begun_again() {
    let site = site_in("a").await;
    site.publish(&get("/"), &ok("").max_age(60), "one").await;
    multiply(&site.server, &site.primary(&get("/")), "a", 5_000);
    let (told, mut was_told) = tokio::sync::mpsc::unbounded_channel();
    {
        let clearing = site.backend.clear(|progress| {
            told.send(progress).expect("somebody listens");
        });
        tokio::select! {
            biased;
            progress = was_told.recv() => assert!(progress.is_some()),
            _ = clearing => panic!("nothing was told on the way"),
        }
    }
    let left = site.server.keys().len();
    assert!(left < 5_001, "{left}");
    site.backend.clear(|_| ()).await.expect("cleared");
    assert!(site.server.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_none_of_ours_are_not_listed_and_are_cleared() {
    let site = site_in("a").await;
    fill(&site).await;
    let key = |number: u32| format!("a:{{{number:032x}}}");
    for (number, command) in [
        vec!["RPUSH", "KEY", "one"],
        vec!["HSET", "KEY", "one", "1"],
        vec!["SADD", "KEY", "one"],
        vec!["ZADD", "KEY", "1", "one"],
        vec!["XADD", "KEY", "*", "one", "1"],
        vec!["SET", "KEY", ""],
        vec!["SET", "KEY", "httc"],
        vec!["SET", "KEY", "httc\u{1}\u{1}"],
        vec!["SET", "KEY", "something else"],
    ]
    .into_iter()
    .enumerate()
    {
        let key = key(number as u32);
        let command: Vec<&str> = command
            .into_iter()
            .map(|word| if word == "KEY" { &key } else { word })
            .collect();
        site.server.command(&command);
    }
    let value = site.value(&site.primary(&get("/1")));
    for (number, bytes) in [
        value[..value.len() - 2].to_vec(),
        value[..100].to_vec(),
        value[..68].to_vec(),
        [&value[..48], &[0xff; 4], &value[52..]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        site.overwrite(&key(100 + number as u32), &bytes);
    }
    let (found, _, _) = whole(site.backend.list()).await;
    // The one of which only the end of the body is lost still has its head.
    assert_eq!(found.len(), 21);
    site.backend.clear(|_| ()).await.expect("cleared");
    assert_eq!(site.server.keys(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_namespace_is_listed_and_cleared() {
    let site = site_in("a").await;
    let (found, progress, _) = whole(site.backend.list()).await;
    assert!(found.is_empty());
    assert_eq!(progress, Progress::default());
    let progress = site.backend.clear(|_| ()).await.expect("cleared");
    assert_eq!(progress, Progress::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_while_all_is_cleared_is_whole_or_not_there() {
    let site = std::sync::Arc::new(site_in("a").await);
    let writer = {
        let site = site.clone();
        tokio::spawn(async move {
            for round in 0..200_u64 {
                let asking = in_language(&format!("l{}", round % 5));
                // One whose frames were cleared on their way is no response.
                let head = site.head(&asking, &varying(""));
                let mut writer = cache_core::Backend::writer(&site.backend, head);
                let body = if round % 2 == 0 {
                    long("one")
                } else {
                    "one".to_owned()
                };
                writer.write(body.into()).expect("a piece is taken");
                let _ = writer.publish(None).wait().await;
                for entry in site.matching(&asking).await {
                    if let Ok(body) = crate::support::read(&entry).await {
                        assert!(body == b"one" || body == long("one").as_bytes());
                    }
                }
            }
        })
    };
    while !writer.is_finished() {
        site.backend.clear(|_| ()).await.expect("cleared");
    }
    writer.await.expect("the writer did not panic");
    site.all_expire();
    site.backend.clear(|_| ()).await.expect("cleared");
    assert!(site.server.keys().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_all_nodes_are_listed_and_cleared() {
    let cluster = RedisCluster::start(3, 0).await;
    let replica = Replica::at(
        &cluster.url(),
        Options {
            namespace: "a".parse().expect("a namespace"),
            ..small_bodies()
        },
    );
    let other = Replica::at(
        &cluster.url(),
        Options {
            namespace: "a:b".parse().expect("a namespace"),
            ..small_bodies()
        },
    );
    for number in 0..200 {
        let asking = get(&format!("/{number}"));
        assert!(replica.publish(&asking, &ok("").max_age(60), "one").await);
    }
    fill(&other).await;
    for node in cluster.nodes() {
        assert!(node.keys().len() > 10);
    }
    let (found, progress, _) = whole(replica.backend.list()).await;
    assert_eq!((found.len(), progress.keys), (200, 200));
    let progress = replica.backend.clear(|_| ()).await.expect("cleared");
    assert_eq!(progress.removed, 200);
    assert!(whole(replica.backend.list()).await.0.is_empty());
    assert_eq!(whole(other.backend.list()).await.0.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_an_error_of_the_walk() {
    let site = site_in("a").await;
    fill(&site).await;
    let mut listing = site.backend.list();
    site.server.kill();
    assert!(listing.next_batch().await.is_err());
    assert!(site.backend.clear(|_| ()).await.is_err());
}
