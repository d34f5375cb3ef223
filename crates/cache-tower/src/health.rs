//! Whether the store does its part, told once per change.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::{BackendError, BackendErrorKind};
use tracing::{debug, info, warn};

/// Whether the store does its part. It can be read while it cannot be written: full, or a replica.
#[derive(Debug, Default)]
pub(crate) struct Health {
    reading_fails: AtomicBool,
    writing_fails: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Doing {
    Reading,
    Writing,
}

impl Health {
    /// Takes note of how an operation ended.
    pub(crate) fn note<T>(&self, doing: Doing, done: &Result<T, BackendError>) {
        let fails = match doing {
            Doing::Reading => &self.reading_fails,
            Doing::Writing => &self.writing_fails,
        };
        match done {
            Ok(_) => {
                // Loaded first: a store that does its part is the rule, and nobody then writes.
                if fails.load(Ordering::Relaxed) && fails.swap(false, Ordering::Relaxed) {
                    info!(?doing, "the store does its part again");
                }
            }
            Err(error) if error.kind() == BackendErrorKind::Declined => {
                debug!(error = error as &dyn Error, "not stored");
            }
            Err(error) => {
                let error = error as &dyn Error;
                if fails.swap(true, Ordering::Relaxed) {
                    debug!(error, ?doing, "the store does not do its part");
                } else {
                    warn!(
                        error,
                        ?doing,
                        "the store does not do its part; requests go on without it"
                    );
                }
            }
        }
    }
}
