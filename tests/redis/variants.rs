//! Several responses of one resource: by which fields they were selected, and who knows that.

use std::collections::BTreeMap;
use std::slice::from_ref;

use cache_core::Policy;
use http::{HeaderValue, Request};
use kit::contract::{get, in_language, varying};
use kit::{Answer, ok};

use crate::layout::part;
use crate::support::{Replica, Site, long, request, small_bodies};

/// All orders of these.
pub(crate) fn permutations<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = of.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for permutation in permutations(rest) {
        for place in 0..=permutation.len() {
            let mut longer = permutation.clone();
            longer.insert(place, first.clone());
            all.push(longer);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_response_stands_at_the_primary_key_whatever_selected_it() {
    let site = Site::small(Policy::private()).await;
    let (en, de) = (in_language("en"), in_language("de"));
    let mut of_part = in_language("en");
    of_part
        .headers_mut()
        .insert("range", HeaderValue::from_static("bytes=0-9"));
    for answers in [
        [(&en, varying(""), "hello"), (&en, varying(""), "hi")],
        [
            (&of_part, part(), "0123456789"),
            (&of_part, part(), "9876543210"),
        ],
    ] {
        for (request, answer, body) in answers {
            site.wait(1);
            assert!(site.publish(request, &answer, body).await);
            assert_eq!(site.server.keys(), [site.primary(&en)]);
        }
        let _: String = site.server.query(&["FLUSHALL"]);
    }
    for body in ["hello".to_owned(), long("hello")] {
        assert!(site.publish(&en, &varying(""), body.clone()).await);
        // A replica that knows it as the only one, and one that knows nothing.
        let (knows, stranger) = (site.other(), site.other());
        assert_eq!(knows.bodies(&en).await, from_ref(&body));
        assert!(site.publish(&de, &varying(""), "hallo").await);
        assert_eq!(site.variants(&en).len(), 2);
        for replica in [&*site, &knows, &stranger] {
            assert_eq!(replica.bodies(&en).await, from_ref(&body));
            assert_eq!(replica.bodies(&de).await, ["hallo"]);
            assert!(!replica.is_found(&in_language("fr")).await);
        }
        let _: String = site.server.query(&["FLUSHALL"]);
    }
}

/// A response: by what it varies, and what the request that it answers has in `a` and `b`.
#[derive(Debug, Clone, Copy)]
struct Told {
    vary: &'static [&'static str],
    a: &'static str,
    b: &'static str,
}

impl Told {
    fn asking(&self, path: &str) -> Request<()> {
        request(path, &[("a", self.a), ("b", self.b)])
    }

    fn answer(&self) -> Answer {
        let answer = ok("").max_age(60);
        match self.vary {
            [] => answer,
            names => answer.with("vary", &names.join(", ")),
        }
    }

    /// What it is selected by, with the values.
    fn selected_by(&self, a: &str, b: &str) -> Vec<(&'static str, String)> {
        let value = |name: &&'static str| (*name, if *name == "a" { a } else { b }.to_owned());
        self.vary.iter().map(value).collect()
    }
}

const TOLD: [Told; 5] = [
    Told {
        vary: &[],
        a: "1",
        b: "1",
    },
    Told {
        vary: &["a"],
        a: "1",
        b: "1",
    },
    Told {
        vary: &["a"],
        a: "2",
        b: "1",
    },
    Told {
        vary: &["a", "b"],
        a: "1",
        b: "1",
    },
    Told {
        vary: &["b"],
        a: "1",
        b: "2",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_responses_vary_by_and_in_whatever_order_they_come_each_is_found() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for (number, order) in permutations(&TOLD).into_iter().enumerate() {
        let path = format!("/{number}");
        let mut expected: BTreeMap<Vec<(&str, String)>, String> = BTreeMap::new();
        for (index, told) in order.iter().enumerate() {
            let body = format!("{index}");
            let body = if index % 2 == 0 { body } else { long(&body) };
            assert!(
                site.publish(&told.asking(&path), &told.answer(), body.clone())
                    .await,
                "{told:?} of {order:?}"
            );
            expected.insert(told.selected_by(told.a, told.b), body);
            site.wait(1);
            for (a, b) in [("1", "1"), ("2", "1"), ("1", "2"), ("2", "2")] {
                let mut bodies: Vec<String> = TOLD
                    .iter()
                    .map(|told| told.selected_by(a, b))
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .filter_map(|selected| expected.get(&selected).cloned())
                    .collect();
                bodies.sort();
                let asking = request(&path, &[("a", a), ("b", b)]);
                // The one that stores, and one that only ever looks.
                for (who, replica) in [("writer", &*site), ("reader", &other)] {
                    assert_eq!(
                        replica.bodies(&asking).await,
                        bodies,
                        "{who}, a={a} b={b}, after {:?}",
                        &order[..=index]
                    );
                }
            }
        }
    }
    assert_eq!(site.backend.undecodable() + other.backend.undecodable(), 0);
    site.all_expire();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_without_vary_takes_the_place_of_nothing_but_its_like() {
    let site = Site::small(Policy::private()).await;
    let plain = ok("").max_age(60);
    site.publish(&in_language("en"), &varying(""), "hello")
        .await;
    site.publish(&get("/"), &plain, long("any")).await;
    site.publish(&in_language("de"), &varying(""), "hallo")
        .await;
    site.publish(&get("/"), &plain, long("any, again")).await;
    assert_eq!(
        site.bodies(&in_language("en")).await,
        [long("any, again"), "hello".to_owned()]
    );
    assert_eq!(
        site.bodies(&in_language("de")).await,
        [long("any, again"), "hallo".to_owned()]
    );
    assert_eq!(site.bodies(&in_language("fr")).await, [long("any, again")]);
}

/// What another process may have done while this one remembers how it was.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Invalidated,
    Cleared,
    Flushed,
    RuleDeleted,
    VariesByMore,
    VariesByOther,
    VariesNoMore,
    Removed,
}

impl Meanwhile {
    /// Does it; what is to be found then, where one that varies by `a` was.
    async fn happens(self, site: &Site, other: &Replica) -> &'static [&'static str] {
        let asking = request("/", &[("a", "1"), ("b", "1")]);
        let store = |vary: &'static str, body: &'static str| {
            let asking = asking.clone();
            async move {
                let answer = ok("").max_age(60);
                let answer = if vary.is_empty() {
                    answer
                } else {
                    answer.with("vary", vary)
                };
                assert!(other.publish(&asking, &answer, body).await);
            }
        };
        match self {
            Self::Invalidated => other.invalidate(&asking).await,
            Self::Cleared => {
                other.backend.clear(|_| ()).await.expect("cleared");
            }
            Self::Flushed => {
                let _: String = site.server.query(&["FLUSHALL"]);
            }
            Self::RuleDeleted => site.delete(&site.primary(&asking)),
            Self::Removed => other.remove(&other.one(&asking).await).await,
            Self::VariesByMore => {
                store("a, b", "more").await;
                return &["first", "more"];
            }
            Self::VariesByOther => {
                other.invalidate(&asking).await;
                store("b", "other").await;
                return &["other"];
            }
            Self::VariesNoMore => {
                other.invalidate(&asking).await;
                store("", "any").await;
                return &["any"];
            }
        }
        &[]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_remembers_of_a_resource_never_misleads_it() {
    for meanwhile in [
        Meanwhile::Invalidated,
        Meanwhile::Cleared,
        Meanwhile::Flushed,
        Meanwhile::RuleDeleted,
        Meanwhile::VariesByMore,
        Meanwhile::VariesByOther,
        Meanwhile::VariesNoMore,
        Meanwhile::Removed,
    ] {
        let site = Site::small(Policy::private()).await;
        let other = site.other();
        let asking = request("/", &[("a", "1"), ("b", "1")]);
        let answer = ok("").max_age(60).with("vary", "a");
        assert!(site.publish(&asking, &answer, "first").await);
        for replica in [&*site, &other] {
            for _ in 0..2 {
                assert_eq!(replica.bodies(&asking).await, ["first"]);
            }
        }
        site.wait(1);
        let expected = meanwhile.happens(&site, &other).await;
        for _ in 0..3 {
            assert_eq!(site.bodies(&asking).await, expected, "{meanwhile:?}");
        }
        // And what comes then is found, too.
        site.wait(1);
        assert!(site.publish(&asking, &answer, "now").await);
        for replica in [&*site, &other] {
            assert!(
                replica.bodies(&asking).await.contains(&"now".to_owned()),
                "{meanwhile:?}"
            );
        }
        assert_eq!(site.backend.undecodable(), 0, "{meanwhile:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_more_ways_to_vary_than_are_remembered_the_latest_are_found() {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    let names: Vec<String> = (0..20).map(|number| format!("field-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    let asking = request("/", &fields);
    for (index, name) in names.iter().enumerate() {
        let answer = ok("").max_age(60).with("vary", name);
        assert!(site.publish(&asking, &answer, name.clone()).await);
        site.wait(1);
        let mut latest = names[index.saturating_sub(7)..=index].to_vec();
        latest.sort();
        assert_eq!(site.bodies(&asking).await, latest);
        assert_eq!(other.bodies(&asking).await, latest);
    }
    // One that was forgotten is one like any other.
    let answer = ok("").max_age(60).with("vary", "field-0");
    assert!(site.publish(&asking, &answer, "again").await);
    assert!(other.bodies(&asking).await.contains(&"again".to_owned()));
    site.all_expire();
    site.invalidate(&asking).await;
    assert!(!other.is_found(&asking).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_may_vary_by_as_many_fields_as_the_policy_lets_it() {
    let site = Site::small(Policy::private()).await;
    let names: Vec<String> = (0..32)
        .map(|number| format!("x-{number}-{}", "long".repeat(20)))
        .collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
    let answer = ok("").max_age(60).with("vary", &names.join(", "));
    let asking = request("/", &fields);
    assert!(site.publish(&asking, &answer, "one").await);
    assert_eq!(site.bodies(&asking).await, ["one"]);
    assert_eq!(site.other().bodies(&asking).await, ["one"]);
    assert!(!site.is_found(&request("/", &fields[1..])).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_are_alike_but_for_their_names_are_kept_apart() {
    let site = Site::small(Policy::private()).await;
    // Joined without care, these names would be the same.
    for (index, vary) in [
        "a, bc",
        "ab, c",
        "a, b, c",
        "abc",
        "any",
        "x!#$%&'*+-.^_`|~",
        "p",
    ]
    .iter()
    .enumerate()
    {
        let asking = request("/", &[("a", "1"), ("b", "1"), ("c", "1")]);
        let answer = ok("").max_age(60).with("vary", vary);
        assert!(site.publish(&asking, &answer, index.to_string()).await);
        site.wait(1);
    }
    let asking = request("/", &[("a", "1"), ("b", "1"), ("c", "1")]);
    assert_eq!(site.bodies(&asking).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_stands_beside_the_whole_in_either_order() {
    for order in permutations(&["whole", "part", "varying whole", "varying part"]) {
        let site = Site::small(Policy::private()).await;
        let other = site.other();
        let asking = request("/", &[("range", "bytes=0-9"), ("accept-language", "en")]);
        let mut expected = Vec::new();
        for name in &order {
            let answer = match *name {
                "whole" => ok("").max_age(60).etag("\"1\""),
                "part" => part(),
                "varying whole" => varying("").etag("\"1\""),
                _ => part().with("vary", "accept-language"),
            };
            // A part has exactly ten bytes.
            let body = format!("{name}..........")[..10].to_owned();
            let body = if name.contains("part") {
                body
            } else {
                long(name)
            };
            assert!(
                site.publish(&asking, &answer, body.clone()).await,
                "{name} of {order:?}"
            );
            expected.push(body);
            expected.sort();
            site.wait(1);
            assert_eq!(site.bodies(&asking).await, expected, "{order:?}");
            assert_eq!(other.bodies(&asking).await, expected, "{order:?}");
        }
        site.invalidate(&asking).await;
        assert!(!other.is_found(&asking).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_part_is_found_whole() {
    let site = Site::start().await;
    let body = crate::support::noise(300_000, 1);
    let asking = request("/", &[("range", "bytes=0-9")]);
    let mut parts = crate::support::parts(&site.head(&asking, &part()));
    parts.part = Some(cache_core::Part {
        bytes: 100..300_100,
        length: 1_000_000,
    });
    assert!(site.write(parts.into(), body.clone()).await);
    let entry = site.one(&get("/")).await;
    assert_eq!(
        entry.head.part().map(|part| part.bytes.clone()),
        Some(100..300_100)
    );
    assert!(crate::support::read(&entry).await.expect("a body") == body);
}

/// How a rule can be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_from_before_a_rule_was_lost_are_never_found_again() {
    for how in ["invalidated", "deleted", "overwritten"] {
        for large in [false, true] {
            let site = Site::small(Policy::private()).await;
            let other = site.other();
            let body = |text: &str| if large { long(text) } else { text.to_owned() };
            for (language, text) in [("en", "hello"), ("de", "hallo"), ("fr", "salut")] {
                site.publish(&in_language(language), &varying(""), body(text))
                    .await;
                other.bodies(&in_language(language)).await;
            }
            site.wait(1);
            match how {
                "invalidated" => site.invalidate(&get("/")).await,
                "deleted" => site.delete(&site.primary(&get("/"))),
                _ => site.overwrite(&site.primary(&get("/")), b"something else"),
            }
            assert_eq!(site.variants(&get("/")).len(), 3, "they are there still");
            site.wait(1);
            // The same rule again, and one more variant of each of the old ones' kind.
            assert!(
                site.publish(&in_language("en"), &varying(""), body("new"))
                    .await
            );
            site.publish(&get("/"), &ok("").max_age(60), body("any"))
                .await;
            let mut expected = vec![body("any"), body("new")];
            expected.sort();
            for replica in [&*site, &other, &site.other()] {
                assert_eq!(replica.bodies(&in_language("en")).await, expected, "{how}");
                for language in ["de", "fr"] {
                    let found = replica.bodies(&in_language(language)).await;
                    assert_eq!(found, [body("any")], "{language}, {how}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_cannot_be_found_any_more_keeps_none_from_being_stored() {
    let site = Site::small(Policy::private()).await;
    let old = site.head(&in_language("en"), &varying(""));
    site.wait(10);
    assert!(site.publish(&in_language("en"), &varying(""), "lost").await);
    site.delete(&site.primary(&get("/")));
    // It was asked for before the one that is lost, but that one is lost.
    assert!(site.write(old, "old").await);
    assert_eq!(site.bodies(&in_language("en")).await, ["old"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_store_and_look_at_once_find_what_was_published() {
    let site = std::sync::Arc::new(Site::with(small_bodies()).await);
    let replicas: Vec<_> = (0..4_u64)
        .map(|number| {
            let site = site.clone();
            tokio::spawn(async move {
                let replica = site.other();
                for round in 0..30 {
                    let language = format!("l{number}");
                    let asking = in_language(&language);
                    let text = format!("{number}/{round}");
                    let body = if round % 2 == 0 { text } else { long(&text) };
                    if replica.publish(&asking, &varying(""), body.clone()).await {
                        assert_eq!(replica.bodies(&asking).await, [body]);
                    } else {
                        panic!("{number}/{round} was declined");
                    }
                }
            })
        })
        .collect();
    for replica in replicas {
        replica.await.expect("no replica panicked");
    }
    site.all_expire();
}
