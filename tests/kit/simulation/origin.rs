//! The origin: it changes, takes its time, and fails.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cache_core::BoxFuture;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use http::response::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::{Instant, Sleep, sleep};
use tower_service::Service;

use super::chance::Chance;
use super::client::{KINDS, WHO};
use super::world::{Content, Given, How, World};

/// What the origin says the number of its response in.
pub(crate) const GIVEN: &str = "x-given";
/// What a client says the number of its request in.
pub(crate) const ASKED: &str = "x-asked";

#[derive(Debug, Clone)]
pub(crate) struct Origin {
    world: World,
}

/// Which request it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OriginDown(pub(crate) usize);

impl fmt::Display for OriginDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the origin gave no response to {}", self.0)
    }
}

impl Error for OriginDown {}

/// A request, as the origin reads it.
struct Read {
    to: usize,
    resource: usize,
    method: Method,
    headers: HeaderMap,
    kind: Option<&'static str>,
    who: Option<&'static str>,
}

impl Origin {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
        }
    }

    async fn answer(self, read: Read) -> Result<Response<SimBody>, OriginDown> {
        let (world, chance) = (&self.world, &self.world.chance);
        let fails = world.setting.origin_fails;
        world.count(|counts| counts.origin += 1);
        world.note(("origin", read.to, read.resource));
        chance.pause().await;
        let is_slow = chance.one_in(10);
        if is_slow {
            sleep(Duration::from_millis(chance.below(7_000) as u64)).await;
        }
        if fails && chance.one_in(12) {
            world.fail(read.resource, How::Disconnected);
            return Err(OriginDown(read.to));
        }
        let response = match fails && chance.one_in(12) {
            true => self.error(&read),
            false => self.respond(&read),
        };
        let is_error = response.status().is_server_error();
        chance.pause().await;
        if is_slow {
            sleep(Duration::from_millis(chance.below(2_000) as u64)).await;
        }
        if is_error {
            world.fail(read.resource, How::Error);
        }
        Ok(response)
    }

    fn error(&self, read: &Read) -> Response<SimBody> {
        let status = self.world.chance.of(&[500, 503]);
        let (builder, given) = self.head(read, true, self.content(read));
        let bytes = Bytes::from_static(b"error");
        let body = match read.method == Method::HEAD {
            true => SimBody::empty(),
            false => SimBody::of(&self.world, read.resource, given, bytes, false),
        };
        finish(builder.status(status), body)
    }

    fn respond(&self, read: &Read) -> Response<SimBody> {
        let (world, chance) = (&self.world, &self.world.chance);
        if chance.one_in(15) {
            world.change(read.resource);
        }
        if read.method == Method::POST {
            world.change(read.resource);
        }
        let resource = world.resource(read.resource);
        let content = self.content(read);
        let (mut builder, given) = self.head(read, false, content.clone());
        let control = resource.cache_control();
        if !control.is_empty() {
            builder = builder.header(CACHE_CONTROL, control);
        }
        if let Some(vary) = resource.vary {
            builder = builder.header(VARY, vary);
        }
        if read.method == Method::POST {
            let bytes = content.bytes(resource.length);
            let body = SimBody::of(world, read.resource, given, bytes, false);
            return finish(builder.status(200), body);
        }
        let field = |name| read.headers.get(name).and_then(|value| value.to_str().ok());
        let tag = content.tag();
        if resource.has_tag {
            builder = builder.header(ETAG, &tag);
            let tags = field(IF_NONE_MATCH).unwrap_or_default();
            if tags.split(',').any(|known| known.trim() == tag) {
                return finish(builder.status(304), SimBody::empty());
            }
        }
        let bytes = content.bytes(resource.length);
        let length = bytes.len();
        let is_wanted = field(IF_RANGE).is_none_or(|wanted| wanted == tag);
        let range = field(RANGE).filter(|_| is_wanted && resource.status == StatusCode::OK);
        let range = range.and_then(|range| part(range, length));
        let (builder, bytes) = match range.filter(|_| !chance.one_in(4)) {
            None => (builder.status(resource.status), bytes),
            Some((first, last)) => {
                let content_range = format!("bytes {first}-{last}/{length}");
                let builder = builder.status(206).header(CONTENT_RANGE, content_range);
                (builder, bytes.slice(first..=last))
            }
        };
        let builder = match resource.is_announced {
            true => builder.header(CONTENT_LENGTH, bytes.len()),
            false => builder,
        };
        let body = match read.method == Method::HEAD {
            true => SimBody::empty(),
            false => SimBody::of(world, read.resource, given, bytes, resource.is_announced),
        };
        finish(builder, body)
    }

    fn content(&self, read: &Read) -> Content {
        let resource = self.world.resource(read.resource);
        Content {
            resource: read.resource,
            version: self.world.version(read.resource),
            kind: resource.vary.and(read.kind),
            who: read.who.filter(|_| resource.is_personal),
        }
    }

    fn head(&self, read: &Read, is_error: bool, content: Content) -> (Builder, usize) {
        let given = self.world.give(Given {
            content,
            at: Instant::now(),
            to: read.to,
            kind: read.kind,
            who: read.who,
            is_error,
            is_unsafe: read.method == Method::POST,
            cut_at: None,
        });
        let builder = Response::builder().header(GIVEN, given);
        let builder = match self.world.chance.one_in(8) {
            true => builder,
            false => builder.header(DATE, self.world.clock.date()),
        };
        (builder, given)
    }
}

