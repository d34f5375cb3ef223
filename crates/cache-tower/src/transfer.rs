//! A body that several callers read while it arrives.

use std::collections::VecDeque;
use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use cache_core::{
    BackendError, BackendErrorKind, BoxFuture, Entry, ReadBody, Reason, StoredBody, StoredHead,
    Storing, Token, content_length,
};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::body::BodyError;
use crate::capture::Capture;
use crate::flights::{Lead, Progress, Waiting};

/// A body on its way, shared by those who read it.
///
/// Nobody moves it but its readers: whoever wants more than there is asks for it, for all. So it
/// arrives as fast as the fastest of them reads, and no faster.
///
/// It is kept from its beginning, as long as it is short, so that others can join. What is long is
/// kept for the slowest reader, but never more than [`WINDOW`]: then those who are too slow are
/// left behind, and see to the rest themselves; only the first reader, whose own request it is, is
/// never left behind. While somebody reads who could not see to the rest, as there is no strong entity
/// tag, it is [`LONG_WINDOW`].
pub(crate) struct Transfer {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    storing: Storing,
    share: Box<Share>,
}

/// What others than the first reader may have of the trailers.
type Share = dyn Fn(&HeaderMap) -> Option<HeaderMap> + Send + Sync;

struct State {
    /// Gone at the end.
    body: Option<Incoming>,
    capture: Option<Capture>,
    chunks: VecDeque<Bytes>,
    /// The number of the first chunk that is kept.
    first: usize,
    /// How many bytes are kept.
    kept: usize,
    trailers: Option<HeaderMap>,
    /// The same for others than the first reader.
    shared_trailers: Option<HeaderMap>,
    is_broken: bool,
    readers: Vec<Option<Position>>,
    lead: Option<Lead>,
    /// Those who wait for it, and have not seen yet that it is there.
    waiting: Waiting,
}

/// Where a reader is.
struct Position {
    /// The number of the chunk that it reads next.
    next: usize,
    is_first: bool,
    /// It can see to the rest itself.
    can_leave: bool,
    is_left_behind: bool,
    /// There was no room, and it let the others go first, who may only have waited for their turn.
    gave_way: bool,
}

impl Position {
    fn new(is_first: bool, can_leave: bool) -> Self {
        Self {
            next: 0,
            is_first,
            can_leave,
            is_left_behind: false,
            gave_way: false,
        }
    }
}

/// The origin's body, whatever it is.
pub(crate) type Incoming = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

impl Transfer {
    /// Begins a transfer, and the reading of it by the one whose request it is. Others get of its trailers
    /// what `share` returns.
    pub(crate) fn begin(
        body: Incoming,
        capture: Option<Capture>,
        lead: Lead,
        head: Arc<StoredHead>,
        share: impl Fn(&HeaderMap) -> Option<HeaderMap> + Send + Sync + 'static,
    ) -> Reader {
        let storing = match &capture {
            Some(_) => Storing::Accepted,
            None => Storing::Refused(Reason::BackendUnavailable),
        };
        let transfer = Arc::new(Self {
            storing,
            share: Box::new(share),
            state: Mutex::new(State {
                body: Some(body),
                capture,
                chunks: VecDeque::new(),
                first: 0,
                kept: 0,
                trailers: None,
                shared_trailers: None,
                is_broken: false,
                readers: vec![Some(Position::new(true, false))],
                waiting: lead.waiting().clone(),
                lead: Some(lead),
            }),
            wakers: Arc::default(),
        });
        let mut state = transfer.lock();
        if let Some(lead) = &state.lead {
            lead.tell(Progress::Arriving(head, transfer.clone()));
        }
        if state.body.as_ref().is_some_and(|body| body.is_end_stream()) {
            state.complete(&transfer);
        }
        drop(state);
        Reader {
            transfer,
            number: 0,
            given: 0,
            is_over: false,
        }
    }

