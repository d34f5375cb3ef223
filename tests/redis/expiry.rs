//! How long Redis keeps what is stored: as long as the policy says, and nothing for ever that the
//! policy does not keep for ever.

use std::future::poll_fn;
use std::mem::forget;
use std::process::{Command, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use cache_core::{Backend, BackendErrorKind, Policy, Retention, StoredHead};
use cache_redis::Options;
use http::Request;
use kit::contract::{get, in_language, varying};
use kit::redis::RedisServer;
use kit::{Answer, ok};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::support::{
    Replica, Site, assert_same, long, noise, parts, patient, read, request, small_bodies, until,
};

/// The milliseconds that a response is to be kept from its arrival on, rounded up; `None`: for ever.
fn kept_for(head: &StoredHead) -> Option<i64> {
    let until = head.retain_until()?;
    let left = until.duration_since(head.received_at()).unwrap_or_default();
    let millis = left.as_nanos().div_ceil(1_000_000).max(1);
    Some(i64::try_from(millis).expect("a time that a test can name"))
}

/// What the TTL of a key must be that was written no longer ago than at `start`.
#[track_caller]
fn assert_pttl(site: &Site, key: &str, expected: Option<i64>, extra: i64, start: Instant) {
    let found = site.pttl(key);
    let elapsed = i64::try_from(start.elapsed().as_millis()).expect("a short time") + 1;
    match expected {
        None => assert_eq!(found, -1, "{key} is kept for ever"),
        // It may be gone already.
        Some(expected) if found == -2 => assert!(expected <= elapsed, "{key} is gone"),
        Some(expected) => assert!(
            (expected - elapsed..=expected + extra).contains(&found),
            "{key}: {found} ms, not {expected} ms and up to {extra} ms more, less {elapsed} ms"
        ),
    }
}

/// What an origin says, what the policy makes of it, and how it is stored.
#[derive(Debug, Clone)]
struct Case {
    max_age: Option<u64>,
    shared_max_age: Option<u64>,
    stale_while_revalidate: Option<u64>,
    stale_if_error: Option<u64>,
    words: Vec<&'static str>,
    age: Option<u64>,
    expires: Option<i64>,
    last_modified: Option<i64>,
    is_shared: bool,
    retention: Option<u64>,
    default_ttl: Option<u64>,
    max_ttl: Option<u64>,
    windows: Option<u64>,
    varies: bool,
    is_large: bool,
    jitter: u64,
    reader_grace: u64,
}

impl Case {
    fn policy(&self) -> Policy {
        let mut policy = if self.is_shared {
            Policy::shared()
        } else {
            Policy::private()
        };
        policy = policy.retention(match self.retention {
            None => Retention::Forever,
            Some(millis) => Retention::Grace(Duration::from_millis(millis)),
        });
        if let Some(seconds) = self.default_ttl {
            policy = policy.default_ttl(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.max_ttl {
            policy = policy.max_ttl(Duration::from_secs(seconds));
        }
        if let Some(seconds) = self.windows {
            policy = policy
                .stale_while_revalidate(Duration::from_secs(seconds))
                .stale_if_error(Duration::from_secs(seconds / 2));
        }
        policy
    }

    fn answer(&self, store: &Replica) -> Answer {
        let mut directives: Vec<String> =
            self.words.iter().map(|word| (*word).to_owned()).collect();
        for (name, seconds) in [
            ("max-age", self.max_age),
            ("s-maxage", self.shared_max_age),
            ("stale-while-revalidate", self.stale_while_revalidate),
            ("stale-if-error", self.stale_if_error),
        ] {
            directives.extend(seconds.map(|seconds| format!("{name}={seconds}")));
        }
        // With a validator, whatever else it says is stored.
        let mut answer = ok("").etag("\"1\"").cache_control(&directives.join(", "));
        if let Some(age) = self.age {
            answer = answer.with("age", &age.to_string());
        }
        if let Some(seconds) = self.expires {
            answer = answer.with("expires", &store.store.clock.date(seconds));
        }
        if let Some(seconds) = self.last_modified {
            answer = answer.with("last-modified", &store.store.clock.date(-seconds));
        }
        if self.varies {
            answer = answer.with("vary", "accept-language");
        }
        answer
    }

    fn body(&self) -> Bytes {
        noise(if self.is_large { 400 } else { 50 }, 1)
    }

    fn jitter_millis(&self) -> i64 {
        i64::try_from(self.jitter).expect("a short time")
    }
}

fn seconds() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(0)),
        3 => (1_u64..100_000).prop_map(Some),
        1 => Just(Some(1 << 31)),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let said = (seconds(), seconds(), seconds(), seconds(), seconds());
    let words = proptest::sample::subsequence(
        vec![
            "must-revalidate",
            "proxy-revalidate",
            "no-cache",
            "immutable",
            "public",
        ],
        0..5,
    );
    let dates = (
        proptest::option::of(-5000_i64..50_000),
        proptest::option::of(0_i64..5_000_000),
    );
    let policy = (
        any::<bool>(),
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(0)),
            4 => (0_u64..10_000_000).prop_map(Some)
        ],
        seconds(),
        seconds(),
        seconds(),
    );
    let how = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(0), 0_u64..60_000],
        prop_oneof![Just(0), 0_u64..600_000],
    );
    (said, words, dates, policy, how).prop_map(|(said, words, dates, policy, how)| Case {
        max_age: said.0,
        shared_max_age: said.1,
        stale_while_revalidate: said.2,
        stale_if_error: said.3,
        age: said.4,
        words,
        expires: dates.0,
        last_modified: dates.1,
        is_shared: policy.0,
        retention: policy.1,
        default_ttl: policy.2,
        max_ttl: policy.3,
        windows: policy.4,
        varies: how.0,
        is_large: how.1,
        jitter: how.2,
        reader_grace: how.3,
    })
}

