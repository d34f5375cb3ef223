//! The handle.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{BackendErrorKind, Outcome, Progress, Reason};
use cache_memory::MemoryBackend;
use cache_tower::{CacheHandle, CacheLayer, Filter, PutError};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kit::{RecordingBackend, not_modified, ok};

use crate::scene::{Scene, get, outcome, over_every_store, with};

over_every_store! {
    what_is_put_answers_as_if_the_origin_had_given_it
    what_may_not_be_stored_is_not_put
    what_is_put_for_a_time_is_fresh_for_that_time
    a_request_finds_and_removes_what_was_selected_by_it
    a_request_that_keeps_out_of_the_cache_finds_and_invalidates_all_the_same
    invalidating_a_request_removes_its_variants_and_leaves_other_partitions
    invalidating_a_url_removes_it_for_everybody
    entries_are_listed_with_what_they_are
    filters_pick_by_all_their_conditions
    secrets_in_a_query_are_not_listed_and_still_count
    what_is_removed_is_gone_and_counted
    what_is_marked_stale_is_validated_and_kept
    the_lifetime_of_what_is_stored_can_be_set
    everything_is_copied_from_store_to_store
    what_is_there_already_and_newer_is_not_replaced_by_a_copy
    everything_is_counted_and_cleared
    a_sweep_that_is_dropped_stops_and_can_be_begun_again
}

fn response(body: &'static str, fields: &[(&str, &str)]) -> Response<Full<bytes::Bytes>> {
    let mut response = Response::builder();
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).expect("a response")
}

async fn what_is_put_answers_as_if_the_origin_had_given_it(scene: Scene) {
    let answer = response("one", &[("cache-control", "max-age=60"), ("x-a", "b")]);
    assert!(!scene.handle.contains(&get("/")).await.expect("an answer"));
    scene.handle.put(&get("/"), answer).await.expect("stored");
    assert!(scene.handle.contains(&get("/")).await.expect("an answer"));
    scene.wait(10);
    let hit = scene.send(get("/")).await;
    assert_eq!(outcome(&hit), Outcome::Hit);
    assert_eq!(hit.headers()["x-a"], "b");
    assert_eq!(hit.headers()["age"], "10");
    let body = hit.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "one");

    let found = scene.handle.get(&get("/")).await.expect("an answer");
    let found = found.expect("it is stored");
    assert_eq!(found.head.status(), StatusCode::OK);
    let read = scene.handle.read(&found, u64::MAX).await.expect("a body");
    assert_eq!(read, "one");
    let read = scene.handle.read(&found, 2).await.expect("a body");
    assert_eq!(read, "on");
}

async fn what_may_not_be_stored_is_not_put(scene: Scene) {
    let put = |request: Request<_>, answer| {
        let handle = scene.handle.clone();
        async move {
            match handle.put(&request, answer).await.expect_err("refused") {
                PutError::Refused(reason) => Some(reason),
                _ => None,
            }
        }
    };
    let fresh = || response("one", &[("cache-control", "max-age=60")]);
    let secret = response("one", &[("cache-control", "no-store")]);
    assert_eq!(put(get("/"), secret).await, Some(Reason::ResponseNoStore));
    assert_eq!(
        put(get("/"), response("one", &[])).await,
        Some(Reason::NoFreshness)
    );
    let asked = with("/", &[("cache-control", "no-store")]);
    assert_eq!(put(asked, fresh()).await, Some(Reason::RequestNoStore));
    let mut posted = get("/");
    *posted.method_mut() = http::Method::POST;
    assert_eq!(put(posted, fresh()).await, Some(Reason::Method));
    let short = [("cache-control", "max-age=60"), ("content-length", "4")];
    assert_eq!(put(get("/"), response("one", &short)).await, None);
    assert_eq!(scene.urls().await, [""; 0]);
}

