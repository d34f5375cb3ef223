//! What is stored behind a codec: the promises of the port, and that nothing changed passes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_codec::{Codec, CodecBackend, InvalidCodec, Key, Keys};
use cache_core::{Backend, Entry, Listed, Manage, Outcome, Source};
use cache_memory::MemoryBackend;
use cache_redis::{EmbeddedRedis, Options, RedisBackend};
use cache_tower::Filter;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use kit::{RecordingBackend, not_modified, ok};

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};

use crate::scene::{Scene, get, outcome, with};
use crate::secrets::base64;

fn key(id: u32) -> Key {
    Key::new(id, format!("the secret of key number {id}").as_bytes()).expect("a key")
}

fn keys() -> Keys {
    Keys::new(key(1))
}

fn codecs() -> Vec<(&'static str, Codec)> {
    vec![
        ("zstd", Codec::new().zstd(3)),
        ("lz4", Codec::new().lz4()),
        ("signed", Codec::new().sign(keys())),
        ("encrypted", Codec::new().encrypt(keys())),
        ("encrypted zstd", Codec::new().zstd(1).encrypt(keys())),
    ]
}

fn memory(codec: Codec) -> CodecBackend<MemoryBackend> {
    CodecBackend::new(MemoryBackend::default(), codec).expect("a backend")
}

async fn redis(codec: Codec) -> CodecBackend<RedisBackend> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut config: cache_redis::RedisConfig = server_url().await.parse().expect("a URL");
    config.options = Options {
        namespace: format!("http-cache:{number}").parse().expect("a namespace"),
        ..Options::default()
    };
    let backend = RedisBackend::from_config(&config).expect("a configuration");
    CodecBackend::new(backend, codec).expect("a backend")
}

/// One server for all tests of this file, which goes away with the process.
async fn server_url() -> String {
    static SERVER: tokio::sync::OnceCell<EmbeddedRedis> = tokio::sync::OnceCell::const_new();
    let start = || async { EmbeddedRedis::start().await.expect("a server") };
    SERVER.get_or_init(start).await.url()
}

mod memory_compressed {
    use super::{Codec, memory};
    kit::backend_contract!(memory(Codec::new().zstd(3)));
    kit::management_contract!(memory(Codec::new().lz4()));
}

mod memory_signed {
    use super::{Codec, keys, memory};
    kit::backend_contract!(memory(Codec::new().sign(keys())));
    kit::management_contract!(memory(Codec::new().sign(keys())));
}

mod memory_encrypted {
    use super::{Codec, keys, memory};
    kit::backend_contract!(memory(Codec::new().lz4().encrypt(keys())));
    kit::management_contract!(memory(Codec::new().encrypt(keys())));
}

mod redis_encrypted {
    use super::{Codec, keys, redis};
    kit::backend_contract!(redis(Codec::new().zstd(3).encrypt(keys())).await);
    kit::management_contract!(redis(Codec::new().zstd(3).encrypt(keys())).await);
}

