//! Bodies in frames.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cache_core::{BackendError, BackendErrorKind, BoxFuture, ReadBody, Source, StoredBody};

use crate::compression::unpack;
use crate::envelope::{Envelopes, Tail};
use crate::protection::Id;

/// How many bytes of a body one frame has, but for the last; with what is added to it, no more than
/// the 128 KiB that Redis reads at once.
pub(crate) const FRAME: usize = (128 << 10) - 64;

/// A body as the store has it.
#[derive(Clone)]
pub(crate) struct CodecBody(Arc<Shared>);

struct Shared {
    envelopes: Arc<Envelopes>,
    stored: StoredBody,
    tail: Tail,
    id: Id,
}

/// A body that is small enough to be read at once.
pub(crate) enum Whole {
    Here(Bytes),
    Changed,
    Elsewhere,
}

impl CodecBody {
    pub(crate) fn new(envelopes: Arc<Envelopes>, stored: StoredBody, tail: Tail, id: Id) -> Self {
        Self(Arc::new(Shared {
            envelopes,
            stored,
            tail,
            id,
        }))
    }

    /// All of it, where it is here and one frame.
    pub(crate) fn whole(&self) -> Whole {
        match (&*self.0.tail.frames, self.0.stored.source()) {
            ([], _) => Whole::Here(Bytes::new()),
            ([_], Source::Whole(bytes)) => {
                self.0.open(0, bytes).map_or(Whole::Changed, Whole::Here)
            }
            _ => Whole::Elsewhere,
        }
    }
}

impl Shared {
    /// The data of a frame.
    fn open(&self, number: usize, sealed: &[u8]) -> Option<Bytes> {
        let before = number as u64 * FRAME as u64;
        let length = self.tail.length.checked_sub(before)?.min(FRAME as u64);
        let protection = &self.envelopes.codec.protection;
        let packed = protection.open_frame(self.tail.key, &self.id, number as u64, sealed)?;
        unpack(&packed, usize::try_from(length).ok()?).map(Bytes::from)
    }

    /// Where a frame stands in the store.
    fn place(&self, number: usize) -> Option<(u64, usize)> {
        let length = usize::try_from(*self.tail.frames.get(number)?).ok()?;
        let before = self.tail.frames[..number].iter();
        Some((before.map(|length| u64::from(*length)).sum(), length))
    }

    /// These bytes of what is stored.
    async fn fetch(&self, start: u64, length: usize) -> Result<Bytes, BackendError> {
        let end = start.saturating_add(length as u64);
        let remote = match self.stored.source() {
            Source::Whole(whole) => return slice(whole, start, length),
            Source::Chunks(chunks) => return gather(chunks, start, length),
            Source::Remote(remote) => remote,
        };
        let mut fetched = BytesMut::with_capacity(length);
        while (fetched.len()) < length {
            let at = start + fetched.len() as u64;
            let read = remote.read(at).await?;
            if read.is_empty() {
                return Err(lost());
            }
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            if fetched.is_empty() && read.len() >= wanted {
                return Ok(read.slice(..wanted));
            }
            fetched.extend_from_slice(&read[..read.len().min(wanted)]);
        }
        Ok(fetched.freeze())
    }
}

fn slice(whole: &Bytes, start: u64, length: usize) -> Result<Bytes, BackendError> {
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = start.saturating_add(length);
    if end > whole.len() {
        return Err(lost());
    }
    Ok(whole.slice(start..end))
}

fn gather(chunks: &[Bytes], start: u64, length: usize) -> Result<Bytes, BackendError> {
    let mut skip = start;
    let mut gathered = BytesMut::with_capacity(length);
    for chunk in chunks {
        if skip >= chunk.len() as u64 {
            skip -= chunk.len() as u64;
            continue;
        }
        let rest = &chunk[usize::try_from(skip).unwrap_or_default()..];
        skip = 0;
        gathered.extend_from_slice(&rest[..rest.len().min(length - gathered.len())]);
        if gathered.len() == length {
            return Ok(gathered.freeze());
        }
    }
    Err(lost())
}

impl ReadBody for CodecBody {
    fn window_end(&self, start: u64) -> Option<u64> {
        let next = (start / FRAME as u64 + 1).saturating_mul(FRAME as u64);
        Some(next.min(self.0.tail.length))
    }

    fn read(&self, start: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
        let body = self.0.clone();
        Box::pin(async move {
            let number = usize::try_from(start / FRAME as u64).map_err(|_| lost())?;
            let (at, length) = body.place(number).ok_or_else(lost)?;
            let sealed = body.fetch(at, length).await?;
            let Some(data) = body.open(number, &sealed) else {
                body.envelopes.reject("a part of a body");
                return Err(lost());
            };
            let skip = usize::try_from(start % FRAME as u64).unwrap_or_default();
            if skip >= data.len() {
                return Err(lost());
            }
            Ok(data.slice(skip..))
        })
    }
}

impl fmt::Debug for CodecBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodecBody")
            .field("length", &self.0.tail.length)
            .field("stored", &self.0.stored)
            .finish_non_exhaustive()
    }
}

fn lost() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "reading a stored body")
        .with_source("the body is not what was stored")
}
