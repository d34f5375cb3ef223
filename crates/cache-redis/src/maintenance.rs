//! Going through all that is stored.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{BackendError, Digest, StoredHead, Token};
use http::HeaderMap;
use redis::{Value, cmd, pipe};

use crate::backend::RedisBackend;
use crate::format::{self, Selector};
use crate::keys::Namespace;
use crate::lane::{Lane, LaneError, Node};

/// How far a walk through the store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Keys of this namespace that were seen. A key can be seen twice.
    pub keys: u64,
    /// Keys that were removed.
    pub removed: u64,
}

/// A stored response, without its body.
#[derive(Clone)]
#[non_exhaustive]
pub struct Stored {
    /// Its head.
    pub head: StoredHead,
    /// The trailer fields behind its body.
    pub trailers: Option<HeaderMap>,
    /// How long its body is, in bytes.
    pub body_length: u64,
    /// When Redis removes it; `None`: never.
    pub ttl: Option<Duration>,
    /// Its identity.
    pub token: Token,
    /// How many bytes it takes in Redis, but for the names of its keys.
    pub bytes: u64,
    /// Whether a lookup finds it: it stands where it belongs, and was not purged.
    pub(crate) is_findable: bool,
}

/// A walk through all stored responses, batch by batch; made by [`RedisBackend::list`].
///
/// What is stored or removed meanwhile may or may not be seen, and a response can be seen twice.
/// Variants that cannot be found any more, as the resource was purged, are seen until they expire.
#[derive(Debug)]
#[must_use = "nothing is read before a batch is asked for"]
pub struct Listing {
    walk: Walk,
    progress: Progress,
    unreadable: u64,
}

impl RedisBackend {
    /// All stored responses, in no order.
    pub fn list(&self) -> Listing {
        Listing {
            walk: Walk::new(self),
            progress: Progress::default(),
            unreadable: 0,
        }
    }

    /// Removes everything in the namespace, batch by batch, and tells after each how far it has
    /// come. What is stored meanwhile may stay.
    ///
    /// Dropped, it stops after the batch that is under way.
    ///
    /// # Errors
    ///
    /// Where the server does not answer; what was removed until then is removed.
    pub async fn clear(
        &self,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Progress, BackendError> {
        let doing = "clearing";
        let mut walk = Walk::new(self);
        let mut progress = Progress::default();
        while let Some((node, keys)) = walk
            .next()
            .await
            .map_err(|error| error.into_backend_error(doing))?
        {
            progress.keys += keys.len() as u64;
            if !keys.is_empty() {
                let mut commands = pipe();
                for key in &keys {
                    commands.cmd("UNLINK").arg(key);
                }
                let replies = self.bulk().send_each(&node, commands).await;
                let replies = replies.map_err(|error| error.into_backend_error(doing))?;
                let removed = replies.iter().filter(|reply| **reply == Value::Int(1));
                progress.removed += removed.count() as u64;
            }
            on_progress(progress);
        }
        self.rules().clear();
        self.heads().clear();
        Ok(progress)
    }
}

impl Listing {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The next batch, which can be empty; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the server does not answer.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Stored>>, BackendError> {
        let batch = self.read_batch().await;
        batch.map_err(|error| error.into_backend_error("listing"))
    }

    async fn read_batch(&mut self) -> Result<Option<Vec<Stored>>, LaneError> {
        let Some((node, keys)) = self.walk.next().await? else {
            return Ok(None);
        };
        self.progress.keys += keys.len() as u64;
        let mut stored = Vec::new();
        let mut longer = Vec::new();
        for read in self.read_heads(&node, keys, HEAD).await? {
            match format::decode_head(&read.beginning) {
                Some(Ok(found)) => stored.push(self.stored(&read, found)),
                Some(Err(format::TooShort)) => longer.push(read.key),
                None if self.is_unreadable(&read) => self.unreadable += 1,
                None => {}
            }
        }
        for read in self.read_heads(&node, longer, u64::from(u32::MAX)).await? {
            match format::decode_head(&read.beginning) {
                Some(Ok(found)) => stored.push(self.stored(&read, found)),
                _ => self.unreadable += 1,
            }
        }
        Ok(Some(stored))
    }

    fn stored(&self, read: &Read, found: format::Beginning) -> Stored {
        let namespace = &self.walk.backend.options().namespace;
        let keys = namespace.keys(&found.head.key().digest());
        let is_findable = match &read.primary {
            None => read.key == keys.primary.as_bytes(),
            Some(primary) => {
                let home = keys.variant(&Selector::of(&found.head), &found.head.variant());
                read.key == home.as_bytes()
                    && format::generation_of_rule(primary) == Some(found.generation)
            }
        };
        Stored {
            is_findable,
            ..Stored::new(found, &read.ttl)
        }
    }

    /// Whether what was read should be a response or a rule, and is neither.
    fn is_unreadable(&self, read: &Read) -> bool {
        let namespace = &self.walk.backend.options().namespace;
        Place::of(namespace, &read.key).is_some()
            && !read.is_gone
            && format::generation_of_rule(&read.beginning).is_none()
    }

