//! Which stored responses are being validated in the background, so that each is once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::Token;

#[derive(Debug, Default)]
pub(crate) struct Revalidations {
    running: Mutex<HashSet<Token>>,
}

impl Revalidations {
    /// A permit to validate it; `None`: that is being done already.
    pub(crate) fn begin(self: &Arc<Self>, token: Token) -> Option<Permit> {
        self.lock(|running| running.insert(token)).then(|| Permit {
            all: self.clone(),
            token,
        })
    }

    fn lock<T>(&self, change: impl FnOnce(&mut HashSet<Token>) -> T) -> T {
        // Inserting and removing leave nothing half done, so poison means nothing.
        change(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Held while a validation runs, or until its task is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    all: Arc<Revalidations>,
    token: Token,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.lock(|running| running.remove(&self.token));
    }
}
