//! What an operation costs: commands as the server counts them, packets and connections as the wire
//! does.

use std::ops::Deref;

use cache_core::{Backend, StoredHead};
use cache_redis::Options;
use kit::contract::{get, in_language, varying};
use kit::ok;
use kit::redis::{RedisServer, Wire};

use crate::support::{Counts, Replica, Site, Watch, noise, patient, read, request, small_bodies};

/// A site whose connections are there and whose scripts are known, and who counts what it is asked.
struct Counted {
    site: Site,
    watch: Watch,
}

impl Deref for Counted {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Counted {
    async fn with(options: Options) -> Self {
        let site = Site::with(options).await;
        let spare = get("/spare");
        site.publish(&spare, &ok("").max_age(60), noise(200_000, 1))
            .await;
        let entry = site.one(&spare).await;
        site.remove(&entry).await;
        site.invalidate(&spare).await;
        let mut counted = Self {
            watch: Watch::over(&site.server),
            site,
        };
        counted.reset();
        counted
    }

    fn reset(&mut self) {
        self.watch.take(&self.site.server);
        self.site.server.reset_counts();
    }

    /// What the backend asked since the last time; what the server counted, that of scripts
    /// included, is as much.
    #[track_caller]
    fn asked(&mut self) -> Counts {
        let (asked, by_scripts) = self.watch.take(&self.site.server);
        let mut all = asked.clone();
        for (name, count) in by_scripts {
            *all.entry(name).or_default() += count;
        }
        assert_eq!(self.site.server.command_counts(), all);
        self.reset();
        asked
    }

