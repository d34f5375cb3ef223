//! Being the only one that asks the origin, among all who share a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cache_core::{Backend as _, PrimaryKey, Token};

use crate::budget::within;
use crate::engine::Engine;

/// A lease that was granted; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct HeldLease {
    engine: Arc<Engine>,
    key: PrimaryKey,
    token: Token,
    is_useless: AtomicBool,
}

impl HeldLease {
    pub(crate) fn new(engine: &Arc<Engine>, key: &PrimaryKey, token: Token) -> Self {
        Self {
            engine: engine.clone(),
            key: key.clone(),
            token,
            is_useless: AtomicBool::new(false),
        }
    }

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
