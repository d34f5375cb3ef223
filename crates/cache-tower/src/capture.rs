//! Storing a body while it streams to the caller.

use std::task::{Context, Poll};

use bytes::Bytes;
use cache_core::{Answer, BackendError, BodyWriter, content_length, hop_by_hop};
use http::header::{HeaderMap, HeaderName};
use tokio::runtime::Handle;
use tracing::debug;

/// A body on its way into the store.
pub(crate) struct Capture {
    writer: Box<dyn BodyWriter>,
    /// The length that the header section announced.
    expected: Option<u64>,
    length: u64,
    limit: u64,
    /// The fields that are of the connection, in the trailers, too.
    hop_by_hop: Vec<HeaderName>,
}

impl Capture {
    /// A capture of the body behind these header fields, up to `limit` bytes.
    pub(crate) fn new(writer: Box<dyn BodyWriter>, headers: &HeaderMap, limit: u64) -> Self {
        Self {
            writer,
            expected: content_length(headers),
            length: 0,
            limit,
            hop_by_hop: hop_by_hop(headers),
        }
    }

    /// Takes a piece; whether it goes on.
    pub(crate) fn write(&mut self, chunk: Bytes) -> bool {
        self.length = self.length.saturating_add(chunk.len() as u64);
        let most = self
            .expected
            .map_or(self.limit, |expected| expected.min(self.limit));
        if self.length > most {
            debug!(
                bytes = self.length,
                most, "not stored: the body is longer than it may be"
            );
            return false;
        }
        match self.writer.write(chunk) {
            Ok(()) => true,
            Err(error) => {
                report(&error);
                false
            }
        }
    }

    /// Makes the response visible, now that its body has come to its end.
    ///
    /// The caller does not wait for it: a store that answers later is polled once, so that what it
    /// sends is sent before whatever the caller asks next, and then left to a task.
    pub(crate) fn publish(self, trailers: Option<HeaderMap>, cx: &mut Context<'_>) {
        if self
            .expected
            .is_some_and(|expected| expected != self.length)
        {
            debug!(
                bytes = self.length,
                expected = self.expected,
                "not stored: the body was cut off"
            );
            return;
        }
        let trailers = trailers.map(|mut trailers| {
            for name in &self.hop_by_hop {
                trailers.remove(name);
            }
            trailers
        });
        match self
            .writer
            .publish(trailers.filter(|trailers| !trailers.is_empty()))
        {
            Answer::Now(Ok(())) => {}
            Answer::Now(Err(error)) => report(&error),
            Answer::Later(mut publishing) => match publishing.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => report(&error),
                Poll::Pending => {
                    let Ok(runtime) = Handle::try_current() else {
                        return;
                    };
                    runtime.spawn(async move {
                        if let Err(error) = publishing.await {
                            report(&error);
                        }
                    });
                }
            },
        }
    }
}

fn report(error: &BackendError) {
    debug!(error = error as &dyn std::error::Error, "not stored");
}