fn finish(builder: Builder, body: SimBody) -> Response<SimBody> {
    builder.body(body).expect("a response")
}

/// The first and the last byte of a range.
pub(crate) fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = length.checked_sub(1)?;
    let (first, last) = match first {
        "" => (length.saturating_sub(last.parse().ok()?), end),
        first => (first.parse().ok()?, last.parse().unwrap_or(end).min(end)),
    };
    (first <= last).then_some((first, last))
}

impl Service<Request<Full<Bytes>>> for Origin {
    type Response = Response<SimBody>;
    type Error = OriginDown;
    type Future = BoxFuture<'static, Result<Response<SimBody>, OriginDown>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginDown>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let field = |name| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let known = |all: [&'static str; 2], name| {
            all.into_iter().find(|known| Some(*known) == field(name))
        };
        let number = |text: Option<&str>| text.and_then(|text| text.parse().ok());
        let read = Read {
            to: number(field(ASKED)).expect("every request has a number"),
            resource: number(request.uri().path().strip_prefix('/')).expect("a resource"),
            kind: known(KINDS, "x-kind"),
            who: known(WHO, "authorization"),
            method: request.method().clone(),
            headers: request.headers().clone(),
        };
        Box::pin(self.clone().answer(read))
    }
}

/// A body that comes piece by piece, and may break off.
pub(crate) struct SimBody {
    pieces: VecDeque<Piece>,
    pause: Option<Pin<Box<Sleep>>>,
    left: Option<u64>,
    end: End,
}

/// How it ends.
enum End {
    Whole,
    /// With an error, for this resource.
    Breaks(World, usize),
    /// As if it were whole, though it was announced to be longer: the number of the response.
    Cut(World, usize),
}

struct Piece {
    after: Duration,
    data: Bytes,
}

impl SimBody {
    fn empty() -> Self {
        Self {
            pieces: VecDeque::new(),
            pause: None,
            left: Some(0),
            end: End::Whole,
        }
    }

    fn of(
        world: &World,
        resource: usize,
        given: usize,
        mut bytes: Bytes,
        is_announced: bool,
    ) -> Self {
        let chance = &world.chance;
        let left = is_announced.then_some(bytes.len() as u64);
        let fails = world.setting.origin_fails && !bytes.is_empty();
        let end = match chance.below(24) {
            0..2 if fails => End::Breaks(world.clone(), resource),
            2 if fails && is_announced => End::Cut(world.clone(), given),
            _ => End::Whole,
        };
        if !matches!(end, End::Whole) {
            bytes.truncate(chance.below(bytes.len()));
        }
        let size = chance.of(&[1_000, 10_000, 100_000]);
        let mut pieces = VecDeque::new();
        while !bytes.is_empty() {
            let data = bytes.split_to(bytes.len().min(size));
            pieces.push_back(Piece {
                after: after(chance),
                data,
            });
        }
        Self {
            pieces,
            pause: None,
            left,
            end,
        }
    }
}

fn after(chance: &Chance) -> Duration {
    let millis = match chance.below(10) {
        0..6 => 0,
        6..9 => chance.below(20),
        _ => chance.below(1_000),
    };
    Duration::from_millis(millis as u64)
}

impl fmt::Debug for SimBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBody").finish_non_exhaustive()
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = OriginDown;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginDown>>> {
        let this = &mut *self;
        let Some(next) = this.pieces.front() else {
            return Poll::Ready(match mem::replace(&mut this.end, End::Whole) {
                End::Whole => None,
                End::Breaks(world, resource) => {
                    world.fail(resource, How::BrokeOff);
                    Some(Err(OriginDown(0)))
                }
                End::Cut(world, given) => {
                    world.cut(given);
                    None
                }
            });
        };
        if !next.after.is_zero() {
            let pause = this
                .pause
                .get_or_insert_with(|| Box::pin(sleep(next.after)));
            ready!(pause.as_mut().poll(cx));
        }
        this.pause = None;
        let piece = this.pieces.pop_front();
        Poll::Ready(piece.map(|piece| {
            if let Some(left) = &mut this.left {
                *left = left.saturating_sub(piece.data.len() as u64);
            }
            Ok(Frame::data(piece.data))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
