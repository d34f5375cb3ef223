//! What happened: events, `CacheInfo`, spans, metrics. `docs/events.md`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cache_core::{CacheMode, CacheOptions, Policy, Reason};
use cache_memory::MemoryBackend;
use cache_tower::{CacheLayer, Clock, Event};
use kit::{FaultyBackend, ManualClock, Operation, Scenario, not_modified, ok, status};

/// The names of events, and with each what matters.
type Heard = Arc<Mutex<Vec<String>>>;

fn listening(policy: Policy) -> (Scenario, Heard) {
    listening_over(policy, MemoryBackend::default())
}

fn listening_over(policy: Policy, backend: impl cache_core::Backend) -> (Scenario, Heard) {
    let heard = Heard::default();
    let clock = ManualClock::new();
    let sink = heard.clone();
    let listener = move |event: &Event<'_>| {
        let told = match event {
            Event::Answered { info, status, .. } => {
                format!("answered {} {}", status.as_u16(), info.outcome)
            }
            Event::Failed => "failed".into(),
            Event::Forwarded {
                reason,
                in_background: false,
                ..
            } => format!("forwarded {reason:?}"),
            Event::Forwarded { reason, .. } => format!("forwarded in background {reason:?}"),
            Event::OriginAnswered { status, .. } => format!("origin {}", status.as_u16()),
            Event::OriginFailed { .. } => "origin failed".into(),
            Event::Stored { bytes, .. } => format!("stored {bytes}"),
            Event::NotStored { reason, .. } => format!("not stored {reason:?}"),
            Event::Freshened { .. } => "freshened".into(),
            Event::Removed { .. } => "removed".into(),
            Event::Invalidated { .. } => "invalidated".into(),
            Event::BackendFailed { error, .. } => format!("backend: {error}"),
            _ => panic!("an event that no test knows"),
        };
        sink.lock().expect("no panic").push(told);
    };
    let layer = CacheLayer::new(backend)
        .policy(policy)
        .clock(clock.clone())
        .listener(listener);
    (Scenario::in_layer(layer, clock), heard)
}

#[track_caller]
fn check(heard: &Heard, expected: &[&str]) {
    let found = std::mem::take(&mut *heard.lock().expect("no panic"));
    assert_eq!(found, expected);
}

#[test]
fn a_miss_a_hit_and_a_validation() {
    let (mut cache, heard) = listening(Policy::private());
    cache
        .get("/")
        .origin(ok("one").max_age(1).etag("\"1\""))
        .miss();
    check(
        &heard,
        &[
            "forwarded UriMiss",
            "origin 200",
            "answered 200 miss",
            "stored 3",
        ],
    );
    cache.get("/").hit();
    check(&heard, &["answered 200 hit"]);
    cache.wait(2);
    cache
        .get("/")
        .origin(not_modified().max_age(1))
        .revalidated();
    check(
        &heard,
        &[
            "forwarded Stale",
            "origin 304",
            "freshened",
            "answered 200 revalidated",
        ],
    );
    cache.wait(2);
    cache
        .get("/")
        .origin(ok("two").cache_control("no-store"))
        .miss();
    check(
        &heard,
        &[
            "forwarded Stale",
            "origin 200",
            "removed",
            "answered 200 miss",
        ],
    );
}

#[test]
fn what_is_not_stored_says_so() {
    let policy = Policy::private()
        .max_body_bytes(5)
        .filter_body(4, |_, body| body != b"bad".as_slice());
    let (mut cache, heard) = listening(policy);
    let before = ["forwarded UriMiss", "origin 200", "answered 200 miss"];
    let mut is = |answer: kit::Answer, after: &[&str]| {
        cache.get("/").origin(answer).seen().expect("a response");
        check(&heard, &[&before[..], after].concat());
    };
    is(ok("one"), &[]);
    is(
        ok("").chunk("bad").max_age(60),
        &["not stored FilterRefusesBody"],
    );
    is(
        ok("").chunk("12345").max_age(60),
        &["not stored FilterRefusesBody"],
    );
    is(
        ok("").chunk("123456").max_age(60),
        &["not stored BodyTooLarge"],
    );
    is(
        ok("").chunk("1").breaks_off().max_age(60),
        &["not stored BodyCutOff"],
    );
    assert_eq!(
        Reason::BodyCutOff.explain(),
        "the body broke off or was not read to its end"
    );
    assert_eq!(
        Reason::FilterRefusesBody.explain(),
        "a filter of the policy refuses the body"
    );
}

