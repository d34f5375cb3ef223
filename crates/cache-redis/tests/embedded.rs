//! The embedded Redis: it is there, it is private, and it goes.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use cache_redis::{EmbeddedRedis, EmbeddedRedisBuilder, EvictionPolicy, StartError};
use redis::Connection;
use tokio::time::timeout;

#[tokio::test]
async fn it_answers_on_its_socket() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let mut connection = connect(&server);
    set(&mut connection, "key", "value");
    assert_eq!(get(&mut connection, "key").as_deref(), Some("value"));
    assert_eq!(server.url(), url(server.socket()));
}

#[tokio::test]
async fn it_comes_up_in_real_time_where_time_stands_still() {
    tokio::time::pause();
    let server = EmbeddedRedis::start().await.expect("a server");
    set(&mut connect(&server), "key", "value");
}

#[tokio::test]
async fn it_knows_its_process_and_version() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let info = info(&mut connect(&server));
    assert_eq!(field(&info, "process_id"), server.pid().to_string());
    let version = ["valkey_version", "redis_version"]
        .iter()
        .find_map(|name| find_field(&info, name))
        .expect("a version");
    assert_eq!(server.version(), version);
    let debug = format!("{server:?}");
    assert!(debug.contains(&version), "{debug}");
}

#[tokio::test]
async fn only_its_user_can_reach_it() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let directory = fs::metadata(directory(&server)).expect("its directory");
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let socket = fs::metadata(server.socket()).expect("its socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o700);
    assert_eq!(socket.uid(), directory.uid());
}

#[tokio::test]
async fn it_has_no_tcp_port() {
    let server = EmbeddedRedis::start().await.expect("a server");
    assert_eq!(setting(&mut connect(&server), "port"), "0");
    if cfg!(target_os = "linux") {
        assert_eq!(tcp_sockets(server.pid()), 0);
    }
}

#[tokio::test]
async fn it_stores_nothing_on_disk() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let mut connection = connect(&server);
    assert_eq!(setting(&mut connection, "save"), "");
    assert_eq!(setting(&mut connection, "appendonly"), "no");
}

