//! Finding the stored responses for a key.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use cache_core::{Candidates, Entry, PrimaryKey, Query, StoredBody};
use redis::{Value as Reply, cmd};

use crate::backend::RedisBackend;
use crate::body::{RedisBody, framed_length};
use crate::format::{self, Body, Selector, StoredResponse, Value};
use crate::keys::Keys;
use crate::lane::LaneError;

impl RedisBackend {
    /// One command and one round trip; two where the response is one of several and this process did
    /// not know it, and one more where its body stands elsewhere.
    pub(crate) async fn look_up(
        &self,
        query: Query<'_>,
        now: SystemTime,
    ) -> Result<Candidates, LaneError> {
        let digest = query.key().digest();
        let keys = self.options().namespace.keys(&digest);
        let variant = |selector: &Selector| keys.variant(selector, &query.variant(&selector.names));
        let guess = self.rules().get(&digest);
        let guessed = guess.iter().flat_map(|rule| &rule.selectors);
        let mut values = self
            .get(&keys.primary, guessed.map(variant).collect())
            .await?
            .into_iter();
        let primary = values.next().flatten();
        let primary = primary.and_then(|value| self.decode(&value, query.key()));
        let rule = match primary {
            Some(Value::Rule(rule)) => rule,
            other => {
                if guess.is_some() {
                    self.rules().remove(&digest);
                }
                let response = match other {
                    Some(Value::Response(response)) => Some(response),
                    _ => None,
                };
                return self.entries(&keys, response, now).await;
            }
        };
        let values: Vec<_> = if guess.is_some_and(|guess| *guess == rule) {
            values.collect()
        } else {
            let mut names = rule.selectors.iter().map(variant);
            let first = names.next().unwrap_or_default();
            let values = self.get(&first, names.collect()).await?;
            self.rules().insert(digest, Arc::new(rule.clone()));
            values
        };
        let responses = values.into_iter().flatten().filter_map(|value| {
            match self.decode(&value, query.key())? {
                Value::Response(response) if response.generation == rule.generation => {
                    Some(response)
                }
                _ => None,
            }
        });
        let found = self.entries(&keys, responses, now).await?;
        Ok(match found.is_empty() {
            true => Candidates::others_only(),
            false => found,
        })
    }

    /// What stands at these keys, asked for with one command.
    pub(crate) async fn get(
        &self,
        first: &str,
        others: Vec<String>,
    ) -> Result<Vec<Option<Bytes>>, LaneError> {
        let mut command = cmd(if others.is_empty() { "GET" } else { "MGET" });
        command.arg(first).arg(&others);
        let replies = match self.lane().send(&command).await {
            Ok(Reply::Array(replies)) => replies,
            Ok(reply) => vec![reply],
            Err(error) if error.is_wrong_type() => {
                self.note_undecodable("a value of another type");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let replies = replies.into_iter().map(|reply| match reply {
            Reply::BulkString(bytes) => Some(Bytes::from(bytes)),
            _ => None,
        });
        Ok(replies.collect())
    }

    pub(crate) fn decode(&self, value: &Bytes, key: &PrimaryKey) -> Option<Value> {
        match format::decode(value) {
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

    /// The responses that are still to be kept, with bodies that are there.
    async fn entries(
        &self,
        keys: &Keys,
        responses: impl IntoIterator<Item = StoredResponse>,
        now: SystemTime,
    ) -> Result<Candidates, LaneError> {
        let mut entries = Vec::new();
        for response in responses {
            let retain_until = response.head.retain_until();
            if retain_until.is_none_or(|until| now < until) {
                entries.extend(self.entry(keys, response).await?);
            }
        }
        Ok(entries.into())
    }

    /// A response, if its body is there.
    pub(crate) async fn entry(
        &self,
        keys: &Keys,
        response: StoredResponse,
    ) -> Result<Option<Entry>, LaneError> {
        let body = match response.body {
            Body::Here(bytes) => StoredBody::whole(bytes),
            Body::Elsewhere { length } => {
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
            head: Arc::new(response.head),
            body: body.with_trailers(response.trailers),
            token: response.token,
        }))
    }

    /// Whether a body is there as a whole: it can be evicted while its head stays.
    async fn is_there(&self, body: &RedisBody) -> Result<bool, LaneError> {
        let mut command = cmd("STRLEN");
        command.arg(&*body.key);
        let length = match self.lane().send(&command).await {
            Ok(Reply::Int(length)) => length,
            Err(error) if !error.is_wrong_type() => return Err(error),
            _ => 0,
        };
        Ok(u64::try_from(length) == Ok(framed_length(body.length)))
    }
}
