//! Values at our keys that we did not write, or not so: each is a miss, is counted, keeps nobody
//! from anything, and is gone with the next response that is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::{Policy, Retention};
use http::Request;
use kit::contract::{get, in_language, varying};
use kit::redis::RedisServer;
use kit::{Answer, ok};

use crate::support::{Replica, Site, long, noise, parts, read};

/// Something else at a key.
#[derive(Debug, Clone)]
enum Foreign {
    /// This command writes it; `KEY` stands for the key.
    Typed(&'static [&'static str]),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Foreign {
    fn is_put(&self, site: &Site, key: &str) {
        match self {
            Self::Bytes(bytes) => site.overwrite(key, bytes),
            Self::Typed(command) => {
                let command: Vec<&str> = command
                    .iter()
                    .map(|word| if *word == "KEY" { key } else { word })
                    .collect();
                let _: u64 = site.server.query(&["DEL", key]);
                site.server.command(&command);
                let _: u64 = site.server.query(&["PEXPIRE", key, "100000"]);
            }
        }
    }
}

/// Every type that Redis has.
const TYPES: [&[&str]; 8] = [
    &["RPUSH", "KEY", "one"],
    &["HSET", "KEY", "one", "1"],
    &["SADD", "KEY", "one"],
    &["ZADD", "KEY", "1", "one"],
    &["XADD", "KEY", "*", "one", "1"],
    &["SET", "KEY", "12345"],
    &["PFADD", "KEY", "one"],
    &["SETBIT", "KEY", "7", "1"],
];

/// What could stand where `value` does.
fn instead_of(value: &[u8], another: &[u8]) -> Vec<(String, Foreign)> {
    let mut all: Vec<(String, Foreign)> = TYPES
        .iter()
        .map(|command| (command[0].to_owned(), Foreign::Typed(command)))
        .collect();
    let mut bytes = |what: String, bytes: Vec<u8>| all.push((what, Foreign::Bytes(bytes)));
    bytes("nothing".to_owned(), Vec::new());
    for length in [1, 4, 5, 6, 40, 67, 68, 69, 200, 5000] {
        bytes(
            format!("{length} bytes of noise"),
            noise(length, 1).to_vec(),
        );
        let mut ours = value[..value.len().min(6)].to_vec();
        ours.extend_from_slice(&noise(length, 2));
        // What a script compares is not in the far future.
        ours.resize(ours.len().max(16), 0);
        ours[6..16].fill(0);
        bytes(
            format!("{length} bytes of noise behind our beginning"),
            ours,
        );
    }
    for length in (0..value.len()).step_by(7).chain([67, 68, value.len() - 1]) {
        bytes(
            format!("the first {length} bytes"),
            value[..length].to_vec(),
        );
    }
    let mut longer = value.to_vec();
    longer.push(0);
    bytes("a byte more".to_owned(), longer);
    let mut doubled = value.to_vec();
    doubled.extend_from_slice(value);
    bytes("itself twice".to_owned(), doubled);
    for (what, at, byte) in [
        ("version 0", 4, 0),
        ("version 1", 4, 1),
        ("version 3", 4, 3),
        ("kind 0", 5, 0),
        (
            "kind 4, which it is not",
            5,
            if value[5] == 4 { 1 } else { 4 },
        ),
        ("kind 5", 5, 5),
        ("kind 255", 5, 255),
    ] {
        let mut changed = value.to_vec();
        changed[at] = byte;
        bytes(what.to_owned(), changed);
    }
    if value[5] != 3 {
        let mut changed = value.to_vec();
        changed[60] ^= 1;
        bytes("a wrong checksum".to_owned(), changed);
        let mut changed = value.to_vec();
        *changed.last_mut().expect("a byte") ^= 1;
        bytes("another last byte".to_owned(), changed);
    }
    bytes("what stands at another key".to_owned(), another.to_vec());
    all
}

/// The keys of two variants, of which the first is the one with this body.
fn keys_of_two(site: &Site, request: &Request<()>, body: &str) -> [String; 2] {
    let mut keys = site.variants(request);
    keys.sort_by_key(|key| !site.value(key).ends_with(body.as_bytes()));
    keys.try_into().expect("two variants")
}

