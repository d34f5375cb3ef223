//! Bodies that a test reads step by step, and what they are made of.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_core::CacheInfo;
use cache_tower::{BodyErrorKind, CacheBody};
use http::response::Parts;
use http::{HeaderMap, Response};
use http_body::{Body, SizeHint};
use tokio::task::unconstrained;

use crate::scene::Got;

/// A body that a test reads step by step. That it is at its end, it may say only where it is.
pub(crate) struct Reading<B> {
    parts: Parts,
    body: CacheBody<B>,
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: Option<Option<BodyErrorKind>>,
    /// What it said, and after how many bytes.
    said: Vec<(u64, SizeHint)>,
}

/// What a step gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Pending,
    Data(Bytes),
    Trailers,
    End,
    Broken(BodyErrorKind),
}

impl<B> Reading<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn of(response: Response<CacheBody<B>>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            parts,
            body,
            bytes: Vec::new(),
            trailers: None,
            end: None,
            said: Vec::new(),
        }
    }

    /// One step, now.
    pub(crate) fn step(&mut self) -> Step {
        let mut step = pin!(unconstrained(std::future::poll_fn(|cx| {
            Poll::Ready(self.poll(cx))
        })));
        match step.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(step) => step,
            Poll::Pending => unreachable!("it is ready"),
        }
    }

    /// All steps that can be made now; whether the end is reached.
    pub(crate) fn go_on(&mut self) -> bool {
        while self.end.is_none() {
            if self.step() == Step::Pending {
                return false;
            }
        }
        true
    }

    /// Whether the end was read.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// How many bytes were read.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll(cx) {
            Step::Pending => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    pub(crate) fn poll_to_the_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.end.is_none() {
            if self.poll(cx) == Step::Pending {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Step {
        if self.end.is_some() {
            return Step::End;
        }
        self.said
            .push((self.bytes.len() as u64, self.body.size_hint()));
        let is_end_stream = self.body.is_end_stream();
        let step = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => Step::Pending,
            Poll::Ready(None) => {
                self.end = Some(None);
                Step::End
            }
            Poll::Ready(Some(Err(error))) => {
                self.end = Some(Some(error.kind()));
                Step::Broken(error.kind())
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    assert!(!data.is_empty(), "a piece of nothing");
                    self.bytes.extend_from_slice(&data);
                    Step::Data(data)
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    Step::Trailers
                }
            },
        };
        assert!(
            !is_end_stream || step == Step::End,
            "it said that it was at its end: {step:?}"
        );
        if self.end.is_some() {
            let after = Pin::new(&mut self.body).poll_frame(cx);
            assert!(
                matches!(after, Poll::Ready(None)),
                "nothing comes after the end"
            );
        }
        step
    }

    /// What was read, to the end.
    pub(crate) fn got(self) -> Got {
        let error = self.end.expect("it was read to the end");
        let all = self.bytes.len() as u64;
        let is_wrong = |(given, hint): &(u64, SizeHint)| {
            let left = all - given;
            let is_right = hint.lower() <= left && hint.upper().is_none_or(|upper| left <= upper);
            (!is_right).then(|| format!("with {left} bytes to come it said {hint:?}"))
        };
        let wrong = match error {
            None => self.said.iter().find_map(is_wrong),
            Some(_) => None,
        };
        let info: Option<&CacheInfo> = self.parts.extensions.get();
        Got {
            status: self.parts.status,
            info: *info.expect("every response has a CacheInfo"),
            headers: self.parts.headers,
            bytes: self.bytes,
            trailers: self.trailers,
            error,
            wrong,
        }
    }
}

/// Bytes of which no two pieces are the same.
pub(crate) fn pattern(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let bytes = (0..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    });
    bytes.collect::<Vec<_>>().into()
}

/// Counts the bytes that are kept of what it hands out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<AtomicUsize>);

struct Counted {
    bytes: Bytes,
    kept: Kept,
}

impl Kept {
    /// These bytes, counted until nobody keeps them any more.
    pub(crate) fn hand_out(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len(), Ordering::SeqCst);
        Bytes::from_owner(Counted {
            bytes,
            kept: self.clone(),
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.kept.0.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

/// How many bytes of a body on its way are kept at most, but for one piece.
pub(crate) const WINDOW: usize = 1 << 20;