async fn what_is_put_for_a_time_is_fresh_for_that_time(scene: Scene) {
    let ttl = Duration::from_secs(300);
    let (one, two) = (get("/"), get("/two"));
    let put = scene.handle.put_for(&one, response("one", &[]), ttl);
    put.await.expect("stored");
    let short = response("two", &[("cache-control", "max-age=1")]);
    let put = scene.handle.put_for(&two, short, ttl);
    put.await.expect("stored");
    let zero = response("three", &[("cache-control", "max-age=0")]);
    let three = get("/three");
    let put = scene.handle.put_for(&three, zero, ttl);
    put.await.expect("stored");
    scene.wait(299);
    assert_eq!(scene.hit(get("/three")).await.as_deref(), Some("three"));
    assert_eq!(scene.hit(get("/")).await.as_deref(), Some("one"));
    assert_eq!(scene.hit(get("/two")).await.as_deref(), Some("two"));
    scene.wait(2);
    assert_eq!(scene.hit(get("/two")).await, None);
    let forbidden = || response("four", &[("cache-control", "no-store")]);
    let put = scene.handle.put_for(&get("/four"), forbidden(), ttl).await;
    put.expect("stored");
    assert_eq!(scene.hit(get("/four")).await.as_deref(), Some("four"));
    let unwilling = with("/five", &[("cache-control", "no-store")]);
    let put = scene.handle.put_for(&unwilling, forbidden(), ttl).await;
    assert!(matches!(
        put,
        Err(PutError::Refused(Reason::RequestNoStore))
    ));
}

fn in_language(language: &str) -> Request<http_body_util::Empty<bytes::Bytes>> {
    with("/", &[("accept-language", language)])
}

fn varying(body: &'static str) -> kit::Answer {
    ok(body).max_age(60).with("vary", "accept-language")
}

async fn a_request_finds_and_removes_what_was_selected_by_it(scene: Scene) {
    scene.store(in_language("en"), varying("hello")).await;
    scene.store(in_language("de"), varying("hallo")).await;
    let found = |language: &'static str| {
        let handle = scene.handle.clone();
        async move {
            let request = in_language(language);
            handle.contains(&request).await.expect("an answer")
        }
    };
    assert!(found("en").await && found("de").await && !found("fr").await);
    assert!(scene.handle.remove(&in_language("en")).await.expect("done"));
    assert!(!scene.handle.remove(&in_language("en")).await.expect("done"));
    assert!(!found("en").await && found("de").await);
}

async fn a_request_that_keeps_out_of_the_cache_finds_and_invalidates_all_the_same(scene: Scene) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cache-control", "only-if-cached"),
        ("upgrade", "h2c"),
        ("content-length", "3"),
        ("if-match", "\"a\""),
    ] {
        let request = || with("/", &[(name, value)]);
        let stored = || response("one", &[("cache-control", "max-age=60")]);
        scene.handle.put(&get("/"), stored()).await.expect("stored");
        assert!(scene.handle.contains(&request()).await.expect("an answer"));
        assert!(
            scene.handle.remove(&request()).await.expect("done"),
            "{name}"
        );
        scene.handle.put(&get("/"), stored()).await.expect("stored");
        scene.handle.invalidate(&request()).await.expect("done");
        assert!(
            !scene.handle.contains(&get("/")).await.expect("an answer"),
            "{name}"
        );
        scene.wait(1);
    }
    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    let stored = response("one", &[("cache-control", "max-age=60")]);
    scene.handle.put(&get("/"), stored).await.expect("stored");
    scene.handle.invalidate(&post).await.expect("done");
    assert!(!scene.handle.contains(&get("/")).await.expect("an answer"));
}

fn of(user: &str) -> Request<http_body_util::Empty<bytes::Bytes>> {
    with("/", &[("authorization", user), ("accept-language", "en")])
}

async fn invalidating_a_request_removes_its_variants_and_leaves_other_partitions(scene: Scene) {
    scene.store(in_language("en"), varying("hello")).await;
    scene.store(in_language("de"), varying("hallo")).await;
    scene.store(of("alice"), varying("alice's")).await;
    scene
        .handle
        .invalidate(&get("/"))
        .await
        .expect("invalidated");
    assert_eq!(scene.hit(in_language("en")).await, None);
    assert_eq!(scene.hit(in_language("de")).await, None);
    assert_eq!(scene.hit(of("alice")).await.as_deref(), Some("alice's"));
}

async fn invalidating_a_url_removes_it_for_everybody(scene: Scene) {
    scene.store(in_language("en"), varying("hello")).await;
    scene.store(in_language("de"), varying("hallo")).await;
    scene.store(of("alice"), varying("alice's")).await;
    scene.store(of("bob"), varying("bob's")).await;
    scene.store(get("/other"), ok("other").max_age(60)).await;
    scene.store(get("/?"), ok("query").max_age(60)).await;
    let url = "HTTP://ORIGIN.test:80".parse().expect("a URL");
    let done = scene.handle.invalidate_url(url).await.expect("done");
    assert_eq!(done.done, 3);
    for gone in [in_language("en"), in_language("de"), of("alice"), of("bob")] {
        assert_eq!(scene.hit(gone).await, None);
    }
    assert_eq!(
        scene.urls().await,
        ["http://origin.test/?", "http://origin.test/other"]
    );
}

