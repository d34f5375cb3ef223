//! Interim responses (RFC 9110 §15.2), which hyper's client reports, and its server cannot send.
//!
//! The stream below hyper's server sends them, between one final response and the next: then hyper
//! has nothing to write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use cache_core::strip_hop_by_hop;
use http::{HeaderMap, Request, StatusCode, Version};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A stream for hyper's server, and what puts interim responses on it.
pub(crate) fn stream(stream: TcpStream) -> (InterimStream, Interim) {
    let (sender, receiver) = unbounded_channel();
    let connection = Arc::new(Connection {
        sender,
        turn: Mutex::new(0),
        waiting: AtomicU8::new(NONE),
    });
    let stream = InterimStream {
        stream: TokioIo::new(stream),
        connection: connection.clone(),
        waiting: receiver,
        writing: Bytes::new(),
        is_flushed: true,
    };
    (stream, Interim(connection))
}

/// Puts interim responses on the stream of a connection.
pub(crate) struct Interim(Arc<Connection>);

struct Connection {
    sender: UnboundedSender<Bytes>,
    /// The number of the request that is being answered.
    turn: Mutex<u64>,
    /// Whether the stream has to look for interim responses: one of the following. It need not where the
    /// cache answers by itself.
    waiting: AtomicU8,
}

/// There are none.
const NONE: u8 = 0;
/// The origin was asked, and some may come.
const SOME: u8 = 1;
/// There will be no more than those that have come.
const LAST: u8 = 2;

impl Interim {
    /// A request of this version is to be answered. Its interim responses are passed on until the guard is
    /// dropped, which has to be before hyper gets the final response.
    pub(crate) fn begin(&self, version: Version) -> (Turn, Answering) {
        let number = self.0.next();
        let takes_interim = version == Version::HTTP_11;
        let turn = Turn(takes_interim.then(|| (self.0.clone(), number)));
        (turn, Answering(self.0.clone()))
    }
}

impl Connection {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut turn = self.lock();
        *turn += 1;
        *turn
    }

    fn change_waiting(&self, from: u8, to: u8) {
        // Another value is newer.
        let _ = self.waiting.compare_exchange(from, to, Relaxed, Relaxed);
    }

    fn send(&self, number: u64, interim: Bytes) {
        let turn = self.lock();
        if *turn == number {
            // Fails where the connection is gone, and the client with it.
            let _ = self.sender.send(interim);
        }
    }
}

/// While this is there, interim responses are passed on.
pub(crate) struct Answering(Arc<Connection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.next();
        self.0.change_waiting(SOME, LAST);
    }
}

/// The place of a request among those of its connection, if its client takes interim responses.
#[derive(Clone)]
pub(crate) struct Turn(Option<(Arc<Connection>, u64)>);

impl Turn {
    /// Passes on the interim responses to this request, which goes to the origin.
    ///
    /// It can outlive its answer: the cache repeats it in the background.
    pub(crate) fn pass_on<B>(&self, request: &mut Request<B>) {
        let Some((connection, number)) = self.0.clone() else {
            return;
        };
        connection.waiting.store(SOME, Relaxed);
        hyper::ext::on_informational(request, move |interim| {
            // 100 is for the one who waits with a body, and hyper's server sends its own.
            if interim.status() != StatusCode::CONTINUE {
                connection.send(number, encode(interim.status(), interim.headers().clone()));
            }
        });
    }
}

fn encode(status: StatusCode, mut headers: HeaderMap) -> Bytes {
    strip_hop_by_hop(&mut headers);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// A stream that sends interim responses when hyper has nothing to send.
pub(crate) struct InterimStream {
    stream: TokioIo<TcpStream>,
    connection: Arc<Connection>,
    waiting: UnboundedReceiver<Bytes>,
    /// What is left of the one that is being sent.
    writing: Bytes,
    /// Whether all that hyper had to send has been sent.
    is_flushed: bool,
}

impl InterimStream {
    /// Sends what waits; hyper's next bytes have to wait for that.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.writing.has_remaining() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.writing))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.writing.advance(written),
                }
            }
            if self.connection.waiting.load(Relaxed) == NONE {
                return Poll::Ready(Ok(()));
            }
            match self.waiting.poll_recv(cx) {
                Poll::Ready(Some(interim)) if self.is_flushed => self.writing = interim,
                // Too late or, among pipelined requests, too early: nobody depends on it.
                Poll::Ready(Some(_)) => {}
                // The receiver wakes hyper's task when there is something.
                Poll::Ready(None) | Poll::Pending => {
                    self.connection.change_waiting(LAST, NONE);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Read for InterimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for InterimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper flushes when it has written all that it has.
        self.is_flushed = true;
        self.poll_interim(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
