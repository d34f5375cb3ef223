//! What the tests of this suite share: a server of a test's own, and backends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_core::{
    Backend, BackendError, BackendErrorKind, Entry, Policy, RequestHead, Source, StoredHead,
    StoredHeadParts,
};
use cache_redis::{Options, RedisBackend, RedisConfig};
use http::{HeaderMap, Request};
use kit::Answer;
use kit::contract::Store;
use kit::redis::RedisServer;
use redis::{Client, Cmd, FromRedisValue};

/// A server, and a backend on it.
pub(crate) struct Site {
    pub(crate) server: RedisServer,
    pub(crate) replica: Replica,
}

/// A process that uses the server: a backend of its own, which remembers nothing of the others.
pub(crate) struct Replica {
    pub(crate) backend: RedisBackend,
    pub(crate) store: Store,
}

impl Deref for Site {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        &self.replica
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with(patient()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let server = RedisServer::start().await;
        let replica = Replica::at(&server.url(), options);
        Self { server, replica }
    }

    /// With this policy, under which what is larger than 100 bytes counts as large.
    pub(crate) async fn small(policy: Policy) -> Self {
        let mut site = Self::with(small_bodies()).await;
        site.replica.store.policy = policy;
        site
    }

    /// Another process, with the same options, policy and clock.
    pub(crate) fn other(&self) -> Replica {
        let mut other = Replica::at(&self.server.url(), self.backend.options().clone());
        other.store.clock = self.store.clock.clone();
        other.store.policy = self.store.policy.clone();
        other
    }

    /// The same with other options.
    pub(crate) fn other_with(&self, options: Options) -> Replica {
        let mut other = Replica::at(&self.server.url(), options);
        other.store.clock = self.store.clock.clone();
        other.store.policy = self.store.policy.clone();
        other
    }

    /// The key at which lookups begin.
    pub(crate) fn primary(&self, request: &Request<()>) -> String {
        self.replica.primary(request)
    }

    /// The keys of what is one of several, of a resource.
    pub(crate) fn variants(&self, request: &Request<()>) -> Vec<String> {
        let primary = self.primary(request);
        let mut keys = self.server.keys();
        keys.retain(|key| {
            key.starts_with(&format!("{primary}:v:")) || key.starts_with(&format!("{primary}:p:"))
        });
        keys
    }

    /// The keys of bodies that do not stand behind their heads.
    pub(crate) fn bodies_elsewhere(&self) -> Vec<String> {
        let mut keys = self.server.keys();
        keys.retain(|key| key.contains("}:b:"));
        keys
    }

    pub(crate) fn delete(&self, key: &str) {
        let deleted: u64 = self.server.query(&["DEL", key]);
        assert_eq!(deleted, 1, "{key} was not there");
    }

    /// What is left of the time of a key, in milliseconds; -1: for ever.
    pub(crate) fn pttl(&self, key: &str) -> i64 {
        self.server.query(&["PTTL", key])
    }

    /// The keys that do not expire.
    pub(crate) fn eternal(&self) -> Vec<String> {
        let mut keys = self.server.keys();
        keys.retain(|key| self.pttl(key) == -1);
        keys
    }

    #[track_caller]
    pub(crate) fn all_expire(&self) {
        let eternal = self.eternal();
        assert!(eternal.is_empty(), "these never expire: {eternal:?}");
    }

    /// Has the server do something that is not text.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let client = Client::open(self.server.url()).expect("the URL is a valid one");
        let mut connection = client.get_connection().expect("a connection");
        command.query(&mut connection).expect("an answer")
    }

    /// The bytes at a key.
    pub(crate) fn value(&self, key: &str) -> Vec<u8> {
        self.ask(redis::cmd("GET").arg(key))
    }

    /// The frames of a body that stands at this key, one after the other.
    pub(crate) fn frames(&self, key: &str) -> Vec<u8> {
        let frames: BTreeMap<u64, Vec<u8>> = self.ask(redis::cmd("HGETALL").arg(key));
        frames.into_values().flatten().collect()
    }

    /// Writes bytes as frames to a key, in the place of what stands there.
    pub(crate) fn overwrite_frames(&self, key: &str, bytes: &[u8]) {
        let ttl = self.pttl(key);
        self.delete(key);
        for (number, frame) in bytes.chunks(131_072 + 8).enumerate() {
            let _: u64 = self.ask(redis::cmd("HSET").arg(key).arg(number).arg(frame));
        }
        if ttl > 0 {
            let _: u64 = self.ask(redis::cmd("PEXPIRE").arg(key).arg(ttl));
        }
    }

    /// Writes bytes to a key, and leaves its TTL as it is.
    pub(crate) fn overwrite(&self, key: &str, bytes: &[u8]) {
        self.ask(redis::cmd("SET").arg(key).arg(bytes).arg("KEEPTTL"))
    }
}

