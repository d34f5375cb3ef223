//! `RedisBackend`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cache_core::{
    Answer, Backend, BackendError, BackendErrorKind, BodyWriter, Candidates, Digest, Entry, Lease,
    Manage, PrimaryKey, Query, Source, StoredHead, Token, wire,
};
use quick_cache::sync::Cache;
use redis::{Value, pipe};
use tracing::{debug, warn};

use crate::body::frames;
use crate::format::{self, Rule, Selector};
use crate::heads::Heads;
use crate::keys::Keys;
use crate::lane::{Lane, LaneError, Node};
use crate::options::Options;
use crate::pool::Pool;
use crate::scripts::Scripts;
use crate::writer::RedisWriter;

/// A store in Redis; cloning shares it.
///
/// A response that is found costs one command and one round trip; large bodies are read while they
/// are sent to the caller. All that is stored expires by itself, unless the policy keeps responses
/// for ever. While Redis is away every lookup fails at once, and it is tried again in the background.
#[derive(Clone)]
pub struct RedisBackend(Arc<Shared>);

struct Shared {
    options: Options,
    lanes: Vec<Lane>,
    next_lane: AtomicUsize,
    bulk: Lane,
    scripts: Scripts,
    rules: Cache<Digest, Arc<Rule>>,
    heads: Heads,
    undecodable: AtomicU64,
}

impl RedisBackend {
    /// A store that takes its connections from a pool: one for what is small, which all requests
    /// share, and one for large bodies. It connects when it is first used.
    #[must_use]
    pub fn new(pool: impl Into<Pool>) -> Self {
        Self::with_options(pool, Options::default())
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(pool: impl Into<Pool>, options: Options) -> Self {
        let pool = pool.into();
        let lane = || {
            Lane::new(
                pool.clone(),
                options.connect_timeout,
                options.response_timeout,
            )
        };
        Self(Arc::new(Shared {
            lanes: (0..options.lanes.max(1)).map(|_| lane()).collect(),
            next_lane: AtomicUsize::new(0),
            bulk: lane(),
            options,
            scripts: Scripts::new(),
            rules: Cache::new(RULES),
            heads: Heads::new(),
            undecodable: AtomicU64::new(0),
        }))
    }

    /// How it stores.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// How many values were found that this version did not write whole: another version's, another
    /// application's, or damaged ones. Each was a miss.
    #[must_use]
    pub fn undecodable(&self) -> u64 {
        self.0.undecodable.load(Ordering::Relaxed)
    }

    /// How many connections it has made so far; where it is more than its lanes and one for large
    /// bodies, some broke.
    #[must_use]
    pub fn connections(&self) -> u64 {
        let lanes = self.0.lanes.iter().chain([&self.0.bulk]);
        lanes.map(Lane::connections).sum()
    }

    /// A connection for what is small.
    pub(crate) fn lane(&self) -> &Lane {
        let lanes = &self.0.lanes;
        match lanes.len() {
            1 => &lanes[0],
            several => &lanes[self.0.next_lane.fetch_add(1, Ordering::Relaxed) % several],
        }
    }

    /// The connection for large bodies, which nothing small waits behind.
    pub(crate) fn bulk(&self) -> &Lane {
        &self.0.bulk
    }

    /// How the responses of a resource were selected when it was last looked up: a guess, and what
    /// is found tells whether it holds.
    pub(crate) fn rules(&self) -> &Cache<Digest, Arc<Rule>> {
        &self.0.rules
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.0.heads
    }

    pub(crate) fn note_undecodable(&self, what: &'static str) {
        if self.0.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                what,
                "a value was found that cannot be read; each is a miss"
            );
        } else {
            debug!(what, "a value was found that cannot be read");
        }
    }

    /// Stores a value where lookups find it; whether nothing forbids it.
    ///
    /// `staged` is the length of a body that stands elsewhere, `stored` what is to be freshened; it is
    /// kept from `since` on.
    pub(crate) async fn store(
        &self,
        keys: &Keys,
        head: &StoredHead,
        value: &Bytes,
        staged: Option<u64>,
        stored: Option<&Entry>,
        since: SystemTime,
    ) -> Result<bool, LaneError> {
        let variant = variant_of(keys, head);
        let old = stored.map(|entry| variant_of(keys, &entry.head));
        let token = stored.map_or_else(Vec::new, |entry| entry.token.0.to_be_bytes().to_vec());
        let names = [&*keys.primary, &variant, old.as_deref().unwrap_or(&variant)];
        self.0
            .scripts
            .store
            .run(
                self.lane(),
                &names,
                &[
                    value,
                    self.ttl(head, since).to_string().as_bytes(),
                    &fastrand::u64(..).to_be_bytes(),
                    self.grace().as_bytes(),
                    &token,
                    frames(staged.unwrap_or_default()).to_string().as_bytes(),
                ],
            )
            .await
    }

    /// Removes the response that has this token; whether it was there.
    pub(crate) async fn remove_one(
        &self,
        head: &StoredHead,
        token: Token,
    ) -> Result<bool, LaneError> {
        let keys = self.keys(head.key());
        let names = [&*keys.primary, &variant_of(&keys, head)];
        let token = token.0.to_be_bytes();
        let grace = self.grace();
        let arguments: [&[u8]; 2] = [&token, grace.as_bytes()];
        let script = &self.0.scripts.remove;
        script.run(self.lane(), &names, &arguments).await
    }

    /// How long Redis keeps a response from `now` on, in milliseconds; zero: for ever.
    fn ttl(&self, head: &StoredHead, now: SystemTime) -> u64 {
        let Some(until) = head.retain_until() else {
            return 0;
        };
        let left = until.duration_since(now).unwrap_or_default();
        let jitter = self.options().ttl_jitter.mul_f64(fastrand::f64());
        millis(left.saturating_add(jitter))
    }

    fn grace(&self) -> String {
        millis(self.options().reader_grace).to_string()
    }

    pub(crate) fn keys(&self, key: &PrimaryKey) -> Keys {
        self.options().namespace.keys(&key.digest())
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend")
            .field("options", self.options())
            .field("lanes", &self.0.lanes)
            .field("bulk", &self.0.bulk)
            .finish_non_exhaustive()
    }
}

