//! The suite that every backend passes: what the port promises, a test a promise.
//!
//! A backend runs it with one line: `kit::backend_contract!(MemoryBackend::default())`.

#![expect(missing_docs, reason = "the name of a promise says it all")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::{
    AfterForward, AfterLookup, Backend, Begin, Candidates, Entry, Lookup, Policy, PrimaryKey,
    Reason, RequestHead, ResponseHead, StoredHead,
};
use cache_tower::Clock;
use http::{HeaderMap, Request};
use http_body::Body;
use std::future::poll_fn;

use cache_testing::ManualClock;
use cache_testing::{Answer, ok};

/// Makes one test of each promise for the backend that the expression gives.
#[macro_export]
macro_rules! backend_contract {
    ($backend:expr) => {
        $crate::backend_contract!(@ $backend;
            what_was_published_is_found
            an_unpublished_response_is_not_found
            a_body_of_many_pieces_is_found_whole
            trailers_are_kept
            publishing_replaces_the_response_of_the_same_variant
            variants_are_kept_side_by_side
            that_only_others_are_stored_is_told
            keys_are_kept_apart
            what_is_past_its_retention_is_not_found
            freshening_replaces_the_head_and_keeps_the_body
            freshening_does_not_resurrect_what_was_removed
            freshening_does_not_touch_what_was_replaced
            removing_removes_one_variant
            removing_does_not_touch_what_was_replaced
            invalidating_removes_all_variants
            a_response_from_before_an_invalidation_does_not_become_visible
            a_response_from_after_an_invalidation_becomes_visible
            concurrent_writers_of_one_key_leave_one_whole_response
        );
    };
    (@ $backend:expr; $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let store = $crate::contract::Store::new(::std::sync::Arc::new($backend));
                $crate::contract::$promise(store).await;
            }
        )*
    };
}

/// A backend, and a clock.
#[derive(Debug)]
pub struct Store {
    pub backend: Arc<dyn Backend>,
    pub policy: Policy,
    pub clock: ManualClock,
}

impl Store {
    /// Around an empty backend.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            policy: Policy::private(),
            clock: ManualClock::new(),
        }
    }

    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn lookup(&self, request: &Request<()>) -> Lookup {
        match Begin::new(&self.policy, &RequestHead::from(request), self.now()) {
            Begin::Lookup(lookup) => lookup,
            other => panic!("expected a lookup, not {other:?}"),
        }
    }

    pub fn key(&self, request: &Request<()>) -> PrimaryKey {
        self.lookup(request).key().clone()
    }

    /// The head that this answer to this request is stored under.
    pub fn head(&self, request: &Request<()>, answer: &Answer) -> StoredHead {
        let head = RequestHead::from(request);
        let forward =
            match self
                .lookup(request)
                .next(&self.policy, &head, Candidates::default(), self.now())
            {
                AfterLookup::Forward(forward) => forward,
                other => panic!("expected to forward, not {other:?}"),
            };
        let response = answer.clone().response();
        match forward.next(&self.policy, ResponseHead::from(&response), self.now()) {
            AfterForward::Store(head, _) => head,
            other => panic!("expected to store, not {other:?}"),
        }
    }

    pub async fn publish(&self, request: &Request<()>, answer: Answer) {
        self.publish_under(self.head(request, &answer), answer)
            .await;
    }

    pub async fn publish_under(&self, head: StoredHead, answer: Answer) {
        let mut writer = self.backend.writer(head);
        let mut body = std::pin::pin!(answer.response().into_body());
        let mut trailers = None;
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame.expect("a frame").into_data() {
                Ok(data) => writer.write(data).expect("a piece is taken"),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        let published = writer.publish(trailers).wait().await;
        if let Err(error) = published {
            assert_eq!(
                error.kind(),
                cache_core::BackendErrorKind::Declined,
                "{error}"
            );
        }
    }

    pub async fn find(&self, request: &Request<()>) -> Candidates {
        let lookup = self.lookup(request);
        let query = lookup.query(&self.policy, RequestHead::from(request));
        self.backend
            .lookup(query, self.now())
            .wait()
            .await
            .expect("a lookup succeeds")
    }

    /// The one entry that was selected by the fields of this request.
    pub async fn entry(&self, request: &Request<()>) -> Option<Entry> {
        let lookup = self.lookup(request);
        let query = lookup.query(&self.policy, RequestHead::from(request));
        let candidates = self.find(request).await;
        let mut matching = candidates.iter().filter(|entry| {
            let names = entry
                .head
                .selecting()
                .iter()
                .map(cache_core::SelectingField::name);
            entry.head.variant() == query.variant(names)
        });
        let entry = matching.next().cloned();
        assert!(matching.next().is_none(), "a variant is stored twice");
        entry
    }

    pub async fn body(&self, request: &Request<()>) -> Option<String> {
        let entry = self.entry(request).await?;
        Some(String::from_utf8(read(&entry).await).expect("text"))
    }
}

