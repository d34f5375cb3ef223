//! Storing a body while it streams to the caller.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use cache_core::{
    Answer, BackendError, BodyWriter, Entry, PrimaryKey, Reason, ResponseHead, StoredHead,
    content_length,
};
use http::{HeaderMap, StatusCode, Version};
use tracing::debug;

use crate::budget::{Budget, within};
use crate::engine::Engine;
use crate::event::Event;
use crate::work::Work;

/// A body on its way into the store.
///
/// Dropped when all bytes that the header section announced have come, it is published: a reader
/// that counts stops there, and never sees the end.
pub(crate) struct Capture {
    writer: Option<Box<dyn BodyWriter>>,
    engine: Arc<Engine>,
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    /// For those who listen, until they were told what became of it.
    key: Option<PrimaryKey>,
    /// What there is of the body, for the policy's filter.
    shown: Option<Shown>,
    /// The length that the header section announced.
    expected: Option<u64>,
    length: u64,
    /// The stored response that it is the new one of.
    replaced: Option<Box<Entry>>,
}

/// The body so far, and how many bytes of it are kept at most.
struct Shown {
    body: BytesMut,
    limit: u64,
}

impl Capture {
    /// A capture of the body behind these header fields.
    pub(crate) fn new(engine: &Arc<Engine>, head: StoredHead, headers: &HeaderMap) -> Self {
        let limit = engine.policy.body_filter_limit();
        Self {
            key: engine.listeners.is_some().then(|| head.key().clone()),
            status: head.status(),
            version: head.version(),
            shown: limit.map(|limit| Shown {
                body: BytesMut::new(),
                limit,
            }),
            writer: Some(engine.backend.writer(head)),
            engine: engine.clone(),
            headers: headers.clone(),
            expected: content_length(headers),
            length: 0,
            replaced: None,
        }
    }

    /// The same in the place of this stored response, which goes also where the new one turns out to be one
    /// that is not stored, as far as the store does its work.
    pub(crate) fn replacing(mut self, replaced: Option<Box<Entry>>) -> Self {
        self.replaced = replaced;
        self
    }

    fn note_publishing(&mut self, published: &Result<(), BackendError>) {
        let (key, bytes) = (self.key.take(), self.length);
        self.engine.note_publishing(key, bytes, published);
        if published.is_err() {
            self.give_up(Reason::BackendUnavailable);
        }
    }

    /// The body is not one that is stored.
    fn give_up(&mut self, reason: Reason) {
        self.tell_not_stored(reason);
        let Some(entry) = self.replaced.take() else {
            return;
        };
        let engine = self.engine.clone();
        let mut removing = Box::pin(async move { engine.remove_replaced(*entry).await });
        let waker = Waker::noop();
        if removing
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
        {
            // Without a runtime nobody waits for the answer.
            drop(self.engine.background.spawn(removing));
        }
    }

    /// Takes a piece; whether it goes on.
    pub(crate) fn write(&mut self, chunk: Bytes) -> bool {
        let Some(writer) = &mut self.writer else {
            return false;
        };
        self.length = self.length.saturating_add(chunk.len() as u64);
        let limit = self.engine.policy.body_limit();
        let most = self.expected.map_or(limit, |expected| expected.min(limit));
        if self.length > most {
            debug!(
                bytes = self.length,
                most, "not stored: the body is longer than it may be"
            );
            self.give_up(Reason::BodyTooLarge);
            return false;
        }
        if let Some(shown) = &mut self.shown {
            if self.length > shown.limit {
                debug!(
                    bytes = self.length,
                    most = shown.limit,
                    "not stored: the body is longer than the filter looks at"
                );
                self.give_up(Reason::FilterRefusesBody);
                return false;
            }
            shown.body.extend_from_slice(&chunk);
        }
        let written = writer.write(chunk);
        if written.is_err() {
            self.engine.note_writing(&written);
            self.give_up(Reason::BackendUnavailable);
        }
        written.is_ok()
    }

