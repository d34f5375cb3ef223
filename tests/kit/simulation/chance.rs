//! What is drawn.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Where all that is drawn in one history comes from; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Arc<Mutex<Rng>>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Rng::with_seed(seed))))
    }

    /// A number below this.
    pub(crate) fn below(&self, end: usize) -> usize {
        self.lock().usize(..end)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub(crate) fn of<T: Clone>(&self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    /// A short while, or a few turns of other tasks, or nothing.
    pub(crate) async fn pause(&self) {
        match self.below(8) {
            0..2 => {}
            2..6 => {
                for _ in 0..self.below(4) {
                    yield_now().await;
                }
            }
            _ => sleep(Duration::from_millis(self.below(40) as u64)).await,
        }
    }

    /// The same future, which lets others go first now and then.
    pub(crate) async fn shuffled<F: Future>(&self, future: F) -> F::Output {
        Shuffled {
            future: pin!(future),
            chance: self,
        }
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shuffled<'a, F> {
    future: Pin<&'a mut F>,
    chance: &'a Chance,
}

impl<F: Future> Future for Shuffled<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.chance.one_in(4) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx)
    }
}