fn check<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(&Runtime, &RedisServer, S::Value)) {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(RedisServer::start());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let checked = TestRunner::new(config).run(strategy, |value| {
        let _: String = server.query(&["FLUSHALL"]);
        test(&runtime, &server, value);
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// A site on a server that is there already, for which it does not end with the site.
fn on<'a>(server: &'a RedisServer, case: &Case) -> OnServer<'a> {
    let options = Options {
        inline_limit: 100,
        ttl_jitter: Duration::from_millis(case.jitter),
        reader_grace: Duration::from_millis(case.reader_grace),
        ..patient()
    };
    let mut replica = Replica::at(&server.url(), options);
    replica.store.policy = case.policy();
    OnServer { server, replica }
}

struct OnServer<'a> {
    server: &'a RedisServer,
    replica: Replica,
}

impl OnServer<'_> {
    fn pttl(&self, key: &str) -> i64 {
        self.server.query(&["PTTL", key])
    }

    /// Checks the TTLs of all that there is after this head was written by something that began at
    /// `start`.
    #[track_caller]
    fn check(&self, case: &Case, head: &StoredHead, start: Instant) {
        let expected = kept_for(head);
        let grace = i64::try_from(case.reader_grace.max(1)).expect("a short time");
        for key in self.server.keys() {
            let is_body = key.contains(":b:");
            let found = self.pttl(&key);
            let elapsed = i64::try_from(start.elapsed().as_millis()).expect("a short time") + 1;
            let Some(expected) = expected else {
                assert_eq!(found, -1, "{key} is to stay: {case:?}");
                continue;
            };
            let expected = expected + if is_body { grace } else { 0 };
            let range = expected - elapsed..=expected + case.jitter_millis();
            assert!(
                range.contains(&found) || found == -2 && expected <= elapsed,
                "{key}: {found} not in {range:?}, {case:?}"
            );
        }
    }
}

#[test]
fn what_is_stored_is_kept_as_long_as_the_policy_says() {
    check(200, &case(), |runtime, server, case| {
        let site = on(server, &case);
        runtime.block_on(async {
            let asking = in_language("en");
            let head = site.replica.head(&asking, &case.answer(&site.replica));
            let start = Instant::now();
            assert!(site.replica.write(head.clone(), case.body()).await);
            site.check(&case, &head, start);
        });
    });
}