async fn entries_are_listed_with_what_they_are(scene: Scene) {
    scene
        .store(get("/a?x=1"), ok("hello").max_age(60).etag("\"1\""))
        .await;
    scene.wait(5);
    let mut entries = scene.handle.entries(Filter::all());
    let listed = entries.next().await.expect("one").expect("no error");
    assert!(entries.next().await.is_none());
    assert_eq!((entries.seen(), entries.unreadable()), (1, 0));
    assert_eq!(
        listed.key().url().as_deref(),
        Some("http://origin.test/a?x=1")
    );
    assert_eq!(listed.body_length, 5);
    assert_eq!(listed.head.headers()["etag"], "\"1\"");
    let now = cache_tower::Clock::now(&scene.clock);
    assert_eq!(listed.head.age(now).as_secs(), 5);
    let opened = scene.handle.open(&listed).await.expect("an answer");
    let opened = opened.expect("it is there");
    let read = scene.handle.read(&opened, 100).await.expect("a body");
    assert_eq!(read, "hello");
}

async fn picked(scene: &Scene, filter: Filter) -> Vec<String> {
    let urls = scene.handle.urls(filter).await.expect("URLs");
    let path = |url: String| url.trim_start_matches("http://").to_owned();
    urls.into_iter().map(path).collect()
}

async fn filters_pick_by_all_their_conditions(scene: Scene) {
    let missing = kit::status(404).max_age(100);
    scene.store(get("/a/1"), ok("1").max_age(1000)).await;
    scene.store(get("/a/2"), ok("2").max_age(10)).await;
    scene.wait(50);
    scene.store(get("/b"), missing).await;
    scene
        .store(get("http://other.test:81/a/1"), ok("3").max_age(20))
        .await;
    scene.wait(5);
    let all = Filter::all;
    let secs = Duration::from_secs;
    for (filter, expected) in [
        (
            all(),
            &[
                "origin.test/a/1",
                "origin.test/a/2",
                "origin.test/b",
                "other.test:81/a/1",
            ][..],
        ),
        (
            all().prefix("http://origin.test/a/"),
            &["origin.test/a/1", "origin.test/a/2"],
        ),
        (all().host("other.test"), &["other.test:81/a/1"]),
        (all().host("other"), &[]),
        (all().status(StatusCode::NOT_FOUND), &["origin.test/b"]),
        (all().stale(), &["origin.test/a/2"]),
        (
            all().older_than(secs(20)),
            &["origin.test/a/1", "origin.test/a/2"],
        ),
        (all().older_than(secs(20)).fresh(), &["origin.test/a/1"]),
        (all().expired(), &[]),
        (
            all().url("http://origin.test/a/1".parse().expect("a URL")),
            &["origin.test/a/1"],
        ),
        (all().url("/a/1".parse().expect("a path")), &[]),
        (
            all().matching(|listed| listed.body_length == 0),
            &["origin.test/b"],
        ),
    ] {
        let what = format!("{filter:?}");
        assert_eq!(picked(&scene, filter).await, expected, "{what}");
    }
}

async fn secrets_in_a_query_are_not_listed_and_still_count(scene: Scene) {
    scene.store(get("/?token=one"), ok("1").max_age(60)).await;
    scene.store(get("/?token=two"), ok("2").max_age(60)).await;
    assert_eq!(scene.urls().await, ["http://origin.test/?token=[redacted]"]);
    let url = "http://origin.test/?token=one".parse().expect("a URL");
    scene.handle.invalidate_url(url).await.expect("done");
    assert_eq!(scene.hit(get("/?token=one")).await, None);
    assert_eq!(scene.hit(get("/?token=two")).await.as_deref(), Some("2"));
}

async fn what_is_removed_is_gone_and_counted(scene: Scene) {
    for number in 0..20 {
        scene
            .store(get(&format!("/{number}")), ok("1").max_age(60))
            .await;
    }
    let mut told = Vec::new();
    let filter = Filter::all().prefix("http://origin.test/1");
    let removing = scene.handle.remove_all(filter);
    let progress = removing.on_progress(|progress| told.push(progress)).await;
    let progress = progress.expect("done");
    assert_eq!(progress, Progress { seen: 20, done: 11 });
    assert_eq!(told.last(), Some(&progress));
    assert_eq!(scene.urls().await.len(), 9);
    assert_eq!(scene.hit(get("/1")).await, None);
    assert_eq!(scene.hit(get("/2")).await.as_deref(), Some("1"));
}

