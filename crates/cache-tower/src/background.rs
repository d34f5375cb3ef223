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
    validating: Arc<Semaphore>,
    /// Others than those for validations, which can take as long as an origin likes.
    publishing: Arc<Semaphore>,
    is_over: Arc<AtomicBool>,
}

impl Background {
    pub(crate) fn new(most: usize) -> Self {
        let places = || Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self {
            tasks: TaskTracker::new(),
            validating: places(),
            publishing: places(),
            is_over: Arc::default(),
        }
    }

    /// A place for a validation, which can as well be left undone; `None`: there are too many, or it is
    /// over.
    pub(crate) fn place_to_validate(&self) -> Option<OwnedSemaphorePermit> {
        self.place(&self.validating)
    }

    /// The same for making a response visible.
    pub(crate) fn place_to_publish(&self) -> Option<OwnedSemaphorePermit> {
        self.place(&self.publishing)
    }

    fn place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        if self.is_over.load(Ordering::Acquire) {
            return None;
        }
        places.clone().try_acquire_owned().ok()
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