    /// This, and nothing else.
    #[track_caller]
    fn assert_asked(&mut self, expected: &[(&str, u64)]) {
        let expected = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        assert_eq!(self.asked(), expected.collect());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_is_one_get_whatever_the_body_up_to_the_inline_limit() {
    let mut site = Counted::with(patient()).await;
    for length in [0, 1, 1 << 10, 65_535, 65_536] {
        let body = noise(length, 7);
        site.publish(&get("/"), &ok("").max_age(60), body.clone())
            .await;
        site.reset();
        let entry = site.one(&get("/")).await;
        assert!(read(&entry).await.expect("a body") == body, "{length}");
        site.assert_asked(&[("get", 1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_is_one_get() {
    let mut site = Counted::with(patient()).await;
    assert!(!site.is_found(&get("/")).await);
    site.assert_asked(&[("get", 1)]);

    site.invalidate(&get("/")).await;
    site.reset();
    assert!(!site.is_found(&get("/")).await, "a tombstone is no hit");
    site.assert_asked(&[("get", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_on_one_of_several_is_one_mget_once_it_is_known_that_there_are_several() {
    let mut site = Counted::with(patient()).await;
    site.publish(&in_language("en"), &varying(""), "hello")
        .await;
    site.publish(&in_language("de"), &varying(""), "hallo")
        .await;
    site.reset();
    assert_eq!(site.bodies(&in_language("en")).await, ["hello"]);
    site.assert_asked(&[("get", 2)]);

    for (language, body) in [("en", "hello"), ("de", "hallo")] {
        site.reset();
        assert_eq!(site.bodies(&in_language(language)).await, [body]);
        site.assert_asked(&[("mget", 1)]);
    }
    site.reset();
    assert!(!site.is_found(&in_language("fr")).await);
    site.assert_asked(&[("mget", 1)]);

    let stranger = site.other();
    stranger.backend.ping().await.expect("connected");
    site.reset();
    assert_eq!(stranger.bodies(&in_language("en")).await, ["hello"]);
    site.assert_asked(&[("get", 2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_responses_vary_in_several_ways_an_unknown_one_is_two_commands_and_a_known_one_is_one()
 {
    let mut site = Counted::with(patient()).await;
    let asking = request("/", &[("a", "1"), ("b", "1")]);
    site.publish(&asking, &ok("").max_age(60).with("vary", "a"), "a")
        .await;
    site.publish(&asking, &ok("").max_age(60).with("vary", "a, b"), "ab")
        .await;
    site.publish(&asking, &ok("").max_age(60), "none").await;
    site.reset();
    assert_eq!(site.bodies(&asking).await, ["a", "ab", "none"]);
    site.assert_asked(&[("get", 1), ("mget", 1)]);
    site.reset();
    assert_eq!(site.bodies(&asking).await, ["a", "ab", "none"]);
    site.assert_asked(&[("mget", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storing_a_small_response_is_one_evalsha() {
    let mut site = Counted::with(patient()).await;
    for (what, answer) in [
        ("a new one", ok("").max_age(60)),
        ("in the place of another", ok("").max_age(60)),
        ("beside another", varying("")),
        ("beside several others", ok("").max_age(60)),
    ] {
        site.reset();
        assert!(
            site.publish(&in_language("en"), &answer, noise(65_536, 1))
                .await,
            "{what}"
        );
        site.assert_asked(&[("evalsha", 1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_the_server_does_not_know_is_sent_once() {
    let mut site = Counted::with(patient()).await;
    let _: String = site.server.query(&["SCRIPT", "FLUSH"]);
    site.reset();
    assert!(site.publish(&get("/"), &ok("").max_age(60), "one").await);
    site.assert_asked(&[("evalsha", 1), ("eval", 1)]);
    assert!(site.publish(&get("/"), &ok("").max_age(60), "two").await);
    site.assert_asked(&[("evalsha", 1)]);
    assert_eq!(site.bodies(&get("/")).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_is_one_evalsha() {
    let mut site = Counted::with(patient()).await;
    for (what, answer, body) in [
        ("small", ok("").max_age(60).etag("\"1\""), noise(10_000, 1)),
        ("large", ok("").max_age(60).etag("\"1\""), noise(300_000, 1)),
        ("one of several", varying("").etag("\"1\""), noise(10, 1)),
    ] {
        let asking = in_language("en");
        site.publish(&asking, &answer, body.clone()).await;
        let entry = site.matching(&asking).await.remove(0);
        site.wait(30);
        site.reset();
        site.freshen(&entry, site.head(&asking, &answer)).await;
        site.assert_asked(&[("evalsha", 1)]);
        let freshened = site.matching(&asking).await.remove(0);
        assert_eq!(freshened.head.received_at(), site.store.now(), "{what}");
        assert!(read(&freshened).await.expect("a body") == body, "{what}");
        site.invalidate(&asking).await;
        site.wait(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_is_one_evalsha_however_much_is_purged() {
    let mut site = Counted::with(small_bodies()).await;
    for language in 0..40 {
        let asking = in_language(&format!("l{language}"));
        assert!(site.publish(&asking, &varying(""), noise(1000, 1)).await);
    }
    site.reset();
    site.invalidate(&get("/")).await;
    site.assert_asked(&[("evalsha", 1)]);
    for language in 0..40 {
        assert!(!site.is_found(&in_language(&format!("l{language}"))).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_one_evalsha() {
    let mut site = Counted::with(patient()).await;
    site.publish(&in_language("en"), &varying(""), "hello")
        .await;
    let entry = site.one(&in_language("en")).await;
    site.reset();
    site.remove(&entry).await;
    site.assert_asked(&[("evalsha", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_sent_in_batches_and_read_by_frames() {
    let mut site = Counted::with(patient()).await;
    let body = noise(1 << 20, 3);
    assert!(
        site.publish(&get("/"), &ok("").max_age(60), body.clone())
            .await
    );
    // Eight frames, as many of them together as had come, and a new TTL each time.
    let mut asked = site.asked();
    let times = asked.remove("exec").expect("it is sent");
    assert!((1..=8).contains(&times), "{times} times");
    let sent = [
        ("evalsha", 1),
        ("hlen", times),
        ("hset", times),
        ("multi", times),
        ("pexpire", times),
    ];
    let sent = sent.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(asked, Counts::from(sent));

    let entry = site.one(&get("/")).await;
    site.assert_asked(&[("get", 1), ("hlen", 1)]);
    assert!(read(&entry).await.expect("a body") == body);
    site.assert_asked(&[("hget", 8)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_that_is_not_read_is_not_sent() {
    let site = Counted::with(patient()).await;
    site.publish(&get("/"), &ok("").max_age(60), noise(1 << 20, 3))
        .await;
    let before: u64 = sent_by(&site.server);
    let entry = site.one(&get("/")).await;
    assert_eq!(entry.body.len(), 1 << 20);
    let sent = sent_by(&site.server) - before;
    assert!(sent < 20_000, "{sent} bytes");
}

/// All that the server has sent; what it says of itself here is about 7 KB.
fn sent_by(server: &RedisServer) -> u64 {
    let sent = server.info("total_net_output_bytes");
    sent.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_operation_checks_its_connection() {
    let mut site = Counted::with(small_bodies()).await;
    for round in 0..20 {
        let (en, de) = (in_language("en"), in_language("de"));
        site.publish(&en, &varying(""), noise(10, round)).await;
        site.publish(&de, &varying(""), noise(1000, round)).await;
        let entry = site.one(&de).await;
        read(&entry).await.expect("a body");
        site.wait(1);
        site.freshen(&entry, site.head(&de, &varying(""))).await;
        site.remove(&entry).await;
        site.wait(1);
        site.invalidate(&en).await;
    }
    let asked = site.asked();
    let known = [
        "evalsha", "exec", "get", "hget", "hlen", "hset", "mget", "multi", "pexpire",
    ];
    let others: Vec<_> = asked
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(asked["evalsha"], 20 * 5);
    assert_eq!((asked["hset"], asked["hget"]), (20, 20));
}

/// A server behind a wire, and a backend whose connections are there.
async fn wired() -> (RedisServer, Wire, Replica) {
    let server = RedisServer::builder().tcp().start().await;
    let wire = Wire::to(server.address()).await;
    let url = server.tcp_url_through(wire.address());
    let replica = Replica::at(&url, patient());
    replica
        .publish(&get("/spare"), &ok("").max_age(60), noise(200_000, 1))
        .await;
    let entry = replica.one(&get("/spare")).await;
    replica.remove(&entry).await;
    replica.invalidate(&get("/spare")).await;
    wire.reset_traffic();
    (server, wire, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_on_a_small_response_is_one_packet_there() {
    let (_server, wire, replica) = wired().await;
    let asking = get("/");
    let to_server = |what: &str, most: u64| {
        let traffic = wire.traffic();
        assert_eq!(traffic.connections, 0, "{what}");
        assert_eq!(traffic.to_server.packets, 1, "{what}: {traffic:?}");
        let bytes = traffic.to_server.bytes;
        assert!(bytes <= most, "{what}: {bytes} bytes");
        wire.reset_traffic();
    };
    let answer = ok("").max_age(60).etag("\"1\"");

    assert!(!replica.is_found(&asking).await);
    to_server("a miss", 100);
    assert!(replica.publish(&asking, &answer, noise(1000, 1)).await);
    to_server("a store", 2500);
    let entry = replica.one(&asking).await;
    assert_eq!(wire.traffic().to_client.packets, 1, "a hit");
    to_server("a hit", 100);
    replica.wait(1);
    replica
        .freshen(&entry, replica.head(&asking, &answer))
        .await;
    to_server("a 304", 2500);
    replica.remove(&entry).await;
    to_server("a removal", 500);
    replica.invalidate(&asking).await;
    to_server("a purge", 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_to_a_large_response_does_not_send_its_body_again() {
    let (_server, wire, replica) = wired().await;
    let answer = ok("").max_age(60).etag("\"1\"");
    replica.publish(&get("/"), &answer, noise(1 << 20, 1)).await;
    let entry = replica.one(&get("/")).await;
    replica.wait(1);
    wire.reset_traffic();
    replica
        .freshen(&entry, replica.head(&get("/"), &answer))
        .await;
    let traffic = wire.traffic();
    assert_eq!(traffic.to_server.packets, 1);
    assert!(traffic.to_server.bytes < 2500, "{traffic:?}");
    assert!(traffic.to_client.bytes < 100, "{traffic:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_has_two_connections_however_many_use_it() {
    let site = Site::start().await;
    site.server.reset_counts();
    let site = std::sync::Arc::new(site);
    let users: Vec<_> = (0..32_u64)
        .map(|user| {
            let site = site.clone();
            tokio::spawn(async move {
                let asking = get(&format!("/{user}"));
                let body = noise(if user % 4 == 0 { 300_000 } else { 1000 }, user);
                for _ in 0..5 {
                    site.publish(&asking, &ok("").max_age(60), body.clone())
                        .await;
                    let entry = site.one(&asking).await;
                    assert!(read(&entry).await.expect("a body") == body);
                }
                site.invalidate(&asking).await;
            })
        })
        .collect();
    for user in users {
        user.await.expect("no user panicked");
    }
    assert_eq!(site.server.connections_received(), 2);
    assert_eq!(site.backend.connections(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_connections() {
    let site = Site::with(Options {
        lanes: 3,
        ..patient()
    })
    .await;
    site.server.reset_counts();
    for _ in 0..30 {
        assert!(!site.is_found(&get("/")).await);
    }
    assert_eq!(site.server.connections_received(), 3);
    assert_eq!(site.server.command_counts()["get"], 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_that_is_not_waited_for_asks_nothing() {
    let mut site = Counted::with(patient()).await;
    let asking = get("/");
    let lookup = site.store.lookup(&asking);
    let query = lookup.query(&site.store.policy, (&asking).into());
    for _ in 0..10 {
        drop(site.backend.lookup(query, site.store.now()));
    }
    site.assert_asked(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_dropped_before_the_body_is_large_asks_nothing() {
    let mut site = Counted::with(patient()).await;
    let head: StoredHead = site.head(&get("/"), &ok("").max_age(60));
    let mut writer = site.backend.writer(head);
    writer.write(noise(60_000, 1)).expect("a piece is taken");
    drop(writer);
    // Whatever it had asked would have come before this.
    assert!(!site.is_found(&get("/")).await);
    site.assert_asked(&[("get", 1)]);
}
