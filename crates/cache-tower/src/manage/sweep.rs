//! `Sweep`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Backend, BackendError, BoxFuture, Digest, Listed, Progress, StoredHead};

use super::copy::copy;
use super::filter::Filter;
use super::handle::CacheHandle;
use crate::budget::within;

/// Something done to all stored responses that a filter picks, one after the other; made by a
/// [`CacheHandle`]. Awaited, it is done, and tells to how many it was done.
///
/// Dropped while it is under way, it stops, and what was done stays done; it can be begun again. After
/// an error it is the same.
#[must_use = "nothing is done before it is awaited"]
pub struct Sweep<'a> {
    handle: CacheHandle,
    filter: Filter,
    action: Action,
    on_progress: Box<dyn FnMut(Progress) + Send + 'a>,
}

#[derive(Clone)]
pub(super) enum Action {
    Remove,
    Invalidate,
    MarkStale,
    SetTtl(Duration),
    CopyTo(Arc<dyn Backend>),
    Clear,
}

impl Sweep<'static> {
    pub(super) fn new(handle: &CacheHandle, filter: Filter, action: Action) -> Self {
        Self {
            handle: handle.clone(),
            filter,
            action,
            on_progress: Box::new(|_| ()),
        }
    }
}

impl Sweep<'_> {
    /// Tells this function how far it has come, after each batch and at the end.
    pub fn on_progress<'b>(self, tell: impl FnMut(Progress) + Send + 'b) -> Sweep<'b> {
        Sweep {
            handle: self.handle,
            filter: self.filter,
            action: self.action,
            on_progress: Box::new(tell),
        }
    }

    async fn run(self) -> Result<Progress, BackendError> {
        let Self {
            handle,
            filter,
            action,
            mut on_progress,
        } = self;
        let engine = &handle.engine();
        if let Action::Clear = action {
            return engine.manage()?.clear(&mut *on_progress).wait().await;
        }
        let filter = filter.prepare(&engine.policy);
        let mut progress = Progress::default();
        let mut invalidated = HashSet::new();
        if let Action::Invalidate = action {
            if filter.is_url_only() {
                // Before the walk: what is on its way does not become visible.
                for key in filter.keys() {
                    handle.invalidate_key(key).await?;
                    invalidated.insert(key.digest());
                    progress.done += 1;
                }
            }
        }
        let mut entries = handle.entries_by(filter);
        while let Some(first) = entries.next().await {
            let mut batch = vec![first?];
            batch.extend(entries.rest_of_batch());
            progress.done += action.treat(&handle, &batch, &mut invalidated).await?;
            progress.seen = entries.seen();
            on_progress(progress);
        }
        progress.seen = entries.seen();
        on_progress(progress);
        Ok(progress)
    }
}

impl Action {
    /// Treats some; how many of them something was done to.
    async fn treat(
        &self,
        handle: &CacheHandle,
        batch: &[Listed],
        invalidated: &mut HashSet<Digest>,
    ) -> Result<u64, BackendError> {
        let engine = &handle.engine();
        if let Self::Remove = self {
            return engine.manage()?.remove_listed(batch).wait().await;
        }
        let mut done = 0;
        for listed in batch {
            // As hits are judged: what is stale from now on is so for the next of them.
            let (head, now) = (&listed.head, engine.clock.recent());
            let is_done = match self {
                Self::Invalidate => {
                    let is_new = invalidated.insert(listed.key().digest());
                    if is_new {
                        handle.invalidate_key(listed.key()).await?;
                    }
                    is_new
                }
                Self::MarkStale if head.freshness().lifetime <= head.age(now) => false,
                Self::MarkStale => freshen(handle, listed, |head| head.stale_from(now)).await?,
                Self::SetTtl(ttl) => {
                    freshen(handle, listed, |head| head.fresh_for(*ttl, now)).await?
                }
                Self::CopyTo(_) if is_expired(head, now) => false,
                Self::CopyTo(to) => match handle.open(listed).await? {
                    Some(entry) => copy(&entry, &**to, engine.backend_timeout).await?,
                    None => false,
                },
                Self::Remove | Self::Clear => false,
            };
            done += u64::from(is_done);
        }
        Ok(done)
    }
}

/// Changes the head of a response, if that is still there; whether it was. The head is the one that is there
/// now: since it was listed, the response may have been validated.
async fn freshen(
    handle: &CacheHandle,
    listed: &Listed,
    change: impl FnOnce(&StoredHead) -> StoredHead,
) -> Result<bool, BackendError> {
    let Some(entry) = handle.open(listed).await? else {
        return Ok(false);
    };
    let engine = &handle.engine();
    let now = engine.clock.now();
    let head = Arc::new(change(&entry.head));
    let freshening = engine.backend.freshen(&entry, head, now).wait();
    within(engine.backend_timeout, "freshening", freshening).await?;
    Ok(true)
}

fn is_expired(head: &StoredHead, now: std::time::SystemTime) -> bool {
    head.retain_until().is_some_and(|until| until <= now)
}

impl<'a> IntoFuture for Sweep<'a> {
    type Output = Result<Progress, BackendError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("filter", &self.filter)
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Remove => "Remove",
            Self::Invalidate => "Invalidate",
            Self::MarkStale => "MarkStale",
            Self::SetTtl(_) => "SetTtl(..)",
            Self::CopyTo(_) => "CopyTo(..)",
            Self::Clear => "Clear",
        })
    }
}
