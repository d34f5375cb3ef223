//! The port of management.

use std::sync::Arc;

use cache_core::{Answer, BackendError, Batch, Entry, Listed, Manage, Progress, Walk};
use tokio::task::JoinSet;

use crate::backend::{RedisBackend, variant_of};
use crate::format::{StoredResponse, Value};
use crate::lane::LaneError;
use crate::maintenance::{Listing, Stored};

impl Manage for RedisBackend {
    fn walk(&self) -> Box<dyn Walk> {
        Box::new(self.list())
    }

    fn open<'a>(&'a self, listed: &'a Listed) -> Answer<'a, Result<Option<Entry>, BackendError>> {
        Answer::later(async move {
            let found = self.open_one(listed).await;
            found.map_err(|error| error.into_backend_error("opening"))
        })
    }

    fn remove_listed<'a>(&'a self, listed: &'a [Listed]) -> Answer<'a, Result<u64, BackendError>> {
        Answer::later(async move {
            let removed = self.remove_together(listed).await;
            removed.map_err(|error| error.into_backend_error("removing"))
        })
    }

    fn clear<'a>(
        &'a self,
        on_progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Answer<'a, Result<Progress, BackendError>> {
        Answer::later(async move {
            let convert = |progress: crate::Progress| Progress {
                seen: progress.keys,
                done: progress.removed,
            };
            let cleared = Self::clear(self, |progress| on_progress(convert(progress))).await;
            cleared.map(convert)
        })
    }
}

impl RedisBackend {
    async fn open_one(&self, listed: &Listed) -> Result<Option<Entry>, LaneError> {
        let digest = listed.key().digest();
        let keys = self.options().namespace.keys(&digest);
        let variant = variant_of(&keys, &listed.head);
        let values = self.get(&keys.primary, vec![variant]).await?;
        let mut generation = None;
        let mut found: Option<StoredResponse> = None;
        for value in values.into_iter().flatten() {
            match self.decode(value, listed.key()) {
                Some(Value::Rule(rule)) => generation = Some(rule.generation),
                Some(Value::Response(response)) if response.token == listed.token => {
                    let is_current = generation.unwrap_or_default() == response.generation;
                    found = Some(response).filter(|_| is_current);
                }
                _ => {}
            }
        }
        match found {
            Some(response) => self.entry(&digest, response).await,
            None => Ok(None),
        }
    }

    async fn remove_together(&self, listed: &[Listed]) -> Result<u64, LaneError> {
        let mut removing = JoinSet::new();
        let mut removed = 0;
        for one in listed {
            if removing.len() >= TOGETHER {
                removed += ended(removing.join_next().await)?;
            }
            let (backend, head, token) = (self.clone(), one.head.clone(), one.token);
            removing.spawn(async move { backend.remove_one(&head, token).await });
        }
        while !removing.is_empty() {
            removed += ended(removing.join_next().await)?;
        }
        Ok(removed)
    }
}

/// How many of one removal removed something.
fn ended(
    removal: Option<Result<Result<bool, LaneError>, tokio::task::JoinError>>,
) -> Result<u64, LaneError> {
    match removal {
        Some(Ok(removed)) => removed.map(u64::from),
        // Its runtime is being shut down.
        _ => Ok(0),
    }
}

impl Walk for Listing {
    fn next_batch(&mut self) -> Answer<'_, Result<Option<Batch>, BackendError>> {
        Answer::later(async move {
            let before = self.unreadable();
            let Some(stored) = Self::next_batch(self).await? else {
                return Ok(None);
            };
            let unreadable = self.unreadable() - before;
            let findable = stored.into_iter().filter(|stored| stored.is_findable);
            let listed = findable.map(Listed::from).collect();
            Ok(Some(Batch::new(listed, unreadable)))
        })
    }
}

impl From<Stored> for Listed {
    fn from(stored: Stored) -> Self {
        Self {
            head: Arc::new(stored.head),
            body_length: stored.body_length,
            bytes: stored.bytes,
            trailers: stored.trailers,
            token: stored.token,
        }
    }
}

/// How many removals are under way together.
const TOGETHER: usize = 64;
