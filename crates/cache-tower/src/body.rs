//! `CacheBody`.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use cache_core::BackendError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::capture::Capture;
use crate::reader::Reader;

pin_project! {
    /// The body of a response: the inner service's, on its way to the caller and perhaps into the
    /// store, or one from the store.
    ///
    /// A body that is not to be stored passes frame by frame, trailers included, with nothing
    /// copied where the data are `Bytes` already. One that is to be stored becomes visible to
    /// others when the caller has read it to its end, and is forgotten where it breaks off, is
    /// dropped, or grows too long.
    pub struct CacheBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B> {
        Origin { #[pin] inner: B, capture: Option<Box<Capture>> },
        Stored { reader: Reader },
    }
}

impl<B> CacheBody<B> {
    pub(crate) fn origin(inner: B, capture: Option<Capture>) -> Self {
        Self {
            kind: Kind::Origin {
                inner,
                capture: capture.map(Box::new),
            },
        }
    }

    pub(crate) fn stored(reader: Reader) -> Self {
        Self {
            kind: Kind::Stored { reader },
        }
    }
}

impl<B: Body> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (mut inner, capture) = match self.project().kind.project() {
            KindProjection::Stored { reader } => {
                return reader.poll_frame(cx).map_err(BodyError::Stored);
            }
            KindProjection::Origin { inner, capture } => (inner, capture),
        };
        let frame = match ready!(inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame.map_data(|mut data| data.copy_to_bytes(data.remaining())),
            Some(Err(error)) => {
                *capture = None;
                return Poll::Ready(Some(Err(BodyError::Inner(error))));
            }
            None => {
                if let Some(capture) = capture.take() {
                    capture.publish(None, cx);
                }
                return Poll::Ready(None);
            }
        };
        if let Some(mut capturing) = capture.take() {
            if let Some(trailers) = frame.trailers_ref() {
                capturing.publish(Some(trailers.clone()), cx);
            } else if frame
                .data_ref()
                .is_none_or(|data| capturing.write(data.clone()))
            {
                if inner.is_end_stream() {
                    capturing.publish(None, cx);
                } else {
                    *capture = Some(capturing);
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            // While there is something to store, the end has to be seen.
            Kind::Origin { inner, capture } => capture.is_none() && inner.is_end_stream(),
            Kind::Stored { reader } => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Origin { inner, .. } => inner.size_hint(),
            Kind::Stored { reader } => reader.size_hint(),
        }
    }
}

impl<B> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Origin {
                capture: Some(_), ..
            } => "CacheBody(origin, being stored)",
            Kind::Origin { capture: None, .. } => "CacheBody(origin)",
            Kind::Stored { .. } => "CacheBody(stored)",
        })
    }
}

/// Why a body broke off.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// The inner service's body did.
    Inner(E),
    /// A stored body could not be read to its end.
    Stored(BackendError),
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Stored(_) => f.write_str("reading a stored body failed"),
        }
    }
}

impl<E: StdError + 'static> StdError for BodyError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // It stands for the inner error, so that one's cause is its own.
            Self::Inner(error) => error.source(),
            Self::Stored(error) => Some(error),
        }
    }
}
