//! Which of several writers wins: an older answer never takes the place of a newer one, and what was
//! asked for before an invalidation never comes back.

use std::time::{Duration, Instant, SystemTime};

use cache_core::{Backend, Policy, StoredHead};
use http::Request;
use kit::contract::{get, in_language, varying};
use kit::redis::RedisServer;
use kit::{Answer, ok};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::support::{Replica, Site, assert_same, long, parts, read, small_bodies};
use crate::variants::permutations;

/// A head that was asked for at this second, and arrives now.
fn asked_at(replica: &Replica, request: &Request<()>, answer: &Answer, second: u64) -> StoredHead {
    let mut parts = parts(&replica.head(request, answer));
    parts.requested_at = at(replica, second);
    parts.into()
}

/// So many seconds before now and a thousand; time stands still in these tests.
fn at(replica: &Replica, second: u64) -> SystemTime {
    replica.store.now() - Duration::from_secs(1000) + Duration::from_secs(second)
}

async fn invalidate_at(replica: &Replica, second: u64) {
    let key = replica.store.key(&get("/"));
    let invalidated = replica.backend.invalidate(&key, at(replica, second));
    invalidated.wait().await.expect("invalidated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_answer_is_declined_whatever_stands_there() {
    for (what, answer) in [
        ("alone", ok("").max_age(60)),
        ("one of several", varying("")),
    ] {
        for (old, new) in [
            ("old".to_owned(), "new".to_owned()),
            (long("old"), long("new")),
            ("old".to_owned(), long("new")),
            (long("old"), "new".to_owned()),
        ] {
            let site = Site::small(Policy::private()).await;
            let other = site.other();
            let asking = in_language("en");
            assert!(
                site.write(asked_at(&site, &asking, &answer, 2), new.clone())
                    .await
            );
            let before = site.server.dump();
            let older = asked_at(&site, &asking, &answer, 1);
            assert!(!other.write(older, old.clone()).await, "{what}");
            assert_same(&site.server.dump(), &before, what);
            assert_eq!(other.bodies(&asking).await, [&*new], "{what}");
            // One that was asked for at the same time is as good as the other.
            assert!(
                other
                    .write(asked_at(&site, &asking, &answer, 2), old.clone())
                    .await
            );
            assert_eq!(site.bodies(&asking).await, [old], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_answer_of_one_variant_is_stored_beside_a_newer_one_of_another() {
    let site = Site::small(Policy::private()).await;
    let head =
        |language: &str, second: u64| asked_at(&site, &in_language(language), &varying(""), second);
    assert!(site.write(head("en", 2), "hello").await);
    assert!(site.write(head("de", 1), "hallo").await);
    assert_eq!(site.bodies(&in_language("en")).await, ["hello"]);
    assert_eq!(site.bodies(&in_language("de")).await, ["hallo"]);
}

/// What each of two writers and an invalidation does in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It was asked for at second 1.
    Early,
    /// It was asked for at second 3.
    Late,
    /// At second 2.
    Invalidate,
    /// What of the late one is there is removed.
    Remove,
    /// What is there is freshened at second 4, and varies by something else then.
    Freshen,
    /// An invalidation of second 2 that comes a second time.
    Again,
}

impl Step {
    async fn is_done(self, replica: &Replica, early: &Answer, late: &Answer) {
        let asking = in_language("en");
        match self {
            Self::Early => {
                replica
                    .write(asked_at(replica, &asking, early, 1), "early")
                    .await;
            }
            Self::Late => {
                replica
                    .write(asked_at(replica, &asking, late, 3), "late")
                    .await;
            }
            Self::Invalidate | Self::Again => invalidate_at(replica, 2).await,
            Self::Remove => {
                for entry in replica.matching(&asking).await {
                    replica.remove(&entry).await;
                }
            }
            Self::Freshen => {
                let answer = ok("").max_age(60).with("vary", "origin");
                for entry in replica.matching(&asking).await {
                    replica
                        .freshen(&entry, asked_at(replica, &asking, &answer, 4))
                        .await;
                }
            }
        }
    }
}

/// The ways in which two responses of one resource can stand to one another.
fn pairs() -> Vec<(Answer, Answer)> {
    let kinds = [
        ok("").max_age(60),
        varying(""),
        ok("").max_age(60).with("vary", "accept-language, origin"),
    ];
    let mut pairs = Vec::new();
    for early in &kinds {
        for late in &kinds {
            pairs.push((early.clone(), late.clone()));
        }
    }
    pairs
}

async fn all_orders_of(steps: &[Step], check: impl Fn(&[Step], &[String])) {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for order in permutations(steps) {
        for (early, late) in pairs() {
            for alternate in [false, true] {
                let _: String = site.server.query(&["FLUSHALL"]);
                for (index, step) in order.iter().enumerate() {
                    let replica = if alternate && index % 2 == 1 {
                        &other
                    } else {
                        &*site
                    };
                    step.is_done(replica, &early, &late).await;
                    for replica in [&*site, &other] {
                        let found = replica.bodies(&in_language("en")).await;
                        check(&order[..=index], &found);
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_and_an_invalidation_only_what_was_asked_for_after_it_is_found() {
    all_orders_of(
        &[Step::Early, Step::Late, Step::Invalidate],
        |done, found| {
            let place = |step| done.iter().position(|done| *done == step);
            let is_found = |body: &str| found.iter().any(|found| found == body);
            if place(Step::Invalidate).is_some() {
                assert!(!is_found("early"), "{done:?}");
            }
            if place(Step::Late) > place(Step::Invalidate) {
                assert!(is_found("late"), "{done:?}");
            }
            if place(Step::Late) < place(Step::Invalidate) {
                assert!(
                    found.is_empty(),
                    "an invalidation removes all there is: {done:?}"
                );
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_invalidated_does_not_come_back_when_what_came_after_it_is_removed() {
    all_orders_of(
        &[Step::Early, Step::Late, Step::Invalidate, Step::Remove],
        |done, found| {
            let is_found = found.iter().any(|body| body == "early");
            assert!(!is_found || !done.contains(&Step::Invalidate), "{done:?}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_invalidated_does_not_come_back_when_what_came_after_it_is_freshened() {
    all_orders_of(
        &[Step::Early, Step::Late, Step::Invalidate, Step::Freshen],
        |done, found| {
            let is_found = found.iter().any(|body| body == "early");
            assert!(!is_found || !done.contains(&Step::Invalidate), "{done:?}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_that_comes_twice_is_no_other_than_one_that_comes_once() {
    all_orders_of(
        &[Step::Early, Step::Late, Step::Invalidate, Step::Again],
        |done, found| {
            let place = |step| done.iter().position(|done| *done == step);
            let is_found = |body: &str| found.iter().any(|found| found == body);
            let invalidations = [place(Step::Invalidate), place(Step::Again)];
            if invalidations.iter().any(Option::is_some) {
                assert!(!is_found("early"), "{done:?}");
            }
            if invalidations.iter().all(|at| place(Step::Late) > *at) {
                assert!(is_found("late"), "{done:?}");
            }
        },
    )
    .await;
}

/// Two replicas whose clocks differ invalidate; the later of the two times is what counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_that_is_late_does_not_take_back_a_later_one() {
    for (what, answer) in [
        ("nothing", None),
        ("one response", Some(ok("").max_age(60))),
        ("several", Some(varying(""))),
    ] {
        let site = Site::small(Policy::private()).await;
        let asking = in_language("en");
        invalidate_at(&site, 10).await;
        if let Some(answer) = &answer {
            assert!(
                site.write(asked_at(&site, &asking, answer, 11), "new")
                    .await
            );
        }
        invalidate_at(&site, 8).await;
        for kind in [ok("").max_age(60), varying("")] {
            let between = asked_at(&site, &asking, &kind, 9);
            assert!(
                !site.write(between, "between").await,
                "with {what} between them"
            );
        }
        assert!(!site.is_found(&asking).await, "with {what} between them");
        let after = asked_at(&site, &asking, &ok("").max_age(60), 12);
        assert!(site.write(after, "after").await);
        assert_eq!(site.bodies(&asking).await, ["after"]);
    }
}

/// The time for which an invalidation is remembered is not cut short by a response that is kept for
/// a shorter time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_is_remembered_when_what_came_after_it_has_expired() {
    for (what, answer) in [
        ("alone", ok("").max_age(60)),
        ("one of several", varying("")),
    ] {
        let site = Site::small(Policy::private()).await;
        let asking = in_language("en");
        invalidate_at(&site, 5).await;
        let mut short = parts(&asked_at(&site, &asking, &answer, 6));
        short.freshness.retain_until = Some(short.received_at + Duration::from_millis(1));
        assert!(site.write(short.into(), "short").await, "{what}");
        let written = Instant::now();
        crate::support::until("its millisecond has passed", || {
            written.elapsed() > Duration::from_millis(5)
                && site.server.query::<u64>(&["DBSIZE"]) < 3
        })
        .await;
        site.wait(1);
        let old = asked_at(&site, &asking, &answer, 3);
        assert!(!site.write(old, "old").await, "{what}");
        assert!(!site.is_found(&asking).await, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_at_the_time_of_an_invalidation_is_stored() {
    let site = Site::small(Policy::private()).await;
    invalidate_at(&site, 5).await;
    for answer in [ok("").max_age(60), varying("")] {
        let head = asked_at(&site, &in_language("en"), &answer, 5);
        assert!(site.write(head, "one").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_writers_that_publish_at_once_the_one_that_asked_last_is_found() {
    let site = std::sync::Arc::new(Site::with(small_bodies()).await);
    for round in 0..10_u64 {
        let writers: Vec<_> = (0..8_u64)
            .map(|number| {
                let site = site.clone();
                tokio::spawn(async move {
                    let other = site.other();
                    let asking = get(&format!("/{round}"));
                    let head = asked_at(&other, &asking, &ok("").max_age(60), number);
                    let body = number.to_string();
                    other
                        .write(head, if number % 2 == 0 { body } else { long(&body) })
                        .await
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no writer panicked");
        }
        assert_eq!(site.bodies(&get(&format!("/{round}"))).await, [long("7")]);
    }
}

/// What is done in a history that a model follows.
#[derive(Debug, Clone)]
enum Deed {
    Ask {
        language: usize,
        vary: usize,
        is_large: bool,
    },
    Publish {
        which: usize,
    },
    Invalidate {
        ago: u64,
    },
    Remove {
        language: usize,
        which: usize,
    },
    Freshen {
        language: usize,
        which: usize,
        vary: usize,
    },
}

const LANGUAGES: [&str; 2] = ["en", "de"];
const VARY: [&str; 3] = ["", "accept-language", "accept-language, origin"];

fn deed() -> impl Strategy<Value = Deed> {
    let (language, vary) = (0..LANGUAGES.len(), 0..VARY.len());
    prop_oneof![
        6 => (language.clone(), vary.clone(), any::<bool>())
            .prop_map(|(language, vary, is_large)| Deed::Ask { language, vary, is_large }),
        6 => (0_usize..8).prop_map(|which| Deed::Publish { which }),
        2 => prop_oneof![3 => Just(0), 1 => 1_u64..4].prop_map(|ago| Deed::Invalidate { ago }),
        1 => (language.clone(), 0_usize..3)
            .prop_map(|(language, which)| Deed::Remove { language, which }),
        2 => (language, 0_usize..3, vary)
            .prop_map(|(language, which, vary)| Deed::Freshen { language, which, vary }),
    ]
}

/// A response as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    vary: usize,
    language: usize,
    asked: u64,
    body: String,
}

impl Known {
    /// Whether it takes the place of the other.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.vary == other.vary && (self.vary == 0 || self.language == other.language)
    }
}

/// What has to be true of one resource.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    barrier: u64,
    /// The latest time at which anything was asked for that was ever stored since.
    latest: u64,
    stored: Vec<Known>,
    asked: Vec<Known>,
    next: usize,
}

impl Model {
    fn bodies(&self, language: usize) -> Vec<String> {
        let mut bodies: Vec<String> = self
            .stored
            .iter()
            .filter(|known| known.vary == 0 || known.language == language)
            .map(|known| known.body.clone())
            .collect();
        bodies.sort();
        bodies
    }

    fn keep(&mut self, known: Known) {
        self.stored.retain(|other| !known.is_twin_of(other));
        self.latest = self.latest.max(known.asked);
        self.stored.push(known);
    }

    /// Does it to the backend, too, and compares what both make of it.
    async fn follow(&mut self, replica: &Replica, deed: &Deed) {
        self.now += 1;
        let head = |known: &Known| {
            let answer = match VARY[known.vary] {
                "" => ok("").max_age(60),
                vary => ok("").max_age(60).with("vary", vary),
            };
            let asking = in_language(LANGUAGES[known.language]);
            asked_at(replica, &asking, &answer, known.asked)
        };
        match *deed {
            Deed::Ask {
                language,
                vary,
                is_large,
            } => {
                let name = format!("#{}", self.next);
                self.next += 1;
                self.asked.push(Known {
                    vary,
                    language,
                    asked: self.now,
                    body: if is_large { long(&name) } else { name },
                });
            }
            Deed::Publish { which } => {
                if self.asked.is_empty() {
                    return;
                }
                let known = self.asked.remove(which % self.asked.len());
                let is_outdone = self
                    .stored
                    .iter()
                    .any(|other| known.is_twin_of(other) && other.asked > known.asked);
                let taken = replica.write(head(&known), known.body.clone()).await;
                let is_allowed = known.asked >= self.barrier && !is_outdone;
                assert!(!taken || is_allowed, "{known:?} was taken");
                // What was asked for before something else may be declined.
                assert!(
                    taken || !is_allowed || known.asked < self.latest,
                    "{known:?} was not taken"
                );
                if taken {
                    self.keep(known);
                }
            }
            Deed::Invalidate { ago } => {
                let second = self.now.saturating_sub(ago);
                invalidate_at(replica, second).await;
                // One that is older than another that stands there need not do anything.
                let other = replica.bodies(&in_language("en")).await;
                let another = replica.bodies(&in_language("de")).await;
                assert!(
                    other.is_empty() && another.is_empty(),
                    "{other:?} {another:?}"
                );
                self.stored.clear();
                self.barrier = self.barrier.max(second);
            }
            Deed::Remove { language, which } => {
                let found = replica.matching(&in_language(LANGUAGES[language])).await;
                if let Some(entry) = found.get(which) {
                    let body = read(entry).await.expect("a body");
                    replica.remove(entry).await;
                    self.stored.retain(|known| known.body.as_bytes() != body);
                }
            }
            Deed::Freshen {
                language,
                which,
                vary,
            } => {
                let found = replica.matching(&in_language(LANGUAGES[language])).await;
                if let Some(entry) = found.get(which) {
                    let body = read(entry).await.expect("a body");
                    let place = self
                        .stored
                        .iter()
                        .position(|known| known.body.as_bytes() == body);
                    let mut known = self.stored.remove(place.expect("it is known"));
                    known = Known {
                        language,
                        vary,
                        asked: self.now,
                        ..known
                    };
                    replica.freshen(entry, head(&known)).await;
                    self.keep(known);
                }
            }
        }
    }
}

/// Whatever two replicas and their requests do, a resource is as if one after the other had done it
/// to a list in memory, but that what was asked for before something else may be declined.
#[test]
fn any_history_of_a_resource_is_one_that_the_port_allows() {
    let runtime = Runtime::new().expect("a runtime");
    let server = runtime.block_on(RedisServer::start());
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    let histories = proptest::collection::vec((deed(), any::<bool>()), 1..25);
    let checked = TestRunner::new(config).run(&histories, |deeds| {
        let _: String = server.query(&["FLUSHALL"]);
        runtime.block_on(async {
            let replicas = [(); 2].map(|()| Replica::at(&server.url(), small_bodies()));
            let mut model = Model::default();
            for (index, (deed, by_other)) in deeds.iter().enumerate() {
                model.follow(&replicas[usize::from(*by_other)], deed).await;
                for (language, name) in LANGUAGES.iter().enumerate() {
                    for replica in &replicas {
                        assert_eq!(
                            replica.bodies(&in_language(name)).await,
                            model.bodies(language),
                            "{name} after {:?}",
                            &deeds[..=index]
                        );
                    }
                }
            }
        });
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}
