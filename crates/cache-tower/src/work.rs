//! What is to be done to the store beside reading it.

use std::sync::Arc;
use std::time::SystemTime;

use cache_core::{Answer, Backend, BackendError, Entry, PrimaryKey, StoredHead};

use crate::budget::{Budget, within};
use crate::engine::Engine;
use crate::event::Event;

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

    fn event(&self) -> fn(&PrimaryKey) -> Event<'_> {
        match self {
            Self::Freshen(..) => |key| Event::Freshened { key },
            Self::Remove(_) => |key| Event::Removed { key },
            Self::Invalidate(_) => |key| Event::Invalidated { key },
        }
    }

    fn key(&self) -> &PrimaryKey {
        match self {
            Self::Freshen(entry, _) | Self::Remove(entry) => entry.head.key(),
            Self::Invalidate(key) => key,
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
        let event = work.event();
        let key = self.listeners.is_some().then(|| work.key().clone());
        let invalidated = work.invalidates().cloned();
        if let Some(key) = &invalidated {
            self.flights.close(key);
        }
        if self.health.rests(now) {
            if let Some(key) = invalidated {
                self.distrust.add(key, now);
            }
            return;
        }
        let done = match work.start(&*self.backend, now) {
            Answer::Now(done) => Some(done),
            // It does nothing before it is polled; the task makes one of its own.
            Answer::Later(_) => None,
        };
        let done = match done {
            Some(done) => done,
            None => {
                let (backend, time) = (self.backend.clone(), self.backend_timeout);
                let (distrust, key) = (self.distrust.clone(), invalidated.clone());
                let task = self.background.spawn(async move {
                    let done = within(time, doing, work.start(&*backend, now).wait()).await;
                    // Here, too: the caller may be gone by now.
                    if let (Err(_), Some(key)) = (&done, key) {
                        distrust.add(key, now);
                    }
                    done
                });
                match task {
                    Ok(task) => {
                        let done = async { task.await.unwrap_or(Ok(())) };
                        budget.wait(doing, done).await
                    }
                    Err(task) => task.await,
                }
            }
        };
        self.note_writing(&done);
        if let (true, Some(key)) = (done.is_ok(), &key) {
            self.listeners.tell(&event(key));
        }
        if done.is_err() {
            if let Some(key) = invalidated {
                self.distrust.add(key, now);
            }
        }
    }

    /// Invalidates again what could not be invalidated when it was time, now that the store answers.
    pub(crate) fn retry_invalidations(self: &Arc<Self>, now: SystemTime) {
        let Some(retry) = self.distrust.retry(now) else {
            return;
        };
        let engine = self.clone();
        let task = self.background.spawn(async move {
            for (key, at) in &retry.keys {
                let invalidated = engine.backend.invalidate(key, *at).wait();
                let done = within(engine.backend_timeout, "invalidating", invalidated).await;
                if done.is_err() {
                    return;
                }
                engine.distrust.note_told(key, *at, engine.clock.now());
            }
        });
        drop(task);
    }
}