async fn what_is_marked_stale_is_validated_and_kept(scene: Scene) {
    let large = "x".repeat(100_000);
    scene
        .store(
            get("/"),
            ok("").chunk(large.clone()).max_age(60).etag("\"1\""),
        )
        .await;
    scene.store(get("/other"), ok("other").max_age(60)).await;
    let filter = || Filter::all().prefix("http://origin.test/").fresh();
    let filter = filter().matching(|listed| listed.body_length > 5);
    let progress = scene.handle.mark_stale(filter.clone()).await.expect("done");
    assert_eq!(progress, Progress { seen: 2, done: 1 });
    let progress = scene.handle.mark_stale(filter).await.expect("done");
    assert_eq!(progress.done, 0);
    assert_eq!(scene.hit(get("/other")).await.as_deref(), Some("other"));
    assert_eq!(scene.hit(get("/")).await, None);
    scene.origin.answers(not_modified());
    let response = scene.send(get("/")).await;
    assert_eq!(outcome(&response), Outcome::Revalidated);
    assert_eq!(scene.last_sent().headers["if-none-match"], "\"1\"");
    let body = response.into_body().collect().await.expect("a body");
    assert!(body.to_bytes() == large);
}

async fn the_lifetime_of_what_is_stored_can_be_set(scene: Scene) {
    scene.store(get("/one"), ok("one").max_age(60)).await;
    scene.store(get("/two"), ok("two").max_age(60)).await;
    scene.wait(30);
    let url = "http://origin.test/one".parse().expect("a URL");
    let filter = Filter::all().url(url);
    let set = scene.handle.set_ttl(filter, Duration::from_secs(100));
    assert_eq!(set.await.expect("done").done, 1);
    scene.wait(99);
    assert_eq!(scene.hit(get("/one")).await.as_deref(), Some("one"));
    assert_eq!(scene.hit(get("/two")).await, None);
    scene.wait(2);
    assert_eq!(scene.hit(get("/one")).await, None);
    let set = scene.handle.set_ttl(Filter::all(), Duration::MAX);
    assert_eq!(set.await.expect("done").done, 2);
    scene.wait(10 * 365 * 24 * 60 * 60);
    assert_eq!(scene.hit(get("/one")).await.as_deref(), Some("one"));
    assert_eq!(scene.hit(get("/two")).await.as_deref(), Some("two"));
}

async fn everything_is_copied_from_store_to_store(scene: Scene) {
    let large = "0123456789".repeat(1_200_000);
    scene
        .store(get("/large"), ok("").chunk(large.clone()).max_age(60))
        .await;
    scene.store(in_language("en"), varying("hello")).await;
    scene.store(in_language("de"), varying("hallo")).await;
    scene
        .store(
            get("/trailers"),
            ok("t").max_age(60).trailer("checksum", "1"),
        )
        .await;
    let other = Scene::in_redis().await;
    let mut told = 0;
    let copying = scene.handle.copy_to(other.backend.clone(), Filter::all());
    let copied = copying.on_progress(|progress| told = progress.done).await;
    assert_eq!(copied.expect("copied"), Progress { seen: 4, done: 4 });
    assert_eq!(told, 4);
    // And back, into a third store.
    let third = Scene::in_memory();
    let copying = other.handle.copy_to(third.backend.clone(), Filter::all());
    assert_eq!(copying.await.expect("copied").done, 4);
    for copy in [&other, &third] {
        assert!(copy.hit(get("/large")).await.as_deref() == Some(&*large));
        assert_eq!(copy.hit(in_language("de")).await.as_deref(), Some("hallo"));
        assert_eq!(copy.hit(in_language("en")).await.as_deref(), Some("hello"));
        let entry = copy.handle.get(&get("/trailers")).await.expect("an answer");
        let trailers = entry.expect("an entry").body.trailers().cloned();
        assert_eq!(trailers.expect("trailers")["checksum"], "1");
    }
}

async fn what_is_there_already_and_newer_is_not_replaced_by_a_copy(scene: Scene) {
    let other = Scene::in_memory();
    scene.store(get("/"), ok("old").max_age(60)).await;
    other.wait(5);
    other.store(get("/"), ok("new").max_age(60)).await;
    let copying = scene.handle.copy_to(other.backend.clone(), Filter::all());
    let copied = copying.await.expect("copied");
    assert_eq!(copied, Progress { seen: 1, done: 0 });
    assert_eq!(other.hit(get("/")).await.as_deref(), Some("new"));
}

