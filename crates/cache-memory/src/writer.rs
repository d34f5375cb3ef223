//! A response that is being stored.

use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Answer, BackendError, BackendErrorKind, BodyWriter, Entry, StoredHead};
use http::HeaderMap;

use crate::backend::Store;
use crate::pieces::Pieces;
use crate::slot::weight;

pub(crate) struct MemoryWriter {
    store: Arc<Store>,
    head: StoredHead,
    pieces: Pieces,
}

impl MemoryWriter {
    pub(crate) fn new(store: Arc<Store>, head: StoredHead) -> Self {
        Self {
            pieces: Pieces::of(
                head.content_length()
                    .filter(|length| *length <= store.largest),
            ),
            store,
            head,
        }
    }

    fn declined() -> BackendError {
        BackendError::new(BackendErrorKind::Declined, "storing a response")
    }
}

impl BodyWriter for MemoryWriter {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        if self.pieces.len().saturating_add(chunk.len() as u64) > self.store.largest {
            return Err(Self::declined().with_source("it is larger than most of the store"));
        }
        self.pieces.push(chunk);
        Ok(())
    }

    fn publish(
        self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        let Self {
            store,
            head,
            pieces,
        } = *self;
        let entry = Entry {
            token: store.token(),
            head: Arc::new(head),
            body: pieces.into_body().with_trailers(trailers),
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
