//! An origin behind a socket.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use cache_testing::Sent;
use cache_testing::{Answer, OriginError, TestBody};

/// An origin on a loopback socket of its own, that answers HTTP/1.1 as scripted and remembers what
/// it was asked. It goes away when it is dropped, with all its connections.
///
/// Asked without an answer, or dropped with an answer that nobody asked for, it fails the test.
///
/// It sends no `Date`: the time of a test is that of its [`ManualClock`](crate::ManualClock).
#[derive(Debug)]
pub struct HttpOrigin {
    address: SocketAddr,
    script: watch::Sender<Script>,
    _connections: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Script {
    turns: VecDeque<Turn>,
    sent: Vec<Sent>,
    connections: usize,
    was_asked_too_often: bool,
}

#[derive(Debug)]
enum Turn {
    Answers(Answer),
    Fails,
    Hangs,
}

impl HttpOrigin {
    /// An origin that has nothing to say yet.
    ///
    /// # Errors
    ///
    /// Where no socket can be opened.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let script = watch::Sender::<Script>::default();
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, script.clone()));
        Ok(Self {
            address,
            script,
            _connections: connections,
        })
    }

    /// The URI of a path.
    #[must_use]
    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next request with this.
    pub fn answers(&self, answer: Answer) {
        self.next(Turn::Answers(answer));
    }

    /// Closes the connection of the next request.
    pub fn fails(&self) {
        self.next(Turn::Fails);
    }

    /// Never answers the next request.
    pub fn hangs(&self) {
        self.next(Turn::Hangs);
    }

    /// What it was asked, first to last.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.script.borrow().sent.clone()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.script.borrow().connections
    }

    /// Waits until it has been asked this often, since it was started.
    ///
    /// # Panics
    ///
    /// Where that takes ten seconds.
    pub async fn was_asked(&self, times: usize) {
        let mut changes = self.script.subscribe();
        let asked = changes.wait_for(|script| script.sent.len() >= times);
        timeout(Duration::from_secs(10), asked)
            .await
            .expect("the origin was not asked so often")
            .expect("the script lives as long as the origin");
    }

    fn next(&self, turn: Turn) {
        self.script
            .send_modify(|script| script.turns.push_back(turn));
    }
}

impl Drop for HttpOrigin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let script = self.script.borrow();
        assert!(
            !script.was_asked_too_often,
            "the origin was asked, and the test did not say what it answers"
        );
        assert!(
            script.turns.is_empty(),
            "the origin was asked for less than the test said"
        );
    }
}

async fn accept(listener: TcpListener, script: watch::Sender<Script>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        script.send_modify(|script| script.connections += 1);
        let script = script.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(&script, request));
            // An error is what a test asked for, or sees as the client.
            let _ = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    script: &watch::Sender<Script>,
    request: Request<Incoming>,
) -> Result<Response<FrameByFrame>, OriginError> {
    let (parts, _) = request.into_parts();
    let mut turn = None;
    script.send_modify(|script| {
        turn = script.turns.pop_front();
        script.was_asked_too_often |= turn.is_none();
        script.sent.push(Sent {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
        });
    });
    match turn {
        Some(Turn::Answers(answer)) => Ok(answer.response().map(FrameByFrame::new)),
        Some(Turn::Hangs) => pending().await,
        Some(Turn::Fails) | None => Err(OriginError("the origin is down")),
    }
}

/// A body each frame of which is on its way before the next one is given out: what breaks off has
/// begun.
struct FrameByFrame {
    body: TestBody,
    is_flushed: bool,
}

impl FrameByFrame {
    fn new(body: TestBody) -> Self {
        Self {
            body,
            is_flushed: false,
        }
    }
}

impl Body for FrameByFrame {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        if !std::mem::replace(&mut self.is_flushed, true) {
            // The server flushes when it has to wait.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_flushed = false;
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
