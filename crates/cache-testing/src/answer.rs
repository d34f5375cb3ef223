//! What a scripted origin answers.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame};

/// An answer in the making.
#[derive(Debug, Clone)]
#[must_use]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    frames: Vec<Step>,
}

/// What a body gives out next.
#[derive(Debug, Clone)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever plays a body has to handle all"
)]
pub enum Step {
    /// A piece.
    Data(Bytes),
    /// Trailer fields.
    Trailers(HeaderMap),
    /// An error.
    Break,
}

/// 200 with this body.
pub fn ok(body: &'static str) -> Answer {
    let frames = match body {
        "" => Vec::new(),
        body => vec![Step::Data(Bytes::from_static(body.as_bytes()))],
    };
    Answer {
        frames,
        ..status(200)
    }
}

/// 304.
pub fn not_modified() -> Answer {
    status(304)
}

/// Any status, without a body.
///
/// # Panics
///
/// Where there is no such status.
pub fn status(status: u16) -> Answer {
    Answer::new(StatusCode::from_u16(status).expect("a status code"))
}

impl Answer {
    /// This status, without a body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            frames: Vec::new(),
        }
    }

    /// One more line of a field.
    ///
    /// # Panics
    ///
    /// Where that is no field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        self.headers.append(name, value);
        self
    }

    /// `Cache-Control` with these directives.
    pub fn cache_control(self, directives: &str) -> Self {
        self.with("cache-control", directives)
    }

    /// `Cache-Control: max-age`.
    pub fn max_age(self, seconds: u64) -> Self {
        self.cache_control(&format!("max-age={seconds}"))
    }

    /// `ETag`.
    pub fn etag(self, tag: &str) -> Self {
        self.with("etag", tag)
    }

    /// One more piece of the body.
    pub fn chunk(mut self, chunk: impl Into<Bytes>) -> Self {
        self.frames.push(Step::Data(chunk.into()));
        self
    }

    /// A trailer behind the body.
    pub fn trailer(self, name: &'static str, value: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, HeaderValue::from_static(value));
        self.trailers(trailers)
    }

    /// Trailers behind the body.
    pub fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.frames.push(Step::Trailers(trailers));
        self
    }

    /// The body breaks off here.
    pub fn breaks_off(mut self) -> Self {
        self.frames.push(Step::Break);
        self
    }

    /// The head of the response, and what its body gives out.
    #[must_use]
    pub fn into_steps(self) -> (Response<()>, Vec<Step>) {
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        *head.headers_mut() = self.headers;
        (head, self.frames)
    }

    /// The response.
    #[must_use]
    pub fn response(self) -> Response<TestBody> {
        let mut response = Response::new(TestBody {
            frames: self.frames.into(),
        });
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A body that gives out what was scripted; it does not know its length, nor its end beforehand.
#[derive(Debug)]
pub struct TestBody {
    frames: VecDeque<Step>,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        Poll::Ready(self.frames.pop_front().map(|step| match step {
            Step::Data(data) => Ok(Frame::data(data)),
            Step::Trailers(trailers) => Ok(Frame::trailers(trailers)),
            Step::Break => Err(OriginError("the connection was lost")),
        }))
    }
}

/// The error of a scripted origin: a type that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginError(pub &'static str);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for OriginError {}
