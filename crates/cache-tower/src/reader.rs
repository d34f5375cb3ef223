//! Reading a stored body.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use cache_core::{BackendError, BackendErrorKind, BoxFuture, ReadBody, Source, StoredBody};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use sync_wrapper::SyncWrapper;

use crate::budget::within;

/// Gives out a stored body that is in pieces, or still in the store, frame by frame.
pub(crate) struct Reader {
    rest: Rest,
    /// Bytes that come before those that are wanted.
    skip: u64,
    left: u64,
    /// All bytes are wanted, so that more than there are is an error.
    is_whole: bool,
    trailers: Option<Arc<HeaderMap>>,
}

enum Rest {
    Chunks { chunks: Arc<[Bytes]>, next: usize },
    Remote(Box<Remote>),
}

/// What is left of a body in the store. A few windows are asked for before they are wanted, so that
/// their way is not waited for; there are never more than those in memory.
struct Remote {
    body: Arc<dyn ReadBody>,
    /// What comes next.
    at: u64,
    /// What is asked for next.
    asked: u64,
    end: u64,
    windows: VecDeque<Window>,
    timeout: Duration,
}

/// How many windows are asked for at once.
const AHEAD: usize = 4;

/// A read under way. A `Reader` is only ever polled by one task, so it need not be `Sync` itself.
enum Window {
    Coming(SyncWrapper<BoxFuture<'static, Result<Bytes, BackendError>>>),
    Here(Result<Bytes, BackendError>),
}

impl Reader {
    /// These bytes of a body; `timeout` is for each read of one that is in the store.
    pub(crate) fn new(body: &StoredBody, bytes: Range<u64>, timeout: Duration) -> Self {
        let rest = match body.source() {
            Source::Whole(whole) => Rest::Chunks {
                chunks: Arc::new([whole.clone()]),
                next: 0,
            },
            Source::Chunks(chunks) => Rest::Chunks {
                chunks: chunks.clone(),
                next: 0,
            },
            Source::Remote(body) => Rest::Remote(Box::new(Remote {
                body: body.clone(),
                at: bytes.start,
                asked: bytes.start,
                end: bytes.end,
                windows: VecDeque::new(),
                timeout,
            })),
        };
        let skip = match body.source() {
            Source::Remote(_) => 0,
            _ => bytes.start,
        };
        let is_whole = bytes == (0..body.len());
        Self {
            rest,
            skip,
            left: bytes.end.saturating_sub(bytes.start),
            is_whole,
            trailers: match is_whole {
                true => body.shared_trailers(),
                false => None,
            },
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BackendError>>> {
        if self.left == 0 {
            return Poll::Ready(
                self.take_trailers()
                    .map(|trailers| Ok(Frame::trailers(Arc::unwrap_or_clone(trailers)))),
            );
        }
        loop {
            let mut data = match ready!(self.rest.poll_next(cx)) {
                // The store is not believed: neither nothing for ever, nor more than there is.
                Ok(data) if data.is_empty() => {
                    return Poll::Ready(Some(Err(self.fail(odd_window()))));
                }
                Ok(data) => data,
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            };
            let length = data.len() as u64;
            if length <= self.skip {
                self.skip -= length;
                continue;
            }
            data.advance(usize::try_from(self.skip).unwrap_or_default());
            self.skip = 0;
            if data.len() as u64 > self.left {
                if self.is_whole {
                    return Poll::Ready(Some(Err(self.fail(odd_window()))));
                }
                data.truncate(usize::try_from(self.left).unwrap_or_default());
            }
            self.left -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    /// The trailers, for one who goes on from elsewhere.
    pub(crate) fn take_trailers(&mut self) -> Option<Arc<HeaderMap>> {
        self.trailers.take()
    }

    /// Nothing comes after an error, but for one who goes on from elsewhere.
    fn fail(&mut self, error: BackendError) -> BackendError {
        self.left = 0;
        error
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.left == 0 && self.trailers.is_none()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Rest {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BackendError>> {
        match self {
            Self::Chunks { chunks, next } => {
                let chunk = chunks.get(*next).cloned().unwrap_or_default();
                *next += 1;
                Poll::Ready(Ok(chunk))
            }
            Self::Remote(remote) => remote.poll_next(cx),
        }
    }
}

impl Remote {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BackendError>> {
        self.ask(cx);
        let Some(window) = self.windows.pop_front() else {
            return Poll::Ready(Err(odd_window()));
        };
        let read = match window.poll(cx) {
            Window::Here(read) => read,
            coming => {
                self.windows.push_front(coming);
                return Poll::Pending;
            }
        };
        let Ok(bytes) = &read else {
            return Poll::Ready(read);
        };
        let promised = self.body.window_end(self.at);
        self.at += bytes.len() as u64;
        match promised {
            Some(end) if end != self.at => return Poll::Ready(Err(odd_window())),
            Some(_) => self.ask(cx),
            None => self.asked = self.at,
        }
        Poll::Ready(read)
    }

    /// Asks for what comes next, as far as it is known where that begins.
    fn ask(&mut self, cx: &mut Context<'_>) {
        while self.windows.len() < AHEAD && self.asked < self.end {
            let read = self.body.read(self.asked);
            let read = within(self.timeout, "reading a stored body", read);
            let window = Window::Coming(SyncWrapper::new(Box::pin(read)));
            self.windows.push_back(window.poll(cx));
            match self.body.window_end(self.asked) {
                Some(end) if end > self.asked => self.asked = end,
                _ => self.asked = self.end,
            }
        }
    }
}

impl Window {
    fn poll(self, cx: &mut Context<'_>) -> Self {
        match self {
            Self::Coming(mut read) => match Pin::new(read.get_mut()).poll(cx) {
                Poll::Ready(read) => Self::Here(read),
                Poll::Pending => Self::Coming(read),
            },
            here @ Self::Here(_) => here,
        }
    }
}

fn odd_window() -> BackendError {
    BackendError::new(
        BackendErrorKind::Unavailable,
        "reading a window of a stored body",
    )
}
