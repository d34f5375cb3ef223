//! A response that is being stored.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cache_core::{
    Answer, BackendError, BackendErrorKind, BodyWriter, Entry, StoredBody, StoredHead,
};
use http::HeaderMap;

use crate::backend::Store;
use crate::slot::weight;

pub(crate) struct MemoryWriter {
    store: Arc<Store>,
    head: StoredHead,
    chunks: Vec<Bytes>,
    /// Small pieces, put together: kept as they are, each would cost more than its bytes.
    tail: BytesMut,
    length: u64,
}

impl MemoryWriter {
    pub(crate) fn new(store: Arc<Store>, head: StoredHead) -> Self {
        Self {
            store,
            head,
            chunks: Vec::new(),
            tail: BytesMut::new(),
            length: 0,
        }
    }

    fn declined() -> BackendError {
        BackendError::new(BackendErrorKind::Declined, "storing a response")
    }
}

impl BodyWriter for MemoryWriter {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.length = self.length.saturating_add(chunk.len() as u64);
        if self.length > self.store.largest {
            return Err(Self::declined().with_source("it is larger than most of the store"));
        }
        if chunk.len() < SMALL_BYTES {
            self.tail.extend_from_slice(&chunk);
            if self.tail.len() >= SMALL_BYTES {
                self.chunks.push(self.tail.split().freeze());
            }
        } else {
            if !self.tail.is_empty() {
                self.chunks.push(self.tail.split().freeze());
            }
            self.chunks.push(chunk);
        }
        Ok(())
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self {
            store,
            head,
            mut chunks,
            tail,
            length,
        } = *self;
        if !tail.is_empty() {
            chunks.push(tail.freeze());
        }
        let entry = Entry {
            token: store.token(),
            head: Arc::new(head),
            body: body(chunks, length).with_trailers(trailers),
        };
        if weight(&entry) > store.largest {
            return Answer::Now(Err(
                Self::declined().with_source("it is larger than most of the store")
            ));
        }
        let key = entry.head.key().clone();
        Answer::Now(
            match store
                .table
                .change_or_insert(&key, |slot| slot.publish(entry, store.largest))
            {
                Some(true) => Ok(()),
                _ => Err(Self::declined().with_source("it was invalidated or replaced meanwhile")),
            },
        )
    }
}

/// Small bodies become one piece of their own: the pieces that arrive are slices of a connection's
/// read buffer and would keep all of it.
fn body(mut chunks: Vec<Bytes>, length: u64) -> StoredBody {
    if length <= COPIED_BYTES {
        let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
        for chunk in &chunks {
            whole.extend_from_slice(chunk);
        }
        return StoredBody::whole(whole.freeze());
    }
    match chunks.pop() {
        Some(only) if chunks.is_empty() => StoredBody::whole(only),
        last => {
            chunks.extend(last);
            StoredBody::chunks(chunks)
        }
    }
}

/// Bodies up to this many bytes are copied into one piece when they are stored.
const COPIED_BYTES: u64 = 64 << 10;

/// Pieces below this many bytes are put together when they arrive.
const SMALL_BYTES: usize = 8 << 10;
