//! `Replay`.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tower_service::Service;

use crate::answer::{Answer, TestBody};
use crate::recording::{Answered, Ending, Exchange, header_map, redacted};

/// A service that answers as was recorded; clones are the same service.
///
/// A request is told by its method and its URI, secrets in the query aside. Requests for the same get the
/// recorded responses in their order, each once.
#[derive(Debug, Clone)]
pub struct Replay {
    left: Arc<Mutex<Vec<Exchange>>>,
}

impl Replay {
    pub(crate) fn new(exchanges: Vec<Exchange>) -> Self {
        Self {
            left: Arc::new(Mutex::new(exchanges)),
        }
    }

    /// How many of the recorded exchanges were not asked for yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn answer<B>(&self, request: &Request<B>) -> Result<Response<TestBody>, ReplayError> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |exchange: &Exchange| exchange.is_of(request.method(), request.uri());
        let Some(at) = left.iter().position(is_it) else {
            return Err(ReplayError::NotRecorded {
                request: format!("{} {}", request.method(), redacted(request.uri())),
            });
        };
        match left.remove(at).ending {
            Ending::Response(answered) => Ok(response(&answered)),
            Ending::Error(error) => Err(ReplayError::Recorded(error)),
        }
    }
}

/// What was recorded was made of a response, or was checked when it was read; so nothing is lost here.
fn response(answered: &Answered) -> Response<TestBody> {
    let mut answer = Answer::new(StatusCode::from_u16(answered.status).unwrap_or_default());
    for (name, value) in &answered.fields {
        answer = answer.with(name, value);
    }
    let body = answered.body().unwrap_or_default();
    if !body.is_empty() {
        answer = answer.chunk(body);
    }
    let trailers = header_map(&answered.trailers).unwrap_or_default();
    if !trailers.is_empty() {
        answer = answer.trailers(trailers);
    }
    if answered.breaks_off {
        answer = answer.breaks_off();
    }
    answer.response()
}

impl<B> Service<Request<B>> for Replay {
    type Response = Response<TestBody>;
    type Error = ReplayError;
    type Future = Ready<Result<Response<TestBody>, ReplayError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReplayError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(self.answer(&request))
    }
}

/// Why a request was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// Nothing is recorded for it, or all that was has been given.
    NotRecorded {
        /// Its method and URI.
        request: String,
    },
    /// When it was recorded there was this error.
    Recorded(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecorded { request } => {
                write!(
                    f,
                    "nothing is recorded for {request}, or nothing more; record it again"
                )
            }
            Self::Recorded(error) => f.write_str(error),
        }
    }
}

impl StdError for ReplayError {}