    /// Reads it, too, from its beginning; `None` where that is not kept any more. Whoever `can_leave`
    /// sees to the rest itself where it is left behind.
    pub(crate) fn join(self: &Arc<Self>, can_leave: bool) -> Option<Reader> {
        let mut state = self.lock();
        if state.first > 0 || state.is_broken {
            return None;
        }
        let position = Position::new(false, can_leave);
        let free = state.readers.iter().position(Option::is_none);
        // The number of the first reader stays its own.
        let number = match free.filter(|free| *free > 0) {
            Some(free) => {
                state.readers[free] = Some(position);
                free
            }
            None => {
                state.readers.push(Some(position));
                state.readers.len() - 1
            }
        };
        drop(state);
        Some(Reader {
            transfer: self.clone(),
            number,
            given: 0,
            is_over: false,
        })
    }

    /// One of those who waited for it reads it now, or has left.
    pub(crate) fn is_awaited_by_one_less(&self) {
        self.lock().forget();
    }

    /// Whether it will never be whole.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").finish_non_exhaustive()
    }
}

/// One reader of a transfer.
#[derive(Debug)]
pub(crate) struct Reader {
    transfer: Arc<Transfer>,
    number: usize,
    given: u64,
    is_over: bool,
}

/// What a reader gets.
pub(crate) enum Read {
    Frame(Frame<Bytes>),
    End,
    /// It broke, and this is why.
    Broken(BodyError),
    /// There is no more for this reader: it was too slow, or another saw why it broke.
    LeftBehind,
}

impl Reader {
    /// How many bytes it has got.
    pub(crate) fn given(&self) -> u64 {
        self.given
    }

