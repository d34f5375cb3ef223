//! Connections that many operations share, and that are replaced when they break.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cache_core::{BackendError, BackendErrorKind};
#[cfg(feature = "cluster")]
use redis::aio::ConnectionLike as _;
use redis::aio::MultiplexedConnection;
#[cfg(feature = "cluster")]
use redis::cluster_routing::SingleNodeRoutingInfo;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use crate::gather::Gather;
use crate::pool::Pool;

/// One connection, shared by whoever has something to ask: requests are pipelined, and a caller that
/// goes away leaves no reply behind for another.
///
/// It is taken out of the pool for good. When it breaks, the pool makes another.
#[derive(Clone)]
pub(crate) struct Lane(Arc<Shared>);

struct Shared {
    pool: Pool,
    connect_timeout: Duration,
    response_timeout: Duration,
    state: watch::Sender<State>,
    connections: AtomicU64,
    /// Whether it is being looked at whether the connection is alive.
    is_checking: AtomicBool,
    gather: Gather,
}

enum State {
    /// Nobody asked yet, or what was there broke.
    Idle,
    /// The first attempt is under way.
    Connecting,
    Connected {
        link: Link,
        number: u64,
        since: Instant,
    },
    /// The last attempt failed, and others follow.
    Failed(Arc<RedisError>),
}

/// A connection; cheap to clone.
#[derive(Clone)]
pub(crate) enum Link {
    Single(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

/// One of the servers that a lane leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// There is one only.
    Only,
    #[cfg(feature = "cluster")]
    Primary { host: String, port: u16 },
}

/// The primaries in the answer to `CLUSTER SLOTS`.
#[cfg(feature = "cluster")]
fn primaries(reply: Value) -> Option<Vec<Node>> {
    let Value::Array(ranges) = reply else {
        return None;
    };
    let mut nodes = Vec::new();
    for range in ranges {
        let Value::Array(range) = range else {
            return None;
        };
        // First slot, last slot, the primary, its replicas.
        let Some(Value::Array(primary)) = range.into_iter().nth(2) else {
            return None;
        };
        let mut primary = primary.into_iter();
        let host = redis::from_redis_value(primary.next()?).ok()?;
        let port = redis::from_redis_value(primary.next()?).ok()?;
        let node = Node::Primary { host, port };
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }
    Some(nodes)
}

impl Link {
    async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Single(link) => link.send_packed_command(command).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.req_packed_command(command).await,
        }
        .and_then(Value::extract_error)
    }
}