#[test]
fn what_is_freshened_is_kept_as_long_as_the_policy_says_now() {
    check(
        150,
        &(case(), case()),
        |runtime, server, (first, second)| {
            // The options of the store are those of the first; the answer and the policy change.
            let mut site = on(server, &first);
            runtime.block_on(async {
                let asking = in_language("en");
                let head = site.replica.head(&asking, &first.answer(&site.replica));
                let lasts = kept_for(&head).is_none_or(|millis| millis > 60_000);
                assert!(site.replica.write(head, first.body()).await);
                let found = site.replica.matching(&asking).await;
                let Some(entry) = found.first() else {
                    assert!(!lasts, "it is gone: {first:?}");
                    return;
                };
                let second = Case {
                    varies: first.varies,
                    jitter: first.jitter,
                    reader_grace: first.reader_grace,
                    // One that was to stay leaves an index that stays.
                    retention: first.retention.map(|_| second.retention.unwrap_or(1000)),
                    ..second.clone()
                };
                site.replica.store.policy = second.policy();
                site.replica.store.clock = site.replica.store.clock.clone();
                let head = site.replica.head(&asking, &second.answer(&site.replica));
                if head.key() != entry.head.key() {
                    // A private cache never sees what a shared one has stored.
                    return;
                }
                let start = Instant::now();
                site.replica.freshen(entry, head.clone()).await;
                if !lasts {
                    return;
                }
                for key in server.keys() {
                    let found = site.pttl(&key);
                    let is_rule = first.varies && key.ends_with('}');
                    assert!(is_rule || found != -1 || kept_for(&head).is_none(), "{key}");
                    if is_rule {
                        continue;
                    }
                    let elapsed = i64::try_from(start.elapsed().as_millis()).expect("short") + 1;
                    match kept_for(&head) {
                        None => assert_eq!(found, -1, "{key}: {second:?}"),
                        Some(millis) => {
                            let grace = i64::try_from(first.reader_grace.max(1)).expect("short");
                            let millis = millis + if key.contains(":b:") { grace } else { 0 };
                            let range = millis - elapsed..=millis + first.jitter_millis();
                            assert!(
                                range.contains(&found) || found == -2 && millis <= elapsed,
                                "{key}: {found} not in {range:?}, {second:?}"
                            );
                        }
                    }
                }
            });
        },
    );
}

/// Something that is done with one resource.
#[derive(Debug, Clone)]
enum Deed {
    Store {
        language: u8,
        max_age: u64,
        is_large: bool,
        varies: bool,
    },
    Freshen {
        language: u8,
        max_age: u64,
        varies: bool,
    },
    Remove {
        language: u8,
    },
    Invalidate,
    Abandon {
        is_large: bool,
    },
    LosePrimary,
    LoseVariants,
}

fn deed() -> impl Strategy<Value = Deed> {
    let (language, max_age) = (0_u8..3, prop_oneof![Just(0_u64), 1_u64..100_000]);
    prop_oneof![
        6 => (language.clone(), max_age.clone(), any::<bool>(), any::<bool>()).prop_map(
            |(language, max_age, is_large, varies)| Deed::Store { language, max_age, is_large, varies }
        ),
        3 => (language.clone(), max_age, any::<bool>())
            .prop_map(|(language, max_age, varies)| Deed::Freshen { language, max_age, varies }),
        1 => language.prop_map(|language| Deed::Remove { language }),
        1 => Just(Deed::Invalidate),
        1 => any::<bool>().prop_map(|is_large| Deed::Abandon { is_large }),
        1 => Just(Deed::LosePrimary),
        1 => Just(Deed::LoseVariants),
    ]
}

