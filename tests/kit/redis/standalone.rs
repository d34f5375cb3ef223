//! One server.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_redis::{EmbeddedRedis, EmbeddedRedisBuilder, StartError};
use redis::{
    Client, Connection, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    Value,
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{Certificates, PATIENCE, free_ports};

/// A Redis server of a test's own, on a Unix socket and, if asked for, on TCP ports of the loopback
/// interface. It ends when it is dropped, and with the process.
///
/// What it is asked for, it is asked over a connection of the kit's own, which blocks the thread
/// for the time of an answer; neither that connection nor what goes over it is counted.
///
/// All methods panic where the server does not do what it is asked.
pub struct RedisServer {
    settings: RedisServerBuilder,
    home: TempDir,
    ports: Ports,
    certificates: Option<Certificates>,
    process: Mutex<Process>,
}

/// The settings of a [`RedisServer`].
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is started before `start`"]
pub struct RedisServerBuilder {
    embedded: Option<EmbeddedRedisBuilder>,
    has_tcp: bool,
    has_tls: bool,
    is_cluster_node: bool,
    is_sentinel: bool,
    is_durable: bool,
    password: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    tcp: u16,
    tls: u16,
    bus: u16,
}

#[derive(Default)]
struct Process {
    server: Option<EmbeddedRedis>,
    connection: Option<Connection>,
    own_connections: u64,
    /// As commands are counted: by name, or by name and subcommand.
    own_commands: Vec<(String, String)>,
}

impl RedisServerBuilder {
    /// Listens on a TCP port, too.
    pub fn tcp(mut self) -> Self {
        self.has_tcp = true;
        self
    }

    /// Listens on a TCP port with TLS, too.
    pub fn tls(mut self) -> Self {
        self.has_tls = true;
        self
    }

    /// Asks for this password, which must need no encoding in a URL.
    pub fn password(mut self, password: &str) -> Self {
        assert_plain(password);
        self.password = Some(password.to_owned());
        self.config("requirepass", password)
            .config("masterauth", password)
    }

    /// Knows this user, too, who may do what the rules say, such as `~* +@all`.
    pub fn user(self, name: &str, password: &str, rules: &str) -> Self {
        assert_plain(name);
        assert_plain(password);
        self.config("user", &format!("{name} on >{password} {rules}"))
    }

    /// Keeps its data over [`RedisServer::kill`] and [`RedisServer::restart`], as far as it had
    /// written them down: at once, by its append-only file.
    pub fn durable(mut self) -> Self {
        self.is_durable = true;
        self
    }

    /// A directive of `redis.conf`.
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.embedded = Some(self.embedded().config(name, value));
        self
    }

    pub(super) fn cluster_node(mut self) -> Self {
        self.is_cluster_node = true;
        self.tcp().config("cluster-enabled", "yes")
    }

    pub(super) fn sentinel(mut self, program: &Path) -> Self {
        self.is_sentinel = true;
        self.embedded = Some(self.embedded().binary(program));
        self.tcp()
    }

    /// Starts it, and waits until it answers.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub async fn start(self) -> RedisServer {
        let home = tempfile::Builder::new()
            .prefix("kit-")
            .tempdir()
            .expect("a directory for temporary files");
        let certificates = self.has_tls.then(|| Certificates::write_to(home.path()));
        let mut server = RedisServer {
            settings: self,
            home,
            ports: Ports::free(),
            certificates,
            process: Mutex::default(),
        };
        let mut attempts = 0;
        while let Err(error) = server.run().await {
            attempts += 1;
            assert!(attempts < 10 && is_taken(&error), "{error}");
            server.ports = Ports::free();
        }
        server
    }

    fn embedded(&self) -> EmbeddedRedisBuilder {
        self.embedded.clone().unwrap_or_else(EmbeddedRedis::builder)
    }
}

impl RedisServer {
    /// A server on a Unix socket.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with other settings.
    pub fn builder() -> RedisServerBuilder {
        RedisServerBuilder::default()
    }