#[tokio::test]
async fn it_is_gone_when_it_is_dropped() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    assert!(is_running(pid) && directory.exists());
    drop(server);
    assert!(!is_running(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn it_is_gone_after_a_shutdown() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    server.shutdown().await;
    assert!(!is_running(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn it_is_gone_when_it_is_dropped_while_it_stands_still() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let pid = server.pid();
    kill("STOP", pid);
    drop(server);
    assert!(!is_running(pid));
}

#[tokio::test]
async fn it_is_gone_when_its_guard_was_killed() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    kill("KILL", parent(pid));
    drop(server);
    wait_until("the server is gone", || !is_running(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn nothing_is_left_when_the_server_has_ended_by_itself() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    let guard = parent(pid);
    kill("KILL", pid);
    wait_until("the directory is gone", || !directory.exists());
    wait_until("the guard is gone", || !is_group_running(guard));
    drop(server);
    assert!(!is_running(pid));
}

#[tokio::test]
async fn its_directory_is_gone_when_all_its_processes_were_killed() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    let killed = Command::new("/bin/sh")
        .args(["-c", &format!("kill -s KILL -- -{}", group(pid))])
        .status()
        .expect("a shell");
    assert!(killed.success());
    drop(server);
    wait_until("the server is gone", || !is_running(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn what_is_sent_to_everybody_leaves_the_guard_to_clean_up() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let (pid, directory) = (server.pid(), directory(&server));
    for signal in ["HUP", "INT", "TERM"] {
        kill(signal, parent(pid));
    }
    kill("TERM", pid);
    wait_until("the directory is gone", || !directory.exists());
}

#[tokio::test]
async fn it_is_gone_when_its_start_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let mut start = Box::pin(one_that_never_answers(&file).start());
    let mut pid = None;
    while pid.is_none() {
        let step = timeout(Duration::from_millis(1), &mut start).await;
        assert!(step.is_err(), "{step:?}");
        pid = pid_in(&file);
    }
    drop(start);
    assert!(!is_running(pid.expect("a process")));
}

#[test]
fn it_is_gone_when_its_owner_is_killed() {
    let mut owner = Owner::start(Owner::IS_THERE);
    assert!(is_running(owner.server) && owner.directory.exists());
    owner.kill();
    wait_until("the server is gone", || !is_running(owner.server));
    wait_until("the directory is gone", || !owner.directory.exists());
}

#[test]
fn it_is_gone_when_its_owner_is_killed_and_was_killed_without_its_guard() {
    let mut owner = Owner::start(Owner::IS_THERE);
    kill("KILL", parent(owner.server));
    owner.kill();
    wait_until("the server is gone", || !is_running(owner.server));
    wait_until("the directory is gone", || !owner.directory.exists());
}

#[test]
fn it_writes_its_file_when_its_owner_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cache.rdb");
    let mut owner = Owner::start(file.to_str().expect("a name in UTF-8"));
    owner.kill();
    wait_until("the server is gone", || !is_running(owner.server));
    assert!(file.exists());
}

#[tokio::test]
async fn what_the_terminal_sends_to_its_owner_does_not_reach_it() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let own = group(std::process::id());
    assert_ne!(group(server.pid()), own);
    assert_ne!(group(parent(server.pid())), own);
}

#[tokio::test]
async fn two_are_side_by_side() {
    let (one, other) = tokio::join!(EmbeddedRedis::start(), EmbeddedRedis::start());
    let (one, other) = (one.expect("a server"), other.expect("another"));
    set(&mut connect(&one), "key", "value");
    assert_eq!(get(&mut connect(&other), "key"), None);
    drop(one);
    set(&mut connect(&other), "key", "value");
}

#[tokio::test]
async fn it_finds_again_what_it_persisted() {
    let directory = tempfile::tempdir().expect("a directory");
    // Everything that needs quoting, in redis.conf or for the shell.
    let directory = directory.path().join("a \"cache\"\\ of 'ü' $HOME");
    fs::create_dir(&directory).expect("a directory with a strange name");
    let file = directory.join("a \"cache\" of 'ü' $HOME.rdb");
    let builder = EmbeddedRedis::builder().persist_to(&file);
    let server = builder.clone().start().await.expect("a server");
    set(&mut connect(&server), "key", "value");
    drop(server);
    assert!(file.exists());
    let server = builder.start().await.expect("the server again");
    assert_eq!(get(&mut connect(&server), "key").as_deref(), Some("value"));
}

#[tokio::test]
async fn it_is_there_when_what_it_persisted_is_loaded() {
    starts_with_all_it_has(EmbeddedRedis::builder(), "").await;
}

#[tokio::test]
async fn it_is_there_when_what_it_persisted_is_loaded_also_where_it_asks_for_a_password() {
    let builder = EmbeddedRedis::builder().config("requirepass", "secret");
    starts_with_all_it_has(builder, "?pass=secret").await;
}

async fn starts_with_all_it_has(builder: EmbeddedRedisBuilder, password: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let builder = builder.persist_to(directory.path().join("cache.rdb"));
    let server = builder.clone().start().await.expect("a server");
    let mut connection = open(&format!("{}{password}", server.url()));
    for number in 0..1000 {
        set(&mut connection, &format!("key:{number}"), "value");
    }
    drop(server);
    // It loads slowly, and answers while it does.
    let server = builder
        .config("key-load-delay", "300")
        .config("loading-process-events-interval-bytes", "1024")
        .start()
        .await
        .expect("the server again");
    let mut connection = open(&format!("{}{password}", server.url()));
    let size: u64 = redis::cmd("DBSIZE").query(&mut connection).expect("a size");
    assert_eq!(size, 1000);
}

#[tokio::test]
async fn its_memory_is_limited() {
    let server = EmbeddedRedis::builder()
        .max_memory(64 << 20, EvictionPolicy::VolatileTtl)
        .start()
        .await
        .expect("a server");
    let mut connection = connect(&server);
    assert_eq!(setting(&mut connection, "maxmemory"), "67108864");
    assert_eq!(setting(&mut connection, "maxmemory-policy"), "volatile-ttl");
}

#[tokio::test]
async fn a_directive_wins_over_what_is_set_otherwise_and_over_an_earlier_one() {
    let server = EmbeddedRedis::builder()
        .config("maxmemory", "1mb")
        .config("maxmemory", "2mb")
        .max_memory(64 << 20, EvictionPolicy::NoEviction)
        .start()
        .await
        .expect("a server");
    assert_eq!(setting(&mut connect(&server), "maxmemory"), "2097152");
}

#[tokio::test]
async fn the_program_can_be_named() {
    let path = env::split_paths(&env::var_os("PATH").expect("a PATH"))
        .flat_map(|directory| ["redis-server", "valkey-server"].map(|name| directory.join(name)))
        .find(|path| path.exists())
        .expect("redis-server or valkey-server in PATH");
    let by_path = EmbeddedRedis::builder().binary(&path).start().await;
    assert!(by_path.is_ok(), "{by_path:?}");
    let name = path.file_name().expect("a name");
    let by_name = EmbeddedRedis::builder().binary(name).start().await;
    assert!(by_name.is_ok(), "{by_name:?}");
}

#[tokio::test]
async fn a_missing_program_is_said_to_be_missing() {
    for program in ["/nowhere/redis-server", "no-such-redis-server", "/tmp"] {
        let error = EmbeddedRedis::builder()
            .binary(program)
            .start()
            .await
            .expect_err("no server");
        assert!(matches!(error, StartError::NotFound { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("there is no program {program}: install ")),
            "{message}"
        );
    }
    let message = StartError::NotFound { program: None }.to_string();
    assert!(
        message.starts_with("neither redis-server nor valkey-server is in PATH: install "),
        "{message}"
    );
}

#[tokio::test]
async fn what_the_server_does_not_understand_is_told_in_its_own_words() {
    let error = EmbeddedRedis::builder()
        .config("no-such-directive", "at all")
        .start()
        .await
        .expect_err("no server");
    assert!(matches!(error, StartError::Exited { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains(">>> 'no-such-directive at all'"),
        "{message}"
    );
    assert!(message.contains("Bad directive"), "{message}");
}

#[tokio::test]
async fn a_password_is_not_in_what_is_told() {
    let builder = EmbeddedRedis::builder().config("requirepass", "secret secret");
    assert!(!format!("{builder:?}").contains("secret"));
    let error = builder.start().await.expect_err("no server");
    assert!(!format!("{error:?} {error}").contains("secret"), "{error}");
    assert!(error.to_string().contains("requirepass"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let error = one_that_never_answers(&file)
        .startup_timeout(Duration::from_millis(500))
        .start()
        .await
        .expect_err("no server");
    assert!(matches!(error, StartError::TimedOut { .. }), "{error:?}");
    let message = error.to_string();
    assert!(
        message.starts_with("the embedded Redis does not answer after 500ms:\n"),
        "{message}"
    );
    assert!(message.contains("\nits last words"), "{message}");
    assert!(!is_running(pid_in(&file).expect("a process")));
}

#[tokio::test]
async fn what_is_not_a_directive_is_refused() {
    for (name, value) in [
        ("", ""),
        ("save\nport", "1"),
        ("a b", "1"),
        ("port", "0\nport 1"),
        ("port", "0\rport 1"),
        ("requirepass", "\0"),
        ("daemonize", "yes"),
        ("UnixSocket", "/tmp/other"),
        ("logfile", "/tmp/log"),
    ] {
        let error = EmbeddedRedis::builder()
            .config(name, value)
            .start()
            .await
            .expect_err("refused");
        assert!(
            matches!(&error, StartError::Setting { name: wrong, .. } if wrong == name),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_a_file_is_not_persisted_to() {
    let error = EmbeddedRedis::builder()
        .persist_to("/")
        .start()
        .await
        .expect_err("refused");
    assert!(matches!(error, StartError::Setting { .. }), "{error:?}");
    let error = EmbeddedRedis::builder()
        .persist_to("/nowhere/cache.rdb")
        .start()
        .await
        .expect_err("no server");
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

#[test]
fn a_long_temporary_directory_does_not_make_its_socket_unreachable() {
    let parent = tempfile::tempdir().expect("a directory");
    let long = parent.path().join("long".repeat(30));
    fs::create_dir(&long).expect("a directory with a long name");
    let owner = Owner::start_in(&long, Owner::IS_THERE);
    assert!(is_running(owner.server));
    assert!(!owner.directory.starts_with(&long));
}

/// Another process that owns a server, so that it can be killed.
struct Owner {
    process: std::process::Child,
    server: u32,
    directory: PathBuf,
}

impl Owner {
    const VARIABLE: &str = "CACHE_REDIS_TEST_OWNER";
    /// Instead of a file to persist to.
    const IS_THERE: &str = "";

    fn start(persist_to: &str) -> Self {
        Self::start_in(&env::temp_dir(), persist_to)
    }

    fn start_in(temporary: &Path, persist_to: &str) -> Self {
        let mut process = Command::new(env::current_exe().expect("this program"))
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "an_owner_to_be_killed",
            ])
            .env(Self::VARIABLE, persist_to)
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let (server, directory) = output
            .lines()
            .find_map(|line| {
                let line = line.expect("a line");
                let (pid, directory) = line.split_once("owner of ")?.1.split_once(' ')?;
                Some((pid.parse().expect("a process"), directory.into()))
            })
            .expect("it says what it owns");
        Self {
            process,
            server,
            directory,
        }
    }

    fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it is waited for");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "is run, and killed, by others"]
async fn an_owner_to_be_killed() {
    let Ok(persist_to) = env::var(Owner::VARIABLE) else {
        return;
    };
    let mut builder = EmbeddedRedis::builder();
    if persist_to != Owner::IS_THERE {
        builder = builder.persist_to(persist_to);
    }
    let server = builder.start().await.expect("a server");
    set(&mut connect(&server), "key", "value");
    println!("owner of {} {}", server.pid(), directory(&server).display());
    std::future::pending::<()>().await;
}

/// A shell, for which `redis.conf` is a script.
fn one_that_never_answers(pid: &Path) -> EmbeddedRedisBuilder {
    EmbeddedRedis::builder()
        .binary("sh")
        .config("echo", "its last words")
        .config("echo", format!("$$ >'{}'", pid.display()))
        .config("exec", "sleep 1000")
}

fn pid_in(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim_end().parse().ok()
}

fn connect(server: &EmbeddedRedis) -> Connection {
    open(&server.url())
}

fn open(url: &str) -> Connection {
    redis::Client::open(url)
        .and_then(|client| client.get_connection())
        .expect("a connection")
}

fn set(connection: &mut Connection, key: &str, value: &str) {
    redis::cmd("SET")
        .arg(key)
        .arg(value)
        .exec(connection)
        .expect("it is set");
}

fn get(connection: &mut Connection, key: &str) -> Option<String> {
    redis::cmd("GET")
        .arg(key)
        .query(connection)
        .expect("an answer")
}

fn setting(connection: &mut Connection, name: &str) -> String {
    let (_, value): (String, String) = redis::cmd("CONFIG")
        .arg("GET")
        .arg(name)
        .query(connection)
        .expect("a setting");
    value
}

fn info(connection: &mut Connection) -> String {
    redis::cmd("INFO")
        .arg("server")
        .query(connection)
        .expect("what it says of itself")
}

fn field(info: &str, name: &str) -> String {
    find_field(info, name).expect("the field")
}

fn find_field(info: &str, name: &str) -> Option<String> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::to_owned)
}

fn url(socket: &Path) -> String {
    format!("redis+unix://{}", socket.display())
}

fn directory(server: &EmbeddedRedis) -> PathBuf {
    server.socket().parent().expect("its directory").to_owned()
}

/// How many TCP sockets a process has.
fn tcp_sockets(pid: u32) -> usize {
    let tables: String = ["tcp", "tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok())
        .collect();
    let inodes: Vec<&str> = tables
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .collect();
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter(|target| {
            target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(&inode))
        })
        .count()
}

fn is_running(pid: u32) -> bool {
    let state = ps(pid, "state");
    !state.is_empty() && !state.starts_with('Z')
}

fn is_group_running(group: u32) -> bool {
    let output = Command::new("ps")
        .args(["-A", "-o", "pgid=,state="])
        .output()
        .expect("ps");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .any(|(id, state)| id == group.to_string() && !state.trim().starts_with('Z'))
}

fn parent(pid: u32) -> u32 {
    ps(pid, "ppid").parse().expect("its parent")
}

fn group(pid: u32) -> u32 {
    ps(pid, "pgid").parse().expect("its group")
}

fn ps(pid: u32, column: &str) -> String {
    let output = Command::new("ps")
        .args(["-o", &format!("{column}="), "-p", &pid.to_string()])
        .output()
        .expect("ps");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status()
        .expect("kill");
    assert!(status.success());
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "not so: {what}");
        thread::yield_now();
    }
}