impl Deed {
    async fn is_done(&self, replica: &Replica, server: &RedisServer) {
        let asking = |language: u8| in_language(&format!("l{language}"));
        let answer = |max_age: u64, varies: bool| {
            let answer = ok("").max_age(max_age).etag("\"1\"");
            if varies {
                answer.with("vary", "accept-language")
            } else {
                answer
            }
        };
        let body = |is_large: bool| noise(if is_large { 400 } else { 10 }, 1);
        match *self {
            Self::Store {
                language,
                max_age,
                is_large,
                varies,
            } => {
                let asking = asking(language);
                replica
                    .publish(&asking, &answer(max_age, varies), body(is_large))
                    .await;
            }
            Self::Freshen {
                language,
                max_age,
                varies,
            } => {
                let asking = asking(language);
                for entry in replica.matching(&asking).await {
                    let head = replica.head(&asking, &answer(max_age, varies));
                    replica.freshen(&entry, head).await;
                }
            }
            Self::Remove { language } => {
                for entry in replica.matching(&asking(language)).await {
                    replica.remove(&entry).await;
                }
            }
            Self::Invalidate => replica.invalidate(&asking(0)).await,
            Self::Abandon { is_large } => {
                let head = replica.head(&asking(0), &answer(60, false));
                let mut writer = replica.backend.writer(head);
                writer.write(body(is_large)).expect("a piece is taken");
            }
            Self::LosePrimary => {
                let _: u64 = server.query(&["DEL", &replica.primary(&asking(0))]);
            }
            Self::LoseVariants => {
                for key in server.keys().iter().filter(|key| key.contains("}:v:")) {
                    let _: u64 = server.query(&["DEL", key]);
                }
            }
        }
    }
}

/// A rule that is gone before a variant would hide it, and forget when it was invalidated.
#[track_caller]
fn the_rule_outlives_its_variants(server: &RedisServer, primary: &str, deeds: &[Deed]) {
    let value: Vec<u8> = server
        .dump()
        .remove(primary)
        .and_then(|mut values| values.pop())
        .unwrap_or_default();
    if value.get(5) != Some(&3) {
        return;
    }
    let of_rule: i64 = server.query(&["PTTL", primary]);
    for (key, values) in server.dump() {
        let is_variant = key.contains("}:v:") && values[0].get(40..48) == value.get(40..48);
        if is_variant {
            let of_variant: i64 = server.query(&["PTTL", &key]);
            assert!(
                of_rule == -1 || of_variant != -1 && of_rule >= of_variant,
                "{of_rule} and {of_variant} ms after {deeds:?}"
            );
        }
    }
}

#[test]
fn whatever_is_done_every_key_expires_and_a_rule_outlives_its_variants() {
    let deeds = proptest::collection::vec(deed(), 1..12);
    check(150, &deeds, |runtime, server, deeds| {
        runtime.block_on(async {
            let replica = Replica::at(&server.url(), small_bodies());
            for (index, deed) in deeds.iter().enumerate() {
                deed.is_done(&replica, server).await;
                replica.wait(1);
                let done = &deeds[..=index];
                for key in server.keys() {
                    let found: i64 = server.query(&["PTTL", &key]);
                    assert_ne!(found, -1, "{key} after {done:?}");
                }
                the_rule_outlives_its_variants(server, &replica.primary(&get("/")), done);
            }
        });
    });
}

#[test]
fn whatever_is_done_with_what_is_kept_for_ever_nothing_of_it_is_lost_to_a_ttl() {
    let deeds = proptest::collection::vec(deed(), 1..10);
    check(100, &deeds, |runtime, server, deeds| {
        runtime.block_on(async {
            let mut replica = Replica::at(&server.url(), small_bodies());
            replica.store.policy = Policy::private().retention(Retention::Forever);
            for (index, deed) in deeds.iter().enumerate() {
                deed.is_done(&replica, server).await;
                replica.wait(1);
                let done = &deeds[..=index];
                for language in 0..3 {
                    let asking = in_language(&format!("l{language}"));
                    for entry in replica.matching(&asking).await {
                        read(&entry).await.expect("a body");
                        let home = home_of(server, entry.token.0);
                        let found: i64 = server.query(&["PTTL", &home]);
                        assert_eq!(found, -1, "{home} after {done:?}");
                        let body = format!("{}:b:{:032x}", replica.primary(&asking), entry.token.0);
                        let found: i64 = server.query(&["PTTL", &body]);
                        assert!([-1, -2].contains(&found), "{body} after {done:?}");
                    }
                }
                the_rule_outlives_its_variants(server, &replica.primary(&get("/")), done);
            }
        });
    });
}

/// The key at which the response with this token stands.
fn home_of(server: &RedisServer, token: u128) -> String {
    let dump = server.dump();
    let mut homes = dump.into_iter().filter(|(key, values)| {
        !key.contains("}:b:") && values[0].get(24..40) == Some(&token.to_be_bytes()[..])
    });
    let (home, _) = homes.next().expect("a key that has it");
    assert!(homes.next().is_none(), "it stands twice");
    home
}