/// Looks with a memo that is empty and with one that is not; whether anything was found, and how
/// many values could not be read.
async fn look(site: &Site, request: &Request<()>) -> (bool, u64) {
    let stranger = site.other();
    let before = site.backend.undecodable();
    let is_found = site.is_found(request).await || stranger.is_found(request).await;
    let counted = site.backend.undecodable() - before + stranger.backend.undecodable();
    (is_found, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_at_a_primary_key_is_a_miss_and_the_next_response_replaces_it() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let answer = ok("").max_age(60).etag("\"1\"");
    for body in ["small".to_owned(), long("large")] {
        let _: String = site.server.query(&["FLUSHALL"]);
        assert!(site.publish(&get("/"), &answer, body.clone()).await);
        assert!(site.publish(&get("/another"), &answer, body.clone()).await);
        let key = site.primary(&get("/"));
        let value = site.value(&key);
        let another = site.value(&site.primary(&get("/another")));
        for (what, foreign) in instead_of(&value, &another) {
            assert!(
                site.publish(&get("/"), &answer, body.clone()).await,
                "{what}"
            );
            let entry = site.one(&get("/")).await;
            foreign.is_put(&site, &key);
            let (is_found, counted) = look(&site, &get("/")).await;
            assert!(!is_found, "{what}");
            assert!(counted > 0, "{what} is counted");

            // Nobody is kept from anything.
            site.wait(1);
            site.freshen(&entry, site.head(&get("/"), &answer)).await;
            site.remove(&entry).await;
            assert!(!site.is_found(&get("/")).await, "{what}");
            // One alone, and one of several; the one after the other is put there again.
            assert!(other.publish(&get("/"), &answer, "new").await, "{what}");
            assert_eq!(site.bodies(&get("/")).await, ["new"], "{what}");
            foreign.is_put(&site, &key);
            site.wait(1);
            assert!(
                other
                    .publish(&in_language("en"), &varying(""), "hello")
                    .await,
                "{what}"
            );
            assert_eq!(site.bodies(&in_language("en")).await, ["hello"], "{what}");
            site.all_expire();
            foreign.is_put(&site, &key);
            site.wait(1);
            other.invalidate(&get("/")).await;
            assert!(!site.is_found(&get("/")).await, "{what}");
            site.all_expire();
            site.wait(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_at_the_key_of_a_variant_is_a_miss_and_the_next_response_replaces_it() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let asking = in_language("en");
    for body in ["small".to_owned(), long("large")] {
        let _: String = site.server.query(&["FLUSHALL"]);
        assert!(
            site.publish(&in_language("de"), &varying(""), "hallo")
                .await
        );
        assert!(site.publish(&asking, &varying(""), body.clone()).await);
        let [of_another, key] = keys_of_two(&site, &asking, "hallo");
        let of_another = site.value(&of_another);
        let value = site.value(&key);
        // That of another variant can be read, but is no answer to this request.
        let mut all = instead_of(&value, &of_another);
        let (of_another, _) = all.pop().expect("it comes last");
        for (what, foreign) in all {
            assert!(
                site.publish(&asking, &varying(""), body.clone()).await,
                "{what}"
            );
            let entry = site.one(&asking).await;
            foreign.is_put(&site, &key);
            let (is_found, counted) = look(&site, &asking).await;
            assert!(!is_found, "{what}");
            // A tombstone is a value of ours, and says nothing here.
            assert!(counted > 0 || what.starts_with("kind"), "{what} is counted");
            assert_eq!(other.bodies(&in_language("de")).await, ["hallo"], "{what}");

            site.wait(1);
            site.freshen(&entry, site.head(&asking, &varying(""))).await;
            site.remove(&entry).await;
            assert!(!site.is_found(&asking).await, "{what}");
            assert!(other.publish(&asking, &varying(""), "new").await, "{what}");
            assert_eq!(site.bodies(&asking).await, ["new"], "{what}");
            site.all_expire();
            site.wait(1);
        }
        assert_eq!(of_another, "what stands at another key");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variant_that_stands_at_the_key_of_another_answers_nobody() {
    let site = Site::small(Policy::private()).await;
    let (en, de) = (in_language("en"), in_language("de"));
    assert!(site.publish(&en, &varying(""), "hello").await);
    assert!(site.publish(&de, &varying(""), "hallo").await);
    let [of_english, of_german] = keys_of_two(&site, &en, "hello");
    let value = site.value(&of_english);
    site.overwrite(&of_german, &value);
    site.overwrite(&site.primary(&get("/alone")), &value);
    assert!(!site.is_found(&de).await);
    assert_eq!(site.bodies(&en).await, ["hello"]);
    site.wait(1);
    assert!(site.publish(&de, &varying(""), "hallo").await);
    assert_eq!(site.bodies(&de).await, ["hallo"]);

    // And at the primary key, of which it is one of several.
    site.overwrite(&site.primary(&en), &value);
    assert!(!site.is_found(&de).await);
    site.wait(1);
    assert!(site.publish(&de, &varying(""), "wieder").await);
    assert!(site.bodies(&de).await.contains(&"wieder".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_in_the_place_of_a_rule_is_a_miss_and_the_next_response_replaces_it() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let asking = in_language("en");
    store_two(&site).await;
    assert!(
        site.publish(&get("/another"), &ok("").max_age(60), "one")
            .await
    );
    let key = site.primary(&asking);
    let value = site.value(&key);
    let another = site.value(&site.primary(&get("/another")));
    let mut unrepaired = BTreeSet::new();
    for (what, foreign) in instead_of(&value, &another) {
        let _: String = site.server.query(&["FLUSHALL"]);
        store_two(&site).await;
        let entry = site.one(&asking).await;
        foreign.is_put(&site, &key);
        let (is_found, _) = look(&site, &asking).await;
        assert!(!is_found, "{what}");
        site.wait(1);
        site.freshen(&entry, site.head(&asking, &varying(""))).await;
        site.remove(&entry).await;
        for (asking, answer, body) in [
            (&asking, varying(""), "new"),
            (&get("/"), ok("").max_age(60), "any"),
        ] {
            assert!(other.publish(asking, &answer, body).await, "{what}");
            let found = site.bodies(asking).await;
            if !found.contains(&body.to_owned()) {
                unrepaired.insert(what.clone());
            }
            site.all_expire();
            site.wait(1);
        }
    }
    assert!(unrepaired.is_empty(), "not repaired: {unrepaired:?}");
}

/// One byte of a value was changed, anywhere: nothing wrong is found, and what is stored next is
/// found. `store` stores one for the request, and whatever else it takes.
async fn whichever_byte_is_changed(
    site: &Site,
    request: &Request<()>,
    answer: &Answer,
    store: impl AsyncFn(),
    key: impl Fn() -> String,
) {
    store().await;
    let mut unrepaired = BTreeSet::new();
    for index in 0..site.value(&key()).len() {
        for bit in [0x01, 0x40, 0x80] {
            let _: String = site.server.query(&["FLUSHALL"]);
            store().await;
            let key = key();
            let mut changed = site.value(&key);
            let is_rule = changed[5] == 3;
            changed[index] ^= bit;
            site.overwrite(&key, &changed);
            for entry in site.matching(request).await {
                // The generation of a response has no checksum, and the check is for scripts.
                let is_unread = (40..48).contains(&index) || (68..76).contains(&index);
                assert!(!is_rule && is_unread, "byte {index}");
                assert_eq!(read(&entry).await.expect("a body"), b"one", "byte {index}");
            }
            site.wait(1);
            let is_taken = site.publish(request, answer, "new").await;
            if !is_taken || !site.bodies(request).await.contains(&"new".to_owned()) {
                unrepaired.insert(index);
            }
            site.all_expire();
        }
    }
    assert!(
        unrepaired.is_empty(),
        "a change at these bytes is not repaired: {unrepaired:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_of_which_a_byte_was_changed_is_replaced_by_the_next() {
    let site = Site::small(Policy::private()).await;
    for (request, answer) in [
        (get("/"), ok("").max_age(60)),
        (in_language("en"), varying("")),
    ] {
        let store = async || assert!(site.publish(&request, &answer, "one").await);
        let key = || site.primary(&request);
        whichever_byte_is_changed(&site, &request, &answer, store, key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variant_of_which_a_byte_was_changed_is_replaced_by_the_next() {
    let site = Site::small(Policy::private()).await;
    let asking = in_language("en");
    let store = async || store_two(&site).await;
    let key = || keys_of_two(&site, &asking, "one")[0].clone();
    whichever_byte_is_changed(&site, &asking, &varying(""), store, key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_which_a_byte_was_changed_is_replaced_by_the_next() {
    let site = Site::small(Policy::private()).await;
    let asking = in_language("en");
    let store = async || store_two(&site).await;
    let key = || site.primary(&asking);
    whichever_byte_is_changed(&site, &asking, &varying(""), store, key).await;
}

/// A response in English, which is `one`, beside another.
async fn store_two(site: &Site) {
    for (language, body) in [("de", "hallo"), ("en", "one")] {
        let asking = in_language(language);
        assert!(site.publish(&asking, &varying(""), body).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_of_which_a_byte_was_changed_keeps_no_later_response_out() {
    let site = Site::small(Policy::private()).await;
    site.invalidate(&get("/")).await;
    let key = site.server.keys().remove(0);
    let value = site.value(&key);
    let mut unrepaired = BTreeSet::new();
    for index in 0..value.len() {
        for bit in [0x01, 0x40, 0x80] {
            let mut changed = value.clone();
            changed[index] ^= bit;
            let _: String = site.server.query(&["FLUSHALL"]);
            site.overwrite(&key, &changed);
            let _: u64 = site.server.query(&["PEXPIRE", &key, "600000"]);
            assert!(!site.is_found(&get("/")).await);
            site.wait(1);
            site.invalidate(&get("/")).await;
            site.wait(1);
            if !site.publish(&get("/"), &ok("").max_age(60), "new").await {
                unrepaired.insert(index);
            }
            site.all_expire();
        }
    }
    assert!(
        unrepaired.is_empty(),
        "a change at these bytes keeps all out: {unrepaired:?}"
    );
}

/// Only an invalidation keeps responses out, and nothing else that stands where it is remembered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_at_the_key_of_an_invalidation_keeps_no_response_out() {
    let site = Site::small(Policy::private()).await;
    site.invalidate(&get("/")).await;
    let key = site.server.keys().remove(0);
    let numbers = [
        "99999999999999999999",
        "-1",
        "1e300",
        "0x7fffffffffffffff",
        "nan",
    ];
    let mut all: Vec<Foreign> = TYPES.map(Foreign::Typed).to_vec();
    all.extend(numbers.map(|number| Foreign::Bytes(number.into())));
    all.push(Foreign::Bytes(noise(68, 1).to_vec()));
    for foreign in all {
        for answer in [ok("").max_age(60), varying("")] {
            let _: String = site.server.query(&["FLUSHALL"]);
            foreign.is_put(&site, &key);
            let asking = in_language("en");
            assert!(!site.is_found(&asking).await);
            site.wait(1);
            assert!(site.publish(&asking, &answer, "one").await, "{foreign:?}");
            let entry = site.one(&asking).await;
            site.freshen(&entry, site.head(&asking, &answer)).await;
            site.wait(1);
            site.invalidate(&asking).await;
            assert!(!site.is_found(&asking).await, "{foreign:?}");
            // From then on there is one.
            let old = {
                let mut old = parts(&site.head(&asking, &answer));
                old.requested_at -= Duration::from_secs(1);
                old.into()
            };
            assert!(!site.write(old, "old").await, "{foreign:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_or_a_tombstone_of_another_resource_hides_nothing_for_long() {
    let site = Site::small(Policy::private()).await;
    let asking = in_language("en");
    let another = crate::support::request("/another", &[("accept-language", "en")]);
    assert!(site.publish(&another, &varying(""), "another").await);
    let rule = site.value(&site.primary(&another));
    let _: String = site.server.query(&["FLUSHALL"]);
    site.invalidate(&another).await;
    let tombstone = site.value(&site.server.keys()[0]);
    for (what, value) in [("a rule", rule), ("a tombstone", tombstone)] {
        for answer in [ok("").max_age(60), varying("")] {
            site.wait(1);
            assert!(site.publish(&asking, &answer, "one").await);
            site.overwrite(&site.primary(&asking), &value);
            assert!(!site.is_found(&asking).await, "{what}");
            site.wait(1);
            assert!(site.publish(&asking, &answer, "two").await, "{what}");
            assert_eq!(site.bodies(&asking).await, ["two"], "{what}");
            site.invalidate(&asking).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_at_the_key_of_an_index_nothing_stays_for_ever_that_cannot_be_found() {
    let policy = Policy::private().retention(Retention::Forever);
    for command in TYPES {
        let site = Site::small(policy.clone()).await;
        let index = format!("{}:i", site.primary(&get("/")));
        let foreign = Foreign::Typed(command);
        foreign.is_put(&site, &index);
        for (language, body) in [("en", "hello".to_owned()), ("de", long("hallo"))] {
            let asking = in_language(language);
            assert!(
                site.publish(&asking, &varying(""), body.clone()).await,
                "{command:?}"
            );
            assert_eq!(site.bodies(&asking).await, [body], "{command:?}");
        }
        site.wait(1);
        site.invalidate(&get("/")).await;
        let eternal = site.eternal();
        assert!(eternal.is_empty(), "{command:?}: {eternal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_names_what_is_not_of_its_resource_removes_none_of_that() {
    let site = Site::small(Policy::private().retention(Retention::Forever)).await;
    let others = ["somebody:else", "http-cache:{0}", "http-cache", "", "*"];
    for key in others {
        let _: String = site.server.query(&["SET", key, "theirs"]);
    }
    assert!(
        site.publish(&get("/another"), &ok("").max_age(60), "another")
            .await
    );
    let another = site.primary(&get("/another"));
    let index = format!("{}:i", site.primary(&get("/")));
    let mut command = vec!["SADD", &index, &another];
    command.extend(others);
    site.server.command(&command);
    assert!(
        site.publish(&in_language("en"), &varying(""), "hello")
            .await
    );
    site.wait(1);
    site.invalidate(&get("/")).await;
    for key in others {
        let value: Option<String> = site.server.query(&["GET", key]);
        assert_eq!(value.as_deref(), Some("theirs"), "{key:?}");
    }
    assert_eq!(site.bodies(&get("/another")).await, ["another"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_an_index_that_names_keys_of_other_slots_keeps_nobody_from_anything() {
    let cluster = kit::redis::RedisCluster::start(3, 0).await;
    let mut replica = Replica::at(&cluster.url(), crate::support::small_bodies());
    replica.store.policy = Policy::private().retention(Retention::Forever);
    let index = format!("{}:i", replica.primary(&get("/")));
    let node: &RedisServer = cluster.primary_of(&index);
    node.command(&["SADD", &index, "somebody:else", "another", "a", "b", "c"]);
    assert!(
        replica
            .publish(&in_language("en"), &varying(""), "hello")
            .await
    );
    assert_eq!(replica.bodies(&in_language("en")).await, ["hello"]);
    replica.wait(1);
    replica.invalidate(&get("/")).await;
    assert!(!replica.is_found(&in_language("en")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_logged_once_and_counted_each_time() {
    let site = Site::small(Policy::private()).await;
    let _: String = site
        .server
        .query(&["SET", &site.primary(&get("/")), "theirs"]);
    let log = kit::Log::new();
    for count in 1..=5 {
        assert!(!site.is_found(&get("/")).await);
        assert_eq!(site.backend.undecodable(), count);
    }
    let lines = log.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("WARN"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_miss_also_where_several_values_are_asked_for_at_once() {
    let site = Site::small(Policy::private()).await;
    let asking = crate::support::request("/", &[("a", "1"), ("b", "1")]);
    let answer = |vary: &str| ok("").max_age(60).with("vary", vary);
    for (index, vary) in ["a", "b", "a, b"].iter().enumerate() {
        assert!(
            site.publish(&asking, &answer(vary), index.to_string())
                .await
        );
    }
    assert_eq!(site.bodies(&asking).await, ["0", "1", "2"]);
    for (index, key) in site.variants(&asking).iter().enumerate() {
        Foreign::Typed(TYPES[index]).is_put(&site, key);
        assert_eq!(site.bodies(&asking).await.len(), 2 - index);
        assert_eq!(site.other().bodies(&asking).await.len(), 2 - index);
    }
    Foreign::Typed(TYPES[0]).is_put(&site, &site.primary(&asking));
    assert!(!site.is_found(&asking).await);
}