pub async fn read(entry: &Entry) -> Vec<u8> {
    use cache_core::Source;
    let bytes = match entry.body.source() {
        Source::Whole(bytes) => bytes.to_vec(),
        Source::Chunks(chunks) => chunks.concat(),
        Source::Remote(body) => {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < entry.body.len() {
                let window: Bytes = body.read(bytes.len() as u64).await.expect("a window");
                assert!(!window.is_empty(), "an empty window before the end");
                bytes.extend_from_slice(&window);
            }
            bytes
        }
    };
    assert_eq!(bytes.len() as u64, entry.body.len());
    bytes
}

pub fn get(path: &str) -> Request<()> {
    Request::get(format!("http://origin.test{path}"))
        .body(())
        .expect("a request")
}

pub fn in_language(language: &str) -> Request<()> {
    let mut request = get("/");
    request
        .headers_mut()
        .insert("accept-language", language.parse().expect("a value"));
    request
}

pub fn varying(body: &'static str) -> Answer {
    ok(body).max_age(60).with("vary", "accept-language")
}

pub async fn what_was_published_is_found(store: Store) {
    store
        .publish(&get("/"), ok("one").max_age(60).etag("\"1\""))
        .await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    assert_eq!(entry.head.key(), &store.key(&get("/")));
    assert_eq!(entry.head.status(), 200);
    assert_eq!(entry.head.headers()["etag"], "\"1\"");
    assert_eq!(read(&entry).await, b"one");
    assert_eq!(entry.body.trailers(), None);
}

pub async fn an_unpublished_response_is_not_found(store: Store) {
    let mut writer = store
        .backend
        .writer(store.head(&get("/"), &ok("one").max_age(60)));
    writer
        .write(Bytes::from_static(b"one"))
        .expect("a piece is taken");
    assert!(store.find(&get("/")).await.is_empty());
    drop(writer);
    assert!(store.find(&get("/")).await.is_empty());
}

pub async fn a_body_of_many_pieces_is_found_whole(store: Store) {
    let pieces: Vec<Bytes> = (0..300_u32)
        .map(|piece| vec![piece as u8; 1000].into())
        .collect();
    let whole = pieces.concat();
    let answer = pieces.into_iter().fold(ok("").max_age(60), Answer::chunk);
    store.publish(&get("/"), answer).await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    assert!(read(&entry).await == whole, "the bytes differ");
}

pub async fn trailers_are_kept(store: Store) {
    store
        .publish(&get("/"), ok("one").max_age(60).trailer("checksum", "1"))
        .await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    let mut expected = HeaderMap::new();
    expected.insert("checksum", "1".parse().expect("a value"));
    assert_eq!(entry.body.trailers(), Some(&expected));
}

pub async fn publishing_replaces_the_response_of_the_same_variant(store: Store) {
    store.publish(&get("/"), ok("one").max_age(60)).await;
    store.publish(&get("/"), ok("two").max_age(60)).await;
    assert_eq!(store.body(&get("/")).await.as_deref(), Some("two"));
}

pub async fn variants_are_kept_side_by_side(store: Store) {
    store.publish(&in_language("en"), varying("hello")).await;
    store.publish(&in_language("de"), varying("hallo")).await;
    assert_eq!(
        store.body(&in_language("en")).await.as_deref(),
        Some("hello")
    );
    assert_eq!(
        store.body(&in_language("de")).await.as_deref(),
        Some("hallo")
    );
    assert_eq!(store.body(&in_language("fr")).await, None);
    assert_eq!(store.body(&get("/")).await, None);
}

pub async fn that_only_others_are_stored_is_told(store: Store) {
    let reason = async |request: &Request<()>| {
        let found = store.find(request).await;
        let head = RequestHead::from(request);
        let judged = store.lookup(request);
        match judged.next(&store.policy, &head, found, store.now()) {
            AfterLookup::Forward(forward) => forward.reason(),
            other => panic!("expected to forward, not {other:?}"),
        }
    };
    assert_eq!(reason(&in_language("fr")).await, Reason::UriMiss);
    store.publish(&in_language("en"), varying("hello")).await;
    assert_eq!(reason(&in_language("fr")).await, Reason::VaryMiss);
    store.publish(&in_language("de"), varying("hallo")).await;
    assert_eq!(reason(&in_language("fr")).await, Reason::VaryMiss);
}

pub async fn keys_are_kept_apart(store: Store) {
    store.publish(&get("/one"), ok("one").max_age(60)).await;
    store.publish(&get("/two"), ok("two").max_age(60)).await;
    assert_eq!(store.body(&get("/one")).await.as_deref(), Some("one"));
    assert_eq!(store.body(&get("/two")).await.as_deref(), Some("two"));
    assert_eq!(store.body(&get("/three")).await, None);
}

pub async fn what_is_past_its_retention_is_not_found(mut store: Store) {
    store.policy = Policy::private().grace(Duration::from_secs(10));
    store.publish(&in_language("en"), varying("hello")).await;
    store
        .publish(
            &in_language("de"),
            varying("hallo").with("cache-control", "max-age=5"),
        )
        .await;
    store.wait(14);
    assert!(store.body(&in_language("de")).await.is_some());
    store.wait(2);
    assert!(store.body(&in_language("de")).await.is_none());
    assert!(store.body(&in_language("en")).await.is_some());
    store.wait(55);
    assert!(store.body(&in_language("en")).await.is_none());
}

