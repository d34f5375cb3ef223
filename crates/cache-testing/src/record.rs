//! `Record`.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::header::HeaderMap;
use http::{Request, Response, request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::recording::{Answered, Ending, Exchange, Recording, fields};

/// Puts a [`Record`] around a service.
#[derive(Debug, Clone)]
pub struct RecordLayer {
    recording: Recording,
}

impl RecordLayer {
    /// Records into this recording.
    #[must_use]
    pub fn new(recording: &Recording) -> Self {
        Self {
            recording: recording.clone(),
        }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record {
            inner,
            recording: self.recording.clone(),
        }
    }
}

/// A service that records what it is asked, and what the inner service answers, for
/// [`Recording::replay`]. Inside the cache it records what the cache asks of the origin, outside what it
/// answers.
///
/// Nothing is changed on the way. An exchange is recorded when its body has been read to its end, has
/// broken off, or is dropped. Content of requests is not recorded.
#[derive(Debug, Clone)]
pub struct Record<S> {
    inner: S,
    recording: Recording,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Record<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Error: fmt::Display,
    ResBody: Body,
{
    type Response = Response<RecordBody<ResBody>>;
    type Error = S::Error;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let asked = parts.clone();
        RecordFuture {
            inner: self.inner.call(Request::from_parts(parts, body)),
            recording: self.recording.clone(),
            asked: Some(asked),
        }
    }
}

pin_project! {
    /// The future of a [`Record`].
    pub struct RecordFuture<F> {
        #[pin]
        inner: F,
        recording: Recording,
        asked: Option<request::Parts>,
    }
}

impl<F> fmt::Debug for RecordFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for RecordFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: fmt::Display,
    B: Body,
{
    type Output = Result<Response<RecordBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project();
        let answered = ready!(future.inner.poll(cx));
        let Some(asked) = future.asked.take() else {
            // It was polled after its end; what the inner one makes of that is its own.
            return Poll::Pending;
        };
        Poll::Ready(match answered {
            Ok(response) => {
                let answered = Answered {
                    status: response.status().as_u16(),
                    fields: fields(response.headers()),
                    text: None,
                    base64: None,
                    trailers: Vec::new(),
                    breaks_off: false,
                };
                let tape = Tape {
                    recording: future.recording.clone(),
                    pending: Some((asked, answered)),
                    body: BytesMut::new(),
                };
                Ok(response.map(|inner| {
                    let mut tape = tape;
                    if inner.is_end_stream() {
                        // Nobody polls a body that is at its end already.
                        tape.end(None, false);
                    }
                    RecordBody { inner, tape }
                }))
            }
            Err(error) => {
                let ending = Ending::Error(error.to_string());
                future.recording.add(Exchange::asked(&asked, ending));
                Err(error)
            }
        })
    }
}

pin_project! {
    /// The body of a response that is being recorded.
    pub struct RecordBody<B> {
        #[pin]
        inner: B,
        tape: Tape,
    }
}

impl<B> fmt::Debug for RecordBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBody").finish_non_exhaustive()
    }
}

/// What was recorded of one exchange so far.
struct Tape {
    recording: Recording,
    pending: Option<(request::Parts, Answered)>,
    body: BytesMut,
}

impl Tape {
    fn end(&mut self, trailers: Option<&HeaderMap>, breaks_off: bool) {
        let Some((asked, answered)) = self.pending.take() else {
            return;
        };
        let answered = Answered {
            trailers: trailers.map_or_else(Vec::new, fields),
            breaks_off,
            ..answered
        };
        let ending = Ending::Response(answered.with_body(&self.body));
        self.recording.add(Exchange::asked(&asked, ending));
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        // A reader that counts never sees the end of a body whose length was announced.
        let announced = self.pending.as_ref().and_then(|(_, answered)| {
            let length = answered
                .fields
                .iter()
                .find(|(name, _)| name == "content-length");
            length.and_then(|(_, length)| length.parse::<usize>().ok())
        });
        self.end(None, announced != Some(self.body.len()));
    }
}

impl<B: Body> Body for RecordBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let body = self.project();
        let Some(frame) = ready!(body.inner.poll_frame(cx)) else {
            body.tape.end(None, false);
            return Poll::Ready(None);
        };
        match frame {
            Ok(frame) => {
                let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
                if let Some(data) = frame.data_ref() {
                    body.tape.body.extend_from_slice(data);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    body.tape.end(Some(trailers), false);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Err(error) => {
                body.tape.end(None, true);
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
