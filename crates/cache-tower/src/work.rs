//! What is to be done to the store beside reading it.

use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Answer, Backend, BackendError, Entry, PrimaryKey, StoredHead};
use tokio::runtime::Handle;

use crate::budget::{Budget, within};
use crate::engine::Engine;

/// What is to be done to the store.
pub(crate) enum Work {
    Freshen(Entry, Arc<StoredHead>),
    Remove(Entry),
    Invalidate(PrimaryKey),
}

impl Work {
    fn start<'a>(
        &'a self,
        backend: &'a dyn Backend,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        match self {
            Self::Freshen(entry, head) => backend.freshen(entry, head.clone(), now),
            Self::Remove(entry) => backend.remove(entry),
            Self::Invalidate(key) => backend.invalidate(key, now),
        }
    }

    fn invalidates(&self) -> Option<&PrimaryKey> {
        match self {
            Self::Invalidate(key) => Some(key),
            _ => None,
        }
    }

    fn doing(&self) -> &'static str {
        match self {
            Self::Freshen(..) => "freshening",
            Self::Remove(_) => "removing",
            Self::Invalidate(_) => "invalidating",
        }
    }
}

impl Engine {
    /// Does it before the answer is given, as far as there is time. What takes longer, or is left
    /// by a caller that goes away, is done all the same.
    pub(crate) async fn see_to(&self, work: Work, budget: &mut Budget, now: SystemTime) {
        let doing = work.doing();
        let invalidated = work.invalidates().cloned();
        let done = match work.start(&*self.backend, now) {
            Answer::Now(done) => Some(done),
            // It does nothing before it is polled; the task makes one of its own.
            Answer::Later(_) => None,
        };
        let done = match (done, Handle::try_current()) {
            (Some(done), _) => done,
            (None, Err(_)) => work.start(&*self.backend, now).wait().await,
            (None, Ok(runtime)) => {
                let (backend, time) = (self.backend.clone(), self.backend_timeout);
                let (distrust, key) = (self.distrust.clone(), invalidated.clone());
                let task = runtime.spawn(async move {
                    let done = within(time, doing, work.start(&*backend, now).wait()).await;
                    // Here, too: the caller may be gone by now.
                    if let (Err(_), Some(key)) = (&done, key) {
                        distrust.add(key, now);
                    }
                    done
                });
                budget
                    .wait(doing, async { task.await.unwrap_or(Ok(())) })
                    .await
            }
        };
        self.note_writing(&done);
        if done.is_err() {
            if let Some(key) = invalidated {
                self.distrust.add(key, now);
            }
        }
    }
}
