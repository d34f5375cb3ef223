//! An origin that answers as scripted, and remembers what it was asked.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HeaderMap;
use http::{Method, Request, Response, Uri};
use tower_service::Service;

use crate::answer::{Answer, OriginError, TestBody};
use crate::clock::ManualClock;

/// An origin that answers as scripted, and remembers what it was asked; clones are the same origin.
///
/// # Panics
///
/// Asked without an answer, it fails the test.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    state: Arc<Mutex<State>>,
    clock: Option<ManualClock>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Result<Answer, OriginError>>,
    sent: Vec<Sent>,
}

/// A request as the origin saw it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The header section.
    pub headers: HeaderMap,
}

impl Origin {
    /// An origin that has nothing to say yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An origin for which every answer takes a millisecond by this clock.
    #[must_use]
    pub fn with_clock(clock: ManualClock) -> Self {
        Self {
            clock: Some(clock),
            ..Self::default()
        }
    }

    /// Answers the next request with this.
    pub fn answers(&self, answer: Answer) {
        self.lock().answers.push_back(Ok(answer));
    }

    /// Fails the next request.
    pub fn fails(&self) {
        self.lock()
            .answers
            .push_back(Err(OriginError("the origin is down")));
    }

    /// Whether all answers were asked for.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.lock().answers.is_empty()
    }

    /// Forgets the answers that were not asked for.
    pub fn forget(&self) {
        self.lock().answers.clear();
    }

    /// What it was asked, first to last.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.lock().sent.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panicked while it held this")
    }
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<TestBody>;
    type Error = OriginError;
    type Future = Ready<Result<Response<TestBody>, OriginError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let mut state = self.lock();
        let answer = state.answers.pop_front();
        state.sent.push(Sent {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        });
        drop(state);
        if let Some(clock) = &self.clock {
            clock.advance(Duration::from_millis(1));
        }
        let answer = answer.unwrap_or_else(|| {
            panic!("the origin was asked, and the test did not say what it answers")
        });
        ready(answer.map(Answer::response))
    }
}
