//! The whole cache over Redis: what a caller sees, and what it costs.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cache_core::{CacheInfo, Outcome, Policy};
use cache_redis::Options;
use cache_tower::{Cache, CacheLayer};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use kit::contract::get;
use kit::redis::RedisServer;
use kit::{Answer, Origin, not_modified, ok};
use tower_layer::Layer;
use tower_service::Service;

use crate::support::{Replica, Site, Watch, noise, pieces, request, until};

const FRAME: u64 = 131_072;
const LENGTH: usize = 3 * 131_072 + 500;

/// A cache in front of an origin, over a backend whose server may take as long as it likes.
struct Gateway {
    cache: Cache<Origin>,
    origin: Origin,
}

/// What a caller saw.
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    broke_off: bool,
    outcome: Outcome,
}

impl Gateway {
    fn over(replica: &Replica) -> Self {
        let origin = Origin::new();
        let layer = CacheLayer::new(replica.backend.clone())
            .policy(replica.store.policy.clone())
            .clock(replica.store.clock.clone())
            .backend_budget(Duration::from_secs(30))
            .backend_timeout(Duration::from_secs(30));
        Self {
            cache: layer.layer(origin.clone()),
            origin,
        }
    }

    async fn send(&mut self, request: Request<()>) -> Seen {
        let request = request.map(|()| Full::<Bytes>::default());
        let response = self.cache.call(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let mut body = std::pin::pin!(body);
        let mut bytes = BytesMut::new();
        let mut broke_off = false;
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(_)) => {}
                Err(_) => {
                    broke_off = true;
                    break;
                }
            }
        }
        let info = parts.extensions.get::<CacheInfo>();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: bytes.freeze(),
            broke_off,
            outcome: info.expect("every response has a CacheInfo").outcome,
        }
    }

    async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Seen {
        self.send(request(path, fields)).await
    }

    /// Has the origin answer, and waits until that is stored.
    async fn stores(&mut self, site: &Site, request: Request<()>, answer: Answer) -> Seen {
        self.origin.answers(answer);
        let before = site.server.dump();
        let seen = self.send(request).await;
        assert_eq!(seen.outcome, Outcome::Miss);
        until("it is stored", || {
            let now = site.server.dump();
            now.iter()
                .any(|(key, value)| before.get(key) != Some(value) && !key.contains(":b:"))
        })
        .await;
        seen
    }
}

/// A large response in the pieces that it comes in.
fn large(body: &Bytes) -> Answer {
    let answer = ok("").max_age(60).etag("\"1\"");
    pieces(body.clone(), 16_384)
        .into_iter()
        .fold(answer, Answer::chunk)
}

fn counts(server: &RedisServer) -> BTreeMap<String, u64> {
    server.command_counts()
}

