//! A Redis server of one's own, which ends with its owner.
//!
//! A small shell, the guard, stands between: it makes the directory, starts the server, holds the
//! reading end of a pipe whose other end only the owner has, and ends the server and removes the
//! directory when the pipe ends. So they go however the owner goes.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
mod server;
#[cfg(unix)]
use server::Server;

/// A Redis or Valkey server that is started by this process, serves it over a Unix socket, and ends
/// with it.
///
/// It has no TCP port, its socket is in a directory that only this user can enter, and it stores
/// nothing on disk, unless the [builder](Self::builder) is told otherwise. Both the server and the
/// directory are gone when this is dropped, and also when the process ends in any other way,
/// `SIGKILL` included. (Where all processes end at once, as in a container whose first process
/// ends, nobody is left to remove the directory.)
///
/// Dropping waits for the end of the server: for some milliseconds, or, where it
/// [persists](EmbeddedRedisBuilder::persist_to), for as long as it takes to write the file, but at
/// most 30 seconds. [`shutdown`](Self::shutdown) waits without blocking the thread.
///
/// Only on Unix; elsewhere [`start`](Self::start) answers [`StartError::Unsupported`].
#[must_use = "the server ends when this is dropped"]
pub struct EmbeddedRedis {
    server: Server,
}

impl EmbeddedRedis {
    /// Starts `redis-server` or else `valkey-server`, whichever is in `PATH`, and waits until it
    /// answers.
    ///
    /// Dropping the future ends the server.
    ///
    /// # Errors
    ///
    /// Where there is no such program, or it does not come up within 10 seconds.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// A server with other settings.
    pub fn builder() -> EmbeddedRedisBuilder {
        EmbeddedRedisBuilder::new()
    }

    /// The path of its Unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.server.socket()
    }

    /// Its URL, `redis+unix://` and the path of the socket, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The process ID of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The version of the server, such as `7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        self.server.version()
    }

    /// Ends the server, after it has written what it persists.
    ///
    /// Dropping the future does not stop that.
    pub async fn shutdown(self) {
        // It can only fail by a panic in there, and then the server has ended by the drop.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl fmt::Debug for EmbeddedRedis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedRedis")
            .field("socket", &self.socket())
            .field("pid", &self.pid())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The settings of an [`EmbeddedRedis`].
#[derive(Clone)]
#[must_use = "nothing is started before `start`"]
pub struct EmbeddedRedisBuilder {
    binary: Option<PathBuf>,
    max_memory: Option<(u64, EvictionPolicy)>,
    persist_to: Option<PathBuf>,
    config: Vec<(String, String)>,
    startup_timeout: Duration,
}

impl EmbeddedRedisBuilder {
    fn new() -> Self {
        Self {
            binary: None,
            max_memory: None,
            persist_to: None,
            config: Vec::new(),
            startup_timeout: STARTUP_TIMEOUT,
        }
    }

    /// The server program: a path, or a name to be looked for in `PATH`.
    ///
    /// By default `redis-server`, or else `valkey-server`.
    pub fn binary(mut self, program: impl Into<PathBuf>) -> Self {
        self.binary = Some(program.into());
        self
    }

    /// How much memory the data may take, in bytes, and what happens when there is no more.
    ///
    /// By default there is no limit.
    pub fn max_memory(mut self, bytes: u64, policy: EvictionPolicy) -> Self {
        self.max_memory = Some((bytes, policy));
        self
    }

    /// Loads the data from this RDB file, if it is there, and writes it there: now and then, as
    /// Redis does by default, and when the server ends. The directory must exist.
    ///
    /// A cache goes on without the file when it cannot be written. Two servers must not have the
    /// same file.
    pub fn persist_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.persist_to = Some(file.into());
        self
    }

    /// A directive of `redis.conf`, with its arguments as they are written there.
    ///
    /// It comes after everything that is set otherwise, so that it wins; of two, the later one. A
    /// TCP `port` that is set here is bound to the loopback interface, unless `bind` is set, too.
    ///
    /// Not free are `daemonize`, `logfile`, `loglevel`, `supervised` and `unixsocket`, without
    /// which the server could not be watched over.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// How long [`start`](Self::start) waits for the server to come up, loading its data included.
    /// By default 10 seconds.
    pub fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.startup_timeout = timeout;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// Dropping the future ends the server.
    ///
    /// # Errors
    ///
    /// Where there is no server program, a setting is not acceptable, or the server does not come
    /// up in time; [`StartError`] has the server's own words.
    pub async fn start(self) -> Result<EmbeddedRedis, StartError> {
        let server = Server::start(&self).await?;
        Ok(EmbeddedRedis { server })
    }
}