impl Lane {
    pub(crate) fn new(pool: Pool, connect_timeout: Duration, response_timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            gather: Gather::new(),
            pool,
            connect_timeout,
            response_timeout,
            state: watch::Sender::new(State::Idle),
            connections: AtomicU64::new(0),
            is_checking: AtomicBool::new(false),
        }))
    }

    pub(crate) fn gather(&self) -> &Gather {
        &self.0.gather
    }

    /// How many connections it has had.
    pub(crate) fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Sends a command, and waits for the reply.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, LaneError> {
        let (mut link, number) = self.link().await?;
        let mut asked = Asked {
            lane: self,
            number,
            is_answered: false,
        };
        let reply = link.send(command).await;
        asked.is_answered = true;
        reply.map_err(|error| self.judge(number, error))
    }

    /// Sends commands at once, and waits for all replies.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, LaneError> {
        let (mut link, number) = self.link().await?;
        let replies: Result<Vec<Value>, _> = match &mut link {
            Link::Single(link) => commands.query_async(link).await,
            #[cfg(feature = "cluster")]
            Link::Cluster(link) => commands.query_async(link).await,
        };
        replies.map_err(|error| self.judge(number, error))
    }

    /// Sends commands at once to one of the servers, and waits for the reply to each, errors
    /// included.
    pub(crate) async fn send_each(
        &self,
        node: &Node,
        commands: Pipeline,
    ) -> Result<Vec<Value>, LaneError> {
        let (mut link, number) = self.link().await?;
        let count = commands.len();
        let replies = match (&mut link, node) {
            (Link::Single(link), _) => link.send_packed_commands(&commands, 0, count).await,
            #[cfg(feature = "cluster")]
            (Link::Cluster(link), Node::Only) => {
                link.req_packed_commands(&commands, 0, count).await
            }
            #[cfg(feature = "cluster")]
            (Link::Cluster(link), Node::Primary { host, port }) => {
                let to = SingleNodeRoutingInfo::ByAddress {
                    host: host.clone(),
                    port: *port,
                };
                let replies = link.route_pipeline(commands.clone(), 0, count, to).await;
                match replies {
                    Err(error) if is_elsewhere(&error) => {
                        return self.send_one_by_one(&commands).await;
                    }
                    replies => replies,
                }
            }
        };
        replies.map_err(|error| self.judge(number, error))
    }

    /// Sends commands to wherever their keys are now; nothing for one that is refused.
    #[cfg(feature = "cluster")]
    async fn send_one_by_one(&self, commands: &Pipeline) -> Result<Vec<Value>, LaneError> {
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands.cmd_iter() {
            replies.push(match self.send(command).await {
                Err(error) if error.is_wrong_type() => Value::Nil,
                reply => reply?,
            });
        }
        Ok(replies)
    }

    /// The servers that have keys of their own.
    pub(crate) async fn primaries(&self) -> Result<Vec<Node>, LaneError> {
        #[cfg(feature = "cluster")]
        if let (Link::Cluster(_), _) = self.link().await? {
            let mut command = redis::cmd("CLUSTER");
            command.arg("SLOTS");
            let reply = self.send(&command).await?;
            return primaries(reply).ok_or(LaneError::Odd);
        }
        Ok(vec![Node::Only])
    }

    /// The connection, as soon as there is one. It fails at once while there is none to be had: no
    /// request waits for a server that is away.
    pub(crate) async fn link(&self) -> Result<(Link, u64), LaneError> {
        // The fast way: it is there.
        if let State::Connected { link, number, .. } = &*self.0.state.borrow() {
            return Ok((link.clone(), *number));
        }
        let mut states = self.0.state.subscribe();
        loop {
            self.connect();
            match &*states.borrow_and_update() {
                State::Connected { link, number, .. } => return Ok((link.clone(), *number)),
                State::Failed(error) => return Err(LaneError::Away(error.clone())),
                State::Connecting | State::Idle => {}
            }
            // The sender lives as long as this lane.
            let _ = states.changed().await;
        }
    }

    /// Begins to connect, unless that is under way already. It goes on until there is a connection,
    /// or nobody has this lane any more.
    fn connect(&self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let begins = self.0.state.send_if_modified(|state| {
            let is_idle = matches!(state, State::Idle);
            if is_idle {
                *state = State::Connecting;
            }
            is_idle
        });
        if begins {
            runtime.spawn(connect(Arc::downgrade(&self.0)));
        }
    }

    /// Looks whether the connection answers at all, unless that is under way. A cluster's looks after
    /// its own.
    fn check(&self, number: u64) {
        let link = match &*self.0.state.borrow() {
            State::Connected {
                link: Link::Single(link),
                number: current,
                ..
            } if *current == number => link.clone(),
            _ => return,
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.0.is_checking.swap(true, Ordering::Relaxed) {
            return;
        }
        let check = Check(self.clone());
        runtime.spawn(async move {
            let reply = Link::Single(link).send(&redis::cmd("PING")).await;
            if let Err(error) = reply {
                check.0.judge(number, error);
            }
        });
    }

    /// Gives the connection up where it is of no use any more.
    fn judge(&self, number: u64, error: RedisError) -> LaneError {
        let has_no_primary = is_demoted(&error);
        if has_no_primary || is_broken(&error) {
            let broke = self.0.state.send_if_modified(|state| {
                let is_this = match state {
                    State::Connected {
                        number: current,
                        since,
                        ..
                    } => {
                        // There may be no other primary: that is looked for now and then.
                        *current == number && (!has_no_primary || since.elapsed() >= LAST_PAUSE)
                    }
                    _ => false,
                };
                if is_this {
                    *state = State::Idle;
                }
                is_this
            });
            if broke {
                debug!(%error, "a connection to Redis broke");
                self.connect();
            }
        }
        LaneError::Redis(error)
    }
}