mod redis_signed {
    use super::{Codec, keys, redis};
    kit::backend_contract!(redis(Codec::new().sign(keys())).await);
    kit::management_contract!(redis(Codec::new().lz4().sign(keys())).await);
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn ranged(range: &str) -> Request<Empty<Bytes>> {
    with("/large", &[("range", range)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_and_ranges_of_them_are_read() {
    let text = b"one line after the other\n".repeat(40_000);
    for (name, codec) in codecs() {
        for body in [noise(1_000_000), text.clone()] {
            let inner: Arc<dyn Backend> = Arc::new(redis(codec.clone()).await);
            let scene = Scene::over(inner, None);
            let answer = body
                .chunks(70_001)
                .fold(ok("").max_age(60).etag("\"1\""), |answer, piece| {
                    answer.chunk(piece.to_vec())
                });
            scene.store(get("/large"), answer).await;
            let hit = scene.send(get("/large")).await;
            assert_eq!(outcome(&hit), Outcome::Hit, "{name}");
            let read = hit.into_body().collect().await.expect("a body");
            assert!(read.to_bytes() == body, "{name}");
            for (range, expected) in [
                ("bytes=0-0", &body[..1]),
                ("bytes=131000-131100", &body[131_000..131_101]),
                ("bytes=999990-", &body[999_990..]),
            ] {
                let part = scene.send(ranged(range)).await;
                assert_eq!(part.status(), 206, "{name} {range}");
                let read = part.into_body().collect().await.expect("a body");
                assert!(read.to_bytes() == expected, "{name} {range}");
            }
        }
    }
}

#[tokio::test]
async fn compression_is_kept_where_it_pays() {
    for codec in [
        Codec::new().zstd(3),
        Codec::new().lz4(),
        Codec::new().zstd(3).encrypt(keys()),
    ] {
        let scene = Scene::over(Arc::new(memory(codec)), None);
        let text = b"the same again and again, ".repeat(10_000);
        let coded = ok("").chunk(text.clone()).max_age(60);
        let coded = coded.with("content-encoding", "identity-like");
        for (path, answer, range) in [
            ("/text", ok("").chunk(text.clone()).max_age(60), 0..40_000),
            ("/coded", coded, 260_000..270_000),
            (
                "/noise",
                ok("").chunk(noise(260_000)).max_age(60),
                260_000..270_000,
            ),
        ] {
            scene.store(get(path), answer).await;
            let filter = Filter::all().prefix(format!("http://origin.test{path}"));
            let mut entries = scene.handle.entries(filter);
            let listed = entries.next().await.expect("one").expect("no error");
            assert_eq!(listed.body_length, 260_000);
            assert!(range.contains(&listed.bytes), "{path}: {}", listed.bytes);
        }
    }
}

/// A store whose values can be changed from outside, behind its own checks.
struct Tampered {
    inner: MemoryBackend,
    codec: CodecBackend<MemoryBackend>,
    scene: Scene,
}

/// What a store has, taken apart.
#[derive(Clone)]
struct Raw {
    entry: Entry,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Tampered {
    async fn new(codec: Codec) -> Self {
        let inner = MemoryBackend::default();
        let codec = CodecBackend::new(inner.clone(), codec).expect("a backend");
        let scene = Scene::over(Arc::new(codec.clone()), None);
        let body = |number: u8| vec![number; 400_000];
        scene
            .store(get("/small"), ok("small").max_age(60).trailer("x", "1"))
            .await;
        scene.store(get("/other"), ok("other").max_age(60)).await;
        scene
            .store(get("/large"), ok("").chunk(body(1)).max_age(60))
            .await;
        scene
            .store(get("/large-too"), ok("").chunk(body(2)).max_age(60))
            .await;
        Self {
            inner,
            codec,
            scene,
        }
    }

    async fn raw(&self, path: &str) -> Raw {
        let entry = self.scene.handle.get(&get(path)).await.expect("an answer");
        let entry = entry.expect("it is stored");
        let mut walk = self.inner.walk();
        while let Some(batch) = walk.next_batch().wait().await.expect("a batch") {
            for listed in batch.listed {
                if listed.token == entry.token {
                    return self.open(&listed).await;
                }
            }
        }
        panic!("it is not in the store");
    }

    async fn open(&self, listed: &Listed) -> Raw {
        let opened = self.inner.open(listed).wait().await.expect("an answer");
        let entry = opened.expect("it is there");
        let body = match entry.body.source() {
            Source::Whole(bytes) => bytes.to_vec(),
            Source::Chunks(chunks) => chunks.concat(),
            Source::Remote(_) => panic!("it is in memory"),
        };
        let trailers = entry.body.trailers().cloned().unwrap_or_default();
        Raw {
            entry,
            body,
            trailers,
        }
    }

    /// Writes this as it is.
    async fn put(&self, raw: Raw) {
        self.inner.remove(&raw.entry).wait().await.expect("removed");
        let mut writer = self.inner.writer((*raw.entry.head).clone());
        if !raw.body.is_empty() {
            writer.write(raw.body.into()).expect("taken");
        }
        let published = writer.publish(Some(raw.trailers)).wait().await;
        published.expect("published");
    }

    /// Whether nothing wrong is given for this path: nothing, or an error on the way.
    async fn gives_nothing_wrong(&self, path: &str, right: &[u8]) -> bool {
        let before = self.codec.rejected();
        let mut request = get(path);
        let only = http::HeaderValue::from_static("only-if-cached");
        request.headers_mut().insert("cache-control", only);
        // Whoever goes on at the origin where a body is lost gets the right one.
        let origin = &self.scene.origin;
        origin.answers(ok("").chunk(right.to_vec()).max_age(60));
        let response = self.scene.send(request).await;
        let was_stored = outcome(&response) == Outcome::Hit;
        let body = response.into_body().collect().await;
        // An error is better than something else.
        let is_right = body.is_err() || body.is_ok_and(|body| body.to_bytes() == right);
        origin.forget();
        self.codec.rejected() > before && (!was_stored || is_right)
    }
}

/// Whether what is changed so is found to be changed.
async fn is_found_out(path: &str, change: impl AsyncFn(&Tampered, &mut Raw)) {
    for (name, codec) in [
        ("signed", Codec::new().sign(keys())),
        ("encrypted", Codec::new().encrypt(keys())),
        ("encrypted zstd", Codec::new().zstd(3).encrypt(keys())),
    ] {
        let store = Tampered::new(codec).await;
        let right = match path {
            "/small" => b"small".to_vec(),
            _ => vec![1; 400_000],
        };
        let mut raw = store.raw(path).await;
        change(&store, &mut raw).await;
        store.put(raw).await;
        assert!(store.gives_nothing_wrong(path, &right).await, "{name}");
    }
}

#[tokio::test]
async fn one_bit_of_a_body_is_found_out() {
    for path in ["/small", "/large"] {
        for at in [0, 20, usize::MAX] {
            is_found_out(path, async |_, raw| {
                let at = at.min(raw.body.len() - 1);
                raw.body[at] ^= 1;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn one_bit_of_a_head_or_a_tail_is_found_out() {
    let flip = |headers: &mut HeaderMap, at: usize| {
        let mut value = headers["cache-codec"].as_bytes().to_vec();
        let at = at.min(value.len() - 1);
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
        let value = http::HeaderValue::from_bytes(&value).expect("a value");
        headers.insert("cache-codec", value);
    };
    for at in [0, 3, 10, 40, 60, 80] {
        is_found_out("/small", async |_, raw| flip(&mut raw.trailers, at)).await;
        is_found_out("/small", async |_, raw| {
            let mut headers = raw.entry.head.headers().clone();
            flip(&mut headers, at);
            raw.entry.head = Arc::new(rebuilt(&raw.entry, headers));
        })
        .await;
    }
}

fn rebuilt(entry: &Entry, headers: HeaderMap) -> cache_core::StoredHead {
    let head = &entry.head;
    let selecting = head.selecting().iter();
    cache_core::StoredHeadParts {
        key: head.key().clone(),
        status: head.status(),
        version: head.version(),
        headers,
        selecting: selecting
            .map(|field| (field.name().clone(), field.value()))
            .collect(),
        requested_at: head.requested_at(),
        received_at: head.received_at(),
        freshness: head.freshness().clone(),
        part: head.part().cloned(),
    }
    .into()
}

#[tokio::test]
async fn what_was_swapped_or_cut_off_is_found_out() {
    // The body of another response, with its tail and without.
    is_found_out("/small", async |store, raw| {
        raw.body = store.raw("/other").await.body;
    })
    .await;
    is_found_out("/small", async |store, raw| {
        let other = store.raw("/other").await;
        (raw.body, raw.trailers) = (other.body, other.trailers);
    })
    .await;
    // All of another response.
    is_found_out("/small", async |store, raw| {
        let other = store.raw("/other").await;
        let mut headers = raw.entry.head.headers().clone();
        headers.insert(
            "cache-codec",
            other.entry.head.headers()["cache-codec"].clone(),
        );
        raw.entry.head = Arc::new(rebuilt(&raw.entry, headers));
        (raw.body, raw.trailers) = (other.body, other.trailers);
    })
    .await;
    // Frames in another order, and those of another response.
    is_found_out("/large", async |_, raw| {
        let half = raw.body.len() / 4;
        let first = raw.body[..half].to_vec();
        raw.body.copy_within(half..2 * half, 0);
        raw.body[half..2 * half].copy_from_slice(&first);
    })
    .await;
    is_found_out("/large", async |store, raw| {
        raw.body = store.raw("/large-too").await.body;
    })
    .await;
    // Less and more than there was.
    is_found_out("/large", async |_, raw| {
        raw.body.truncate(raw.body.len() - 10);
    })
    .await;
    is_found_out("/large", async |_, raw| raw.body.truncate(0)).await;
    is_found_out("/small", async |_, raw| raw.body.push(0)).await;
    is_found_out("/small", async |_, raw| raw.trailers.clear()).await;
}

#[tokio::test]
async fn a_lifetime_that_is_prolonged_outside_does_not_count() {
    let store = Tampered::new(Codec::new().encrypt(keys())).await;
    let mut raw = store.raw("/small").await;
    let now = raw.entry.head.received_at();
    let prolonged = raw
        .entry
        .head
        .fresh_for(Duration::from_secs(1_000_000), now);
    raw.entry.head = Arc::new(prolonged);
    store.put(raw).await;
    assert_eq!(
        store.scene.hit(get("/small")).await.as_deref(),
        Some("small")
    );
    store.scene.wait(61);
    assert_eq!(store.scene.hit(get("/small")).await, None);
}

#[tokio::test]
async fn what_another_codec_wrote_is_a_miss_and_never_believed() {
    let every = codecs();
    for (written, writer) in &every {
        for (reading, reader) in &every {
            let inner = MemoryBackend::default();
            let write = CodecBackend::new(inner.clone(), writer.clone()).expect("a backend");
            let scene = Scene::over(Arc::new(write), None);
            scene.store(get("/"), ok("one").max_age(60)).await;
            let read = CodecBackend::new(inner, reader.clone()).expect("a backend");
            let scene = Scene::over(Arc::new(read.clone()), None);
            let hit = scene.hit(get("/")).await;
            let protection = |name: &str| name.trim_end_matches("zstd").trim_end().to_owned();
            let is_same = protection(written) == protection(reading)
                || [written, reading]
                    .iter()
                    .all(|name| ["zstd", "lz4"].contains(name));
            assert_eq!(hit.is_some(), is_same, "{written}, {reading}");
        }
    }
    // What was stored without any codec.
    let inner = MemoryBackend::default();
    let scene = Scene::over(Arc::new(inner.clone()), None);
    scene.store(get("/"), ok("one").max_age(60)).await;
    let read = CodecBackend::new(inner, Codec::new().sign(keys())).expect("a backend");
    let scene = Scene::over(Arc::new(read.clone()), None);
    assert_eq!(scene.hit(get("/")).await, None);
    assert_eq!(read.rejected(), 1);
    assert_eq!(scene.handle.stats().await.expect("stats").unreadable, 1);
}

#[tokio::test]
async fn keys_are_changed_without_a_miss() {
    for protect in [Codec::encrypt as fn(Codec, Keys) -> Codec, Codec::sign] {
        let inner = MemoryBackend::default();
        let scene = |keys: Keys| {
            let codec = protect(Codec::new(), keys);
            let backend = CodecBackend::new(inner.clone(), codec).expect("a backend");
            Scene::over(Arc::new(backend), None)
        };
        let old = scene(Keys::new(key(1)));
        let tagged = ok("one").max_age(60).etag("\"1\"");
        old.store(get("/"), tagged.trailer("x", "1")).await;
        let both = scene(Keys::new(key(2)).and_older(key(1)));
        assert_eq!(both.hit(get("/")).await.as_deref(), Some("one"));
        both.store(get("/new"), ok("new").max_age(60)).await;
        assert_eq!(old.hit(get("/new")).await, None);
        // A head that is freshened is written with the new key, its body stays as it was.
        both.wait(61);
        both.origin.answers(not_modified().max_age(100));
        let freshened = both.send(get("/")).await;
        assert_eq!(outcome(&freshened), Outcome::Revalidated);
        assert_eq!(both.hit(get("/")).await.as_deref(), Some("one"));
        assert_eq!(old.hit(get("/")).await, None);
        let new = scene(Keys::new(key(2)));
        assert_eq!(new.hit(get("/new")).await.as_deref(), Some("new"));
        assert_eq!(new.hit(get("/")).await, None);
        let strange = Key::new(1, b"another secret of sixteen bytes").expect("a key");
        let stranger = scene(Keys::new(strange));
        assert_eq!(stranger.hit(get("/")).await, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Without a key to know, whoever can write to the store can write anything that looks right.
    #[test]
    fn whatever_stands_in_the_store_is_read_or_rejected(
        head in vec(any::<u8>(), 0..300),
        tail in vec(any::<u8>(), 0..100),
        body in vec(any::<u8>(), 0..300),
        kept in 0..6_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let store = Tampered::new(Codec::new().zstd(3)).await;
            let mut raw = store.raw("/small").await;
            let mut headers = raw.entry.head.headers().clone();
            // Parts of what was there stay, so that the rest is looked at.
            let value = |bytes: &[u8]| {
                http::HeaderValue::from_str(&base64(&[&[0][..], bytes].concat())).expect("a value")
            };
            if kept & 1 == 0 {
                headers.insert("cache-codec", value(&head));
            }
            if kept & 2 == 0 {
                raw.trailers.insert("cache-codec", value(&tail));
            }
            if kept & 4 == 0 {
                raw.body = body.clone();
            }
            raw.entry.head = Arc::new(rebuilt(&raw.entry, headers));
            store.put(raw).await;
            let found = store.scene.handle.get(&get("/small")).await.expect("an answer");
            if let Some(entry) = found {
                let _ = store.scene.handle.read(&entry, u64::MAX).await;
            }
            let _ = store.scene.handle.stats().await.expect("stats");
        });
    }
}

#[test]
fn a_codec_that_cannot_work_says_what_to_write() {
    let short = Key::new(7, b"short").expect_err("too short");
    assert_eq!(short, InvalidCodec::ShortSecret { id: 7 });
    assert!(short.to_string().contains("write 16 random bytes"));
    let new = |codec| CodecBackend::new(MemoryBackend::default(), codec).expect_err("no backend");
    let same = Codec::new().sign(Keys::new(key(1)).and_older(key(1)));
    assert_eq!(new(same), InvalidCodec::SameId { id: 1 });
    assert!(new(Codec::new()).to_string().contains("write .encrypt("));
    let backend = RecordingBackend::new(MemoryBackend::default());
    let error = CodecBackend::new(backend, Codec::new().lz4()).expect_err("no backend");
    assert_eq!(error, InvalidCodec::NotManageable);
}

#[test]
fn keys_are_not_shown() {
    let codec = Codec::new().encrypt(Keys::new(key(1)));
    let shown = format!("{codec:?} {:?}", memory(codec.clone()));
    assert!(
        shown.contains("id: 1") && !shown.contains("material"),
        "{shown}"
    );
}