#[test]
fn nothing_that_is_kept_for_ever_stays_when_it_cannot_be_found_any_more() {
    let deeds = proptest::collection::vec(deed(), 1..10);
    check(150, &deeds, |runtime, server, deeds| {
        runtime.block_on(async {
            let mut replica = Replica::at(&server.url(), small_bodies());
            replica.store.policy = Policy::private().retention(Retention::Forever);
            for deed in &deeds {
                deed.is_done(&replica, server).await;
                replica.wait(1);
            }
            // The next purge finds all that there is.
            replica.invalidate(&get("/")).await;
            for key in server.keys() {
                let found: i64 = server.query(&["PTTL", &key]);
                assert_ne!(found, -1, "{key} after {deeds:?}");
            }
        });
    });
}

/// A head that is kept until so long after its arrival.
fn kept(
    site: &Replica,
    request: &Request<()>,
    answer: &Answer,
    left: Option<Duration>,
) -> StoredHead {
    let mut parts = parts(&site.head(request, answer));
    parts.freshness.retain_until = left.map(|left| parts.received_at + left);
    parts.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_millisecond_counts_as_one() {
    let site = Site::start().await;
    let left = Duration::from_secs(10) + Duration::from_micros(1);
    // Some time passes until the TTL is asked for; once it is less than a millisecond.
    for _ in 0..10_000 {
        let head = kept(&site, &get("/"), &ok("").max_age(60), Some(left));
        assert!(site.write(head, "one").await);
        let found = site.pttl(&site.primary(&get("/")));
        assert!(found <= 10_001);
        if found == 10_001 {
            return;
        }
    }
    panic!("it was never kept for 10,001 ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_past_its_retention_when_it_is_stored_is_gone_at_once() {
    let site = Site::small(Policy::private()).await;
    for (answer, body) in [
        (ok("").max_age(60), "one".to_owned()),
        (ok("").max_age(60), long("one")),
        (varying(""), "one".to_owned()),
        (varying(""), long("one")),
    ] {
        let head = parts(&site.head(&in_language("en"), &answer));
        for until in [
            head.received_at,
            head.received_at - Duration::from_secs(1),
            SystemTime::UNIX_EPOCH,
        ] {
            let mut head = head.clone();
            head.freshness.retain_until = Some(until);
            site.write(head.into(), body.clone()).await;
            site.all_expire();
            assert!(!site.is_found(&in_language("en")).await);
        }
        until("all but bodies that are let go is gone", || {
            site.server.keys().iter().all(|key| key.contains(":b:"))
        })
        .await;
        for body in site.bodies_elsewhere() {
            assert!(site.pttl(&body) <= 300_001);
        }
        site.wait(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_retention_that_there_can_be_is_one_that_redis_takes() {
    let site = Site::small(Policy::private()).await;
    for years in [1000, 100_000, 1_000_000] {
        let left = Duration::from_secs(years * 365 * 24 * 3600);
        for answer in [ok("").max_age(60), varying("")] {
            for body in ["one".to_owned(), long("one")] {
                let head = kept(&site, &in_language("en"), &answer, Some(left));
                assert!(
                    site.write(head.clone(), body.clone()).await,
                    "{years} years"
                );
                let found = site.matching(&in_language("en")).await;
                assert!(!found.is_empty(), "{years} years");
                site.freshen(&found[0], head).await;
                site.all_expire();
                for key in site.server.keys() {
                    assert!(site.pttl(&key) > 100_000, "{key}");
                }
                site.wait(1);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_of_any_length_are_ones_that_redis_takes() {
    for time in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let site = Site::with(Options {
            ttl_jitter: time,
            reader_grace: time,
            // Shorter than this, it is over before the next frame comes.
            staging_ttl: time.max(Duration::from_secs(60)),
            invalidation_memory: time,
            ..small_bodies()
        })
        .await;
        let asking = in_language("en");
        for answer in [ok("").max_age(60), varying("")] {
            for body in ["one".to_owned(), long("one")] {
                assert!(
                    site.publish(&asking, &answer, body.clone()).await,
                    "{time:?}"
                );
                let entry = site.matching(&asking).await.remove(0);
                site.wait(1);
                site.freshen(&entry, site.head(&asking, &answer)).await;
                site.remove(&entry).await;
                assert!(site.publish(&asking, &answer, body).await, "{time:?}");
                site.wait(1);
                site.all_expire();
            }
        }
        site.invalidate(&asking).await;
        assert!(!site.is_found(&asking).await);
        site.all_expire();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grace_without_end_keeps_for_ever() {
    let site = Site::small(Policy::private().grace(Duration::MAX)).await;
    site.publish(&get("/"), &ok("").max_age(60), long("one"))
        .await;
    let of_a_response = |key: &String| !key.ends_with(":i");
    let eternal = || site.eternal().into_iter().filter(of_a_response).count();
    assert_eq!(eternal(), 2, "head and body");
    let entry = site.one(&get("/")).await;
    site.wait(1_000_000_000);
    site.freshen(&entry, site.head(&get("/"), &ok("").max_age(1)))
        .await;
    assert_eq!(eternal(), 2);
    assert_eq!(site.bodies(&get("/")).await, [long("one")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_for_ever_and_is_lost_goes_with_the_next_response_that_is_stored() {
    let forever = Policy::private().retention(Retention::Forever);
    for (what, answer) in [
        ("alone", ok("").max_age(60)),
        ("one of several", varying("")),
    ] {
        for next in [ok("").max_age(60), varying("")] {
            let site = Site::small(forever.clone()).await;
            for language in ["en", "de"] {
                let asking = in_language(language);
                assert!(site.publish(&asking, &answer, long(language)).await);
            }
            site.delete(&site.primary(&get("/")));
            site.wait(1);
            assert!(site.publish(&in_language("fr"), &next, long("new")).await);
            assert_eq!(site.bodies(&in_language("fr")).await, [long("new")]);
            for key in site.eternal() {
                let is_of_the_new = key == site.primary(&get("/")) || key.ends_with(":i");
                let is_found = is_of_the_new || home_or_body_of_found(&site, &key).await;
                assert!(is_found, "{key} of what was {what} stays");
            }
        }
    }
}

/// Whether a key is that of a response which is found, or of its body.
async fn home_or_body_of_found(site: &Site, key: &str) -> bool {
    let entry = site.one(&in_language("fr")).await;
    key == home_of(&site.server, entry.token.0) || key.ends_with(&format!("{:032x}", entry.token.0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_stays_as_soon_as_one_of_its_variants_does() {
    let mut site = Site::small(Policy::private()).await;
    assert!(
        site.publish(&in_language("en"), &varying(""), "hello")
            .await
    );
    site.all_expire();
    site.replica.store.policy = Policy::private().retention(Retention::Forever);
    assert!(
        site.publish(&in_language("de"), &varying(""), "hallo")
            .await
    );
    assert_eq!(site.pttl(&site.primary(&get("/"))), -1);
    site.replica.store.policy = Policy::private();
    assert!(
        site.publish(&in_language("fr"), &varying(""), "salut")
            .await
    );
    assert_eq!(site.pttl(&site.primary(&get("/"))), -1);
    assert_eq!(
        site.eternal().len(),
        3,
        "the rule, the one that stays, and the index"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_only_adds_and_not_the_same_to_all() {
    let site = Site::with(Options {
        ttl_jitter: Duration::from_secs(10),
        ..small_bodies()
    })
    .await;
    let mut found = Vec::new();
    for number in 0..50 {
        let asking = get(&format!("/{number}"));
        let start = Instant::now();
        let head = site.head(&asking, &ok("").max_age(60));
        assert!(site.write(head.clone(), "one").await);
        let key = site.primary(&asking);
        assert_pttl(&site, &key, kept_for(&head), 10_000, start);
        found.push(site.pttl(&key));
    }
    let spread = found.iter().max().expect("some") - found.iter().min().expect("some");
    assert!(spread > 3000, "{spread} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_stays_for_its_readers_after_its_head_is_replaced() {
    let site = Site::with(Options {
        reader_grace: Duration::from_secs(77),
        ..small_bodies()
    })
    .await;
    let answer = ok("").max_age(60).etag("\"1\"");
    for (what, varies) in [("alone", false), ("one of several", true)] {
        let answer = if varies { varying("") } else { answer.clone() };
        let asking = in_language("en");
        for how in ["replaced", "removed", "invalidated"] {
            site.publish(&asking, &answer, long("old")).await;
            let entry = site.matching(&asking).await.remove(0);
            let body = format!("{}:b:{:032x}", site.primary(&asking), entry.token.0);
            let start = Instant::now();
            match how {
                "replaced" => assert!(site.publish(&asking, &answer, "new").await),
                "removed" => site.remove(&entry).await,
                _ => site.invalidate(&asking).await,
            }
            if varies && how == "invalidated" {
                // Its head stays, too, though it cannot be found.
                assert!(site.pttl(&body) > 0);
            } else {
                assert_pttl(&site, &body, Some(77_000), 0, start);
            }
            assert_eq!(
                read(&entry).await.expect("a body that is there still"),
                long("old").as_bytes(),
                "{what}, {how}"
            );
            site.wait(1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_is_kept_as_long_as_it_is_configured() {
    let site = Site::with(Options {
        invalidation_memory: Duration::from_secs(33),
        ..patient()
    })
    .await;
    let start = Instant::now();
    site.invalidate(&get("/")).await;
    assert_pttl(&site, &site.server.keys()[0], Some(33_000), 0, start);
    assert_eq!(site.server.keys().len(), 1);
}

/// A writer that has sent a part of a large body, which the server has.
async fn uploading(site: &Site, most: usize) -> Box<dyn cache_core::BodyWriter> {
    let head = site.head(&get("/"), &ok("").max_age(60));
    let mut writer = site.backend.writer(head);
    writer.write(noise(most, 1)).expect("a piece is taken");
    until("the first frame is there", || {
        !site.server.keys().is_empty()
    })
    .await;
    writer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_dropped_in_the_middle_leaves_nothing() {
    let site = Site::start().await;
    for length in [200_000, 1_000_000] {
        let writer = uploading(&site, length).await;
        site.all_expire();
        drop(writer);
        until("the frames are taken back", || {
            site.all_expire();
            site.server.keys().is_empty()
        })
        .await;
        assert!(!site.is_found(&get("/")).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_nobody_goes_on_with_expires() {
    let site = Site::with(Options {
        staging_ttl: Duration::from_millis(300),
        ..patient()
    })
    .await;
    let writer = uploading(&site, 1_000_000).await;
    forget(writer);
    until("it has expired", || {
        for key in site.server.keys() {
            assert!(site.pttl(&key) <= 300, "{key}");
        }
        site.all_expire();
        site.server.keys().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_expires_under_way_is_no_response() {
    let site = Site::with(Options {
        staging_ttl: Duration::from_millis(1),
        ..patient()
    })
    .await;
    let head = site.head(&get("/"), &ok("").max_age(60));
    let mut writer = site.backend.writer(head);
    site.server.reset_counts();
    writer.write(noise(200_000, 1)).expect("a piece is taken");
    until("it has expired", || {
        site.server.command_counts().contains_key("hset") && site.server.keys().is_empty()
    })
    .await;
    let written = writer.write(noise(200_000, 2));
    let published = match written {
        Ok(()) => writer.publish(None).wait().await,
        Err(error) => Err(error),
    };
    let error = published.expect_err("what was sent before is gone");
    assert_eq!(error.kind(), BackendErrorKind::Unavailable);
    site.all_expire();
    assert!(!site.is_found(&get("/")).await);
    until("nothing is left", || {
        site.all_expire();
        site.server.keys().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_is_dropped_at_any_point_leaves_all_or_nothing_and_no_key_for_ever() {
    let site = Site::small(Policy::private()).await;
    let body = noise(300_000, 1);
    for polls in 0..12 {
        for body in [body.clone(), noise(50, 1)] {
            let asking = get(&format!("/{polls}/{}", body.len()));
            let head = site.head(&asking, &ok("").max_age(60));
            let mut writer = site.backend.writer(head);
            writer.write(body.clone()).expect("a piece is taken");
            let mut publishing = Box::pin(writer.publish(None).wait());
            for _ in 0..polls {
                let is_done = poll_fn(|cx| Poll::Ready(publishing.as_mut().poll(cx).is_ready()));
                if is_done.await {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(publishing);
            site.all_expire();
            for entry in site.matching(&asking).await {
                assert!(read(&entry).await.expect("a body") == body);
            }
        }
    }
    site.all_expire();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_that_is_declined_is_taken_back() {
    let site = Site::small(Policy::private()).await;
    let old = site.head(&get("/"), &ok("").max_age(60));
    site.wait(1);
    assert!(
        site.publish(&get("/"), &ok("").max_age(60), long("new"))
            .await
    );
    let before = site.server.dump();
    assert!(!site.write(old, noise(300_000, 1)).await);
    assert_same(&site.server.dump(), &before, "declined");
}

/// The environment variable that tells the child of a test what server to use.
const URL: &str = "CACHE_TESTS_CHILD_URL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_while_it_stores_leaves_no_key_for_ever() {
    if let Ok(url) = std::env::var(URL) {
        return store_until_killed(&url).await;
    }
    let site = Site::small(Policy::private()).await;
    for _ in 0..5 {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([
                "--exact",
                "expiry::a_process_that_is_killed_while_it_stores_leaves_no_key_for_ever",
            ])
            .env(URL, site.server.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process");
        until("it is in the middle of a body", || {
            let mut bodies = site.bodies_elsewhere();
            bodies.retain(|key| site.pttl(key) <= 120_000);
            !bodies.is_empty()
        })
        .await;
        child.kill().expect("killed");
        child.wait().expect("gone");
        site.all_expire();
    }
    assert!(!site.server.keys().is_empty());
    for entry in site.matching(&in_language("en")).await {
        assert!(read(&entry).await.expect("a body") == noise(400_000, 1));
    }
}

async fn store_until_killed(url: &str) {
    let replica = Replica::at(url, small_bodies());
    loop {
        for answer in [ok("").max_age(60), varying("")] {
            replica
                .publish(&in_language("en"), &answer, noise(400_000, 1))
                .await;
        }
        replica.invalidate(&in_language("en")).await;
        replica.wait(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_lives_as_long_as_the_longest_of_its_variants_in_whatever_order_they_come() {
    let site = Site::small(Policy::private().grace(Duration::ZERO)).await;
    let lifetimes = [10_u64, 1000, 100];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let path = format!("/{order:?}").replace([' ', '[', ']', ','], "");
        let mut longest = 0;
        for index in order {
            let asking = request(&path, &[("accept-language", &format!("l{index}"))]);
            let answer = ok("")
                .max_age(lifetimes[index])
                .with("vary", "accept-language");
            let start = Instant::now();
            assert!(site.publish(&asking, &answer, "one").await);
            longest = longest.max(lifetimes[index]);
            let rule = site.pttl(&site.primary(&asking));
            let most = i64::try_from(longest * 1000).expect("a short time");
            // The time that is left is known in whole milliseconds.
            assert!(rule <= most + 1);
            if longest == lifetimes[index] {
                assert_pttl(&site, &site.primary(&asking), Some(most), 1, start);
            }
            for variant in site.variants(&asking) {
                assert!(site.pttl(&site.primary(&asking)) >= site.pttl(&variant) - 5);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_becomes_one_of_several_keeps_its_ttl() {
    let site = Site::small(Policy::private().grace(Duration::ZERO)).await;
    let start = Instant::now();
    site.publish(&get("/"), &ok("").max_age(1000), long("any"))
        .await;
    let entry = site.one(&get("/")).await;
    let body = format!("{}:b:{:032x}", site.primary(&get("/")), entry.token.0);
    site.wait(1);
    let answer = ok("").max_age(10).with("vary", "accept-language");
    site.publish(&in_language("en"), &answer, "hello").await;
    let any = home_of(&site.server, entry.token.0);
    assert_pttl(&site, &any, Some(1_000_000), 0, start);
    assert_pttl(&site, &body, Some(1_300_000), 0, start);
    assert_pttl(&site, &site.primary(&get("/")), Some(1_000_000), 1, start);
    assert_eq!(site.bodies(&get("/")).await, [long("any")]);
}
