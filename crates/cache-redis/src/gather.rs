//! What many ask for at the same time is asked for once.
//!
//! A few commands for the same key are under way at the same time, each of which was sent at once. Whoever comes
//! while those are being answered asks for all who come until one of them is, or a timer of a millisecond ends. Many who
//! come at once find that no reply comes meanwhile, and do not wait. No reply is given to anybody who came after its
//! command was sent.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cache_core::Digest;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use crate::lane::LaneError;

/// What is asked for on one connection, by key.
pub(crate) struct Gather([Place; PLACES]);

/// A key, or several that are asked for as if they were one as long as few are.
struct Place {
    /// How many more commands are sent at once.
    free: Semaphore,
    /// How many were sent since a reply came.
    sent: AtomicUsize,
    /// Who wait for the next command.
    next: Mutex<Option<Next>>,
}

/// A command that others can still join.
struct Next {
    digest: Digest,
    waiting: Vec<oneshot::Sender<Reply>>,
}

pub(crate) type Reply = Result<Option<Bytes>, LaneError>;

/// With whose command a value comes.
enum Turn<'a> {
    Alone(Option<SemaphorePermit<'a>>),
    First(First<'a>),
    Later(oneshot::Receiver<Reply>),
}

impl Gather {
    pub(crate) fn new() -> Self {
        Self([const { Place::new() }; PLACES])
    }

    /// What `ask` brings, which may be asked for by another.
    ///
    /// It may be dropped at any time: who waits for a command that is not sent, or whose reply is not
    /// waited for any more, asks again.
    pub(crate) async fn ask<F>(&self, digest: &Digest, ask: impl Fn() -> F) -> Reply
    where
        F: Future<Output = Reply>,
    {
        let place = &self.0[usize::from(digest[0]) % PLACES];
        loop {
            match place.join(digest) {
                Turn::Alone(_permit) => return place.send(ask()).await,
                Turn::First(first) => {
                    // Not for longer: the server may be far, or silent, or whoever has the permits may not
                    // look at the replies.
                    let _permit = timeout(LONGEST, place.free.acquire()).await;
                    let waiting = first.close();
                    place.sent.fetch_add(1, Ordering::Relaxed);
                    let reply = place.send(ask()).await;
                    for one in waiting {
                        // Some may have left.
                        let _ = one.send(reply.clone());
                    }
                    return reply;
                }
                Turn::Later(reply) => {
                    if let Ok(reply) = reply.await {
                        return reply;
                    }
                }
            }
        }
    }
}

impl Place {
    const fn new() -> Self {
        Self {
            free: Semaphore::const_new(AT_ONCE),
            sent: AtomicUsize::new(0),
            next: Mutex::new(None),
        }
    }

    fn join(&self, digest: &Digest) -> Turn<'_> {
        if let Ok(permit) = self.free.try_acquire() {
            return self.alone(Some(permit));
        }
        if self.sent.load(Ordering::Relaxed) >= AT_ONCE {
            return self.alone(None);
        }
        let mut next = self.next();
        match &mut *next {
            Some(next) if next.digest == *digest => {
                let (sender, reply) = oneshot::channel();
                next.waiting.push(sender);
                Turn::Later(reply)
            }
            Some(_) => self.alone(None),
            None => {
                *next = Some(Next {
                    digest: *digest,
                    waiting: Vec::new(),
                });
                Turn::First(First(self))
            }
        }
    }

    fn alone<'a>(&'a self, permit: Option<SemaphorePermit<'a>>) -> Turn<'a> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Turn::Alone(permit)
    }

    async fn send(&self, ask: impl Future<Output = Reply>) -> Reply {
        let reply = ask.await;
        self.sent.store(0, Ordering::Relaxed);
        reply
    }

    fn next(&self) -> MutexGuard<'_, Option<Next>> {
        // Every change is one step, so poison means nothing.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sends the next command, for others as well.
struct First<'a>(&'a Place);

impl First<'_> {
    /// Who wait for it; nobody joins it any more.
    fn close(self) -> Vec<oneshot::Sender<Reply>> {
        let next = self.0.next().take();
        // There is nothing left to be taken back.
        std::mem::forget(self);
        next.map(|next| next.waiting).unwrap_or_default()
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let next = self.0.next().take();
        // Those who wait are woken when nobody has the lock.
        drop(next);
    }
}

/// How long to wait for the reply to another command before one is sent all the same.
const LONGEST: Duration = Duration::from_millis(1);

/// How many commands for a key are sent at once.
const AT_ONCE: usize = 4;