    /// How many values it met that should be responses and cannot be read.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The first bytes of these values, and their TTLs.
    async fn read_heads(
        &self,
        node: &Node,
        keys: Vec<Vec<u8>>,
        most: u64,
    ) -> Result<Vec<Read>, LaneError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let namespace = &self.walk.backend.options().namespace;
        let mut commands = pipe();
        for key in &keys {
            commands.cmd("GETRANGE").arg(key).arg(0).arg(most - 1);
            commands.cmd("PTTL").arg(key);
            if let Some(Place::Variant { primary }) = Place::of(namespace, key) {
                commands.cmd("GETRANGE").arg(primary);
                commands.arg(0).arg(format::PREFIX - 1);
            }
        }
        let mut replies = self
            .walk
            .lane()
            .send_each(node, commands)
            .await?
            .into_iter();
        let read = keys.into_iter().map_while(|key| {
            let (value, ttl) = (replies.next()?, replies.next()?);
            let primary = match Place::of(namespace, &key) {
                Some(Place::Variant { .. }) => Some(bytes(replies.next()?).unwrap_or_default()),
                _ => None,
            };
            let is_gone = ttl == Value::Int(-2);
            Some(Read {
                key,
                // Of another type, or gone meanwhile.
                beginning: bytes(value).unwrap_or_default(),
                ttl,
                primary,
                is_gone,
            })
        });
        Ok(read.collect())
    }
}

/// The beginning of a value.
struct Read {
    key: Vec<u8>,
    beginning: Bytes,
    ttl: Value,
    /// Of a variant, the beginning of what stands at the primary key.
    primary: Option<Bytes>,
    is_gone: bool,
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(value) => Some(Bytes::from(value)),
        _ => None,
    }
}

/// Where a response or a rule can stand.
enum Place<'a> {
    Primary,
    Variant { primary: &'a [u8] },
}

impl<'a> Place<'a> {
    /// `None`: something else stands there.
    fn of(namespace: &Namespace, key: &'a [u8]) -> Option<Self> {
        let length = namespace.keys(&Digest::default()).primary.len();
        let (primary, suffix) = key.split_at_checked(length)?;
        match suffix {
            b"" => Some(Self::Primary),
            [b':', b'v' | b'p', b':', ..] => Some(Self::Variant { primary }),
            _ => None,
        }
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("head", &self.head)
            .field("has_trailers", &self.trailers.is_some())
            .field("body_length", &self.body_length)
            .field("ttl", &self.ttl)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Reads the head of a response from the value that stands at its key, or from the beginning of
    /// it: for tools that look into a server or a dump. The checksum, which is of all bytes, is not
    /// looked at; a lookup does.
    #[must_use]
    pub fn read(value: &Bytes) -> Option<Self> {
        let found = format::decode_head(value)?.ok()?;
        Some(Self::new(found, &Value::Nil))
    }

    fn new(found: format::Beginning, ttl: &Value) -> Self {
        let ttl = match ttl {
            Value::Int(ttl) => u64::try_from(*ttl).ok().map(Duration::from_millis),
            _ => None,
        };
        Self {
            head: found.head,
            trailers: found.trailers,
            body_length: found.body_length,
            ttl,
            token: found.token,
            bytes: found.bytes,
            is_findable: false,
        }
    }
}

/// A walk through the keys of the namespace, on one server or on every primary of a cluster.
#[derive(Debug)]
struct Walk {
    backend: RedisBackend,
    /// The servers that are not walked through yet, once they are known; the first of them is under
    /// way, as far as the cursor says.
    nodes: Option<VecDeque<Node>>,
    cursor: Vec<u8>,
}

impl Walk {
    fn new(backend: &RedisBackend) -> Self {
        Self {
            backend: backend.clone(),
            nodes: None,
            cursor: START.to_vec(),
        }
    }

    fn lane(&self) -> &Lane {
        self.backend.bulk()
    }

    /// The next keys, and where they are.
    async fn next(&mut self) -> Result<Option<(Node, Vec<Vec<u8>>)>, LaneError> {
        if self.nodes.is_none() {
            self.nodes = Some(self.lane().primaries().await?.into());
        }
        let Some(node) = self.nodes.as_ref().and_then(VecDeque::front).cloned() else {
            return Ok(None);
        };
        let mut command = cmd("SCAN");
        command.arg(&self.cursor);
        // A namespace has nothing in it that means something in a pattern.
        let namespace = self.backend.options().namespace.as_str();
        command.arg("MATCH").arg(format!("{namespace}:{{*"));
        command.arg("COUNT").arg(BATCH);
        let mut commands = pipe();
        commands.add_command(command);
        let replies = self.lane().send_each(&node, commands).await?;
        let reply = replies.into_iter().next().ok_or(LaneError::Odd)?;
        let reply = reply.extract_error().map_err(LaneError::Redis)?;
        let (cursor, keys) = scanned(reply).ok_or(LaneError::Odd)?;
        if cursor == START {
            self.nodes.as_mut().and_then(VecDeque::pop_front);
        }
        self.cursor = cursor;
        Ok(Some((node, keys)))
    }
}

/// What `SCAN` answers: a cursor and keys.
fn scanned(reply: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let mut parts = parts.into_iter();
    let (Some(Value::BulkString(cursor)), Some(Value::Array(keys))) = (parts.next(), parts.next())
    else {
        return None;
    };
    let keys = keys.into_iter().filter_map(|key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    });
    Some((cursor, keys.collect()))
}

/// Where a `SCAN` begins and ends.
const START: &[u8] = b"0";

/// About how many keys are looked at together.
const BATCH: u32 = 500;

/// As many bytes as most heads have with their prefix.
const HEAD: u64 = 4 << 10;