    /// Stores nothing.
    pub(crate) fn abandon(&mut self) {
        self.writer = None;
        self.tell_not_stored(Reason::BodyCutOff);
    }

    fn tell_not_stored(&mut self, reason: Reason) {
        if let Some(key) = self.key.take() {
            let event = Event::NotStored { key: &key, reason };
            self.engine.listeners.tell(&event);
        }
    }

    /// Makes the response visible, now that its body has come to its end.
    ///
    /// The caller does not wait for it: a store that answers later is polled once, so that what it
    /// sends is sent before whatever the caller asks next, and then left to a task.
    pub(crate) fn publish(&mut self, trailers: Option<&HeaderMap>, cx: &mut Context<'_>) {
        self.publish_keeping(trailers, cx, ());
    }

    /// The same; `kept` is dropped when it is visible, or is not stored.
    pub(crate) fn publish_keeping(
        &mut self,
        trailers: Option<&HeaderMap>,
        cx: &mut Context<'_>,
        kept: impl Send + 'static,
    ) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        if self
            .expected
            .is_some_and(|expected| expected != self.length)
        {
            debug!(
                bytes = self.length,
                expected = self.expected,
                "not stored: the body was cut off"
            );
            self.tell_not_stored(Reason::BodyCutOff);
            return;
        }
        if let Some(shown) = self.shown.take() {
            let response = ResponseHead::new(self.status, self.version, &self.headers);
            if !self.engine.policy.permits_body(response, &shown.body) {
                debug!("not stored: a filter of the policy refuses the body");
                self.give_up(Reason::FilterRefusesBody);
                return;
            }
        }
        let trailers = trailers
            .and_then(|trailers| self.engine.policy.stored_trailers(&self.headers, trailers));
        let mut publishing = match writer.publish(trailers) {
            Answer::Now(published) => return self.note_publishing(&published),
            Answer::Later(publishing) => publishing,
        };
        match publishing.as_mut().poll(cx) {
            Poll::Ready(published) => self.note_publishing(&published),
            Poll::Pending => {
                let Some(place) = self.engine.background.place_to_publish() else {
                    debug!("not stored: too much is being stored already");
                    self.tell_not_stored(Reason::BackendUnavailable);
                    return;
                };
                let publishing = within(self.engine.backend_timeout, "publishing", publishing);
                let engine = self.engine.clone();
                let (key, bytes) = (self.key.take(), self.length);
                let replaced = self.replaced.take();
                let task = self.engine.background.spawn(async move {
                    let published = publishing.await;
                    engine.note_publishing(key, bytes, &published);
                    drop((kept, place));
                    if let (Err(_), Some(entry)) = (published, replaced) {
                        engine.remove_replaced(*entry).await;
                    }
                });
                // Without a runtime nobody waits for the answer.
                drop(task);
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if self.expected == Some(self.length) {
            self.publish(None, &mut Context::from_waker(Waker::noop()));
        }
        self.tell_not_stored(Reason::BodyCutOff);
    }
}

impl Engine {
    /// Removes what a response takes the place of that is not stored itself; not another response that has
    /// come meanwhile.
    async fn remove_replaced(&self, entry: Entry) {
        let mut budget = Budget::new(self.backend_timeout);
        let now = self.clock.now();
        self.see_to(Work::Remove(entry), &mut budget, now).await;
    }

    /// Takes note of how publishing ended, and tells those who listen.
    fn note_publishing(
        &self,
        key: Option<PrimaryKey>,
        bytes: u64,
        published: &Result<(), BackendError>,
    ) {
        self.note_writing(published);
        if let Some(key) = &key {
            let reason = Reason::BackendUnavailable;
            self.listeners.tell(&match published {
                Ok(()) => Event::Stored { key, bytes },
                Err(_) => Event::NotStored { key, reason },
            });
        }
    }
}
