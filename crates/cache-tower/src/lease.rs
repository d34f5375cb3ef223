//! Being the only one that asks the origin, among all who share a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::{Answer, Backend as _, BackendError, Lease, PrimaryKey, Token};
use tokio::sync::oneshot;

use crate::budget::{Budget, within};
use crate::engine::Engine;

/// A lease that was granted; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct HeldLease {
    engine: Arc<Engine>,
    key: PrimaryKey,
    token: Token,
    is_useless: AtomicBool,
}

/// What became of the wish for a lease.
#[derive(Debug)]
pub(crate) enum Leased {
    Held(HeldLease),
    /// Another has it.
    Taken,
    /// Nobody is to wait for another.
    Useless,
}

impl Engine {
    /// Asks for a lease. One that is granted when nobody waits for it any more is given back.
    pub(crate) async fn take_lease(
        self: &Arc<Self>,
        key: &PrimaryKey,
        time: Duration,
        budget: &mut Budget,
    ) -> Result<Leased, BackendError> {
        let leased = match self.backend.lease(key, time) {
            Answer::Now(lease) => lease.map(|lease| Leased::of(self, key, lease)),
            // It does nothing before it is polled; the task makes one of its own.
            Answer::Later(_) => {
                let (engine, key) = (self.clone(), key.clone());
                let (sender, receiver) = oneshot::channel();
                let task = self.background.spawn(async move {
                    let leasing = engine.backend.lease(&key, time).wait();
                    let lease = within(engine.backend_timeout, "leasing", leasing).await;
                    // Here, as long as the task is counted: what nobody takes is given back.
                    drop(sender.send(lease.map(|lease| Leased::of(&engine, &key, lease))));
                });
                // Without a runtime nobody answers.
                drop(task);
                let leased = async { receiver.await.unwrap_or(Ok(Leased::Useless)) };
                budget.wait("leasing", leased).await
            }
        };
        self.note_writing(&leased);
        leased
    }
}

impl Leased {
    fn of(engine: &Arc<Engine>, key: &PrimaryKey, lease: Lease) -> Self {
        match lease {
            Lease::Granted(token) => Self::Held(HeldLease {
                engine: engine.clone(),
                key: key.clone(),
                token,
                is_useless: AtomicBool::new(false),
            }),
            Lease::Taken => Self::Taken,
            Lease::Useless => Self::Useless,
        }
    }
}

impl HeldLease {
    /// What the origin gave is of no use to others.
    pub(crate) fn is_useless(&self) {
        self.is_useless.store(true, Ordering::Relaxed);
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let (engine, key, token) = (self.engine.clone(), self.key.clone(), self.token);
        let useless_for = self.is_useless.load(Ordering::Relaxed).then_some(USELESS);
        let task = self.engine.background.spawn(async move {
            let ending = engine.backend.end_lease(&key, token, useless_for).wait();
            let ended = within(engine.backend_timeout, "ending a lease", ending).await;
            engine.note_writing(&ended);
        });
        // Without a runtime it ends by itself.
        drop(task);
    }
}

/// For how long nobody waits for another, where a response could not be shared.
pub(crate) const USELESS: Duration = Duration::from_secs(10);
