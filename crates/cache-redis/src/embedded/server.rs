//! The process, where there is such a thing.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::BuildHasher as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tokio::time::sleep;

use super::{EmbeddedRedisBuilder, StartError};

pub(super) struct Server {
    guard: Child,
    directory: PathBuf,
    socket: PathBuf,
    /// A file without a name, so that nobody has to remove it.
    log: File,
    persists: bool,
    pid: u32,
    version: String,
}

impl Server {
    pub(super) async fn start(builder: &EmbeddedRedisBuilder) -> Result<Self, StartError> {
        let mut server = Self::spawn(builder)?;
        server.comes_up(builder.startup_timeout).await?;
        Ok(server)
    }

    /// From here on the server ends with this, or with the process.
    fn spawn(builder: &EmbeddedRedisBuilder) -> Result<Self, StartError> {
        let failed = |doing| move |source| StartError::Io { doing, source };
        let binary = find_binary(builder.binary.as_deref())?;
        let directory =
            fresh_path(&env::temp_dir()).map_err(failed("finding the current directory"))?;
        let socket = directory.join(SOCKET);
        let config = config(builder, &directory, &socket)?;
        let log = tempfile::tempfile().map_err(failed("making a file for its log"))?;

        let persists = builder.persist_to.is_some();
        let patience = if persists { SAVING } else { Duration::ZERO };
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD, "embedded-redis"])
            .arg(&directory)
            .arg(patience.as_secs().to_string())
            .arg(binary)
            .arg(directory.join("redis.conf"))
            .current_dir("/")
            // What the terminal sends to the owner is the owner's to act on.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(
                log.try_clone()
                    .map_err(failed("making a file for its log"))?,
            )
            .spawn()
            .map_err(failed("running /bin/sh"))?;
        let mut server = Self {
            guard,
            directory,
            socket,
            log,
            persists,
            pid: 0,
            version: String::new(),
        };
        if let Some(guard) = &mut server.guard.stdin {
            // A guard that has ended already says why in the log.
            let _ = guard.write_all(&config);
        }
        Ok(server)
    }

    /// The limit is one of real time, also where tokio's is paused.
    async fn comes_up(&mut self, limit: Duration) -> Result<(), StartError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        let mut ping = None;
        loop {
            if !matches!(self.guard.try_wait(), Ok(None)) {
                return Err(StartError::Exited {
                    log: self.last_words(),
                });
            }
            if let Some((pid, version)) = self.started()
                && self.is_ready(&mut ping)
            {
                self.pid = pid;
                self.version = version;
                return Ok(());
            }
            if start.elapsed() >= limit {
                return Err(StartError::TimedOut {
                    after: limit,
                    log: self.last_words(),
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The process ID and the version, when the guard has written them down.
    fn started(&self) -> Option<(u32, String)> {
        let started = fs::read_to_string(self.directory.join("started")).ok()?;
        let (pid, version) = started.split_once('\n')?;
        let version = version
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="))
            .unwrap_or(version)
            .trim();
        Some((pid.parse().ok()?, version.to_owned()))
    }

    fn is_ready(&self, ping: &mut Option<Ping>) -> bool {
        if ping.is_none() {
            *ping = Ping::send(&self.socket).ok();
        }
        let Some(answer) = ping.as_mut().map(Ping::answer) else {
            return false;
        };
        if matches!(&answer, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return false;
        }
        *ping = None;
        match answer.unwrap_or_default().split(' ').next() {
            None | Some("" | "-LOADING") => false,
            // Whoever may not ask is not told that it is still loading.
            Some("-NOAUTH" | "-NOPERM") if self.persists => self
                .log()
                .to_ascii_lowercase()
                .contains("ready to accept connections"),
            Some(_) => true,
        }
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        let last: Vec<_> = last.iter().map(|line| without_secret(line)).collect();
        if last.is_empty() {
            "(it logged nothing)".to_owned()
        } else {
            last.join("\n")
        }
    }

    /// The end of the log.
    fn log(&self) -> String {
        let length = self.log.metadata().map_or(0, |log| log.len());
        let mut bytes = vec![0; LOG_READ];
        let read = self
            .log
            .read_at(&mut bytes, length.saturating_sub(LOG_READ as u64))
            .unwrap_or(0);
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn url(&self) -> String {
        let path = self.socket.as_os_str().as_bytes();
        let path = percent_encode(path, ENCODED);
        format!("redis+unix://{path}")
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    fn guard_ends_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        loop {
            match self.guard.try_wait() {
                Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => return false,
                Ok(Some(status)) => return status.success(),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let saving = if self.persists {
            SAVING
        } else {
            Duration::ZERO
        };
        if self.guard_ends_within(saving + ENDING) {
            return;
        }
        // The guard was killed, or the server is stuck. The group outlives the guard for as
        // long as one of them is there.
        let _ = Command::new("/bin/sh")
            .args(["-c", "kill -s KILL -- \"-$1\"", "sh"])
            .arg(self.guard.id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A question that is on its way.
struct Ping {
    stream: UnixStream,
    answer: Vec<u8>,
}

impl Ping {
    fn send(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        stream.write_all(b"PING\r\n")?;
        Ok(Self {
            stream,
            answer: Vec::new(),
        })
    }

    /// The first line of the answer, if it is there.
    fn answer(&mut self) -> io::Result<String> {
        while !self.answer.ends_with(b"\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            self.answer.extend_from_slice(&byte);
        }
        Ok(String::from_utf8_lossy(&self.answer).trim_end().to_owned())
    }
}

fn find_binary(wanted: Option<&Path>) -> Result<PathBuf, StartError> {
    let found = match wanted {
        Some(program) if program.components().count() > 1 || program.is_absolute() => {
            path::absolute(program).ok().filter(|path| is_program(path))
        }
        Some(name) => in_path(name.as_os_str()),
        None => BINARIES.iter().find_map(|name| in_path(OsStr::new(name))),
    };
    found.ok_or_else(|| StartError::NotFound {
        program: wanted.map(Path::to_owned),
    })
}

fn in_path(name: &OsStr) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .filter_map(|directory| path::absolute(directory.join(name)).ok())
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The path of a directory that is not there yet: in this one, or else in `/tmp`, so that the
/// path of the socket is short enough.
fn fresh_path(parent: &Path) -> io::Result<PathBuf> {
    let name = format!("redis-{:016x}", RandomState::new().hash_one(0));
    let path = path::absolute(parent)?.join(&name);
    Ok(if path.join(SOCKET).as_os_str().len() > SOCKET_PATH {
        Path::new("/tmp").join(&name)
    } else {
        path
    })
}

/// The lines of `redis.conf`, and an empty one for the guard, as their end.
fn config(
    builder: &EmbeddedRedisBuilder,
    directory: &Path,
    socket: &Path,
) -> Result<Vec<u8>, StartError> {
    let mut config = Config::default();
    config.line("bind", "127.0.0.1");
    config.line("port", "0");
    config.path("unixsocket", socket);
    config.line("unixsocketperm", "700");
    config.line("daemonize", "no");
    config.line("loglevel", "notice");
    config.line("appendonly", "no");
    config.line("save", "\"\"");
    if let Some(file) = &builder.persist_to {
        let wrong = || StartError::Setting {
            name: "persist_to".to_owned(),
            reason: "is not the path of a file",
        };
        let file = path::absolute(file).map_err(|_| wrong())?;
        let (parent, name) = file.parent().zip(file.file_name()).ok_or_else(wrong)?;
        config.path("dir", parent);
        config.path("dbfilename", Path::new(name));
        config.line("save", "3600 1 300 100 60 10000");
        config.line("stop-writes-on-bgsave-error", "no");
    } else {
        config.path("dir", directory);
    }
    if let Some((bytes, policy)) = builder.max_memory {
        config.line("maxmemory", &bytes.to_string());
        config.line("maxmemory-policy", policy.directive());
    }
    for (name, value) in &builder.config {
        let wrong = |reason| StartError::Setting {
            name: name.clone(),
            reason,
        };
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(wrong("is not the name of a directive"));
        }
        if RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
        {
            return Err(wrong("is not free: the server is watched over by it"));
        }
        if value.contains(['\n', '\r', '\0']) {
            return Err(wrong("has a value of more than one line"));
        }
        config.line(name, if value.is_empty() { "\"\"" } else { value });
    }
    config.0.push(b'\n');
    Ok(config.0)
}

#[derive(Default)]
struct Config(Vec<u8>);

impl Config {
    fn line(&mut self, name: &str, value: &str) {
        self.0
            .extend_from_slice(format!("{name} {value}\n").as_bytes());
    }

    /// Any byte may be in a path.
    fn path(&mut self, name: &str, path: &Path) {
        let quoted: String = path
            .as_os_str()
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect();
        self.line(name, &format!("\"{quoted}\""));
    }
}

/// What the server quotes of its configuration may be a password.
fn without_secret(line: &str) -> String {
    let name = line
        .strip_prefix(">>> '")
        .and_then(|directive| directive.split_whitespace().next());
    match name {
        Some(name)
            if ["auth", "pass", "user", "sentinel"]
                .iter()
                .any(|part| name.to_ascii_lowercase().contains(part)) =>
        {
            format!(">>> '{name} …'")
        }
        _ => line.to_owned(),
    }
}

const BINARIES: [&str; 2] = ["redis-server", "valkey-server"];
const RESERVED: [&str; 5] = [
    "daemonize",
    "logfile",
    "loglevel",
    "supervised",
    "unixsocket",
];
const SOCKET: &str = "redis.sock";
/// The longest path of a socket, in bytes, on the systems that have the shortest.
const SOCKET_PATH: usize = 103;
/// All that could mean something in a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');
/// How much is read of the end of a log, in bytes.
const LOG_READ: usize = 16 * 1024;
/// How long a server may take to write its file, before it is killed.
const SAVING: Duration = Duration::from_secs(30);
/// How long the guard may take, apart from that.
const ENDING: Duration = Duration::from_secs(5);

/// Arguments: the directory, the seconds that the server has for saving, and its command line.
/// Input: the configuration and an empty line, and then nothing for as long as the owner lives.
///
/// Signals that are sent to everybody are not for the guard, whose work begins when they have
/// done theirs. The one that waits for the owner survives the one that waits for the server,
/// and the other way round.
const GUARD: &str = r#"
trap '' HUP INT TERM
umask 077
directory=$1 seconds=$2 whole=
shift 2
mkdir "$directory" || exit 1
while IFS= read -r line; do
    [ -n "$line" ] || { whole=yes; break; }
    printf '%s\n' "$line"
done >"$directory/redis.conf"
[ "$whole" ] || { rm -rf "$directory"; exit 1; }
exec 3<&0 </dev/null

(trap - HUP INT TERM; exec "$@" >&2 3<&-) &
server=$!

(
    read -r line <&3
    if [ "$seconds" -gt 0 ]; then
        kill -s TERM "$server"
        while [ "$seconds" -gt 0 ] && kill -s 0 "$server"; do
            sleep 1
            seconds=$((seconds - 1))
        done
    fi
    kill -s KILL "$server"
    rm -rf "$directory"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-

{ echo "$server"; "$1" --version; } >"$directory/starting"
mv "$directory/starting" "$directory/started"

wait "$server"
kill -s KILL "$watcher"
rm -rf "$directory"
"#;
