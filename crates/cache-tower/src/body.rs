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

    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.kind, Kind::Stored { .. })
    }

    pub(crate) fn stored(reader: Reader) -> Self {
        Self {
            kind: Kind::Stored { reader },
        }
    }
}

impl<B> Body for CacheBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let (mut inner, capture) = match self.project().kind.project() {
            KindProjection::Stored { reader } => {
                return reader.poll_frame(cx).map_err(BodyError::stored);
            }
            KindProjection::Origin { inner, capture } => (inner, capture),
        };
        let frame = match ready!(inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame.map_data(|mut data| data.copy_to_bytes(data.remaining())),
            Some(Err(error)) => {
                if let Some(mut capture) = capture.take() {
                    capture.abandon();
                }
                return Poll::Ready(Some(Err(BodyError::inner(error))));
            }
            None => {
                if let Some(mut capture) = capture.take() {
                    capture.publish(None, cx);
                }
                return Poll::Ready(None);
            }
        };
        if let Some(mut capturing) = capture.take() {
            if let Some(trailers) = frame.trailers_ref() {
                capturing.publish(Some(trailers), cx);
            } else if frame
                .data_ref()
                .is_some_and(|data| !capturing.write(data.clone()))
            {
                capturing.abandon();
            } else if inner.is_end_stream() {
                capturing.publish(None, cx);
            } else {
                *capture = Some(capturing);
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

impl<B> Default for CacheBody<B> {
    /// An empty body.
    fn default() -> Self {
        Self::stored(Reader::empty())
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

/// Why a body broke off; the cause is its [`source`](StdError::source).
#[derive(Debug)]
pub struct BodyError {
    kind: BodyErrorKind,
    source: BoxError,
}

/// The kinds of [`BodyError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyErrorKind {
    /// The inner service's body did; its error is the source.
    Inner,
    /// A stored body could not be read to its end.
    Stored,
}

/// The cause of a [`BodyError`].
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl BodyError {
    fn inner(error: impl Into<BoxError>) -> Self {
        Self {
            kind: BodyErrorKind::Inner,
            source: error.into(),
        }
    }

    fn stored(error: BackendError) -> Self {
        Self {
            kind: BodyErrorKind::Stored,
            source: error.into(),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> BodyErrorKind {
        self.kind
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            BodyErrorKind::Inner => "reading a body from the origin failed",
            BodyErrorKind::Stored => "reading a stored body failed",
        })
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