pub async fn freshening_replaces_the_head_and_keeps_the_body(store: Store) {
    store
        .publish(&get("/"), ok("one").max_age(60).etag("\"1\""))
        .await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    store.wait(30);
    let head = Arc::new(store.head(&get("/"), &ok("").max_age(90).etag("\"1\"")));
    store
        .backend
        .freshen(&entry, head.clone(), store.now())
        .wait()
        .await
        .expect("freshened");
    let freshened = store.entry(&get("/")).await.expect("an entry");
    assert_eq!(freshened.head, head);
    assert_eq!(freshened.token, entry.token);
    assert_eq!(read(&freshened).await, b"one");
}

pub async fn freshening_does_not_resurrect_what_was_removed(store: Store) {
    store.publish(&get("/"), ok("one").max_age(60)).await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    store
        .backend
        .invalidate(&store.key(&get("/")), store.now())
        .wait()
        .await
        .expect("invalidated");
    let head = Arc::new(store.head(&get("/"), &ok("").max_age(90)));
    store
        .backend
        .freshen(&entry, head, store.now())
        .wait()
        .await
        .expect("nothing is done");
    assert_eq!(store.body(&get("/")).await, None);
}

pub async fn freshening_does_not_touch_what_was_replaced(store: Store) {
    store
        .publish(&get("/"), ok("one").max_age(60).etag("\"1\""))
        .await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    store
        .publish(&get("/"), ok("two").max_age(60).etag("\"2\""))
        .await;
    let head = Arc::new(store.head(&get("/"), &ok("").max_age(90).etag("\"1\"")));
    store
        .backend
        .freshen(&entry, head, store.now())
        .wait()
        .await
        .expect("nothing is done");
    let kept = store.entry(&get("/")).await.expect("an entry");
    assert_eq!(kept.head.headers()["etag"], "\"2\"");
    assert_eq!(read(&kept).await, b"two");
}

pub async fn removing_removes_one_variant(store: Store) {
    store.publish(&in_language("en"), varying("hello")).await;
    store.publish(&in_language("de"), varying("hallo")).await;
    let entry = store.entry(&in_language("en")).await.expect("an entry");
    store.backend.remove(&entry).wait().await.expect("removed");
    assert_eq!(store.body(&in_language("en")).await, None);
    assert_eq!(
        store.body(&in_language("de")).await.as_deref(),
        Some("hallo")
    );
}

pub async fn removing_does_not_touch_what_was_replaced(store: Store) {
    store.publish(&get("/"), ok("one").max_age(60)).await;
    let entry = store.entry(&get("/")).await.expect("an entry");
    store.publish(&get("/"), ok("two").max_age(60)).await;
    store
        .backend
        .remove(&entry)
        .wait()
        .await
        .expect("nothing is done");
    assert_eq!(store.body(&get("/")).await.as_deref(), Some("two"));
}

pub async fn invalidating_removes_all_variants(store: Store) {
    store.publish(&in_language("en"), varying("hello")).await;
    store.publish(&in_language("de"), varying("hallo")).await;
    store.publish(&get("/other"), ok("other").max_age(60)).await;
    store
        .backend
        .invalidate(&store.key(&get("/")), store.now())
        .wait()
        .await
        .expect("invalidated");
    assert_eq!(store.body(&in_language("en")).await, None);
    assert_eq!(store.body(&in_language("de")).await, None);
    assert_eq!(store.body(&get("/other")).await.as_deref(), Some("other"));
}

pub async fn a_response_from_before_an_invalidation_does_not_become_visible(store: Store) {
    let old = store.head(&get("/"), &ok("old").max_age(60));
    store.wait(1);
    store
        .backend
        .invalidate(&store.key(&get("/")), store.now())
        .wait()
        .await
        .expect("invalidated");
    store.publish_under(old, ok("old").max_age(60)).await;
    assert_eq!(store.body(&get("/")).await, None);
}

pub async fn a_response_from_after_an_invalidation_becomes_visible(store: Store) {
    store.publish(&get("/"), ok("old").max_age(60)).await;
    store
        .backend
        .invalidate(&store.key(&get("/")), store.now())
        .wait()
        .await
        .expect("invalidated");
    store.publish(&get("/"), ok("new").max_age(60)).await;
    assert_eq!(store.body(&get("/")).await.as_deref(), Some("new"));
}

pub async fn concurrent_writers_of_one_key_leave_one_whole_response(store: Store) {
    let store = Arc::new(store);
    let body = |writer: u8| vec![b'a' + writer; 50_000];
    let writers: Vec<_> = (0..8_u8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let answer = ok("").max_age(60).chunk(body(writer)).chunk(body(writer));
                    store.publish(&get("/"), answer).await;
                    let found = store.entry(&get("/")).await.expect("an entry");
                    let found = read(&found).await;
                    assert_eq!(found.len(), 100_000);
                    assert!(
                        found.iter().all(|byte| *byte == found[0]),
                        "two bodies are mixed"
                    );
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer panicked");
    }
}