async fn with_a_large_response() -> (Site, Gateway, Bytes) {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    let body = noise(LENGTH, 1);
    let seen = gateway.stores(&site, get("/"), large(&body)).await;
    assert!(seen.body == body && !seen.broke_off);
    site.server.reset_counts();
    (site, gateway, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_response_is_a_hit_for_every_process() {
    let (site, mut gateway, body) = with_a_large_response().await;
    let mut other = Gateway::over(&site.other());
    for gateway in [&mut gateway, &mut other] {
        let seen = gateway.get("/", &[]).await;
        assert_eq!(seen.outcome, Outcome::Hit);
        assert!(seen.body == body && !seen.broke_off);
    }
    let counts = counts(&site.server);
    assert_eq!(counts["get"], 2);
    assert_eq!(counts["hget"], 8);
}

/// The place of each range, and how many frames it is in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_a_large_response_reads_only_the_frames_that_it_is_in() {
    let (site, mut gateway, body) = with_a_large_response().await;
    let length = LENGTH as u64;
    let cases: [(&str, Range<u64>, u64); 11] = [
        ("bytes=0-0", 0..1, 1),
        ("bytes=0-131071", 0..FRAME, 1),
        ("bytes=0-131072", 0..FRAME + 1, 2),
        ("bytes=131071-131072", FRAME - 1..FRAME + 1, 2),
        ("bytes=131072-131072", FRAME..FRAME + 1, 1),
        ("bytes=200000-300000", 200_000..300_001, 2),
        ("bytes=262144-", 2 * FRAME..length, 2),
        ("bytes=-1", length - 1..length, 1),
        ("bytes=-500", length - 500..length, 1),
        ("bytes=-501", length - 501..length, 2),
        ("bytes=0-", 0..length, 4),
    ];
    for (range, bytes, frames) in cases {
        site.server.reset_counts();
        let seen = gateway.get("/", &[("range", range)]).await;
        assert_eq!(seen.outcome, Outcome::Hit, "{range}");
        assert_eq!(seen.status, 206, "{range}");
        let expected = body.slice(bytes.start as usize..bytes.end as usize);
        assert!(seen.body == expected, "{range}");
        assert_eq!(
            seen.headers["content-range"],
            format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1)
        );
        let counts = counts(&site.server);
        assert_eq!(counts["hget"], frames, "{range}");
        assert_eq!(counts["get"], 1, "{range}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_body_of_a_large_response_reads_none() {
    let (site, mut gateway, _) = with_a_large_response().await;
    let mut head = request("/", &[]);
    *head.method_mut() = Method::HEAD;
    for (request, status) in [
        (head, 200),
        (request("/", &[("if-none-match", "\"1\"")]), 304),
        (request("/", &[("range", "bytes=1000000-")]), 416),
    ] {
        let seen = gateway.send(request).await;
        assert_eq!(seen.outcome, Outcome::Hit);
        assert_eq!(seen.status, status);
        assert!(seen.body.is_empty());
    }
    assert_eq!(counts(&site.server).get("hget"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_stops_the_reading() {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    let head = site.head(&get("/"), &ok("").max_age(60));
    assert!(site.write(head, noise(32 * 131_072, 1)).await);
    site.server.reset_counts();
    let request = request("/", &[]).map(|()| Full::<Bytes>::default());
    let response = gateway.cache.call(request).await.expect("a response");
    let mut body = Box::pin(response.into_body());
    let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
    assert!(matches!(frame, Some(Ok(_))));
    drop(body);
    // Whatever it had asked for would have come before this.
    site.backend.ping().await.expect("an answer");
    // The one that it got, and a few that were asked for ahead.
    let asked = counts(&site.server)["hget"];
    assert!(asked <= 8, "{asked} of 32 frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_a_small_response_are_cut_from_one_get() {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    let body = noise(1000, 1);
    let answer = ok("").max_age(60).etag("\"1\"").chunk(body.clone());
    gateway.stores(&site, get("/"), answer).await;
    site.server.reset_counts();
    for (range, bytes) in [
        ("bytes=0-0", 0..1),
        ("bytes=500-", 500..1000),
        ("bytes=-3", 997..1000),
    ] {
        let seen = gateway.get("/", &[("range", range)]).await;
        assert_eq!((seen.outcome, seen.status.as_u16()), (Outcome::Hit, 206));
        assert!(seen.body == body.slice(bytes), "{range}");
    }
    assert_eq!(
        counts(&site.server),
        BTreeMap::from([("get".to_owned(), 3)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_that_is_stored_is_a_get_and_an_evalsha_and_a_hit_is_a_get() {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    let answer = || ok("one").max_age(60).etag("\"1\"");
    gateway.stores(&site, get("/first"), answer()).await;
    let mut watch = Watch::over(&site.server);
    let mut asked = |expected: &[(&str, u64)]| {
        let expected = expected
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        assert_eq!(watch.take(&site.server).0, expected.collect());
    };
    gateway.origin.answers(answer());
    assert_eq!(gateway.get("/", &[]).await.outcome, Outcome::Miss);
    until("it is stored", || site.server.keys().len() == 2).await;
    asked(&[("get", 1), ("evalsha", 1)]);

    let seen = gateway.get("/", &[]).await;
    assert_eq!((seen.outcome, &*seen.body), (Outcome::Hit, &b"one"[..]));
    asked(&[("get", 1)]);

    site.wait(61);
    site.server.reset_counts();
    gateway
        .origin
        .answers(not_modified().max_age(60).etag("\"1\""));
    let seen = gateway.get("/", &[]).await;
    assert_eq!(
        (seen.outcome, &*seen.body),
        (Outcome::Revalidated, &b"one"[..])
    );
    until("it is freshened", || {
        counts(&site.server).contains_key("evalsha")
    })
    .await;
    asked(&[("get", 1), ("evalsha", 1)]);
    let seen = gateway.get("/", &[]).await;
    assert_eq!((seen.outcome, &*seen.body), (Outcome::Hit, &b"one"[..]));
    asked(&[("get", 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_response_is_validated_without_its_body() {
    let (site, mut gateway, body) = with_a_large_response().await;
    for round in 0..3 {
        site.wait(61);
        gateway
            .origin
            .answers(not_modified().max_age(60).etag("\"1\""));
        let seen = gateway.get("/", &[]).await;
        assert_eq!(seen.outcome, Outcome::Revalidated, "{round}");
        assert!(seen.body == body && !seen.broke_off);
        until("it is freshened", || {
            counts(&site.server).get("evalsha") >= Some(&(round + 1))
        })
        .await;
        let seen = gateway.get("/", &[]).await;
        assert_eq!(seen.outcome, Outcome::Hit, "{round}");
        assert!(seen.body == body && !seen.broke_off);
    }
    assert!(!counts(&site.server).contains_key("hset"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_purges_is_gone_for_all() {
    let (site, mut gateway, body) = with_a_large_response().await;
    let mut other = Gateway::over(&site.other());
    assert_eq!(other.get("/", &[]).await.outcome, Outcome::Hit);
    site.wait(1);
    let mut post = request("/", &[]);
    *post.method_mut() = Method::POST;
    gateway.origin.answers(ok(""));
    gateway.send(post).await;
    until("it is purged", || {
        counts(&site.server).contains_key("evalsha") || counts(&site.server).contains_key("eval")
    })
    .await;
    site.wait(1);
    let seen = other
        .stores(&site, get("/"), large(&noise(LENGTH, 2)))
        .await;
    assert!(seen.body == noise(LENGTH, 2) && seen.body != body);
    assert!(gateway.get("/", &[]).await.body == noise(LENGTH, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_in_the_middle_of_a_miss_leaves_nothing_behind() {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    for read in [0, 1, 10, 20] {
        gateway.origin.answers(large(&noise(LENGTH, 1)));
        let request = request("/", &[]).map(|()| Full::<Bytes>::default());
        let response = gateway.cache.call(request).await.expect("a response");
        let mut body = Box::pin(response.into_body());
        for _ in 0..read {
            let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            assert!(matches!(frame, Some(Ok(_))));
            tokio::task::yield_now().await;
        }
        drop(body);
        until("nothing is left", || {
            site.all_expire();
            site.server.keys().is_empty()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_off_at_the_origin_is_not_stored() {
    let site = Site::start().await;
    let mut gateway = Gateway::over(&site);
    gateway
        .origin
        .answers(large(&noise(LENGTH, 1)).breaks_off());
    let seen = gateway.get("/", &[]).await;
    assert!(seen.broke_off);
    until("nothing is left", || {
        site.all_expire();
        site.server.keys().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_response_whose_body_is_lost_is_a_miss_and_stored_again() {
    let (site, mut gateway, _) = with_a_large_response().await;
    for how in ["deleted", "cut", "extended", "of another type"] {
        let key = site.bodies_elsewhere().pop().expect("a body");
        match how {
            "deleted" => site.delete(&key),
            "cut" => {
                site.server.command(&["HDEL", &key, "0"]);
            }
            "extended" => {
                site.server.command(&["HSET", &key, "4", "x"]);
            }
            _ => {
                site.delete(&key);
                let _: u64 = site.server.query(&["RPUSH", &key, "x"]);
            }
        }
        site.wait(1);
        let again = noise(LENGTH, 2);
        let seen = gateway.stores(&site, get("/"), large(&again)).await;
        assert!(seen.body == again && !seen.broke_off, "{how}");
        let seen = gateway.get("/", &[]).await;
        assert_eq!(seen.outcome, Outcome::Hit, "{how}");
        assert!(seen.body == again && !seen.broke_off, "{how}");
        // Those that were let go are for their readers only.
        for key in site.bodies_elsewhere() {
            if site.pttl(&key) <= 300_000 {
                site.delete(&key);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_of_a_large_response_comes_from_the_origin_or_not_at_all() {
    let (site, mut gateway, body) = with_a_large_response().await;
    let key = site.bodies_elsewhere().pop().expect("a body");
    let mut bytes = site.frames(&key);
    bytes[2 * (131_072 + 8) + 100] ^= 1;
    site.overwrite_frames(&key, &bytes);

    // The origin has another by now.
    gateway
        .origin
        .answers(ok("another").max_age(60).etag("\"2\""));
    let seen = gateway.get("/", &[]).await;
    assert_eq!(seen.outcome, Outcome::Hit);
    assert!(seen.broke_off);
    assert_eq!(seen.body.len() as u64, 2 * FRAME);
    assert!(body.starts_with(&seen.body));

    // It has the same still.
    gateway.origin.answers(large(&body));
    let seen = gateway.get("/", &[]).await;
    assert_eq!(seen.outcome, Outcome::Hit);
    assert!(seen.body == body && !seen.broke_off);

    // What is before the damage can be had, and what is behind it.
    for (range, bytes) in [("bytes=0-9", 0..10), ("bytes=-10", LENGTH - 10..LENGTH)] {
        let seen = gateway.get("/", &[("range", range)]).await;
        assert!(seen.body == body.slice(bytes) && !seen.broke_off, "{range}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_are_hits_for_every_process() {
    let site = Site::with(Options::default()).await;
    let mut gateway = Gateway::over(&site);
    let mut other = Gateway::over(&site.other());
    for (language, length) in [("en", 100), ("de", LENGTH)] {
        let answer = large(&noise(length, 1)).with("vary", "accept-language");
        let asking = request("/", &[("accept-language", language)]);
        gateway.stores(&site, asking, answer).await;
    }
    for gateway in [&mut gateway, &mut other] {
        for (language, length) in [("en", 100), ("de", LENGTH), ("en", 100)] {
            let seen = gateway.get("/", &[("accept-language", language)]).await;
            assert_eq!(seen.outcome, Outcome::Hit, "{language}");
            assert!(seen.body == noise(length, 1), "{language}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_at_our_keys_and_is_not_ours_is_a_miss_and_is_replaced() {
    let mut site = Site::start().await;
    site.replica.store.policy = Policy::private();
    let mut gateway = Gateway::over(&site);
    let key = site.primary(&get("/"));
    for command in [
        ["SET", &key, "theirs"],
        ["RPUSH", &key, "theirs"],
        ["SADD", &key, "theirs"],
    ] {
        let _: u64 = site.server.query(&["DEL", &key]);
        site.server.command(&command);
        gateway.stores(&site, get("/"), ok("one").max_age(60)).await;
        let seen = gateway.get("/", &[]).await;
        assert_eq!((seen.outcome, &*seen.body), (Outcome::Hit, &b"one"[..]));
        site.wait(1);
    }
    site.all_expire();
    assert_eq!(site.backend.undecodable(), 3);
}