impl Backend for RedisBackend {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        Answer::later(async move {
            let found = self.look_up(query, now).await;
            found.map_err(|error| error.into_backend_error("looking up"))
        })
    }

    fn lookup_now(
        &self,
        _: Query<'_>,
        _: SystemTime,
        _: &mut dyn FnMut(Result<&Candidates, BackendError>),
    ) {
        // It is always answered later.
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        Box::new(RedisWriter::new(self.clone(), head))
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let keys = self.keys(head.key());
            let chunks;
            let (body, staged) = match entry.body.source() {
                Source::Whole(bytes) => (Some(std::slice::from_ref(bytes)), None),
                Source::Chunks(found) => {
                    chunks = found.clone();
                    (Some(&*chunks), None)
                }
                Source::Remote(_) => (None, Some(entry.body.len())),
            };
            let value = format::encode_response(
                &head,
                entry.token,
                entry.body.trailers(),
                entry.body.len(),
                body,
            )
            .ok_or_else(|| BackendError::new(BackendErrorKind::Declined, "freshening"))?;
            // Where it is not what was found any more, nothing is to be done.
            let since = head.received_at().max(now);
            let freshened = self
                .store(&keys, &head, &value, staged, Some(entry), since)
                .await;
            freshened
                .map(drop)
                .map_err(|error| error.into_backend_error("freshening"))
        })
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let removed = self.remove_one(&entry.head, entry.token).await;
            removed
                .map(drop)
                .map_err(|error| error.into_backend_error("removing"))
        })
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let keys = self.keys(key);
            let at = wire::micros(now).to_string();
            let ttl = millis(self.options().invalidation_memory).to_string();
            let grace = self.grace();
            let arguments: [&[u8]; 3] = [at.as_bytes(), ttl.as_bytes(), grace.as_bytes()];
            let invalidated = self
                .0
                .scripts
                .invalidate
                .run(self.lane(), &[&keys.primary], &arguments)
                .await;
            invalidated
                .map(drop)
                .map_err(|error| error.into_backend_error("invalidating"))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        time: Duration,
    ) -> Answer<'a, Result<Lease, BackendError>> {
        Answer::later(async move {
            let name = self.keys(key).lease();
            let token = Token(fastrand::u128(..));
            let text = lease_text(token);
            let mut commands = pipe();
            let set = commands.cmd("SET").arg(&name).arg(&text);
            set.arg("NX").arg("PX").arg(millis(time));
            commands.cmd("GET").arg(&name);
            let replies = self.lane().send_each(&Node::Only, commands).await;
            let replies = replies.map_err(|error| error.into_backend_error("leasing"))?;
            Ok(match replies.into_iter().last() {
                Some(Value::BulkString(holder)) if holder == text.as_bytes() => {
                    Lease::Granted(token)
                }
                Some(Value::BulkString(holder)) if holder.len() == text.len() => Lease::Taken,
                // What is there is none, and nobody would give it back.
                _ => Lease::Useless,
            })
        })
    }

    fn end_lease<'a>(
        &'a self,
        key: &'a PrimaryKey,
        token: Token,
        useless_for: Option<Duration>,
    ) -> Answer<'a, Result<(), BackendError>> {
        Answer::later(async move {
            let name = self.keys(key).lease();
            let text = lease_text(token);
            let useless = useless_for.map_or(0, millis).to_string();
            let arguments: [&[u8]; 2] = [text.as_bytes(), useless.as_bytes()];
            let script = &self.0.scripts.end_lease;
            let ended = script.run(self.lane(), &[&name], &arguments).await;
            ended
                .map(drop)
                .map_err(|error| error.into_backend_error("ending a lease"))
        })
    }

    fn manage(&self) -> Option<&dyn Manage> {
        Some(self)
    }
}

/// A token as text, so that it cannot be taken for anything else.
fn lease_text(token: Token) -> String {
    format!("{:032x}", token.0)
}

pub(crate) fn variant_of(keys: &Keys, head: &StoredHead) -> String {
    keys.variant(&Selector::of(head), &head.variant())
}

/// In whole milliseconds, rounded up, and never zero: to Redis that would be an error.
pub(crate) fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

/// What Redis can add to its clock without overflow: 100,000 years.
const LONGEST: u64 = 100_000 * 365 * 24 * 3_600_000;

/// How many resources with several responses are remembered, each about 200 bytes.
const RULES: usize = 16_384;
