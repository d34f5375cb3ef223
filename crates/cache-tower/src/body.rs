//! `CacheBody`.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use cache_core::{BackendError, BoxFuture, Source, StoredBody};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use sync_wrapper::SyncWrapper;

use crate::capture::Capture;
use crate::reader::Reader;
use crate::rest::{Found, Rest};
use crate::transfer::{self, Read};

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
        /// A stored one that is here in one piece.
        Whole { bytes: Bytes, trailers: Option<Arc<HeaderMap>> },
        Stored { reader: Box<Reader>, given: u64, rest: Option<Box<Rest<B>>> },
        Shared { reader: transfer::Reader, rest: Option<Box<Rest<B>>> },
        /// The origin is asked for what could not be read; otherwise that is the error.
        Asking {
            asking: SyncWrapper<BoxFuture<'static, Found<B>>>,
            left: u64,
            trailers: Option<Arc<HeaderMap>>,
            error: Option<Box<BodyError>>,
        },
        Rest { inner: Pin<Box<B>>, skip: u64, left: u64, trailers: Option<Arc<HeaderMap>> },
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

    /// Whether it is on its way into the store, as far as it was read.
    pub(crate) fn is_being_stored(&self) -> bool {
        matches!(
            self.kind,
            Kind::Origin {
                capture: Some(_),
                ..
            }
        )
    }

    /// These bytes of a stored one; `timeout` is for each read of one that is in the store.
    pub(crate) fn stored(body: &StoredBody, bytes: Range<u64>, timeout: Duration) -> Self {
        let is_whole = bytes == (0..body.len());
        let kind = match body.source() {
            Source::Whole(whole) if is_whole => Kind::Whole {
                bytes: whole.clone(),
                trailers: body.shared_trailers(),
            },
            Source::Whole(whole) if bytes.start <= bytes.end && bytes.end <= body.len() => {
                Kind::Whole {
                    // The length of a `Bytes` is a `usize`.
                    bytes: whole.slice(bytes.start as usize..bytes.end as usize),
                    trailers: None,
                }
            }
            _ => Kind::Stored {
                reader: Box::new(Reader::new(body, bytes, timeout)),
                given: 0,
                rest: None,
            },
        };
        Self { kind }
    }

    /// One that others read, too.
    pub(crate) fn shared(reader: transfer::Reader) -> Self {
        Self {
            kind: Kind::Shared { reader, rest: None },
        }
    }

    /// The same, with a way to go on where it is lost.
    pub(crate) fn or_rest(mut self, way: Option<Rest<B>>) -> Self {
        if let (Kind::Stored { rest, .. } | Kind::Shared { rest, .. }, Some(way)) =
            (&mut self.kind, way)
        {
            *rest = Some(Box::new(way));
        }
        self
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
        let mut this = self;
        loop {
            let lost = match this.as_mut().project().kind.project() {
                KindProjection::Origin { inner, capture } => {
                    return poll_origin(inner, capture, cx);
                }
                KindProjection::Whole { bytes, trailers } => {
                    let frame = match bytes.is_empty() {
                        false => Some(Frame::data(std::mem::take(bytes))),
                        true => trailers
                            .take()
                            .map(|trailers| Frame::trailers(Arc::unwrap_or_clone(trailers))),
                    };
                    return Poll::Ready(frame.map(Ok));
                }
                KindProjection::Stored {
                    reader,
                    given,
                    rest,
                } => match ready!(reader.poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        *given += frame.data_ref().map_or(0, |data| data.len() as u64);
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    None => return Poll::Ready(None),
                    Some(Err(error)) => Lost {
                        error: BodyError::stored(error),
                        given: *given,
                        trailers: reader.take_trailers(),
                        rest: rest.take(),
                    },
                },
                KindProjection::Shared { reader, rest } => {
                    let error = match ready!(reader.poll_read(cx)) {
                        Read::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                        Read::End => return Poll::Ready(None),
                        Read::Broken(error) => error,
                        Read::LeftBehind => BodyError::shared(),
                    };
                    Lost {
                        error,
                        given: reader.given(),
                        trailers: None,
                        rest: rest.take(),
                    }
                }
                KindProjection::Asking {
                    asking,
                    trailers,
                    error,
                    ..
                } => match ready!(Pin::new(asking.get_mut()).poll(cx)) {
                    Some((inner, bytes)) => {
                        let kind = Kind::Rest {
                            inner: Box::pin(inner),
                            skip: bytes.start,
                            left: bytes.end - bytes.start,
                            trailers: trailers.take(),
                        };
                        this.as_mut().project().kind.set(kind);
                        continue;
                    }
                    None => Lost::of(error.take().map_or_else(BodyError::shared, |error| *error)),
                },
                KindProjection::Rest {
                    inner,
                    skip,
                    left,
                    trailers,
                } => match ready!(poll_rest(inner.as_mut(), skip, left, cx)) {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) => {
                        let trailers = trailers.take().map(Arc::unwrap_or_clone);
                        return Poll::Ready(trailers.map(Frame::trailers).map(Ok));
                    }
                    Err(error) => Lost::of(error),
                },
            };
            match lost.rest.filter(|rest| rest.left(lost.given) > 0) {
                Some(rest) => {
                    let kind = Kind::Asking {
                        left: rest.left(lost.given),
                        asking: rest.ask(lost.given),
                        trailers: lost.trailers,
                        error: Some(Box::new(lost.error)),
                    };
                    this.as_mut().project().kind.set(kind);
                }
                None => {
                    // Nothing comes after an error.
                    this.as_mut().project().kind.set(Self::default().kind);
                    return Poll::Ready(Some(Err(lost.error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            // While there is something to store, the end has to be seen.
            Kind::Origin { inner, capture } => capture.is_none() && inner.is_end_stream(),
            Kind::Whole { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
            Kind::Stored { reader, .. } => reader.is_end_stream(),
            Kind::Shared { reader, .. } => reader.is_end_stream(),
            Kind::Asking { .. } => false,
            Kind::Rest { left, trailers, .. } => *left == 0 && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Origin { inner, .. } => inner.size_hint(),
            Kind::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stored { reader, .. } => reader.size_hint(),
            Kind::Shared {
                reader,
                rest: Some(rest),
            } => SizeHint::with_exact(rest.left(reader.given())),
            Kind::Shared { reader, rest: None } => reader.size_hint(),
            Kind::Asking { left, .. } | Kind::Rest { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

/// A body that cannot be read on.
struct Lost<B> {
    error: BodyError,
    given: u64,
    trailers: Option<Arc<HeaderMap>>,
    rest: Option<Box<Rest<B>>>,
}

impl<B> Lost<B> {
    /// There is no other way.
    fn of(error: BodyError) -> Self {
        Self {
            error,
            given: 0,
            trailers: None,
            rest: None,
        }
    }
}

/// The next frame of the inner service's body, which is stored on its way.
fn poll_origin<B>(
    mut inner: Pin<&mut B>,
    capture: &mut Option<Box<Capture>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>
where
    B: Body<Error: Into<BoxError>>,
{
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

/// The next of the `left` bytes behind the first `skip`.
fn poll_rest<B>(
    mut inner: Pin<&mut B>,
    skip: &mut u64,
    left: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Frame<Bytes>>, BodyError>>
where
    B: Body<Error: Into<BoxError>>,
{
    while *left > 0 {
        let frame = match ready!(inner.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Err(BodyError::inner(error))),
            None => return Poll::Ready(Err(BodyError::inner("the rest of the body is too short"))),
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let skipped = (*skip).min(data.remaining() as u64);
        *skip -= skipped;
        data.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
        let length = (*left).min(data.remaining() as u64);
        if length > 0 {
            *left -= length;
            let data = data.copy_to_bytes(usize::try_from(length).unwrap_or(usize::MAX));
            return Poll::Ready(Ok(Some(Frame::data(data))));
        }
    }
    Poll::Ready(Ok(None))
}

impl<B> Default for CacheBody<B> {
    /// An empty body.
    fn default() -> Self {
        Self {
            kind: Kind::Whole {
                bytes: Bytes::new(),
                trailers: None,
            },
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
            Kind::Whole { .. } | Kind::Stored { .. } => "CacheBody(stored)",
            Kind::Shared { .. } => "CacheBody(shared)",
            Kind::Asking { .. } | Kind::Rest { .. } => "CacheBody(rest)",
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
    /// A stored body could not be read to its end, and the rest could not be had from the origin: it has
    /// no strong entity tag, or the origin gave something else, or the request, which would have been
    /// sent for the rest, was spent on validating the response.
    Stored,
    /// A body that other requests read, too, could not be read to its end: this one was too slow, or
    /// it broke off.
    Shared,
}

/// The cause of a [`BodyError`].
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

impl BodyError {
    pub(crate) fn inner(error: impl Into<BoxError>) -> Self {
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

    fn shared() -> Self {
        Self {
            kind: BodyErrorKind::Shared,
            source: "it went on without this request".into(),
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
            BodyErrorKind::Shared => "reading a body together with other requests failed",
        })
    }
}

impl StdError for BodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}
