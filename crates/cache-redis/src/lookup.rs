//! Finding the stored responses for a key.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{Candidates, Digest, Entry, PrimaryKey, Query, StoredBody};
use redis::{Cmd, Value as Reply, cmd};

use crate::backend::RedisBackend;
use crate::body::{RedisBody, frames};
use crate::format::{self, Body, Selector, StoredResponse, Value};
use crate::keys::Keys;
use crate::lane::{Lane, LaneError};

impl RedisBackend {
    /// One command and one round trip; two where the response is one of several and this process did
    /// not know it, and one more where its body stands elsewhere.
    pub(crate) async fn look_up(
        &self,
        query: Query<'_>,
        now: SystemTime,
    ) -> Result<Candidates, LaneError> {
        let digest = query.key().digest();
        let variant = |keys: &Keys, selector: &Selector| {
            keys.variant(selector, &query.variant(&selector.names))
        };
        let guess = self.rules().get(&digest);
        let (primary, guessed) = match &guess {
            None => (self.get_primary(&digest).await?, Vec::new()),
            Some(rule) => {
                let keys = self.options().namespace.keys(&digest);
                let variants = rule.selectors.iter();
                let variants = variants.map(|selector| variant(&keys, selector)).collect();
                let mut values = self.get(&keys.primary, variants).await?;
                let primary = (!values.is_empty()).then(|| values.remove(0)).flatten();
                (primary, values)
            }
        };
        let rule = match primary.and_then(|value| self.decode(value, query.key())) {
            Some(Value::Rule(rule)) => rule,
            other => {
                if guess.is_some() {
                    self.rules().remove(&digest);
                }
                let found = match other {
                    Some(Value::Response(response)) => {
                        self.retained(&digest, response, now).await?
                    }
                    _ => None,
                };
                return Ok(found.map_or_else(Candidates::default, Candidates::from));
            }
        };
        let values: Vec<_> = if guess.is_some_and(|guess| *guess == rule) {
            guessed
        } else {
            let keys = self.options().namespace.keys(&digest);
            let names = rule.selectors.iter();
            let mut names = names.map(|selector| variant(&keys, selector));
            let first = names.next().unwrap_or_default();
            let values = self.get(&first, names.collect()).await?;
            self.rules().insert(digest, Arc::new(rule.clone()));
            values
        };
        let mut entries = Vec::new();
        for value in values.into_iter().flatten() {
            match self.decode(value, query.key()) {
                Some(Value::Response(response)) if response.generation == rule.generation => {
                    entries.extend(self.retained(&digest, response, now).await?);
                }
                _ => {}
            }
        }
        Ok(match entries.is_empty() {
            true => Candidates::others_only(),
            false => entries.into(),
        })
    }

    /// What stands at a primary key.
    async fn get_primary(&self, digest: &Digest) -> Result<Option<Bytes>, LaneError> {
        let lane = self.lane();
        let namespace = &self.options().namespace;
        let ask = || async { get(lane, &namespace.primary_of(digest)).await };
        self.known_type(lane.gather().ask(digest, ask).await)
    }

    /// What was found, if it is of the type that this crate writes.
    fn known_type(
        &self,
        found: Result<Option<Bytes>, LaneError>,
    ) -> Result<Option<Bytes>, LaneError> {
        match found {
            Err(error) if error.is_wrong_type() => {
                self.note_undecodable("a value of another type");
                Ok(None)
            }
            found => found,
        }
    }

    /// What stands at these keys, asked for with one command.
    pub(crate) async fn get(
        &self,
        first: &str,
        others: Vec<String>,
    ) -> Result<Vec<Option<Bytes>>, LaneError> {
        if others.is_empty() {
            return Ok(vec![self.known_type(get(self.lane(), first).await)?]);
        }
        let mut command = cmd("MGET");
        command.arg(first).arg(&others);
        Ok(match self.lane().send(&command).await? {
            Reply::Array(replies) => replies.into_iter().map(bytes).collect(),
            _ => Vec::new(),
        })
    }

    pub(crate) fn decode(&self, value: Bytes, key: &PrimaryKey) -> Option<Value> {
        match format::decode(value, self.heads()) {
            Some(Value::Response(response)) if response.head.key() != key => {
                self.note_undecodable("a response to another request");
                None
            }
            None => {
                self.note_undecodable("not what this version writes");
                None
            }
            decoded => decoded,
        }
    }

    /// A response, if it is still to be kept and its body is there.
    async fn retained(
        &self,
        digest: &Digest,
        response: StoredResponse,
        now: SystemTime,
    ) -> Result<Option<Entry>, LaneError> {
        let retain_until = response.head.retain_until();
        match retain_until.is_none_or(|until| now < until) {
            true => self.entry(digest, response).await,
            false => Ok(None),
        }
    }

    /// A response, if its body is there.
    pub(crate) async fn entry(
        &self,
        digest: &Digest,
        response: StoredResponse,
    ) -> Result<Option<Entry>, LaneError> {
        let body = match response.body {
            Body::Here(bytes) => StoredBody::whole(bytes),
            Body::Elsewhere { length } => {
                let keys = self.options().namespace.keys(digest);
                let body = RedisBody {
                    lane: self.bulk().clone(),
                    key: keys.body(response.token).into(),
                    token: response.token,
                    length,
                };
                if !self.is_there(&body).await? {
                    return Ok(None);
                }
                StoredBody::remote(Arc::new(body), length)
            }
        };
        Ok(Some(Entry {
            head: response.head,
            body: body.with_trailers(response.trailers),
            token: response.token,
        }))
    }

    /// Whether a body is there as a whole: it can be evicted while its head stays.
    async fn is_there(&self, body: &RedisBody) -> Result<bool, LaneError> {
        let mut command = cmd("HLEN");
        command.arg(&*body.key);
        let there = match self.lane().send(&command).await {
            Ok(Reply::Int(there)) => there,
            Err(error) if !error.is_wrong_type() => return Err(error),
            _ => 0,
        };
        Ok(u64::try_from(there) == Ok(frames(body.length)))
    }
}

/// What stands at one key.
async fn get(lane: &Lane, key: &str) -> Result<Option<Bytes>, LaneError> {
    let mut command = Cmd::with_capacity(2, "GET".len() + key.len());
    command.arg("GET").arg(key);
    lane.send(&command).await.map(bytes)
}

/// The bytes that a reply has, if there are any.
fn bytes(reply: Reply) -> Option<Bytes> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}
