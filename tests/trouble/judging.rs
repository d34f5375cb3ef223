//! Who waits judges for itself what it gets, and what it does not wait for.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheMode, Outcome, Partition, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::CacheLayer;
use http::{Method, Request};
use http_body_util::Full;
use kit::held::{get, settle};
use kit::{Answer, Operation, OriginError, not_modified, ok, status};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_layer::Layer;
use tower_service::Service;

use crate::scene::{Fetching, Scene, fetch, got, got_all, with, with_method, with_mode};
use crate::store::{Fault, Store, UNAVAILABLE};

fn asking() -> Request<Full<Bytes>> {
    get("/")
}

/// Sends them, of which one asks and gets this while its body does not end; then all others are at the
/// origin at once, and each gets its own.
async fn each_has_its_own(
    name: &str,
    scene: &mut Scene,
    request: impl Fn() -> Request<Full<Bytes>>,
    head: impl Fn() -> Answer,
) {
    let started = Instant::now();
    let calls = scene.fetch_all(10, &request).await;
    let feed = scene.asked().await.begin(head().chunk("own 0"));
    let waiting = scene.asked_for(9).await;
    // Nobody waits for those, either.
    let newcomers = scene.fetch_all(5, &request).await;
    let more = scene.asked_for(5).await;
    assert!(started.elapsed() < Duration::from_millis(50), "{name}");
    for (i, asked) in waiting.into_iter().chain(more).enumerate() {
        asked.answer(head().chunk(format!("own {}", i + 1)));
    }
    feed.end();
    let mut seen: Vec<String> = Vec::new();
    for got in got_all(calls)
        .await
        .into_iter()
        .chain(got_all(newcomers).await)
    {
        assert!(!got.info.collapsed, "{name}");
        assert_eq!(got.info.outcome, Outcome::Miss, "{name}");
        seen.push(got.text().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 15, "{name}: each has its own");
    assert!(scene.all_has_landed(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_shared_is_asked_for_by_each_at_once_and_for_a_while_nobody_waits() {
    let plain = |code: u16| move || status(code);
    let directives = |value: &'static str| move || ok("").cache_control(value);
    type Head = Box<dyn Fn() -> Answer>;
    let kinds: Vec<(&str, bool, Head)> = vec![
        ("no-store", false, Box::new(directives("no-store"))),
        ("nothing", false, Box::new(directives("public"))),
        ("private", true, Box::new(directives("private, max-age=60"))),
        ("max-age=0", false, Box::new(directives("max-age=0"))),
        (
            "max-age=0 and a tag",
            false,
            Box::new(move || directives("max-age=0")().etag("\"1\"")),
        ),
        (
            "older than its lifetime",
            false,
            Box::new(move || directives("max-age=60")().with("age", "60")),
        ),
        (
            "Vary: *",
            false,
            Box::new(move || directives("max-age=60")().with("vary", "*")),
        ),
        ("500", false, Box::new(plain(500))),
        ("503", false, Box::new(plain(503))),
        ("429", false, Box::new(move || plain(429)().max_age(60))),
        ("401", false, Box::new(plain(401))),
        (
            "206 to no range",
            false,
            Box::new(move || {
                plain(206)()
                    .max_age(60)
                    .with("content-range", "bytes 0-4/100")
            }),
        ),
        (
            "a cookie",
            true,
            Box::new(move || {
                plain(200)()
                    .with("set-cookie", "a=1")
                    .with("last-modified", "Sat, 01 Jan 2022 00:00:00 GMT")
            }),
        ),
        (
            "too long",
            false,
            Box::new(move || directives("max-age=60")().with("content-length", "99999999")),
        ),
    ];
    for (name, is_shared, head) in kinds {
        let mut scene = match is_shared {
            true => Scene::shared(),
            false => Scene::new(),
        };
        each_has_its_own(name, &mut scene, asking, &head).await;
        // For a while only: it may have become cacheable.
        sleep(Duration::from_secs(11)).await;
        let later = scene.fetch_all(5, asking).await;
        scene.asked().await.answer(ok("new").max_age(600));
        for got in got_all(later).await {
            assert_eq!(got.text(), "new", "{name}");
        }
    }
}

/// It is stored, but never used without validation, so that waiting saves nothing.
#[tokio::test(start_paused = true)]
async fn what_has_to_be_validated_each_time_is_asked_for_by_each_at_once() {
    for value in ["no-cache", "no-cache, max-age=60"] {
        let head = || ok("").cache_control(value).etag("\"1\"");
        each_has_its_own(value, &mut Scene::new(), asking, head).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_credentials_is_shared_with_nobody_by_a_shared_cache() {
    let request = || with(get("/"), "authorization", "Bearer alice");
    let head = || ok("").max_age(600);
    each_has_its_own("authorization", &mut Scene::shared(), request, head).await;
}

/// All of them take one round of the origin more than one alone, the first time; and then none.
#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_what_cannot_be_shared_do_not_queue() {
    let asked = Arc::<AtomicUsize>::default();
    let layer = CacheLayer::new(MemoryBackend::default());
    let count = asked.clone();
    let cache = layer.layer(service_fn(move |_: Request<Full<Bytes>>| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, OriginError>(ok("own").cache_control("no-store").response())
        }
    }));
    for expected in [200, 100, 100] {
        let started = Instant::now();
        let calls: Vec<_> = (0..1_000).map(|_| fetch(&cache, get("/"))).collect();
        got_all_of(calls).await;
        let took = started.elapsed().as_millis();
        assert!(took <= expected + 10, "{took} ms");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3_000);
}

async fn got_all_of(calls: Vec<Fetching>) {
    for got in got_all(calls).await {
        assert_eq!(got.text(), "own");
    }
}

/// Keys that cannot be shared are many, and are no reason to let the others stampede.
#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_shared_keep_no_other_keys_from_being_shared() {
    let asked = Arc::<AtomicUsize>::default();
    let layer = CacheLayer::new(MemoryBackend::default());
    let count = asked.clone();
    let mut cache = layer.layer(service_fn(move |request: Request<Full<Bytes>>| {
        let is_shared = request.uri().path().starts_with("/shared");
        if is_shared {
            count.fetch_add(1, Ordering::SeqCst);
        }
        async move {
            yield_now().await;
            let directives = if is_shared { "max-age=600" } else { "no-store" };
            Ok::<_, OriginError>(ok("one").cache_control(directives).response())
        }
    }));
    for i in 0..40_000 {
        let path = format!("/uncacheable/{i}");
        drop(cache.call(get(&path)).await.expect("a response"));
    }
    for i in 0..10 {
        let path = format!("/shared/{i}");
        let calls: Vec<_> = (0..100).map(|_| fetch(&cache, get(&path))).collect();
        for got in got_all(calls).await {
            assert_eq!(got.text(), "one");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 10, "one for each key");
}

#[tokio::test(start_paused = true)]
async fn users_who_must_not_share_a_response_do_not_wait_for_each_other() {
    for name in ["authorization", "cookie", "proxy-authorization"] {
        let mut scene = Scene::new();
        let users = ["alice", "bob"];
        let mut calls = Vec::new();
        for user in users {
            calls.push(scene.fetch(with(get("/"), name, user)));
            settle().await;
        }
        let asked = match scene.arrivals.len() {
            2 => scene.asked_for(2).await,
            // Not everything that is said of a user makes a partition.
            _ => {
                assert_eq!(name, "proxy-authorization");
                continue;
            }
        };
        for (user, asked) in users.iter().zip(asked) {
            assert_eq!(asked.headers[name], *user);
            asked.answer(ok(user).max_age(600));
        }
        for (user, call) in users.iter().zip(calls) {
            assert_eq!(got(call).await.text(), *user);
        }
    }
    let by = Partition::by(|request| {
        let tenant = request.headers.get("x-tenant");
        tenant.map(|tenant| tenant.as_bytes().to_vec())
    });
    let policy = Policy::shared().partition(by);
    let mut scene = Scene::with(CacheLayer::new(MemoryBackend::default()).policy(policy));
    let mut calls = Vec::new();
    for tenant in ["a", "b", "a", "b"] {
        calls.push((tenant, scene.fetch(with(get("/"), "x-tenant", tenant))));
    }
    for asked in scene.asked_for(2).await {
        let tenant = asked.headers["x-tenant"].to_str().expect("text").to_owned();
        asked.answer(ok("").chunk(tenant).max_age(600));
    }
    for (tenant, call) in calls {
        assert_eq!(got(call).await.text(), tenant);
    }
}

#[tokio::test(start_paused = true)]
async fn who_asked_with_other_selecting_fields_is_not_given_it_and_waits_for_its_like() {
    for store in [Store::new(), Store::later()] {
        let mut scene = Scene::over(store);
        let languages = ["en", "de", "en", "fr", "de", "fr", "fr", "en", "de", "de"];
        let mut calls = Vec::new();
        for language in languages {
            calls.push(scene.fetch(with(get("/"), "accept-language", language)));
            settle().await;
        }
        let varying = |body| ok(body).max_age(600).with("vary", "accept-language");
        let first = scene.asked().await;
        assert_eq!(first.headers["accept-language"], "en");
        let feed = first.begin(varying("en"));
        let others = scene.asked_for(2).await;
        let late = scene.fetch(with(get("/"), "accept-language", "fr"));
        scene.nothing_is_asked().await;
        for asked in others {
            let language = asked.headers["accept-language"].to_str().expect("text");
            let body = match language {
                "de" => "de",
                _ => "fr",
            };
            asked.answer(varying(body));
        }
        feed.end();
        for (language, call) in languages.iter().zip(calls) {
            assert_eq!(got(call).await.text(), *language);
        }
        assert_eq!(got(late).await.text(), "fr");
        scene.nothing_is_asked().await;
        settle().await;
        for language in ["en", "de", "fr"] {
            let hit = got(scene.fetch(with(get("/"), "accept-language", language))).await;
            assert_eq!(hit.info.outcome, Outcome::Hit);
            assert_eq!(hit.text(), language);
        }
        assert!(scene.all_has_landed());
    }
}

/// Each answer varies by something else than the one before.
#[tokio::test(start_paused = true)]
async fn where_answers_vary_each_by_something_else_nobody_gets_a_wrong_one_or_hangs() {
    let mut scene = Scene::new();
    let fields = [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("b", "c")];
    let mut calls = Vec::new();
    for (one, two) in fields {
        calls.push(scene.fetch(with(with(get("/"), "x-one", one), "x-two", two)));
        settle().await;
    }
    let mut requests = 0;
    while let Some(asked) = scene.arrivals.now() {
        let names = ["x-one", "x-two"].map(|name| asked.headers[name].to_str().expect("text"));
        let vary = ["x-one", "x-two", "x-one, x-two"][requests % 3];
        let body = names.join(" ");
        asked.answer(ok("").chunk(body).max_age(600).with("vary", vary));
        requests += 1;
        settle().await;
    }
    assert!((2..=5).contains(&requests), "{requests} requests");
    for ((one, two), call) in fields.into_iter().zip(calls) {
        let got = got(call).await;
        let text = got.text().to_owned();
        let vary = got.headers["vary"].to_str().expect("text").to_owned();
        let (seen_one, seen_two) = text.split_once(' ').expect("two values");
        assert!(!vary.contains("x-one") || seen_one == one, "{vary}: {text}");
        assert!(!vary.contains("x-two") || seen_two == two, "{vary}: {text}");
    }
    assert!(scene.all_has_landed());
}

/// Absent is not empty.
#[tokio::test(start_paused = true)]
async fn who_has_no_selecting_field_is_not_given_what_was_selected_by_one() {
    let mut scene = Scene::new();
    let one = scene.fetch(with(get("/"), "x-user", "alice"));
    settle().await;
    let none = scene.fetch(get("/"));
    let asked = scene.asked().await;
    asked.answer(ok("alice's").max_age(600).with("vary", "x-user"));
    let asked = scene.asked().await;
    assert!(!asked.headers.contains_key("x-user"));
    asked.answer(ok("nobody's").max_age(600).with("vary", "x-user"));
    assert_eq!(got(one).await.text(), "alice's");
    assert_eq!(got(none).await.text(), "nobody's");
}

/// Requests that are about something of their own.
fn of_their_own() -> Vec<(&'static str, Request<Full<Bytes>>)> {
    let field = |name, value| with(get("/"), name, value);
    let post = |method| with_method(get("/"), method);
    let mut content = get("/");
    *content.body_mut() = Full::from("content");
    vec![
        ("range", field("range", "bytes=0-1")),
        (
            "if-range",
            with(field("range", "bytes=0-1"), "if-range", "\"1\""),
        ),
        ("if-none-match", field("if-none-match", "\"1\"")),
        (
            "if-modified-since",
            field("if-modified-since", "Sat, 01 Jan 2022 00:00:00 GMT"),
        ),
        ("if-match", field("if-match", "\"1\"")),
        (
            "if-unmodified-since",
            field("if-unmodified-since", "Sat, 01 Jan 2022 00:00:00 GMT"),
        ),
        ("no-store", field("cache-control", "no-store")),
        ("upgrade", field("upgrade", "websocket")),
        ("Reload", with_mode(get("/"), CacheMode::Reload)),
        ("NoStore", with_mode(get("/"), CacheMode::NoStore)),
        ("NoCache", with_mode(get("/"), CacheMode::NoCache)),
        ("ReadOnly", with_mode(get("/"), CacheMode::ReadOnly)),
        ("HEAD", post(Method::HEAD)),
        ("POST", post(Method::POST)),
        ("PUT", post(Method::PUT)),
        ("OPTIONS", post(Method::OPTIONS)),
        ("content", content),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_about_something_of_its_own_waits_for_nobody() {
    for (name, request) in of_their_own() {
        let mut scene = Scene::new();
        let leading = scene.send(get("/"));
        let hanging = scene.asked().await;
        let call = scene.fetch(request);
        settle().await;
        assert_eq!(scene.arrivals.len(), 1, "{name} waits");
        scene.asked().await.answer(ok("own"));
        let own = got(call).await;
        assert_eq!(own.text(), "own", "{name}");
        assert!(!own.info.collapsed, "{name}");
        leading.abort();
        settle().await;
        drop(hanging);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_about_something_of_its_own_is_waited_for_by_nobody() {
    for (name, request) in of_their_own() {
        let mut scene = Scene::new();
        let first = scene.send(request);
        let hanging = scene.asked().await;
        let calls = scene.fetch_all(2, asking).await;
        assert_eq!(scene.arrivals.len(), 1, "{name} is waited for");
        scene.asked().await.answer(ok("own").max_age(600));
        for got in got_all(calls).await {
            assert_eq!(got.text(), "own", "{name}");
        }
        first.abort();
        settle().await;
        drop(hanging);
    }
}

/// It wants to hear of the origin itself, now: not what another asked for before.
#[tokio::test(start_paused = true)]
async fn a_request_that_asks_for_validation_waits_for_nobody() {
    let mut waiting = Vec::new();
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0"),
        ("pragma", "no-cache"),
    ] {
        let mut scene = Scene::new();
        let leading = scene.send(get("/"));
        let hanging = scene.asked().await;
        let call = scene.send(with(get("/"), name, value));
        settle().await;
        if scene.arrivals.is_empty() {
            waiting.push(format!("{name}: {value}"));
        }
        leading.abort();
        call.abort();
        settle().await;
        drop(hanging);
    }
    assert!(waiting.is_empty(), "{waiting:?} wait for another");
}

/// What another got a while ago may be too old for one, and good for the other.
#[tokio::test(start_paused = true)]
async fn who_wants_it_fresher_than_it_is_goes_by_itself_at_once() {
    for (directives, age) in [
        ("max-age=5", "10"),
        ("min-fresh=55", "10"),
        ("no-cache", "0"),
    ] {
        let mut scene = Scene::new();
        let first = scene.fetch(get("/"));
        let asked = scene.asked().await;
        let second = scene.fetch(with(get("/"), "cache-control", directives));
        settle().await;
        let own = scene.arrivals.now();
        asked.answer(ok("old").max_age(60).with("age", age));
        let own = match own {
            Some(own) => own,
            None => scene.asked().await,
        };
        own.answer(ok("new").max_age(60));
        assert_eq!(got(first).await.text(), "old");
        assert_eq!(got(second).await.text(), "new", "{directives}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_only_what_is_stored_is_answered_at_once() {
    let mut scene = Scene::new();
    let _leading = scene.send(get("/"));
    let hanging = scene.asked().await;
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
    let request = with(get("/"), "cache-control", "only-if-cached");
    assert_eq!(got(scene.fetch(request)).await.status, 504);
    scene.nothing_is_asked().await;
    drop(hanging);
}

/// A store in which "one" has been stale for a second.
async fn with_what_is_stale(store: Store) -> Scene {
    stale_in(Scene::over(store), "max-age=60").await
}

/// The same, with these directives.
async fn stale_in(mut scene: Scene, directives: &str) -> Scene {
    let first = scene.fetch(get("/"));
    let answer = ok("one").cache_control(directives).etag("\"1\"");
    scene.asked().await.answer(answer);
    got(first).await;
    settle().await;
    scene.clock.advance(Duration::from_secs(61));
    scene
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_validated_once_and_the_others_look_again() {
    for store in [Store::new(), Store::later()] {
        let mut scene = with_what_is_stale(store).await;
        let calls = scene.fetch_all(100, asking).await;
        let asked = scene.asked().await;
        assert_eq!(asked.headers["if-none-match"], "\"1\"");
        asked.answer(not_modified().etag("\"1\"").max_age(60));
        let seen = got_all(calls).await;
        assert!(seen.iter().all(|got| got.text() == "one"));
        let count = |outcome| {
            seen.iter()
                .filter(|got| got.info.outcome == outcome)
                .count()
        };
        assert_eq!(count(Outcome::Revalidated), 1);
        assert_eq!(count(Outcome::Hit), 99);
        scene.nothing_is_asked().await;
        assert!(scene.all_has_landed());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_and_has_changed_is_asked_for_once_and_shared() {
    for store in [Store::new(), Store::later()] {
        let mut scene = with_what_is_stale(store).await;
        let calls = scene.fetch_all(100, asking).await;
        let head = ok("two").etag("\"2\"").max_age(60);
        let feed = scene.asked().await.begin(head);
        settle().await;
        feed.end();
        for got in got_all(calls).await {
            assert_eq!(got.text(), "two");
            assert_eq!(got.info.reason, Reason::Stale);
        }
        scene.nothing_is_asked().await;
        settle().await;
        assert_eq!(got(scene.fetch(get("/"))).await.text(), "two");
    }
}

/// What the answer to one says of sharing holds for those who wait for it, too.
#[tokio::test(start_paused = true)]
async fn a_validated_response_that_must_not_be_shared_any_more_is_given_to_nobody_who_waited() {
    let validated = |directives| not_modified().etag("\"1\"").cache_control(directives);
    let answers: Vec<(&str, bool, Answer)> = vec![
        ("no-store", false, validated("no-store, max-age=60")),
        ("private", true, validated("private, max-age=60")),
        (
            "varies by everything",
            false,
            validated("max-age=60").with("vary", "*"),
        ),
    ];
    for (name, is_shared, answer) in answers {
        let policy = match is_shared {
            true => Policy::shared(),
            false => Policy::private(),
        };
        let layer = CacheLayer::new(MemoryBackend::default()).policy(policy);
        let mut scene = stale_in(Scene::with(layer), "max-age=60").await;
        let calls = scene.fetch_all(4, asking).await;
        let leading = scene.asked().await;
        leading.answer(answer.with("x-own", "of the one who asked"));
        settle().await;
        while let Some(asked) = scene.arrivals.now() {
            asked.answer(ok("own").cache_control("no-store"));
            settle().await;
        }
        let seen = got_all(calls).await;
        assert_eq!(seen[0].text(), "one");
        for got in &seen[1..] {
            assert!(!got.headers.contains_key("x-own"), "{name}: {got:?}");
            assert_eq!(got.text(), "own", "{name}");
        }
    }
}

/// A user's validation may say something to that user.
#[tokio::test(start_paused = true)]
async fn what_a_validation_says_to_one_user_is_said_to_no_other() {
    let layer = CacheLayer::new(MemoryBackend::default()).policy(Policy::shared());
    let mut scene = stale_in(Scene::with(layer), "public, max-age=60").await;
    let user = |name| with(get("/"), "authorization", name);
    let alice = scene.fetch(user("alice"));
    let asked = scene.asked().await;
    let bob = scene.fetch(user("bob"));
    scene.nothing_is_asked().await;
    // Nothing in it says that it is for all.
    let answer = not_modified().etag("\"1\"").cache_control("max-age=60");
    let answer = answer.with("set-cookie", "session=alice");
    asked.answer(answer.with("x-user", "alice"));
    settle().await;
    if let Some(asked) = scene.arrivals.now() {
        assert_eq!(asked.headers["authorization"], "bob");
        let answer = not_modified().etag("\"1\"").cache_control("max-age=60");
        asked.answer(answer.with("x-user", "bob"));
    }
    assert_eq!(got(alice).await.headers["x-user"], "alice");
    let bob = got(bob).await;
    assert_eq!(bob.text(), "one");
    assert!(!bob.headers.contains_key("set-cookie"), "{:?}", bob.headers);
    assert_ne!(
        bob.headers.get("x-user").map(|user| user.as_bytes()),
        Some(&b"alice"[..])
    );
}

/// Each variant is one that is stale.
#[tokio::test(start_paused = true)]
async fn who_asks_for_another_variant_of_what_is_stale_waits_for_its_like() {
    let mut scene = Scene::new();
    let varying = |body| ok(body).max_age(60).with("vary", "accept-language");
    let request = |language| with(get("/"), "accept-language", language);
    for language in ["en", "de"] {
        let first = scene.fetch(request(language));
        let answer = varying(language).etag(&format!("\"{language}\""));
        scene.asked().await.answer(answer);
        got(first).await;
    }
    scene.clock.advance(Duration::from_secs(61));
    let english = scene.fetch(request("en"));
    let asked = scene.asked().await;
    let german = scene.fetch_all(5, || request("de")).await;
    scene.nothing_is_asked().await;
    let validated = |tag| not_modified().etag(tag).max_age(60);
    asked.answer(validated("\"en\"").with("vary", "accept-language"));
    let mut requests = 0;
    settle().await;
    while let Some(asked) = scene.arrivals.now() {
        requests += 1;
        assert_eq!(asked.headers["if-none-match"], "\"de\"");
        asked.answer(validated("\"de\"").with("vary", "accept-language"));
    }
    assert_eq!(got(english).await.text(), "en");
    for got in got_all(german).await {
        assert_eq!(got.text(), "de");
    }
    assert_eq!(requests, 1, "for what is the same");
}

/// Then there is nothing to look at; but nobody hangs, and nobody gets what is stale.
#[tokio::test(start_paused = true)]
async fn where_the_store_does_not_note_a_validation_the_others_go_by_themselves_at_once() {
    for fault in [UNAVAILABLE, Fault::Hangs] {
        for operation in [Operation::Freshen, Operation::Lookup] {
            let store = Store::new();
            let mut scene = with_what_is_stale(store.clone()).await;
            let calls = scene.fetch_all(10, asking).await;
            let asked = scene.asked().await;
            let started = Instant::now();
            store.set(operation, fault);
            asked.answer(not_modified().etag("\"1\"").max_age(60));
            sleep(Duration::from_millis(150)).await;
            while let Some(asked) = scene.arrivals.now() {
                assert!(asked.headers.contains_key("if-none-match"));
                asked.answer(not_modified().etag("\"1\"").max_age(60));
                settle().await;
            }
            for got in got_all(calls).await {
                assert_eq!(got.text(), "one");
                assert!(got.info.is_hit());
            }
            let waited = started.elapsed();
            assert!(waited < Duration::from_millis(500), "{waited:?}");
            assert!(scene.all_has_landed());
        }
    }
}

/// It says that what is stored is not what the origin has, and for nobody.
#[tokio::test(start_paused = true)]
async fn where_a_validation_shows_that_it_is_gone_each_asks_for_itself() {
    let mut scene = with_what_is_stale(Store::new()).await;
    let calls = scene.fetch_all(5, asking).await;
    scene
        .asked()
        .await
        .answer(ok("own").cache_control("no-store"));
    for asked in scene.asked_for(4).await {
        asked.answer(ok("own").cache_control("no-store"));
    }
    got_all_of(calls).await;
    assert_eq!(scene.stored(get("/")).await, Outcome::Unsatisfiable);
}

/// Each for itself: whoever may have what is stale, gets it, and nobody waits for the origin for ever.
#[tokio::test(start_paused = true)]
async fn where_the_origin_is_down_everybody_gets_what_is_stale() {
    let mut scene = with_what_is_stale(Store::new()).await;
    let calls = scene.fetch_all(10, asking).await;
    let mut rounds = 0;
    loop {
        settle().await;
        if scene.arrivals.is_empty() {
            break;
        }
        rounds += 1;
        while let Some(asked) = scene.arrivals.now() {
            asked.fail();
        }
    }
    assert!(rounds <= 5, "{rounds} one after the other");
    for got in got_all(calls).await {
        assert_eq!(got.text(), "one");
        assert_eq!(got.info.outcome, Outcome::StaleHit);
    }
}

/// A hit needs nothing of those who are in the air.
#[tokio::test(start_paused = true)]
async fn a_hit_waits_for_nobody() {
    let mut scene = Scene::new();
    let first = scene.fetch(with(get("/"), "accept-language", "en"));
    let answer = ok("en").max_age(600).with("vary", "accept-language");
    scene.asked().await.answer(answer);
    got(first).await;
    let _other = scene.send(with(get("/"), "accept-language", "de"));
    let hanging = scene.asked().await;
    let started = Instant::now();
    let hit = got(scene.fetch(with(get("/"), "accept-language", "en"))).await;
    assert_eq!(hit.info.outcome, Outcome::Hit);
    assert_eq!(started.elapsed(), Duration::ZERO);
    drop(hanging);
}

/// An answer that is good for as long as it took to come is good for nobody else.
#[tokio::test(start_paused = true)]
async fn what_is_stale_when_it_arrives_is_not_shared() {
    let mut scene = Scene::new();
    let calls = scene.fetch_all(3, asking).await;
    let asked = scene.asked().await;
    scene.clock.advance(Duration::from_secs(3));
    asked.answer(ok("own").max_age(2));
    for asked in scene.asked_for(2).await {
        asked.answer(ok("own").max_age(2));
    }
    got_all_of(calls).await;
}

/// A service that answers at once leaves nobody anything to wait for.
#[tokio::test(start_paused = true)]
async fn an_origin_that_answers_at_once_makes_no_difference() {
    let layer = CacheLayer::new(MemoryBackend::default());
    let asked = Arc::<AtomicUsize>::default();
    let count = asked.clone();
    let cache = layer.layer(service_fn(move |_: Request<Full<Bytes>>| {
        count.fetch_add(1, Ordering::SeqCst);
        ready(Ok::<_, OriginError>(ok("own").max_age(600).response()))
    }));
    let calls: Vec<_> = (0..100).map(|_| fetch(&cache, get("/"))).collect();
    got_all_of(calls).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
