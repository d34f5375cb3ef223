//! Copying a stored response, and reading one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cache_core::{Backend, BackendError, BackendErrorKind, BodyWriter, Entry, Source, StoredBody};

use crate::budget::within;

/// Copies a response into another store; whether that took it.
pub(super) async fn copy(
    entry: &Entry,
    to: &dyn Backend,
    time: Duration,
) -> Result<bool, BackendError> {
    let mut writer = to.writer((*entry.head).clone());
    let mut pieces = Pieces::new(&entry.body, time);
    while let Some(piece) = pieces.next().await? {
        if !write(&mut *writer, piece, time).await? {
            return Ok(false);
        }
    }
    publish(writer, entry.body.trailers().cloned(), time).await
}

/// Writes a piece as soon as the store can take it; whether it did.
pub(super) async fn write(
    writer: &mut dyn BodyWriter,
    piece: Bytes,
    time: Duration,
) -> Result<bool, BackendError> {
    let ready = async {
        writer.ready().wait().await;
        Ok(())
    };
    within(time, "writing a body", ready).await?;
    is_taken(writer.write(piece))
}

/// Makes a response visible; whether the store took it.
pub(super) async fn publish(
    writer: Box<dyn BodyWriter>,
    trailers: Option<http::HeaderMap>,
    time: Duration,
) -> Result<bool, BackendError> {
    is_taken(within(time, "publishing", writer.publish(trailers).wait()).await)
}

fn is_taken(done: Result<(), BackendError>) -> Result<bool, BackendError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == BackendErrorKind::Declined => Ok(false),
        Err(error) => Err(error),
    }
}

/// The first bytes of a stored body, no more than `most`.
pub(super) async fn read(
    body: &StoredBody,
    most: u64,
    time: Duration,
) -> Result<Bytes, BackendError> {
    let mut pieces = Pieces::new(body, time);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut read = BytesMut::new();
    while read.len() < most {
        let Some(piece) = pieces.next().await? else {
            break;
        };
        let left = most - read.len();
        if read.is_empty() && piece.len() >= most {
            return Ok(piece.slice(..most));
        }
        read.extend_from_slice(&piece[..piece.len().min(left)]);
    }
    Ok(read.freeze())
}

/// A stored body, piece by piece.
struct Pieces<'a> {
    body: &'a StoredBody,
    at: u64,
    next: usize,
    time: Duration,
}

impl<'a> Pieces<'a> {
    fn new(body: &'a StoredBody, time: Duration) -> Self {
        Self {
            body,
            at: 0,
            next: 0,
            time,
        }
    }

    /// The next piece, never empty; `None` at the end, which is where the body says.
    async fn next(&mut self) -> Result<Option<Bytes>, BackendError> {
        if self.at >= self.body.len() {
            return Ok(None);
        }
        let piece = match self.body.source() {
            Source::Whole(whole) => whole.clone(),
            Source::Chunks(chunks) => {
                let chunk = chunks.get(self.next).cloned().unwrap_or_default();
                self.next += 1;
                chunk
            }
            Source::Remote(body) => within(self.time, READING, body.read(self.at)).await?,
        };
        let left = self.body.len() - self.at;
        let length = piece.len() as u64;
        if length == 0 || length > left {
            return Err(BackendError::new(BackendErrorKind::Unavailable, READING)
                .with_source("its length is not what was stored"));
        }
        self.at += length;
        Ok(Some(piece))
    }
}

const READING: &str = "reading a stored body";
