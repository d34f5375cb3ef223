//! `Entries`.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use cache_core::{BackendError, Batch, BoxFuture, Listed, Walk};
use futures_core::Stream;
use tokio::task::yield_now;

use super::filter::Prepared;
use crate::budget::within;
use crate::engine::Engine;

/// A stream of stored responses without their bodies, made by
/// [`CacheHandle::entries`](crate::CacheHandle::entries).
///
/// A response that is there from beginning to end is in it; one that is stored or removed meanwhile
/// may or may not be, and one can be in it twice. It ends after the first error. Dropping it is safe.
#[must_use = "nothing is read before it is polled"]
pub struct Entries {
    engine: Arc<Engine>,
    filter: Prepared,
    state: State,
    listed: vec::IntoIter<Listed>,
    seen: u64,
    unreadable: u64,
}

enum State {
    Idle(Box<dyn Walk>),
    Reading(BoxFuture<'static, Read>),
    Ended,
}

type Read = (Box<dyn Walk>, Result<Option<Batch>, BackendError>);

impl Entries {
    pub(super) fn new(
        engine: Arc<Engine>,
        filter: Prepared,
        walk: Result<Box<dyn Walk>, BackendError>,
    ) -> Self {
        let state = match walk {
            Ok(walk) => State::Idle(walk),
            Err(error) => State::Reading(Box::pin(async move {
                let nowhere: Box<dyn Walk> = Box::new(Nowhere);
                (nowhere, Err(error))
            })),
        };
        Self {
            engine,
            filter,
            state,
            listed: Vec::new().into_iter(),
            seen: 0,
            unreadable: 0,
        }
    }

    /// The next one; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Listed, BackendError>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How many stored responses were met so far, picked by the filter or not.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// How many values were met so far that cannot be read: another version's, another
    /// application's, or damaged ones. To a lookup they are not there.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The rest of what was read with the last one.
    pub(super) fn rest_of_batch(&mut self) -> Vec<Listed> {
        let now = self.engine.clock.now();
        let rest = std::mem::take(&mut self.listed);
        self.seen += rest.len() as u64;
        rest.filter(|listed| self.filter.picks(listed, now))
            .collect()
    }
}

impl Stream for Entries {
    type Item = Result<Listed, BackendError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let entries = self.get_mut();
        loop {
            let now = entries.engine.clock.now();
            for listed in entries.listed.by_ref() {
                entries.seen += 1;
                if entries.filter.picks(&listed, now) {
                    return Poll::Ready(Some(Ok(listed)));
                }
            }
            let (walk, read) = match std::mem::replace(&mut entries.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(mut walk) => {
                    let time = entries.engine.backend_timeout;
                    entries.state = State::Reading(Box::pin(async move {
                        // A store that answers at once would keep all others waiting.
                        yield_now().await;
                        let read = within(time, "listing", walk.next_batch().wait()).await;
                        (walk, read)
                    }));
                    continue;
                }
                State::Reading(mut reading) => match reading.as_mut().poll(cx) {
                    Poll::Ready(read) => read,
                    Poll::Pending => {
                        entries.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                },
            };
            match read {
                Ok(Some(batch)) => {
                    entries.unreadable += batch.unreadable;
                    entries.listed = batch.listed.into_iter();
                    entries.state = State::Idle(walk);
                }
                Ok(None) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// A walk that there is none of.
#[derive(Debug)]
struct Nowhere;

impl Walk for Nowhere {
    fn next_batch(&mut self) -> cache_core::Answer<'_, Result<Option<Batch>, BackendError>> {
        cache_core::Answer::Now(Ok(None))
    }
}