    /// Whether it is stored on its way.
    pub(crate) fn storing(&self) -> Storing {
        self.transfer.storing
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        if self.is_over {
            return Poll::Ready(Read::End);
        }
        let read = self.poll_next(cx);
        match &read {
            Poll::Ready(Read::Frame(frame)) => match frame.data_ref() {
                Some(data) => self.given += data.len() as u64,
                None => self.is_over = true,
            },
            Poll::Ready(_) => self.is_over = true,
            Poll::Pending => {}
        }
        read
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        let transfer = &self.transfer;
        let mut state = transfer.lock();
        loop {
            let state = &mut *state;
            let Some(Some(position)) = state.readers.get_mut(self.number) else {
                return Poll::Ready(Read::LeftBehind);
            };
            if position.is_left_behind {
                return Poll::Ready(Read::LeftBehind);
            }
            if let Some(chunk) = state.chunks.get(position.next - state.first) {
                let chunk = chunk.clone();
                let was_slowest = position.next == state.first;
                position.next += 1;
                position.gave_way = false;
                if was_slowest {
                    state.forget();
                }
                return Poll::Ready(Read::Frame(Frame::data(chunk)));
            }
            let is_first = position.is_first;
            if state.body.is_none() {
                let trailers = match is_first {
                    true => &state.trailers,
                    false => &state.shared_trailers,
                };
                return Poll::Ready(match trailers {
                    _ if state.is_broken => Read::LeftBehind,
                    Some(trailers) => Read::Frame(Frame::trailers(trailers.clone())),
                    None => Read::End,
                });
            }
            if !position.gave_way && !state.has_room() {
                state.give_way(self.number);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !state.make_room() && !is_first {
                // All that is kept is for the first reader, who is slower.
                return Poll::Ready(Read::LeftBehind);
            }
            let Some(body) = &mut state.body else {
                continue;
            };
            // All who wait are woken, as nobody knows who of them will come first.
            transfer.wakers.register(self.number, cx.waker());
            let waker = Waker::from(transfer.wakers.clone());
            let frame = match body.as_mut().poll_frame(&mut Context::from_waker(&waker)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            transfer.wakers.forget(self.number);
            match frame {
                Some(Ok(frame)) => state.take(frame, transfer),
                None => state.complete(transfer),
                Some(Err(error)) => {
                    state.body = None;
                    state.is_broken = true;
                    if let Some(mut capture) = state.capture.take() {
                        capture.abandon();
                    }
                    state.lead = None;
                    transfer.wakers.wake_by_ref();
                    return Poll::Ready(Read::Broken(error));
                }
            }
            transfer.wakers.wake_by_ref();
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        if self.is_over {
            return true;
        }
        let state = self.transfer.lock();
        let is_at_end = |position: &Position| position.next == state.first + state.chunks.len();
        let position = state.readers.get(self.number).and_then(Option::as_ref);
        state.body.is_none()
            && !state.is_broken
            && state.trailers.is_none()
            && position.is_some_and(|position| !position.is_left_behind && is_at_end(position))
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let state = self.transfer.lock();
        let Some(Some(position)) = state.readers.get(self.number) else {
            return SizeHint::default();
        };
        let skipped = position.next.saturating_sub(state.first);
        let ahead: u64 = state
            .chunks
            .iter()
            .skip(skipped)
            .map(|chunk| chunk.len() as u64)
            .sum();
        let coming = match &state.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(ahead.saturating_add(coming.lower()));
        if let Some(upper) = coming.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.transfer.wakers.forget(self.number);
        let mut state = self.transfer.lock();
        if let Some(reader) = state.readers.get_mut(self.number) {
            *reader = None;
        }
        state.forget();
        let left = state
            .readers
            .iter()
            .all(Option::is_none)
            .then(|| state.abandon());
        drop(state);
        drop(left);
        // It may have been the one who was to ask for more.
        self.transfer.wakers.wake_by_ref();
    }
}

impl State {
    fn take(&mut self, frame: Frame<Bytes>, transfer: &Arc<Transfer>) {
        let is_end = self.body.as_ref().is_some_and(|body| body.is_end_stream());
        match frame.into_data() {
            Ok(data) => {
                let is_kept = self
                    .capture
                    .as_mut()
                    .is_none_or(|capture| capture.write(data.clone()));
                if !is_kept {
                    if let Some(mut capture) = self.capture.take() {
                        capture.abandon();
                    }
                }
                if !data.is_empty() {
                    self.kept += data.len();
                    self.chunks.push_back(data);
                    self.forget();
                }
                if is_end {
                    self.complete(transfer);
                }
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.shared_trailers = self.trailers.as_ref().and_then(&transfer.share);
                self.complete(transfer);
            }
        }
    }

    /// Nobody reads it any more.
    fn abandon(&mut self) -> (Option<Incoming>, Option<Capture>, Option<Lead>) {
        self.is_broken |= self.body.is_some();
        (self.body.take(), self.capture.take(), self.lead.take())
    }

    /// All of it is here.
    fn complete(&mut self, transfer: &Arc<Transfer>) {
        self.body = None;
        let lead = self.lead.take();
        if let Some(mut capture) = self.capture.take() {
            // Others can join until it can be looked up.
            let flight = (lead, transfer.clone());
            let waker = Waker::from(transfer.wakers.clone());
            capture.publish_keeping(
                self.trailers.as_ref(),
                &mut Context::from_waker(&waker),
                flight,
            );
        }
    }

    /// Forgets what all have read, where there is too much for others to join.
    fn forget(&mut self) {
        self.forget_where(self.is_awaited());
    }

    fn forget_where(&mut self, is_awaited: bool) {
        if self.first == 0 && self.kept < WINDOW {
            return;
        }
        let slowest = self.slowest(is_awaited);
        while self.first < slowest {
            let Some(chunk) = self.chunks.pop_front() else {
                return;
            };
            self.kept -= chunk.len();
            self.first += 1;
        }
    }

    /// The number of the chunk that the slowest reads next.
    fn slowest(&self, is_awaited: bool) -> usize {
        if is_awaited && self.kept < LONG_WINDOW {
            return self.first;
        }
        let all = self.first + self.chunks.len();
        self.reading()
            .map(|position| position.next)
            .min()
            .unwrap_or(all)
    }

    /// Whether there is room for more.
    fn has_room(&mut self) -> bool {
        let is_awaited = self.is_awaited();
        self.forget_where(is_awaited);
        self.kept < self.most(is_awaited)
    }

    /// Takes note that a reader lets the others go first.
    fn give_way(&mut self, number: usize) {
        if let Some(Some(position)) = self.readers.get_mut(number) {
            position.gave_way = true;
        }
    }

    /// How much is kept at most.
    fn most(&self, is_awaited: bool) -> usize {
        let is_bound = |position: &Position| !position.is_first && !position.can_leave;
        match is_awaited || self.reading().any(is_bound) {
            true => LONG_WINDOW,
            false => WINDOW,
        }
    }

    /// Leaves the slowest behind until there is room; whether there is.
    fn make_room(&mut self) -> bool {
        // Once: who waits comes and goes meanwhile, and what is there for them may not be forgotten.
        let is_awaited = self.is_awaited();
        let most = self.most(is_awaited);
        while self.kept >= most {
            let slowest = self.slowest(is_awaited);
            if self
                .reading()
                .any(|position| position.is_first && position.next == slowest)
            {
                return false;
            }
            for position in self.readers.iter_mut().flatten() {
                position.is_left_behind |= position.next == slowest;
            }
            self.forget_where(is_awaited);
        }
        true
    }

    /// Whether there are some who wait for it, and have not seen yet that it is there.
    fn is_awaited(&self) -> bool {
        self.first == 0 && self.waiting.load(Ordering::Relaxed) > 0
    }

    fn reading(&self) -> impl Iterator<Item = &Position> {
        self.readers
            .iter()
            .flatten()
            .filter(|position| !position.is_left_behind)
    }
}

/// A response that arrives, as if it were stored, to be judged; its body is not there.
pub(crate) fn entry(head: &Arc<StoredHead>) -> Entry {
    #[derive(Debug)]
    struct Nowhere;

    impl ReadBody for Nowhere {
        fn read(&self, _: u64) -> BoxFuture<'static, Result<Bytes, BackendError>> {
            let error = BackendError::new(BackendErrorKind::Unavailable, "reading");
            Box::pin(ready(Err(error)))
        }
    }

    let length = content_length(head.headers()).unwrap_or_default();
    Entry {
        head: head.clone(),
        body: StoredBody::remote(Arc::new(Nowhere), length),
        token: Token(0),
    }
}

/// Those who wait for more.
#[derive(Default)]
struct Wakers(Mutex<Vec<Option<Waker>>>);

impl Wakers {
    fn register(&self, number: usize, waker: &Waker) {
        let mut wakers = self.lock();
        if wakers.len() <= number {
            wakers.resize(number + 1, None);
        }
        match &mut wakers[number] {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn forget(&self, number: usize) {
        if let Some(waker) = self.lock().get_mut(number) {
            *waker = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Waker>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting: Vec<Waker> = self.lock().iter_mut().filter_map(Option::take).collect();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// How many bytes of a transfer are kept at most, but for one chunk.
const WINDOW: usize = 1 << 20;
const LONG_WINDOW: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// The first reader has all that is kept, which is more than there is room for, and another one has
    /// nothing of it.
    fn full(waiting: &Waiting) -> State {
        let chunk = Bytes::from_static(&[0; 64 << 10]);
        let chunks: VecDeque<_> = (0..=WINDOW / chunk.len()).map(|_| chunk.clone()).collect();
        let mut first = Position::new(true, false);
        first.next = chunks.len();
        State {
            body: None,
            capture: None,
            first: 0,
            kept: chunks.iter().map(Bytes::len).sum(),
            chunks,
            trailers: None,
            shared_trailers: None,
            is_broken: false,
            readers: vec![Some(first), Some(Position::new(false, true))],
            lead: None,
            waiting: waiting.clone(),
        }
    }

    #[test]
    fn who_comes_to_wait_while_room_is_made_does_not_stop_it() {
        let waiting = Waiting::default();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    waiting.fetch_xor(1, Ordering::Relaxed);
                }
            });
            for _ in 0..20_000 {
                let mut state = full(&waiting);
                assert!(state.make_room());
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