/// Two keys that are asked for a lot have the same place seldom.
const PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use tokio::time::advance;

    use super::*;

    const KEY: Digest = [7; 16];

    /// Of the same place.
    const OTHER: Digest = {
        let mut other = KEY;
        other[15] = 0;
        other
    };

    /// Commands that were sent, and are answered when a test says so.
    #[derive(Default)]
    struct Server {
        sent: RefCell<VecDeque<oneshot::Sender<Reply>>>,
        answered: RefCell<u8>,
    }

    impl Server {
        async fn ask(&self) -> Reply {
            let (sender, reply) = oneshot::channel();
            self.sent.borrow_mut().push_back(sender);
            reply.await.unwrap_or(Err(LaneError::Lost))
        }

        fn pending(&self) -> usize {
            self.sent.borrow().len()
        }

        /// Answers the oldest command with the number of answers so far.
        fn answer(&self) {
            *self.answered.borrow_mut() += 1;
            let value = Bytes::copy_from_slice(&[*self.answered.borrow()]);
            self.reply(Ok(Some(value)));
        }

        fn reply(&self, reply: Reply) {
            let asked = self.sent.borrow_mut().pop_front();
            // Who asked may have left.
            let _ = asked.expect("a command").send(reply);
        }
    }

    type Caller<'a> = Pin<Box<dyn Future<Output = Reply> + 'a>>;

    fn ask<'a>(gather: &'a Gather, server: &'a Server, digest: &'a Digest) -> Caller<'a> {
        let mut caller: Caller<'a> = Box::pin(gather.ask(digest, || server.ask()));
        assert!(poll(&mut caller).is_none());
        caller
    }

    fn poll(caller: &mut Caller<'_>) -> Option<Reply> {
        match caller
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(reply) => Some(reply),
            Poll::Pending => None,
        }
    }

    fn value(caller: &mut Caller<'_>) -> u8 {
        let reply = poll(caller).expect("a reply").expect("no error");
        reply.expect("a value")[0]
    }

    /// As many as are sent at once, and one that was answered before.
    fn busy<'a>(gather: &'a Gather, server: &'a Server) -> Vec<Caller<'a>> {
        let mut callers: Vec<_> = (0..=AT_ONCE).map(|_| ask(gather, server, &KEY)).collect();
        server.answer();
        server.answer();
        assert_eq!(value(&mut callers.remove(0)), 1);
        assert_eq!(value(&mut callers.remove(0)), 2);
        callers.push(ask(gather, server, &KEY));
        callers.push(ask(gather, server, &KEY));
        assert_eq!(server.pending(), AT_ONCE + 1);
        callers
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_come_at_once_are_each_sent_at_once() {
        let (gather, server) = (Gather::new(), Server::default());
        let mut callers: Vec<_> = (0..20).map(|_| ask(&gather, &server, &KEY)).collect();
        assert_eq!(server.pending(), 20);
        for (number, caller) in callers.iter_mut().enumerate() {
            server.answer();
            assert_eq!(usize::from(value(caller)), number + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_come_while_others_are_answered_share_a_command_that_is_sent_after_they_came() {
        let (gather, server) = (Gather::new(), Server::default());
        let mut sent = busy(&gather, &server);
        let mut waiting: Vec<_> = (0..10).map(|_| ask(&gather, &server, &KEY)).collect();
        assert_eq!(server.pending(), sent.len());
        for caller in &mut sent {
            server.answer();
            value(caller);
        }
        assert_eq!(server.pending(), 0);
        assert!(poll(&mut waiting[0]).is_none());
        assert_eq!(server.pending(), 1);
        let mut late = ask(&gather, &server, &KEY);
        assert_eq!(server.pending(), 2);
        server.answer();
        let first = value(&mut waiting[0]);
        for caller in &mut waiting[1..] {
            assert_eq!(value(caller), first);
        }
        server.answer();
        assert_eq!(value(&mut late), first + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_a_millisecond() {
        let (gather, server) = (Gather::new(), Server::default());
        let sent = busy(&gather, &server);
        let mut first = ask(&gather, &server, &KEY);
        let mut waiting = ask(&gather, &server, &KEY);
        advance(LONGEST / 2).await;
        assert!(poll(&mut first).is_none());
        assert_eq!(server.pending(), sent.len());
        advance(LONGEST).await;
        assert!(poll(&mut first).is_none());
        assert_eq!(server.pending(), sent.len() + 1);
        for _ in 0..=sent.len() {
            server.answer();
        }
        assert_eq!(value(&mut first), value(&mut waiting));
    }

    #[tokio::test(start_paused = true)]
    async fn another_key_is_asked_for_by_itself() {
        let (gather, server) = (Gather::new(), Server::default());
        let sent = busy(&gather, &server);
        let _waiting = ask(&gather, &server, &KEY);
        assert_eq!(server.pending(), sent.len());
        let _other = ask(&gather, &server, &OTHER);
        assert_eq!(server.pending(), sent.len() + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_wait_for_one_that_leaves_before_it_asks_or_before_its_reply_ask_again() {
        for leaves_after_asking in [false, true] {
            let (gather, server) = (Gather::new(), Server::default());
            let mut sent = busy(&gather, &server);
            let mut first = ask(&gather, &server, &KEY);
            let mut waiting: Vec<_> = (0..3).map(|_| ask(&gather, &server, &KEY)).collect();
            for caller in &mut sent {
                server.answer();
                value(caller);
            }
            if leaves_after_asking {
                assert!(poll(&mut first).is_none());
                assert_eq!(server.pending(), 1);
                drop(first);
                server.answer();
            } else {
                drop(first);
                assert_eq!(server.pending(), 0);
            }
            for caller in &mut waiting {
                assert!(poll(caller).is_none());
            }
            assert_eq!(server.pending(), waiting.len());
            for caller in &mut waiting {
                server.answer();
                value(caller);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_one_for_all_who_share_the_command() {
        let (gather, server) = (Gather::new(), Server::default());
        let mut sent = busy(&gather, &server);
        let mut waiting: Vec<_> = (0..3).map(|_| ask(&gather, &server, &KEY)).collect();
        for caller in &mut sent {
            server.answer();
            value(caller);
        }
        assert!(poll(&mut waiting[0]).is_none());
        server.reply(Err(LaneError::Odd));
        for caller in &mut waiting {
            let reply = poll(caller).expect("a reply");
            assert!(matches!(reply, Err(LaneError::Odd)));
        }
    }
}
