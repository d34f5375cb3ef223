//! Reading a stored body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{BackendError, BackendErrorKind, BoxFuture, ReadBody, Source, StoredBody};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use sync_wrapper::SyncWrapper;

use crate::budget::within;

/// Gives out a stored body, frame by frame.
pub(crate) struct Reader {
    rest: Rest,
    left: u64,
    trailers: Option<HeaderMap>,
}

enum Rest {
    Whole(Bytes),
    Chunks {
        chunks: Arc<[Bytes]>,
        next: usize,
    },
    Remote {
        body: Arc<dyn ReadBody>,
        at: u64,
        window: Option<Window>,
        timeout: Duration,
    },
}

/// A read under way. A `Reader` is only ever polled by one task, so it need not be `Sync` itself.
type Window = SyncWrapper<BoxFuture<'static, Result<Bytes, BackendError>>>;

impl Reader {
    pub(crate) fn empty() -> Self {
        Self {
            rest: Rest::Whole(Bytes::new()),
            left: 0,
            trailers: None,
        }
    }

    /// `timeout` is for each read of a body that is in the store.
    pub(crate) fn new(body: &StoredBody, timeout: Duration) -> Self {
        let rest = match body.source() {
            Source::Whole(bytes) => Rest::Whole(bytes.clone()),
            Source::Chunks(chunks) => Rest::Chunks {
                chunks: chunks.clone(),
                next: 0,
            },
            Source::Remote(body) => Rest::Remote {
                body: body.clone(),
                at: 0,
                window: None,
                timeout,
            },
        };
        Self {
            rest,
            left: body.len(),
            trailers: body.trailers().cloned(),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BackendError>>> {
        if self.left == 0 {
            return Poll::Ready(
                self.trailers
                    .take()
                    .map(|trailers| Ok(Frame::trailers(trailers))),
            );
        }
        let data = match ready!(self.rest.poll_next(cx)) {
            Ok(data) => data,
            Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
        };
        match self.left.checked_sub(data.len() as u64) {
            Some(left) if !data.is_empty() => {
                self.left = left;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // The store is not believed: neither more than there is, nor nothing for ever.
            _ => Poll::Ready(Some(Err(self.fail(BackendError::new(
                BackendErrorKind::Unavailable,
                "reading a window of a stored body",
            ))))),
        }
    }

    /// Nothing comes after an error.
    fn fail(&mut self, error: BackendError) -> BackendError {
        self.left = 0;
        self.trailers = None;
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
            Self::Whole(bytes) => Poll::Ready(Ok(std::mem::take(bytes))),
            Self::Chunks { chunks, next } => {
                let chunk = chunks.get(*next).cloned().unwrap_or_default();
                *next += 1;
                Poll::Ready(Ok(chunk))
            }
            Self::Remote {
                body,
                at,
                window,
                timeout,
            } => {
                let reading = window.get_or_insert_with(|| {
                    let read = within(*timeout, "reading a stored body", body.read(*at));
                    SyncWrapper::new(Box::pin(read))
                });
                let read = ready!(Pin::new(reading.get_mut()).poll(cx));
                *window = None;
                if let Ok(bytes) = &read {
                    *at += bytes.len() as u64;
                }
                Poll::Ready(read)
            }
        }
    }
}
