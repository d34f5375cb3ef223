//! Going through all that is stored.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{BackendError, StoredHead};
use redis::{Value, cmd, pipe};

use crate::backend::RedisBackend;
use crate::format;
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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored {
    /// Its head.
    pub head: StoredHead,
    /// How long its body is, in bytes.
    pub body_length: u64,
    /// When Redis removes it; `None`: never.
    pub ttl: Option<Duration>,
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
}

impl RedisBackend {
    /// All stored responses, in no order.
    pub fn list(&self) -> Listing {
        Listing {
            walk: Walk::new(self),
            progress: Progress::default(),
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
        for (key, beginning, ttl) in self.read_heads(&node, keys, HEAD).await? {
            match format::decode_head(&beginning) {
                Some(Ok((head, body_length))) => stored.push(Stored::new(head, body_length, &ttl)),
                Some(Err(format::TooShort)) => longer.push(key),
                None => {}
            }
        }
        for (_, whole, ttl) in self.read_heads(&node, longer, u64::from(u32::MAX)).await? {
            if let Some(Ok((head, body_length))) = format::decode_head(&whole) {
                stored.push(Stored::new(head, body_length, &ttl));
            }
        }
        Ok(Some(stored))
    }

    /// The first bytes of these values, and their TTLs.
    async fn read_heads(
        &self,
        node: &Node,
        keys: Vec<Vec<u8>>,
        most: u64,
    ) -> Result<Vec<(Vec<u8>, Bytes, Value)>, LaneError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = pipe();
        for key in &keys {
            commands.cmd("GETRANGE").arg(key).arg(0).arg(most - 1);
            commands.cmd("PTTL").arg(key);
        }
        let mut replies = self
            .walk
            .lane()
            .send_each(node, commands)
            .await?
            .into_iter();
        let read = keys.into_iter().map_while(|key| {
            let (value, ttl) = (replies.next()?, replies.next()?);
            Some(match value {
                Value::BulkString(value) => (key, Bytes::from(value), ttl),
                // Of another type, or gone meanwhile.
                _ => (key, Bytes::new(), ttl),
            })
        });
        Ok(read.collect())
    }
}

impl Stored {
    /// Reads the head of a response from the value that stands at its key, or from the beginning of
    /// it: for tools that look into a server or a dump. The checksum, which is of all bytes, is not
    /// looked at; a lookup does.
    #[must_use]
    pub fn read(value: &Bytes) -> Option<Self> {
        let (head, body_length) = format::decode_head(value)?.ok()?;
        Some(Self::new(head, body_length, &Value::Nil))
    }

    fn new(head: StoredHead, body_length: u64, ttl: &Value) -> Self {
        let ttl = match ttl {
            Value::Int(ttl) => u64::try_from(*ttl).ok().map(Duration::from_millis),
            _ => None,
        };
        Self {
            head,
            body_length,
            ttl,
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
        let Some((cursor, keys)) = replies.into_iter().next().and_then(scanned) else {
            return Err(LaneError::Odd);
        };
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
