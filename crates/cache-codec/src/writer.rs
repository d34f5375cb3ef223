//! Storing a body in frames.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cache_core::{Answer, BackendError, BackendErrorKind, BodyWriter};
use http::HeaderMap;

use crate::body::FRAME;
use crate::compression::Compression;
use crate::envelope::{Envelopes, Tail};
use crate::protection::Id;

pub(crate) struct CodecWriter {
    envelopes: Arc<Envelopes>,
    compression: Compression,
    /// `None`: there was no randomness to be had.
    inner: Option<Box<dyn BodyWriter>>,
    id: Id,
    /// What is no frame yet.
    rest: BytesMut,
    length: u64,
    frames: Vec<u32>,
}

impl CodecWriter {
    pub(crate) fn new(
        envelopes: Arc<Envelopes>,
        inner: Option<Box<dyn BodyWriter>>,
        id: Id,
        is_coded: bool,
    ) -> Self {
        let compression = match is_coded {
            true => Compression::None,
            false => envelopes.codec.compression,
        };
        Self {
            envelopes,
            compression,
            inner,
            id,
            rest: BytesMut::new(),
            length: 0,
            frames: Vec::new(),
        }
    }

    fn seal(&mut self, data: &[u8]) -> Result<(), BackendError> {
        let packed = self.compression.pack(data);
        let number = self.frames.len() as u64;
        let protection = &self.envelopes.codec.protection;
        let sealed = protection.seal_frame(&self.id, number, &packed);
        let (Some(inner), Some(sealed)) = (&mut self.inner, sealed) else {
            return Err(declined());
        };
        self.frames
            .push(u32::try_from(sealed.len()).map_err(|_| declined())?);
        inner.write(sealed.into())
    }
}

impl BodyWriter for CodecWriter {
    fn write(&mut self, mut chunk: Bytes) -> Result<(), BackendError> {
        self.length = self.length.saturating_add(chunk.len() as u64);
        while !chunk.is_empty() {
            let room = FRAME - self.rest.len();
            let piece = chunk.split_to(room.min(chunk.len()));
            if self.rest.is_empty() && piece.len() == FRAME {
                self.seal(&piece)?;
                continue;
            }
            self.rest.extend_from_slice(&piece);
            if self.rest.len() == FRAME {
                let frame = self.rest.split();
                self.seal(&frame)?;
            }
        }
        Ok(())
    }

    fn ready(&mut self) -> Answer<'_, ()> {
        match &mut self.inner {
            Some(inner) => inner.ready(),
            None => Answer::Now(()),
        }
    }

    fn publish(
        mut self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            if let Err(error) = self.seal(&rest) {
                return Answer::Now(Err(error));
            }
        }
        let key = self.envelopes.codec.protection.key_id();
        let tail = Tail::new(self.length, key, self.frames, trailers.as_ref());
        match (self.inner, self.envelopes.seal_tail(&tail, &self.id)) {
            (Some(inner), Some(tail)) => inner.publish(Some(tail)),
            _ => Answer::Now(Err(declined())),
        }
    }
}

fn declined() -> BackendError {
    BackendError::new(BackendErrorKind::Declined, "sealing a response")
}