#[test]
fn a_stale_hit_is_answered_once_and_validated_in_the_background() {
    let (mut cache, heard) = listening(Policy::private());
    cache
        .get("/")
        .origin(
            ok("one")
                .cache_control("max-age=1, stale-while-revalidate=60")
                .etag("\"1\""),
        )
        .miss();
    heard.lock().expect("no panic").clear();
    cache.wait(2);
    cache
        .get("/")
        .origin(not_modified().max_age(60))
        .stale_hit();
    cache.settle();
    let expected = [
        "answered 200 stale hit",
        "forwarded in background Stale",
        "origin 304",
        "freshened",
    ];
    check(&heard, &expected);
}

#[test]
fn an_origin_that_fails_and_a_stale_response_that_stands_in() {
    let (mut cache, heard) = listening(Policy::private());
    cache.get("/").origin_fails().error();
    check(&heard, &["forwarded UriMiss", "origin failed", "failed"]);
    cache.get("/").origin(ok("one").max_age(1)).miss();
    heard.lock().expect("no panic").clear();
    cache.wait(2);
    cache.get("/").origin_fails().stale_hit();
    check(
        &heard,
        &["forwarded Stale", "origin failed", "answered 200 stale hit"],
    );
}

#[test]
fn an_unsafe_method_a_bypass_and_504() {
    let (mut cache, heard) = listening(Policy::private());
    cache.send("POST", "/").origin(ok("")).bypass();
    check(
        &heard,
        &[
            "forwarded Method",
            "origin 200",
            "invalidated",
            "answered 200 bypass",
        ],
    );
    cache.send("OPTIONS", "/").origin(ok("")).bypass();
    check(
        &heard,
        &["forwarded Method", "origin 200", "answered 200 bypass"],
    );
    cache.get("/").mode(CacheMode::OnlyIfCached).unsatisfiable();
    check(&heard, &["answered 504 unsatisfiable"]);
}

#[test]
fn what_a_filter_rejects_is_removed_before_the_origin_is_asked() {
    let policy = Policy::private().filter_reuse(|request, _| !request.headers.contains_key("x"));
    let (mut cache, heard) = listening(policy);
    cache.get("/").origin(ok("one").max_age(60)).miss();
    heard.lock().expect("no panic").clear();
    cache.get("/").with("x", "1").origin(ok("two")).miss();
    let expected = [
        "removed",
        "forwarded FilterRefusesReuse",
        "origin 200",
        "answered 200 miss",
    ];
    check(&heard, &expected);
}

#[test]
fn a_store_that_fails_is_told() {
    let backend = FaultyBackend::new(MemoryBackend::default());
    backend.fail(Operation::Lookup);
    let (mut cache, heard) = listening_over(Policy::private(), backend);
    cache.get("/").origin(ok("one")).miss();
    let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
    assert!(heard[0].starts_with("backend: "), "{heard:?}");
    assert_eq!(heard[1], "forwarded BackendUnavailable");
}

#[test]
fn several_can_listen() {
    let count = Arc::new(Mutex::new([0; 2]));
    let counting = |index: usize| {
        let count = count.clone();
        move |_: &Event<'_>| count.lock().expect("no panic")[index] += 1
    };
    let clock = ManualClock::new();
    let layer = CacheLayer::new(MemoryBackend::default())
        .listener(counting(0))
        .listener(counting(1));
    let mut cache = Scenario::in_layer(layer.clock(clock.clone()), clock);
    cache.get("/").origin(ok("one").max_age(60)).miss();
    cache.get("/").hit();
    assert_eq!(*count.lock().expect("no panic"), [5, 5]);
}

#[test]
fn a_listener_hears_all_where_responses_say_nothing() {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let sink = outcomes.clone();
    let layer = CacheLayer::new(MemoryBackend::default())
        .cache_info(false)
        .listener(move |event: &Event<'_>| {
            if let Event::Answered { info, .. } = event {
                sink.lock().expect("no panic").push(info.outcome);
            }
        });
    let origin = kit::Origin::new();
    origin.answers(ok("one").max_age(60));
    let client = tower::Layer::layer(&layer, origin);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for _ in 0..2 {
            let request = http::Request::get("http://origin.test/");
            let request = request.body(http_body_util::Full::<bytes::Bytes>::default());
            let answer = tower::ServiceExt::oneshot(client.clone(), request.expect("a request"));
            let response = answer.await.expect("a response");
            assert!(
                response
                    .extensions()
                    .get::<cache_core::CacheInfo>()
                    .is_none()
            );
            let body = http_body_util::BodyExt::collect(response.into_body()).await;
            assert_eq!(body.expect("a whole body").to_bytes(), "one");
        }
    });
    let outcomes = outcomes.lock().expect("no panic");
    assert_eq!(
        *outcomes,
        [cache_core::Outcome::Miss, cache_core::Outcome::Hit]
    );
}