impl Replica {
    pub(crate) fn at(url: &str, options: Options) -> Self {
        let mut config: RedisConfig = url.parse().expect("a URL");
        config.options = options;
        Self::of(RedisBackend::from_config(&config).expect("a configuration"))
    }

    pub(crate) fn of(backend: RedisBackend) -> Self {
        let store = Store::new(Arc::new(backend.clone()));
        Self { backend, store }
    }

    pub(crate) fn primary(&self, request: &Request<()>) -> String {
        let namespace = &self.backend.options().namespace;
        let digest = self.store.key(request).digest();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{{{hex}}}", namespace.as_str())
    }

    pub(crate) fn wait(&self, seconds: u64) {
        self.store.wait(seconds);
    }

    /// The head that this answer to this request is stored under now.
    pub(crate) fn head(&self, request: &Request<()>, answer: &Answer) -> StoredHead {
        self.store.head(request, answer)
    }

    /// Stores a response; whether it was taken.
    pub(crate) async fn publish(
        &self,
        request: &Request<()>,
        answer: &Answer,
        body: impl Into<Bytes>,
    ) -> bool {
        self.write(self.head(request, answer), body).await
    }

    /// Stores a response under this head; whether it was taken.
    pub(crate) async fn write(&self, head: StoredHead, body: impl Into<Bytes>) -> bool {
        self.write_with(head, body, None).await
    }

    pub(crate) async fn write_with(
        &self,
        head: StoredHead,
        body: impl Into<Bytes>,
        trailers: Option<HeaderMap>,
    ) -> bool {
        let mut writer = self.backend.writer(head);
        for piece in pieces(body.into(), 10_000) {
            writer.write(piece).expect("a piece is taken");
        }
        is_taken(writer.publish(trailers).wait().await)
    }

    /// What is found that this request selects.
    pub(crate) async fn matching(&self, request: &Request<()>) -> Vec<Entry> {
        let lookup = self.store.lookup(request);
        let query = lookup.query(&self.store.policy, RequestHead::from(request));
        let found = self.store.find(request).await;
        let selects = |entry: &&Entry| {
            let names = entry.head.selecting().iter().map(|field| field.name());
            entry.head.key() == lookup.key() && entry.head.variant() == query.variant(names)
        };
        found.iter().filter(selects).cloned().collect()
    }

    /// The only response that this request selects.
    #[track_caller]
    pub(crate) fn one(&self, request: &Request<()>) -> impl Future<Output = Entry> {
        let caller = std::panic::Location::caller();
        async move {
            let mut found = self.matching(request).await;
            assert_eq!(found.len(), 1, "asked for at {caller}");
            found.remove(0)
        }
    }

    /// The bodies of what is found that this request selects, in their order.
    pub(crate) async fn bodies(&self, request: &Request<()>) -> Vec<String> {
        let mut bodies = Vec::new();
        for entry in self.matching(request).await {
            let body = read(&entry).await.expect("a body that can be read");
            bodies.push(String::from_utf8(body).expect("text"));
        }
        bodies.sort();
        bodies
    }

    pub(crate) async fn is_found(&self, request: &Request<()>) -> bool {
        !self.matching(request).await.is_empty()
    }

    pub(crate) async fn freshen(&self, entry: &Entry, head: StoredHead) {
        let freshened = self
            .backend
            .freshen(entry, Arc::new(head), self.store.now());
        freshened.wait().await.expect("freshened, or nothing done");
    }

    pub(crate) async fn remove(&self, entry: &Entry) {
        let removed = self.backend.remove(entry).wait().await;
        removed.expect("removed, or nothing done");
    }

    pub(crate) async fn invalidate(&self, request: &Request<()>) {
        let key = self.store.key(request);
        let invalidated = self.backend.invalidate(&key, self.store.now());
        invalidated.wait().await.expect("invalidated");
    }
}