    /// The path of its Unix socket, the same after a restart.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("redis.sock")
    }

    /// The URL of its Unix socket, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.socket();
        let url = format!("redis+unix://{}", socket.display());
        match &self.settings.password {
            Some(password) => format!("{url}?pass={password}"),
            None => url,
        }
    }

    /// The URL of its Unix socket for another user.
    #[must_use]
    pub fn url_for(&self, user: &str, password: &str) -> String {
        let socket = self.socket();
        format!(
            "redis+unix://{}?user={user}&pass={password}",
            socket.display()
        )
    }

    /// The URL of its TCP port, with the password.
    #[must_use]
    pub fn tcp_url(&self) -> String {
        self.tcp_url_through(self.address())
    }

    /// The URL of another address under which it can be reached, with the password.
    #[must_use]
    pub fn tcp_url_through(&self, address: SocketAddr) -> String {
        format!("redis://{}{address}", self.credentials())
    }

    /// The URL of its TCP port with TLS, with the password.
    #[must_use]
    pub fn tls_url(&self) -> String {
        assert!(self.settings.has_tls, "it was started without TLS");
        let port = self.ports.tls;
        format!("rediss://{}127.0.0.1:{port}", self.credentials())
    }

    /// The address of its TCP port, the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        assert!(self.settings.has_tcp, "it was started without a TCP port");
        (Ipv4Addr::LOCALHOST, self.ports.tcp).into()
    }

    /// The file of the certificate by which it is trusted.
    #[must_use]
    pub fn ca_pem(&self) -> &Path {
        let certificates = self.certificates.as_ref();
        certificates.expect("it was started with TLS").authority()
    }

    /// The process ID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.embedded(EmbeddedRedis::pid)
    }

    /// The version, such as `7.0.15`.
    #[must_use]
    pub fn version(&self) -> String {
        self.embedded(|server| server.version().to_owned())
    }

    /// The program that it runs.
    #[must_use]
    pub fn executable(&self) -> PathBuf {
        self.info("executable").into()
    }

    /// Whether it was not killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process().server.is_some()
    }

    /// Kills it, as `SIGKILL` does, and waits until it is gone.
    pub fn kill(&self) {
        *self.process() = Process::default();
    }

    /// Kills it, if it runs, and starts it again, on the same socket and ports, without its data,
    /// unless it is [durable](RedisServerBuilder::durable).
    pub async fn restart(&self) {
        self.kill();
        let mut attempts = 0;
        while let Err(error) = self.run().await {
            attempts += 1;
            assert!(attempts < 50 && is_taken(&error), "{error}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops it as `SIGSTOP` does: connections stay and are accepted, and nothing is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Has it do a command.
    pub fn command(&self, arguments: &[&str]) -> Value {
        self.query(arguments)
    }

    /// Has it do a command.
    ///
    /// # Errors
    ///
    /// What the server says, or does not.
    pub fn try_command(&self, arguments: &[&str]) -> Result<Value, RedisError> {
        self.ask(arguments.iter().map(|argument| argument.as_bytes()))
    }

    /// Has it do a command, and reads the answer.
    pub fn query<T: FromRedisValue>(&self, arguments: &[&str]) -> T {
        let what = arguments.join(" ");
        let answer = self.try_command(arguments);
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        redis::from_redis_value(answer).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// A field of what it says about itself (`INFO`).
    #[must_use]
    pub fn info(&self, field: &str) -> String {
        self.find_info(field)
            .unwrap_or_else(|| panic!("INFO has no {field}"))
    }

    pub(super) fn find_info(&self, field: &str) -> Option<String> {
        const ASK: [&str; 2] = ["INFO", "everything"];
        // A server that is made a replica closes its connections, and this one just then.
        let info: String = match self.try_command(&ASK) {
            Ok(info) => redis::from_redis_value(info).expect("INFO is text"),
            Err(_) => self.query(&ASK),
        };
        info.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .map(str::to_owned)
    }

    /// How often it has done each command, such as `get` or `script|load`, since it was started or
    /// [`reset_counts`](Self::reset_counts); those of scripts included.
    #[must_use]
    pub fn command_counts(&self) -> BTreeMap<String, u64> {
        let info: String = self.query(&["INFO", "commandstats"]);
        let mut counts: BTreeMap<String, u64> = info
            .lines()
            .filter_map(|line| {
                let (name, counts) = line.strip_prefix("cmdstat_")?.split_once(':')?;
                let calls = counts.strip_prefix("calls=")?.split(',').next()?;
                Some((name.to_owned(), calls.parse().ok()?))
            })
            .collect();
        let process = self.process();
        // The last is the one that asked, which is not in its own answer.
        let own = process
            .own_commands
            .split_last()
            .map_or(&[][..], |(_, own)| own);
        for (name, with_subcommand) in own {
            let name = if counts.contains_key(with_subcommand) {
                with_subcommand
            } else {
                name
            };
            if let Some(count) = counts.get_mut(name) {
                *count = count.saturating_sub(1);
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    }

    /// How many connections it has accepted since it was started or
    /// [`reset_counts`](Self::reset_counts), those to be refused included.
    #[must_use]
    pub fn connections_received(&self) -> u64 {
        let all: u64 = self
            .info("total_connections_received")
            .parse()
            .expect("a number");
        all.saturating_sub(self.process().own_connections)
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        let _: Value = self.query(&["CONFIG", "RESETSTAT"]);
        let mut process = self.process();
        process.own_connections = 0;
        process.own_commands.clear();
        // It counts itself, after it has reset the counts.
        process
            .own_commands
            .push(counted_as(["CONFIG", "RESETSTAT"]));
    }

    /// All keys, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .raw_keys()
            .iter()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect();
        keys.sort();
        keys
    }

    /// All that is stored: by key, the value, or the values and the names of fields.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let keys = self.raw_keys();
        keys.iter()
            .map(|key| (String::from_utf8_lossy(key).into_owned(), self.values(key)))
            .collect()
    }

    /// How long a key is kept, if it is there and not kept for ever.
    #[must_use]
    pub fn ttl(&self, key: &str) -> Option<Duration> {
        let millis: i64 = self.query(&["PTTL", key]);
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    fn raw_keys(&self) -> Vec<Vec<u8>> {
        self.query(&["KEYS", "*"])
    }

    fn values(&self, key: &[u8]) -> Vec<Vec<u8>> {
        let ask = |arguments: &[&[u8]]| {
            self.ask(arguments.iter().copied())
                .expect("it can be asked for a value")
        };
        let kind: String = redis::from_redis_value(ask(&[b"TYPE", key])).expect("a type");
        let value = match kind.as_str() {
            "string" => Value::Array(vec![ask(&[b"GET", key])]),
            "hash" => ask(&[b"HGETALL", key]),
            "list" => ask(&[b"LRANGE", key, b"0", b"-1"]),
            "set" => ask(&[b"SMEMBERS", key]),
            "zset" => ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
            // It has expired since.
            "none" => return Vec::new(),
            other => panic!("the kit cannot read a {other}"),
        };
        let values: Vec<Option<Vec<u8>>> = redis::from_redis_value(value).expect("values");
        values.into_iter().flatten().collect()
    }

    fn ask<'a>(
        &self,
        arguments: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Value, RedisError> {
        let mut command = redis::Cmd::new();
        for argument in arguments.clone() {
            command.arg(argument);
        }
        let mut process = self.process();
        if process.server.is_none() {
            return Err((ErrorKind::Io, "the server was killed").into());
        }
        loop {
            let (mut connection, is_new) = match process.connection.take() {
                Some(connection) => (connection, false),
                None => (self.connect(&mut process)?, true),
            };
            let words = arguments.clone().map(String::from_utf8_lossy);
            process.own_commands.push(counted_as(words.take(2)));
            let answer = command.query(&mut connection);
            match &answer {
                // As a sentinel has it do with all connections, when it makes it a primary.
                Err(error) if is_unread(error) && !is_new => {
                    process.own_commands.pop();
                    continue;
                }
                Err(error) if error.is_unrecoverable_error() => {}
                _ => process.connection = Some(connection),
            }
            return answer;
        }
    }

    fn connect(&self, process: &mut Process) -> Result<Connection, RedisError> {
        let client = Client::open(self.connection_info())?;
        let connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        process.own_connections += 1;
        if self.settings.password.is_some() {
            process.own_commands.push(counted_as(["AUTH"]));
        }
        Ok(connection)
    }

    fn connection_info(&self) -> ConnectionInfo {
        let info = self
            .url()
            .into_connection_info()
            .expect("the URL is a valid one");
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        info.set_redis_settings(settings)
    }

    fn credentials(&self) -> String {
        let password = self.settings.password.as_ref();
        password.map_or_else(String::new, |password| format!(":{password}@"))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("/bin/sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", signal])
            .arg(self.pid().to_string())
            .status()
            .expect("a shell");
        assert!(status.success(), "{signal} was not sent");
    }

    /// Starts the process on the ports that there are.
    async fn run(&self) -> Result<(), StartError> {
        let mut builder = self.settings.embedded();
        let file = |name| {
            let path = self.home.path().join(name);
            path.to_str()
                .expect("temporary directories have names in UTF-8")
                .to_owned()
        };
        if self.settings.has_tcp {
            builder = builder.config("port", self.ports.tcp.to_string());
        }
        if let Some(certificates) = &self.certificates {
            let quoted = |path: &Path| format!("\"{}\"", path.display());
            builder = builder
                .config("tls-port", self.ports.tls.to_string())
                .config("tls-ca-cert-file", quoted(certificates.authority()))
                .config("tls-cert-file", quoted(certificates.certificate()))
                .config("tls-key-file", quoted(certificates.key()))
                .config("tls-auth-clients", "no");
        }
        if self.settings.is_cluster_node {
            builder = builder
                .config("cluster-port", self.ports.bus.to_string())
                .config("cluster-config-file", format!("\"{}\"", file("nodes.conf")));
        }
        if self.settings.is_durable {
            builder = builder
                .config("dir", format!("\"{}\"", file("")))
                .config("appendonly", "yes")
                .config("appendfsync", "always");
        }
        let server = builder.start().await?;
        // The path of an embedded server's socket is another one each time.
        let link = self.home.path().join("new.sock");
        symlink(server.socket(), &link)
            .and_then(|()| fs::rename(&link, self.socket()))
            .expect("the directory can be written to");
        self.process().server = Some(server);
        if !self.settings.is_sentinel {
            self.reset_counts();
        }
        Ok(())
    }

    fn embedded<T>(&self, read: impl FnOnce(&EmbeddedRedis) -> T) -> T {
        read(self.process().server.as_ref().expect("it was not killed"))
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bus_port(&self) -> u16 {
        self.ports.bus
    }
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer")
            .field("home", &self.home.path())
            .field("ports", &self.ports)
            .field("server", &self.process().server)
            .finish_non_exhaustive()
    }
}

impl Ports {
    fn free() -> Self {
        let [tcp, tls, bus] = free_ports();
        Self { tcp, tls, bus }
    }
}

/// Whether it did not start because another has its port.
fn is_taken(error: &StartError) -> bool {
    matches!(error, StartError::Exited { log, .. } if log.contains("already in use"))
}

/// Whether the server has closed the connection without having read the command.
fn is_unread(error: &RedisError) -> bool {
    let unread = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    error
        .source()
        .and_then(|source| source.downcast_ref::<Arc<dyn StdError + Send + Sync>>())
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| unread.contains(&error.kind()))
}

fn counted_as<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> (String, String) {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.as_ref().to_ascii_lowercase())
        .collect();
    (words[0].clone(), words.join("|"))
}

fn assert_plain(text: &str) {
    assert!(
        text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "the kit does not encode what it puts into a URL"
    );
}