#[test]
fn a_response_says_when_it_came_when_it_expires_and_how_old_it_is() {
    let mut cache = Scenario::private();
    let seconds = Duration::from_secs;
    let seen = cache
        .get("/")
        .origin(ok("one").max_age(60).with("age", "10").etag("\"1\""))
        .miss();
    let now = cache.clock().now();
    let after =
        |time: Option<SystemTime>| time.expect("a time").duration_since(now).expect("later");
    assert_eq!(seen.info.received_at, Some(now));
    assert_eq!(
        after(seen.info.expires_at()).as_secs(),
        49,
        "an age of 10, and a millisecond"
    );
    assert!(!seen.info.is_hit() && !seen.info.is_stale() && seen.info.age.is_none());
    assert_eq!(
        seen.info.to_string(),
        "miss: nothing is stored for this URI; stored"
    );
    cache.wait(5);
    let seen = cache.get("/").hit();
    assert_eq!(seen.info.received_at, Some(now));
    assert!(seen.info.is_older_than(seconds(15)) && !seen.info.is_older_than(seconds(16)));
    assert!(!seen.info.is_expired(cache.clock().now()));
    assert!(seen.info.is_expired(now + seconds(50)));
    assert_eq!(
        seen.info.to_string(),
        "hit: the stored response is fresh; age 15 s, fresh for 44 s"
    );
    cache.wait(50);
    let seen = cache.get("/").mode(CacheMode::ForceCache).stale_hit();
    assert!(seen.info.is_stale() && seen.info.is_expired(cache.clock().now()));
    assert_eq!(
        seen.info.to_string(),
        "stale hit: stale, and the mode of the request takes stale responses; age 65 s, stale for 5 s"
    );
    let seen = cache
        .get("/")
        .origin(not_modified().max_age(60))
        .revalidated();
    assert!(seen.info.is_revalidated() && !seen.info.is_stale());
    let seen = cache.get("/none").origin(ok("one")).miss();
    assert_eq!(
        (seen.info.received_at, seen.info.expires_at()),
        (None, None)
    );
}

#[test]
fn the_key_is_told_to_those_who_ask_and_to_nobody_else() {
    let mut cache = Scenario::private();
    let report = || CacheOptions::new().report_key();
    let miss = cache
        .get("/")
        .options(report())
        .origin(ok("one").max_age(60))
        .miss();
    let hit = cache.get("/").options(report()).hit();
    assert!(miss.info.key.is_some());
    assert_eq!(miss.info.key, hit.info.key);
    assert_eq!(cache.get("/").hit().info.key, None);
    let other = cache
        .get("/other")
        .options(report())
        .origin(ok("one"))
        .miss();
    assert_ne!(other.info.key, hit.info.key);
    cache
        .get("/")
        .options(report())
        .mode(CacheMode::NoStore)
        .origin(status(404))
        .bypass();
}

mod spans {
    use std::fmt::{Debug, Write as _};
    use std::sync::{Arc, Mutex};

    use cache_core::Policy;
    use kit::{Scenario, ok};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::NoSubscriber;
    use tracing::{Dispatch, Event, Metadata, Subscriber};

    /// Everything that is in spans and events.
    #[derive(Clone, Default)]
    struct Everything(Arc<Mutex<String>>);

    struct Fields<'a>(&'a mut String);

    impl Visit for Fields<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            let _ = write!(self.0, " {field}={value:?}");
        }
    }

    impl Everything {
        fn add(&self, what: &str, record: impl FnOnce(&mut Fields<'_>)) {
            let mut text = self.0.lock().expect("no panic");
            text.push_str(what);
            record(&mut Fields(&mut text));
            text.push('\n');
        }
    }

    impl Subscriber for Everything {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("cache_tower")
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.add(span.metadata().name(), |fields| span.record(fields));
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, values: &Record<'_>) {
            self.add("recorded", |fields| values.record(fields));
        }

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            self.add("event", |fields| event.record(fields));
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_span_has_outcome_and_reason_and_nothing_that_is_secret() {
        let everything = Everything::default();
        // So that the answer of this thread is not remembered for all.
        let _second = Dispatch::new(NoSubscriber::new());
        let _guard = tracing::subscriber::set_default(everything.clone());
        let mut cache = Scenario::with(Policy::private());
        for is_hit in [false, true] {
            let call = cache
                .get("/hunter2?token=hunter2&x=hunter2")
                .with("authorization", "hunter2")
                .with("x-other", "hunter2");
            if is_hit {
                call.hit();
            } else {
                let answer = ok("hunter2").max_age(60).with("x-answer", "hunter2");
                call.origin(answer).miss();
            }
        }
        let text = everything.0.lock().expect("no panic").clone();
        for line in [
            "http_cache method=GET",
            "recorded outcome=\"miss\"",
            "recorded reason=\"nothing is stored for this URI\"",
            "recorded outcome=\"hit\"",
            "recorded reason=\"the stored response is fresh\"",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("hunter"), "{text}");
    }
}