/// Under these, a reply may take its time: what is tested here does not depend on how busy the
/// machine is.
pub(crate) fn patient() -> Options {
    Options {
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        ..Options::default()
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Under these, what is larger than 100 bytes counts as large.
pub(crate) fn small_bodies() -> Options {
    Options {
        inline_limit: 100,
        ..patient()
    }
}

/// Listens to all that a server is asked, and tells what clients ask from what scripts do.
pub(crate) struct Watch {
    lines: BufReader<UnixStream>,
    marks: u64,
}

/// How often each command was asked for.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Watch {
    pub(crate) fn over(server: &RedisServer) -> Self {
        let mut stream = UnixStream::connect(server.socket()).expect("a connection");
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("a timeout");
        stream.write_all(b"MONITOR\r\n").expect("sent");
        let mut lines = BufReader::new(stream);
        let mut answer = String::new();
        lines.read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "+OK\r\n");
        Self { lines, marks: 0 }
    }

    /// What clients asked since the last time, and what scripts did.
    pub(crate) fn take(&mut self, server: &RedisServer) -> (Counts, Counts) {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        let _: String = server.query(&["ECHO", &mark]);
        let (mut asked, mut by_scripts) = (Counts::new(), Counts::new());
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("a line");
            if line.contains(&mark) {
                return (asked, by_scripts);
            }
            let name = line.split('"').nth(1).expect("a command");
            let name = name.to_ascii_lowercase();
            // What tests ask themselves.
            if !["config", "info", "keys", "pttl"].contains(&&*name) || line.contains(" lua]") {
                let counts = if line.contains(" lua]") {
                    &mut by_scripts
                } else {
                    &mut asked
                };
                *counts.entry(name).or_default() += 1;
            }
        }
    }
}

/// Whether it became visible; that it was declined is no error.
#[track_caller]
pub(crate) fn is_taken(published: Result<(), BackendError>) -> bool {
    match published {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind(), BackendErrorKind::Declined, "{error:?}");
            false
        }
    }
}

/// Bytes of which no two places look alike.
pub(crate) fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// Text that counts as large where 100 bytes are much.
pub(crate) fn long(text: &str) -> String {
    text.repeat(120)
}

pub(crate) fn pieces(mut body: Bytes, most: usize) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        pieces.push(body.split_to(most.min(body.len())));
    }
    pieces
}

/// The whole body, or why it cannot be read.
pub(crate) async fn read(entry: &Entry) -> Result<Vec<u8>, BackendError> {
    let Source::Remote(body) = entry.body.source() else {
        return Ok(kit::contract::read(entry).await);
    };
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < entry.body.len() {
        let window = body.read(bytes.len() as u64).await?;
        assert!(!window.is_empty(), "an empty window before the end");
        bytes.extend_from_slice(&window);
    }
    assert_eq!(bytes.len() as u64, entry.body.len());
    Ok(bytes)
}

/// GET with these fields.
pub(crate) fn request(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::get(format!("http://origin.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// What a head is made of, to be changed.
pub(crate) fn parts(head: &StoredHead) -> StoredHeadParts {
    StoredHeadParts {
        key: head.key().clone(),
        status: head.status(),
        version: head.version(),
        headers: head.headers().clone(),
        selecting: head
            .selecting()
            .iter()
            .map(|field| (field.name().clone(), field.value()))
            .collect(),
        requested_at: head.requested_at(),
        received_at: head.received_at(),
        freshness: head.freshness().clone(),
        part: head.part().cloned(),
    }
}

/// Whether nothing has changed of what is stored, keys and values; where not, the keys.
#[track_caller]
pub(crate) fn assert_same(now: &Dump, before: &Dump, what: &str) {
    let keys: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
    let changed: Vec<_> = keys
        .into_iter()
        .filter(|key| now.get(*key) != before.get(*key))
        .collect();
    assert!(changed.is_empty(), "{what}: changed are {changed:?}");
}

/// Keys and values.
pub(crate) type Dump = BTreeMap<String, Vec<Vec<u8>>>;

/// Waits until something is so, as far as it depends on a server or a task.
pub(crate) async fn until(what: impl Debug, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what:?}");
        tokio::task::yield_now().await;
    }
}
