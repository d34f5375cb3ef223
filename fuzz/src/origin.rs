//! An origin that answers what the script says, and remembers it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES,
    HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
    VARY,
};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower_service::Service;

use crate::clock::{ManualClock, date};
use crate::script::{Answer, Ask, Date, Ending, Script};

/// How long every content is, in bytes.
///
/// Every byte says whose it is: the number of its response, and its place in the content.
pub(crate) const LENGTH: u8 = 8;

/// The field that says in whose request this is; not known to any cache.
pub(crate) const STEP: HeaderName = HeaderName::from_static("x-step");

/// What the name of the field begins with that every response has for itself, so that a stored one
/// shows what it was made of: the response that brought the content, and all that freshened it.
pub(crate) const GIVEN: &str = "x-given-";

/// A response that the origin gave.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// The step in which it was given.
    pub(crate) step: usize,
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
    /// Whether it was a caller who waited for it.
    pub(crate) is_awaited: bool,
    /// The preconditions that arrived with the request.
    pub(crate) sent: [Option<HeaderValue>; 2],
    pub(crate) asked_at: u64,
    pub(crate) received_at: u64,
    pub(crate) status: u16,
    pub(crate) date: Option<u64>,
    /// `Some(None)`: a date that is none.
    pub(crate) expires: Option<Option<u64>>,
    /// The places that its content has.
    pub(crate) places: Range<u8>,
    /// Whether all of it arrived, and nothing more.
    pub(crate) is_whole: bool,
}

/// What was asked and given.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// The step that is being played.
    pub(crate) step: usize,
    /// When each step began.
    pub(crate) began_at: Vec<u64>,
    pub(crate) given: Vec<Given>,
    /// How often a caller's request came here in this step.
    pub(crate) awaited: usize,
    /// Whether one that came got no response.
    pub(crate) is_disconnected: bool,
}

/// The origin; clones are the same.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) script: Arc<Script>,
    pub(crate) clock: ManualClock,
    pub(crate) journal: Arc<Mutex<Journal>>,
}

/// No response came.
#[derive(Debug)]
pub(crate) struct Disconnected;

impl Origin {
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn respond<B>(&self, request: &Request<B>) -> Result<Response<Content>, Disconnected> {
        let asked_at = self.clock.millis();
        // Every answer takes a millisecond.
        self.clock.advance(1);
        let now = self.clock.millis();
        let mut journal = self.journal();
        let answer = &self.script.steps[journal.step].answer;
        let is_awaited = tokio::task::try_id().is_none();
        journal.awaited += usize::from(is_awaited);
        if answer.is_disconnected {
            journal.is_disconnected |= is_awaited;
            return Err(Disconnected);
        }
        let fields = request.headers();
        let asked_in = number(fields.get(STEP).expect("every request has its step"));
        let range = fields
            .get(RANGE)
            .and_then(|range| places(range.to_str().ok()?));
        let (status, places) = match (answer.status, range) {
            (status @ (204 | 304), _) => (status, 0..0),
            (200, Some(range)) if answer.honours_range => (206, range),
            (status, _) => (status, 0..LENGTH),
        };
        let has_content = request.method() != "HEAD" && !places.is_empty();
        let given = Given {
            step: journal.step,
            ask: self.script.steps[asked_in].ask.clone(),
            answer: answer.clone(),
            is_awaited,
            sent: [IF_NONE_MATCH, IF_MODIFIED_SINCE].map(|name| fields.get(name).cloned()),
            asked_at,
            received_at: now,
            status,
            date: moment(answer.date, now),
            expires: answer.expires.map(|expires| moment(expires, now)),
            is_whole: !has_content || answer.ending == Ending::Whole,
            places: if has_content { places.clone() } else { 0..0 },
        };
        let number = journal.given.len();
        let content = match has_content {
            true => content(number, places.clone(), answer.ending),
            false => VecDeque::new(),
        };
        let mut response = Response::new(Content(content));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status code");
        *response.headers_mut() = headers(number, &given, places, request.uri().path());
        journal.given.push(given);
        Ok(response)
    }
}