mod counters {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use cache_memory::MemoryBackend;
    use cache_tower::{CacheLayer, Metrics};
    use kit::{ManualClock, Scenario, not_modified, ok};
    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    /// Sums by name and labels, and counts of values.
    #[derive(Clone, Default)]
    struct Sums(Arc<Mutex<BTreeMap<String, u64>>>);

    struct One(Sums, String);

    impl One {
        fn add(&self, value: u64) {
            let mut sums = self.0.0.lock().expect("no panic");
            *sums.entry(self.1.clone()).or_default() += value;
        }
    }

    impl CounterFn for One {
        fn increment(&self, value: u64) {
            self.add(value);
        }

        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for One {
        fn record(&self, _: f64) {
            self.add(1);
        }
    }

    impl Sums {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<_> = key
                .labels()
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            Arc::new(One(
                self.clone(),
                format!("{} {}", key.name(), labels.join(" ")),
            ))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.one(key))
        }
    }

    #[test]
    fn what_happens_is_counted() {
        let sums = Sums::default();
        metrics::with_local_recorder(&sums, || {
            let clock = ManualClock::new();
            let layer = CacheLayer::new(MemoryBackend::default())
                .clock(clock.clone())
                .listener(Metrics::named("x"));
            let mut cache = Scenario::in_layer(layer, clock);
            cache
                .get("/hunter2")
                .origin(ok("one").max_age(1).etag("\"1\""))
                .miss();
            cache.get("/hunter2").hit();
            cache.get("/hunter2").hit();
            cache.wait(2);
            cache.get("/hunter2").origin(not_modified()).revalidated();
            cache
                .get("/x")
                .origin(ok("").chunk("a").breaks_off().max_age(1))
                .miss();
            cache.get("/x").origin_fails().error();
            cache.send("POST", "/x").origin(ok("")).bypass();
        });
        let found = sums.0.lock().expect("no panic").clone();
        let found: Vec<_> = found
            .iter()
            .map(|(name, sum)| format!("{name}: {sum}"))
            .collect();
        let expected = [
            "http_cache_age_seconds cache=x outcome=hit: 2",
            "http_cache_age_seconds cache=x outcome=revalidated: 1",
            "http_cache_changes_total cache=x change=freshened: 1",
            "http_cache_changes_total cache=x change=invalidated: 1",
            "http_cache_failures_total cache=x: 1",
            "http_cache_forwards_total cache=x reason=Method background=false: 1",
            "http_cache_forwards_total cache=x reason=Stale background=false: 1",
            "http_cache_forwards_total cache=x reason=UriMiss background=false: 3",
            "http_cache_not_stored_total cache=x reason=BodyCutOff: 1",
            "http_cache_origin_seconds cache=x status=2xx: 3",
            "http_cache_origin_seconds cache=x status=3xx: 1",
            "http_cache_origin_seconds cache=x status=none: 1",
            "http_cache_requests_total cache=x outcome=bypass reason=Invalidated collapsed=false: 1",
            "http_cache_requests_total cache=x outcome=hit reason=Fresh collapsed=false: 2",
            "http_cache_requests_total cache=x outcome=miss reason=UriMiss collapsed=false: 2",
            "http_cache_requests_total cache=x outcome=revalidated reason=Validated collapsed=false: 1",
            "http_cache_stored_bytes cache=x: 1",
        ];
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn where_responses_say_nothing_that_is_so_of_our_own_as_well() {
    let layer = CacheLayer::new(MemoryBackend::default()).cache_info(false);
    let mut request = http::Request::get("http://origin.test/")
        .body(http_body_util::Full::<bytes::Bytes>::default())
        .expect("a request");
    request.extensions_mut().insert(CacheMode::OnlyIfCached);
    let client = tower::Layer::layer(&layer, kit::Origin::new());
    let answer = tower::ServiceExt::oneshot(client, request);
    let response = answer.await.expect("a response");
    assert_eq!(response.status(), 504);
    let info = response.extensions().get::<cache_core::CacheInfo>();
    assert!(info.is_none());
}