/// Connects, however often it takes.
async fn connect(lane: Weak<Shared>) {
    let mut failures = 0;
    let _attempt = Attempt(lane.clone());
    while let Some(shared) = lane.upgrade() {
        let connecting = shared
            .pool
            .connect(shared.connect_timeout, shared.response_timeout);
        let connected = timeout(shared.connect_timeout, connecting)
            .await
            .unwrap_or_else(|_| Err((ErrorKind::Io, "no connection was made in time").into()));
        match connected {
            Ok(link) => {
                debug!(failures, "connected to Redis");
                let number = shared.connections.fetch_add(1, Ordering::Relaxed);
                let since = Instant::now();
                let connected = State::Connected {
                    link,
                    number,
                    since,
                };
                shared.state.send_replace(connected);
                return;
            }
            Err(error) => {
                debug!(%error, failures, "no connection to Redis");
                shared.state.send_replace(State::Failed(Arc::new(error)));
            }
        }
        drop(shared);
        sleep(pause(failures)).await;
        failures += 1;
    }
}

/// Connecting, which can be begun again where its runtime ends before it does.
struct Attempt(Weak<Shared>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.state.send_if_modified(|state| {
                let is_over = matches!(state, State::Connected { .. } | State::Idle);
                if !is_over {
                    *state = State::Idle;
                }
                !is_over
            });
        }
    }
}

/// How long to wait before the next attempt: longer each time, and not the same for all replicas.
fn pause(failures: u32) -> Duration {
    let most = FIRST_PAUSE
        .saturating_mul(1 << failures.min(8))
        .min(LAST_PAUSE);
    most.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Whether a connection that gave this error is of no use any more.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}

/// Whether a key is moved from one server to another.
#[cfg(feature = "cluster")]
fn is_elsewhere(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain
        )
    )
}

/// Whether what was a primary is a replica now.
fn is_demoted(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}

/// A command on its way. Who stops to wait for the reply does not see that there is none; so then it
/// is looked at whether the connection is alive.
struct Asked<'a> {
    lane: &'a Lane,
    number: u64,
    is_answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.lane.check(self.number);
        }
    }
}

/// A look at whether a connection is alive.
struct Check(Lane);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.0.is_checking.store(false, Ordering::Relaxed);
    }
}

/// Why there is no reply.
#[derive(Debug, Clone)]
pub(crate) enum LaneError {
    Redis(RedisError),
    Away(Arc<RedisError>),
    /// What was written before is not there any more.
    Lost,
    /// The reply is none that the command has.
    Odd,
}

impl LaneError {
    pub(crate) fn as_redis(&self) -> Option<&RedisError> {
        match self {
            Self::Redis(error) => Some(error),
            Self::Away(error) => Some(error),
            Self::Lost | Self::Odd => None,
        }
    }

    /// Whether a value is of another type than is asked for.
    pub(crate) fn is_wrong_type(&self) -> bool {
        self.as_redis()
            .is_some_and(|error| error.code() == Some("WRONGTYPE"))
    }

    /// The error of the port, met while `doing` something.
    pub(crate) fn into_backend_error(self, doing: &'static str) -> BackendError {
        let kind = match self.as_redis() {
            Some(error) if error.is_timeout() => BackendErrorKind::TimedOut,
            _ => BackendErrorKind::Unavailable,
        };
        BackendError::new(kind, doing).with_source(self)
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(error) => error.fmt(f),
            Self::Away(error) => write!(f, "there is no connection: {error}"),
            Self::Odd => f.write_str("the reply makes no sense"),
            Self::Lost => f.write_str("what was written before is gone"),
        }
    }
}

impl StdError for LaneError {}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.0.state.borrow() {
            State::Idle => "idle",
            State::Connecting => "connecting",
            State::Connected { .. } => "connected",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Lane").field("state", &state).finish()
    }
}