/// The header section of a response.
fn headers(number: usize, given: &Given, places: Range<u8>, path: &str) -> HeaderMap {
    let answer = &given.answer;
    let date_field = |at: Option<u64>| at.map_or_else(|| "0".to_owned(), date);
    let length = match answer.ending {
        Ending::Whole | Ending::Breaks => answer.announces_length.then_some(places.len()),
        Ending::Short => Some(places.len()),
        Ending::Long => Some(places.len() / 2),
    };
    let range = format!(
        "bytes {}-{}/{LENGTH}",
        places.start,
        places.end.saturating_sub(1)
    );
    let fields = [
        (CACHE_CONTROL, answer.directives.field()),
        (ETAG, answer.etag.map(str::to_owned)),
        (LAST_MODIFIED, answer.last_modified.map(date)),
        (
            VARY,
            (!answer.vary.is_empty()).then(|| answer.vary.join(", ")),
        ),
        (AGE, answer.age.map(|age| age.to_string())),
        (
            DATE,
            (answer.date != Date::Absent).then(|| date_field(given.date)),
        ),
        (EXPIRES, given.expires.map(date_field)),
        (CONTENT_RANGE, (given.status == 206).then_some(range)),
        (
            CONTENT_LENGTH,
            length
                .filter(|_| !matches!(given.status, 204 | 304))
                .map(|length| length.to_string()),
        ),
        (
            CONTENT_LOCATION,
            answer.describes_target.then(|| path.to_owned()),
        ),
        (
            HeaderName::try_from(format!("{GIVEN}{number}")).expect("a name"),
            Some(String::new()),
        ),
    ];
    let value = |text: String| HeaderValue::try_from(text).expect("a field value");
    fields
        .into_iter()
        .filter_map(|(name, text)| Some((name, value(text?))))
        .collect()
}

/// The content of a response in two pieces, as much of it as comes.
fn content(number: usize, places: Range<u8>, ending: Ending) -> VecDeque<Option<Bytes>> {
    let number = u8::try_from(number).expect("two responses a step at most");
    let bytes: Vec<u8> = places.map(|place| number * LENGTH + place).collect();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let piece = |bytes: &[u8]| (!bytes.is_empty()).then(|| Some(Bytes::copy_from_slice(bytes)));
    let end = match ending {
        Ending::Whole | Ending::Long => piece(second),
        Ending::Short => None,
        Ending::Breaks => Some(None),
    };
    piece(first).into_iter().chain(end).collect()
}

/// A date of an answer that is given `now`, in milliseconds.
fn moment(date: Date, now: u64) -> Option<u64> {
    match date {
        Date::At(seconds) => Some((now / 1000).saturating_add_signed(seconds) * 1000),
        Date::Absent | Date::Invalid => None,
    }
}

/// The places that a range of the script means; `None`: there are none.
pub(crate) fn places(range: &str) -> Option<Range<u8>> {
    let places = match range {
        "bytes=0-3" => 0..4,
        "bytes=2-5" => 2..6,
        "bytes=6-" | "bytes=-2" => 6..8,
        _ => return None,
    };
    Some(places)
}

fn number(value: &HeaderValue) -> usize {
    let text = value.to_str().expect("digits");
    text.parse().expect("digits")
}

impl<B> Service<Request<B>> for Origin {
    type Response = Response<Content>;
    type Error = Disconnected;
    type Future = Ready<Result<Response<Content>, Disconnected>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Disconnected>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(self.respond(&request))
    }
}

/// A content in pieces; `None`: it breaks off.
#[derive(Debug)]
pub(crate) struct Content(VecDeque<Option<Bytes>>);

impl Body for Content {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let piece = self.0.pop_front();
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).ok_or("it broke off")))
    }
}

/// A request without content.
#[derive(Debug)]
pub(crate) struct NoContent;

impl Body for NoContent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

impl Journal {
    /// A step begins.
    pub(crate) fn begin(&mut self, step: usize, now: u64) {
        self.step = step;
        self.began_at.push(now);
        self.awaited = 0;
        self.is_disconnected = false;
    }
}
