//! The servers of the test kit: they do what tests ask of them, and are gone afterwards.

#![cfg(unix)]

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kit::redis::{RedisCluster, RedisServer, Sentinel, Wire};
use redis::{Client, ConnectionLike as _, ErrorKind, ServerErrorKind, TlsCertificates};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_commands() {
    let server = RedisServer::start().await;
    server.command(&["SET", "key", "value"]);
    assert_eq!(server.query::<String>(&["GET", "key"]), "value");
    assert!(server.try_command(&["NO-SUCH-COMMAND"]).is_err());
    assert_eq!(server.info("process_id"), server.pid().to_string());
    assert_eq!(server.info("redis_version").split('.').count(), 3);
    assert_eq!(get(&server.url(), "key").as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_what_it_has_stored() {
    let server = RedisServer::start().await;
    server.command(&["SET", "string", "a", "PX", "60000"]);
    server.command(&["HSET", "hash", "field", "b"]);
    server.command(&["RPUSH", "list", "c", "d"]);
    server.command(&["SADD", "set", "e"]);
    server.command(&["ZADD", "zset", "1", "f"]);
    assert_eq!(server.keys(), ["hash", "list", "set", "string", "zset"]);
    let dump = server.dump();
    assert_eq!(dump["string"], [b"a"]);
    assert_eq!(dump["hash"], [&b"field"[..], b"b"]);
    assert_eq!(dump["list"], [b"c", b"d"]);
    assert_eq!(dump["set"], [b"e"]);
    assert_eq!(dump["zset"], [b"f", b"1"]);
    let ttl = server.ttl("string").expect("a time to live");
    assert!((50..=60).contains(&ttl.as_secs()), "{ttl:?}");
    assert_eq!(server.ttl("hash"), None);
    assert_eq!(server.ttl("missing"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_counts_what_others_ask() {
    let server = RedisServer::start().await;
    assert!(server.command_counts().is_empty());
    assert_eq!(server.connections_received(), 0);

    server.command(&["SET", "key", "value"]);
    server.command(&["CONFIG", "GET", "port"]);
    for _ in 0..3 {
        get(&server.url(), "key");
    }
    let mut counts = server.command_counts();
    // What a client says of itself.
    counts.retain(|name, _| !name.starts_with("client") && name != "hello");
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("get".to_owned(), 3)]
    );
    assert_eq!(server.connections_received(), 3);

    server.reset_counts();
    assert!(server.command_counts().is_empty());
    assert_eq!(server.connections_received(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_gone_when_it_is_dropped() {
    let server = RedisServer::builder().tcp().start().await;
    let (pid, socket, address) = (server.pid(), server.socket(), server.address());
    assert!(is_running(pid) && socket.exists());
    drop(server);
    assert!(!is_running(pid));
    assert!(!socket.parent().expect("a directory").exists());
    let error = TcpStream::connect(address).await.expect_err("nobody");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_can_be_restarted_where_it_was() {
    let server = RedisServer::builder().tcp().start().await;
    let urls = [server.url(), server.tcp_url()];
    server.command(&["SET", "key", "value"]);
    let pid = server.pid();
    server.kill();
    assert!(!is_running(pid) && !server.is_running());
    assert!(server.try_command(&["PING"]).is_err());
    for url in &urls {
        assert!(try_get(url, "key").is_err());
    }
    server.restart().await;
    assert_ne!(server.pid(), pid);
    for url in &urls {
        assert_eq!(get(url, "key"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_server_has_its_data_after_a_restart() {
    let server = RedisServer::builder().durable().start().await;
    server.command(&["SET", "key", "value"]);
    server.restart().await;
    assert_eq!(get(&server.url(), "key").as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_paused_answers_when_it_is_resumed() {
    let server = RedisServer::builder().tcp().start().await;
    server.pause();
    let mut stream = TcpStream::connect(server.address())
        .await
        .expect("accepted");
    stream.write_all(b"PING\r\n").await.expect("taken");
    let mut answer = [0; 7];
    let read = stream.read_exact(&mut answer);
    let mut read = std::pin::pin!(read);
    assert!(timeout(Duration::from_millis(50), &mut read).await.is_err());
    server.resume();
    read.await.expect("an answer");
    assert_eq!(&answer, b"+PONG\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_asks_for_its_password_and_knows_its_users() {
    let server = RedisServer::builder()
        .tcp()
        .password("secret")
        .user("reader", "other", "~* +get")
        .start()
        .await;
    server.command(&["SET", "key", "value"]);
    for url in [
        server.url(),
        server.tcp_url(),
        server.url_for("reader", "other"),
    ] {
        assert_eq!(get(&url, "key").as_deref(), Some("value"), "{url}");
    }
    let without = format!("redis+unix://{}", server.socket().display());
    let error = try_get(&without, "key").expect_err("no password");
    assert!(error.to_string().contains("uthentication"), "{error}");
    assert!(try_get(&server.url_for("reader", "wrong"), "key").is_err());
    assert!(!server.command_counts().contains_key("set"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_speaks_tls_with_those_who_trust_its_authority() {
    let server = RedisServer::builder()
        .tls()
        .password("secret")
        .start()
        .await;
    server.command(&["SET", "key", "value"]);
    let root_cert = std::fs::read(server.ca_pem()).expect("a certificate");
    let tls = |root_cert| TlsCertificates {
        client_tls: None,
        root_cert: Some(root_cert),
    };
    let mut connection = Client::build_with_tls(server.tls_url(), tls(root_cert))
        .and_then(|client| client.get_connection())
        .expect("a connection");
    assert!(connection.check_connection());

    let other = RedisServer::builder().tls().start().await;
    let other = std::fs::read(other.ca_pem()).expect("a certificate");
    let untrusting = Client::build_with_tls(server.tls_url(), tls(other))
        .and_then(|client| client.get_connection());
    assert!(untrusting.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_servers_are_side_by_side() {
    let servers: Vec<_> = (0..8)
        .map(|_| tokio::spawn(RedisServer::builder().tcp().start()))
        .collect();
    for server in servers {
        let server = server.await.expect("a server");
        assert!(try_get(&server.tcp_url(), "key").is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_and_goes() {
    let start = Instant::now();
    let cluster = RedisCluster::start(3, 1).await;
    eprintln!("a cluster took {:?}", start.elapsed());
    assert_eq!(cluster.nodes().len(), 6);
    assert_eq!(cluster.url().matches(':').count(), 7);
    assert_eq!(cluster.slot_of("foo"), 12182);
    let primary = cluster.primary_of("foo");
    primary.command(&["SET", "foo", "bar"]);
    assert_eq!(primary.query::<u64>(&["WAIT", "1", "5000"]), 1);
    let replicas = cluster.replicas_of(primary);
    assert_eq!(replicas.len(), 1);
    assert_eq!(replicas[0].keys(), ["foo"]);
    assert_eq!(code(primary, &["GET", "bar"]), Some(ServerErrorKind::Moved));
    let pids: Vec<u32> = cluster.nodes().iter().map(RedisServer::pid).collect();
    drop(cluster);
    assert!(!pids.into_iter().any(is_running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_fails_over_and_takes_the_old_primary_back() {
    let cluster = RedisCluster::start(3, 1).await;
    let old = cluster.primary_of("foo");
    old.command(&["SET", "foo", "bar"]);
    old.command(&["WAIT", "1", "5000"]);
    let start = Instant::now();
    let new = cluster.fail_over("foo").await;
    eprintln!("a failover took {:?}", start.elapsed());
    assert_ne!(new.address(), old.address());
    assert!(!old.is_running());
    assert_eq!(new.query::<String>(&["GET", "foo"]), "bar");
    assert_eq!(cluster.url().matches(':').count(), 6);

    old.restart().await;
    cluster.settles().await;
    assert_eq!(cluster.replicas_of(new)[0].address(), old.address());
    assert_eq!(old.keys(), ["foo"]);

    let start = Instant::now();
    assert_eq!(cluster.hand_over("foo").await.address(), old.address());
    eprintln!("a handover took {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_a_slot() {
    let cluster = RedisCluster::start(2, 0).await;
    let slot = cluster.slot_of("{foo}1");
    let from = cluster.primary_of("{foo}1");
    let to = cluster.primary_of("bar");
    assert_ne!(from.address(), to.address());
    from.command(&["SET", "{foo}1", "value"]);

    cluster.begin_to_move(slot, to);
    assert_eq!(from.query::<String>(&["GET", "{foo}1"]), "value");
    assert_eq!(code(from, &["GET", "{foo}2"]), Some(ServerErrorKind::Ask));
    assert_eq!(code(to, &["GET", "{foo}2"]), Some(ServerErrorKind::Moved));
    cluster.move_keys(slot, to);
    assert_eq!(code(from, &["GET", "{foo}1"]), Some(ServerErrorKind::Ask));
    cluster.finish_move(slot, to).await;
    assert_eq!(code(from, &["GET", "{foo}1"]), Some(ServerErrorKind::Moved));
    assert_eq!(to.query::<String>(&["GET", "{foo}1"]), "value");

    cluster.move_slot(slot, from).await;
    assert_eq!(from.query::<String>(&["GET", "{foo}1"]), "value");
    assert_eq!(cluster.primary_of_slot(slot).address(), from.address());
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_find_a_new_primary() {
    let start = Instant::now();
    let sentinel = Sentinel::start().await;
    eprintln!("sentinels took {:?}", start.elapsed());
    assert_eq!(sentinel.sentinels().len(), 3);
    assert!(
        sentinel
            .url()
            .ends_with(&format!("/{}", sentinel.master_name()))
    );
    let first = sentinel.primary();
    assert_eq!(first.address(), sentinel.servers()[0].address());
    first.command(&["SET", "key", "value"]);
    first.command(&["WAIT", "1", "5000"]);

    let start = Instant::now();
    let second = sentinel.hand_over().await;
    eprintln!("a handover took {:?}", start.elapsed());
    assert_ne!(second.address(), first.address());
    assert_eq!(second.query::<String>(&["GET", "key"]), "value");
    let pids: Vec<u32> = (sentinel.sentinels().iter().chain(sentinel.servers()))
        .map(RedisServer::pid)
        .collect();
    drop(sentinel);
    assert!(!pids.into_iter().any(is_running));
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_find_that_a_primary_is_gone() {
    let sentinel = Sentinel::start().await;
    let first = sentinel.primary();
    let start = Instant::now();
    let second = sentinel.fail_over().await;
    eprintln!("a failover took {:?}", start.elapsed());
    assert!(!first.is_running());
    assert_eq!(second.info("role"), "master");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_counts_what_passes() {
    let (server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    assert_eq!(
        ask(&mut stream, "PING", 7).await.expect("an answer"),
        "+PONG\r\n"
    );
    let traffic = wire.traffic();
    assert_eq!(traffic.connections, 1);
    assert_eq!((traffic.to_server.bytes, traffic.to_server.packets), (6, 1));
    assert_eq!((traffic.to_client.bytes, traffic.to_client.packets), (7, 1));
    wire.reset_traffic();
    assert_eq!(wire.traffic().to_server.bytes, 0);

    server.command(&["SET", "key", "value"]);
    let url = server.tcp_url_through(wire.address());
    assert_eq!(get(&url, "key").as_deref(), Some("value"));
    assert_eq!(wire.traffic().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_passes_large_replies_whole() {
    let (server, wire) = wired().await;
    let value = "x".repeat(3 << 20);
    server.command(&["SET", "key", &value]);
    let url = server.tcp_url_through(wire.address());
    assert_eq!(get(&url, "key"), Some(value));
    assert!(wire.traffic().to_client.bytes > 3 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_breaks_in_the_middle_of_a_reply() {
    let (_server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    wire.cut_after(3);
    stream.write_all(b"PING\r\n").await.expect("taken");
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).await.expect_err("broken");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(answer.is_empty() || answer == b"+PO");
    assert_eq!(wire.traffic().to_client.bytes, 3);
    // Once.
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_resets_connections() {
    let (_server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
    wire.reset();
    let error = stream.read_u8().await.expect_err("reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_takes_its_time_in_each_direction() {
    let (_server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    wire.delay(Duration::from_millis(100), Duration::from_millis(150));
    let start = Instant::now();
    // Both are on their way at the same time.
    stream.write_all(b"PING\r\n").await.expect("taken");
    assert!(ask(&mut stream, "PING", 14).await.is_ok());
    assert!(start.elapsed() >= Duration::from_millis(250));
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_lets_no_more_pass_than_its_limit() {
    let (server, wire) = wired().await;
    server.command(&["SET", "key", &"x".repeat(10_000)]);
    wire.limit(50_000);
    let start = Instant::now();
    let url = server.tcp_url_through(wire.address());
    let value = get(&url, "key").expect("a value");
    assert_eq!(value.len(), 10_000);
    assert!(
        start.elapsed() >= Duration::from_millis(190),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_is_partitioned_holds_everything_back() {
    let (_server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    wire.partition();
    let brief = Duration::from_millis(50);
    let mut answer = Box::pin(ask(&mut stream, "PING", 7));
    assert!(timeout(brief, &mut answer).await.is_err());
    let mut other = connect(wire.address()).await;
    assert!(timeout(brief, ask(&mut other, "PING", 7)).await.is_err());
    wire.heal().await;
    assert_eq!(answer.await.expect("an answer"), "+PONG\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_refuses_connections_and_keeps_those_that_are_there() {
    let (_server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
    wire.refuse().await;
    let error = TcpStream::connect(wire.address())
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
    wire.heal().await;
    let mut other = connect(wire.address()).await;
    assert!(ask(&mut other, "PING", 7).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wire_ends_where_the_server_ends() {
    let (server, wire) = wired().await;
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
    server.kill();
    let end = timeout(Duration::from_secs(5), stream.read_u8()).await;
    assert!(end.expect("it ends at once").is_err());
    server.restart().await;
    let mut stream = connect(wire.address()).await;
    assert!(ask(&mut stream, "PING", 7).await.is_ok());
    let address = wire.address();
    drop(wire);
    let gone = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(Duration::from_secs(5), gone)
        .await
        .expect("it is gone");
}

async fn wired() -> (RedisServer, Wire) {
    let server = RedisServer::builder().tcp().start().await;
    let wire = Wire::to(server.address()).await;
    (server, wire)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("accepted")
}

async fn ask(stream: &mut TcpStream, command: &str, length: usize) -> io::Result<String> {
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .await?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn get(url: &str, key: &str) -> Option<String> {
    try_get(url, key).expect("an answer")
}

fn try_get(url: &str, key: &str) -> redis::RedisResult<Option<String>> {
    let mut connection = Client::open(url)?.get_connection()?;
    redis::cmd("GET").arg(key).query(&mut connection)
}

fn code(server: &RedisServer, command: &[&str]) -> Option<ServerErrorKind> {
    match server.try_command(command).expect_err("not here").kind() {
        ErrorKind::Server(kind) => Some(kind),
        _ => None,
    }
}

/// Whether there is such a process that is not only waited for.
fn is_running(pid: u32) -> bool {
    let status = std::process::Command::new("ps")
        .args(["-o", "state=", "-p", &pid.to_string()])
        .output()
        .expect("ps");
    let state = String::from_utf8_lossy(&status.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
