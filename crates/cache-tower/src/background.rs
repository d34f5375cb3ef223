//! Work that goes on beside requests: counted, bounded, and waited for at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// All that a layer has begun beside its requests.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    is_over: Arc<AtomicBool>,
}

impl Background {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            tasks: TaskTracker::new(),
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            is_over: Arc::default(),
        }
    }

    /// A place for work that can as well be left undone; `None`: there is too much of it, or it is
    /// over.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        if self.is_over.load(Ordering::Acquire) {
            return None;
        }
        self.places.clone().try_acquire_owned().ok()
    }

    /// Begins work; it is given back where there is no runtime for it.
    pub(crate) fn spawn<F>(&self, work: F) -> Result<JoinHandle<F::Output>, F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(runtime) => Ok(self.tasks.spawn_on(work, &runtime)),
            Err(_) => Err(work),
        }
    }

    /// Waits for all work to end. What can be left undone is not begun any more.
    pub(crate) async fn shutdown(&self) {
        self.is_over.store(true, Ordering::Release);
        self.tasks.close();
        self.tasks.wait().await;
    }
}
