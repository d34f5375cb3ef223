//! Bodies that do not stand behind their head: frames of [`FRAME`] bytes, a checksum before each, as the
//! fields of a hash. (A string that is appended to is moved by the server again and again.)
//!
//! The checksum is seeded by the token of the response and the number of the frame, so that no other
//! bytes pass for these.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cache_core::{BackendError, BackendErrorKind, BoxFuture, ReadBody, Token};
use redis::{Value, cmd};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::lane::Lane;

/// How many bytes of a body one frame has, but for the last: what is read at once.
pub(crate) const FRAME: usize = 128 << 10;
const CHECKSUM: usize = 8;

/// How many frames a body of `length` bytes has.
pub(crate) fn frames(length: u64) -> u64 {
    length.div_ceil(FRAME as u64)
}

/// How many bytes a body of `length` bytes takes with its checksums.
pub(crate) fn framed_length(length: u64) -> u64 {
    length.saturating_add(frames(length) * CHECKSUM as u64)
}

fn checksum(token: Token, frame: u64, data: &[u8]) -> u64 {
    let seed = xxh3_64_with_seed(&token.0.to_be_bytes(), frame);
    xxh3_64_with_seed(data, seed)
}

/// Cuts a body into frames.
#[derive(Debug)]
pub(crate) struct Framer {
    token: Token,
    next: u64,
    /// The frame that is being filled, the place of its checksum included.
    frame: BytesMut,
}

impl Framer {
    pub(crate) fn new(token: Token) -> Self {
        Self {
            token,
            next: 0,
            frame: BytesMut::new(),
        }
    }

    /// Takes from `data` what one frame can hold; the frame, when it is full.
    pub(crate) fn fill(&mut self, data: &mut Bytes) -> Option<Bytes> {
        if self.frame.is_empty() {
            self.frame.reserve(CHECKSUM + FRAME);
            self.frame.put_u64(0);
        }
        let room = CHECKSUM + FRAME - self.frame.len();
        self.frame.put(data.split_to(room.min(data.len())));
        (self.frame.len() == CHECKSUM + FRAME).then(|| self.seal())
    }

    /// The last frame, unless the one before it was.
    pub(crate) fn finish(mut self) -> Option<Bytes> {
        (self.frame.len() > CHECKSUM).then(|| self.seal())
    }

    fn seal(&mut self) -> Bytes {
        let mut frame = std::mem::take(&mut self.frame);
        let sum = checksum(self.token, self.next, &frame[CHECKSUM..]);
        frame[..CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        self.next += 1;
        frame.freeze()
    }
}

/// A body in frames.
pub(crate) struct RedisBody {
    pub(crate) lane: Lane,
    pub(crate) key: Arc<str>,
    pub(crate) token: Token,
    pub(crate) length: u64,
}

impl fmt::Debug for RedisBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBody")
            .field("key", &self.key)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl ReadBody for RedisBody {
    fn window_end(&self, start: u64) -> Option<u64> {
        let next = (start / FRAME as u64 + 1).saturating_mul(FRAME as u64);
        Some(next.min(self.length))
    }

    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
        let (lane, key, token) = (self.lane.clone(), self.key.clone(), self.token);
        let frame = start / FRAME as u64;
        let begin = frame * FRAME as u64;
        let data = self.length.saturating_sub(begin).min(FRAME as u64);
        Box::pin(async move {
            let mut command = cmd("HGET");
            command.arg(&*key).arg(frame);
            let reply = lane.send(&command).await;
            let reply = reply.map_err(|error| error.into_backend_error(READING))?;
            let bytes = match reply {
                Value::BulkString(bytes) => Bytes::from(bytes),
                _ => Bytes::new(),
            };
            unframe(&bytes, token, frame)
                .filter(|found| found.len() as u64 == data)
                .and_then(|found| {
                    let skip = usize::try_from(start - begin).ok()?;
                    (skip <= found.len()).then(|| found.slice(skip..))
                })
                .ok_or_else(|| {
                    BackendError::new(BackendErrorKind::Unavailable, READING)
                        .with_source("the body is gone, or is not what was stored")
                })
        })
    }
}

/// The data of a frame, if it is that frame.
pub(crate) fn unframe(bytes: &Bytes, token: Token, frame: u64) -> Option<Bytes> {
    let sum = bytes.first_chunk::<CHECKSUM>()?;
    let data = bytes.slice(CHECKSUM..);
    (checksum(token, frame, &data).to_be_bytes() == *sum).then_some(data)
}

const READING: &str = "reading a stored body";