impl fmt::Debug for EmbeddedRedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        let names: Vec<_> = self.config.iter().map(|(name, _)| name).collect();
        f.debug_struct("EmbeddedRedisBuilder")
            .field("binary", &self.binary)
            .field("max_memory", &self.max_memory)
            .field("persist_to", &self.persist_to)
            .field("config", &names)
            .field("startup_timeout", &self.startup_timeout)
            .finish()
    }
}

/// What a server does that has no memory left: the `maxmemory-policy` of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// Refuses to write.
    NoEviction,
    /// Removes what was not used for longest.
    AllKeysLru,
    /// Removes what is used least often.
    AllKeysLfu,
    /// Removes anything.
    AllKeysRandom,
    /// Removes what was not used for longest, of what has a time to live.
    VolatileLru,
    /// Removes what is used least often, of what has a time to live.
    VolatileLfu,
    /// Removes anything that has a time to live.
    VolatileRandom,
    /// Removes what has the shortest time left to live.
    VolatileTtl,
}

#[cfg_attr(not(unix), expect(dead_code, reason = "nothing is started there"))]
impl EvictionPolicy {
    fn directive(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::AllKeysLfu => "allkeys-lfu",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }
}

/// Why an [`EmbeddedRedis`] did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// This platform has no Unix sockets and shells.
    Unsupported,
    /// There is no server program: none in `PATH`, or not the one that was asked for.
    NotFound {
        /// What was asked for.
        program: Option<PathBuf>,
    },
    /// A setting that is no directive, or not a free one.
    Setting {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No directory for the socket, or no process.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What came of it.
        source: io::Error,
    },
    /// The server ended.
    Exited {
        /// The last lines of its log.
        log: String,
    },
    /// The server does not answer.
    TimedOut {
        /// How long it was waited for.
        after: Duration,
        /// The last lines of its log.
        log: String,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("an embedded Redis needs Unix"),
            Self::NotFound { program: None } => f.write_str(
                "neither redis-server nor valkey-server is in PATH: install one of them \
                 (apt install redis-server, dnf install valkey, apk add redis, brew install redis), \
                 or say where it is with EmbeddedRedis::builder().binary(path)",
            ),
            Self::NotFound {
                program: Some(program),
            } => write!(
                f,
                "there is no program {}: install redis-server or valkey-server, \
                 or say where it is with EmbeddedRedis::builder().binary(path)",
                program.display()
            ),
            Self::Setting { name, reason } => {
                write!(f, "the setting {name:?} of an embedded Redis {reason}")
            }
            Self::Io { doing, .. } => write!(f, "an embedded Redis did not start: {doing} failed"),
            Self::Exited { log } => write!(f, "the embedded Redis ended while it started:\n{log}"),
            Self::TimedOut { after, log } => {
                write!(
                    f,
                    "the embedded Redis does not answer after {after:?}:\n{log}"
                )
            }
        }
    }
}

impl StdError for StartError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Without Unix there is none.
#[cfg(not(unix))]
enum Server {}

#[cfg(not(unix))]
impl Server {
    async fn start(_: &EmbeddedRedisBuilder) -> Result<Self, StartError> {
        Err(StartError::Unsupported)
    }

    fn socket(&self) -> &Path {
        match *self {}
    }

    fn url(&self) -> String {
        match *self {}
    }

    fn pid(&self) -> u32 {
        match *self {}
    }

    fn version(&self) -> &str {
        match *self {}
    }
}

const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);
