//! The time that the backend may take on the way of one request.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use cache_core::{Answer, BackendError, BackendErrorKind};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// What is left of the time that the backend may take.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Duration,
}

impl Budget {
    pub(crate) fn new(left: Duration) -> Self {
        Self { left }
    }

    /// Waits for an answer no longer than there is time left.
    pub(crate) async fn spend<T>(
        &mut self,
        doing: &'static str,
        answer: Answer<'_, Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        match answer {
            Answer::Now(answer) => answer,
            Answer::Later(answer) => self.wait(doing, answer).await,
        }
    }

    /// The same for what has to be waited for in any case.
    pub(crate) async fn wait<T>(
        &mut self,
        doing: &'static str,
        answer: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let started = Instant::now();
        let answer = within(self.left, doing, answer).await;
        self.left = self.left.saturating_sub(started.elapsed());
        answer
    }
}

/// Waits for an answer no longer than this.
pub(crate) async fn within<T>(
    time: Duration,
    doing: &'static str,
    answer: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    let mut answer = pin!(answer);
    let mut sleep = pin!(None);
    poll_fn(|cx| {
        // What is there already needs no timer, which a runtime can be without.
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if sleep.is_none() {
            // There is no timer without a runtime, but then the caller has its own ways.
            if Handle::try_current().is_err() {
                return Poll::Pending;
            }
            sleep.set(Some(tokio::time::sleep(time)));
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep
                .poll(cx)
                .map(|()| Err(BackendError::new(BackendErrorKind::TimedOut, doing))),
            None => Poll::Pending,
        }
    })
    .await
}