async fn everything_is_counted_and_cleared(scene: Scene) {
    scene.store(in_language("en"), varying("hello")).await;
    scene.store(in_language("de"), varying("hallo!")).await;
    scene.store(get("/short"), ok("1").max_age(1)).await;
    scene.wait(2);
    let stats = scene.handle.stats().await.expect("stats");
    assert_eq!((stats.entries, stats.keys), (3, 2));
    assert_eq!((stats.fresh, stats.stale, stats.expired), (2, 1, 0));
    assert_eq!((stats.body_bytes, stats.unreadable), (12, 0));
    assert!(stats.bytes > 12 && stats.bytes < 12_000, "{stats:?}");
    let mut told = None;
    let clearing = scene.handle.clear();
    let clearing = clearing.on_progress(|progress| told = Some(progress));
    let cleared = clearing.await.expect("cleared");
    assert!(cleared.done >= 2);
    assert_eq!(told, Some(cleared));
    let stats = scene.handle.stats().await.expect("stats");
    assert_eq!(stats, cache_tower::Stats::default());
}

async fn a_sweep_that_is_dropped_stops_and_can_be_begun_again(scene: Scene) {
    for number in 0..1500 {
        let answer = response("1", &[("cache-control", "max-age=60")]);
        let request = get(&format!("/{number}"));
        let put = scene.handle.put(&request, answer);
        put.await.expect("stored");
    }
    let (told, mut was_told) = tokio::sync::mpsc::unbounded_channel();
    {
        let removing = scene.handle.remove_all(Filter::all());
        let removing = removing.on_progress(|progress| {
            told.send(progress).expect("somebody listens");
        });
        tokio::select! {
            biased;
            progress = was_told.recv() => assert!(progress.is_some()),
            _ = removing.into_future() => panic!("nothing was told on the way"),
        }
    }
    let left = scene.handle.stats().await.expect("stats").entries;
    assert!(left > 0 && left < 1500, "{left}");
    let again = scene.handle.remove_all(Filter::all()).await;
    assert_eq!(again.expect("done").done, left);
    assert_eq!(scene.handle.stats().await.expect("stats").entries, 0);
}

#[tokio::test]
async fn what_is_kept_no_longer_is_expired_and_can_be_removed() {
    let scene = Scene::in_memory();
    scene.store(get("/one"), ok("one").max_age(10)).await;
    scene.store(get("/two"), ok("two").max_age(5000)).await;
    scene.wait(10 + 3600);
    assert_eq!(scene.handle.stats().await.expect("stats").expired, 1);
    let removed = scene.handle.remove_all(Filter::all().expired()).await;
    assert_eq!(removed.expect("done").done, 1);
    assert_eq!(scene.urls().await, ["http://origin.test/two"]);
}

#[tokio::test]
async fn a_handle_has_the_policy_that_the_cache_has_now() {
    let layer = CacheLayer::new(MemoryBackend::default());
    let handle = layer.handle();
    let policy = cache_tower::Policy::private().filter_body(100, |_, body| body != b"error");
    layer.controls().set_policy(policy);
    let fresh = [("cache-control", "max-age=60")];
    let put = |body| {
        let (handle, answer) = (handle.clone(), response(body, &fresh));
        async move { handle.put(&get("/"), answer).await }
    };
    assert!(matches!(put("error").await, Err(PutError::Filtered)));
    let long = Box::leak("x".repeat(101).into_boxed_str());
    assert!(matches!(
        put(long).await,
        Err(PutError::Refused(Reason::BodyTooLarge))
    ));
    put("right").await.expect("stored");
    assert!(handle.contains(&get("/")).await.expect("an answer"));
}

#[tokio::test]
async fn a_store_that_cannot_be_gone_through_says_so() {
    let backend = RecordingBackend::new(MemoryBackend::default());
    let handle: CacheHandle = CacheLayer::new(Arc::new(backend)).handle();
    let answer = response("1", &[("cache-control", "max-age=60")]);
    handle.put(&get("/"), answer).await.expect("stored");
    assert!(handle.contains(&get("/")).await.expect("an answer"));
    handle.invalidate(&get("/")).await.expect("invalidated");
    assert!(!handle.contains(&get("/")).await.expect("an answer"));
    let unsupported = BackendErrorKind::Unsupported;
    let error = handle.stats().await.expect_err("no stats");
    assert_eq!(error.kind(), unsupported);
    let error = handle.clear().await.expect_err("not cleared");
    assert_eq!(error.kind(), unsupported);
    assert_eq!(
        error.to_string(),
        "going through all that is stored is nothing that this store offers"
    );
}
