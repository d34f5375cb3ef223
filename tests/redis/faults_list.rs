//! What can go wrong with a Redis server, and on the way to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_redis::RedisBackend;
use kit::redis::{RedisCluster, RedisServer, Sentinel, Wire};
use redis::{Client, Connection, Value, cmd};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::faults_load::{Load, Random};

/// A fault that is injected while requests are made, and healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Killed,
    Hung,
    OutOfMemory,
    Evicting,
    HalfEntries,
    Demoted,
    Loading,
    WrongPassword,
    ResetInReplies,
    SlowLink,
    SlowerThanBudget,
    Partition,
    DeadConnections,
    ForeignBytes,
    ClockSkew,
    ScriptFlush,
    ClientKill,
    FlushAll,
    ClusterFailover,
    SentinelFailover,
}

/// The servers of a fault.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Site {
    Server(RedisServer),
    WithReplica {
        server: RedisServer,
        replica: RedisServer,
    },
    Wired {
        wire: Wire,
        server: RedisServer,
    },
    Through {
        way: Way,
        _server: RedisServer,
    },
    Cluster(RedisCluster),
    Sentinel(Sentinel),
}

impl Fault {
    pub(crate) const ALL: [Self; 21] = [
        Self::Nothing,
        Self::Killed,
        Self::Hung,
        Self::OutOfMemory,
        Self::Evicting,
        Self::HalfEntries,
        Self::Demoted,
        Self::Loading,
        Self::WrongPassword,
        Self::ResetInReplies,
        Self::SlowLink,
        Self::SlowerThanBudget,
        Self::Partition,
        Self::DeadConnections,
        Self::ForeignBytes,
        Self::ClockSkew,
        Self::ScriptFlush,
        Self::ClientKill,
        Self::FlushAll,
        Self::ClusterFailover,
        Self::SentinelFailover,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Killed => "kill -9, restart (empty)",
            Self::Hung => "hung (SIGSTOP)",
            Self::OutOfMemory => "maxmemory, noeviction",
            Self::Evicting => "maxmemory, allkeys-lru",
            Self::HalfEntries => "random keys deleted",
            Self::Demoted => "replica promoted: READONLY",
            Self::Loading => "kill -9, restart: LOADING",
            Self::WrongPassword => "wrong password",
            Self::ResetInReplies => "resets in mid-reply",
            Self::SlowLink => "slow link (10 ms, 4 MB/s)",
            Self::SlowerThanBudget => "slower link (40 ms)",
            Self::Partition => "partition without RST",
            Self::DeadConnections => "connections die unnoticed",
            Self::ForeignBytes => "foreign bytes at our keys",
            Self::ClockSkew => "clocks 30 s apart",
            Self::ScriptFlush => "SCRIPT FLUSH",
            Self::ClientKill => "CLIENT KILL",
            Self::FlushAll => "FLUSHALL",
            Self::ClusterFailover => "cluster failover",
            Self::SentinelFailover => "Sentinel failover",
        }
    }

    /// Servers that can be broken so.
    pub(crate) async fn site(self) -> Site {
        let tcp = || RedisServer::builder().tcp();
        match self {
            Self::ResetInReplies | Self::SlowLink | Self::SlowerThanBudget | Self::Partition => {
                let server = tcp().start().await;
                let wire = Wire::to(server.address()).await;
                Site::Wired { wire, server }
            }
            Self::DeadConnections => {
                let server = tcp().start().await;
                let way = Way::to(server.address()).await;
                Site::Through {
                    way,
                    _server: server,
                }
            }
            Self::Demoted => {
                let at_once = || tcp().config("repl-diskless-sync-delay", "0");
                let server = at_once().start().await;
                let port = server.address().port();
                let replica = at_once().config("replicaof", &format!("127.0.0.1 {port}"));
                let replica = replica.start().await;
                is_so("the replica is in sync", || {
                    replica.info("master_link_status") == "up"
                })
                .await;
                Site::WithReplica { server, replica }
            }
            Self::Loading => {
                // It takes some time for each key.
                let server = tcp().durable().config("key-load-delay", "50").start().await;
                server.command(&["CONFIG", "SET", "appendfsync", "no"]);
                let fill =
                    "for n = 1, tonumber(ARGV[1]) do redis.call('SET', 'other:' .. n, n) end";
                server.command(&["EVAL", fill, "0", "15000"]);
                Site::Server(server)
            }
            Self::WrongPassword => Site::Server(tcp().password("right").start().await),
            Self::ClusterFailover => Site::Cluster(RedisCluster::start(3, 1).await),
            Self::SentinelFailover => Site::Sentinel(Sentinel::start().await),
            _ => Site::Server(tcp().start().await),
        }
    }

    /// For as many caches as the fault takes.
    pub(crate) fn backends(self, site: &Site) -> Vec<RedisBackend> {
        let url = match site {
            Site::Server(server) | Site::WithReplica { server, .. } => server.tcp_url(),
            Site::Wired { wire, server } => server.tcp_url_through(wire.address()),
            Site::Through { way, .. } => way.url(),
            Site::Cluster(cluster) => cluster.url(),
            Site::Sentinel(sentinel) => sentinel.url(),
        };
        let caches = if self == Self::ClockSkew { 3 } else { 1 };
        (0..caches)
            .map(|_| RedisBackend::connect_lazy(&url).expect("a URL"))
            .collect()
    }

    /// Breaks it, at least for as long as `hold` takes, and heals it.
    pub(crate) async fn inject(self, site: &Site, load: &Load, hold: impl Future<Output = ()>) {
        match site {
            Site::Server(server) => self.inject_into(server, load, hold).await,
            Site::WithReplica { server, replica } => {
                let port = |server: &RedisServer| server.address().port().to_string();
                replica.command(&["REPLICAOF", "NO", "ONE"]);
                server.command(&["REPLICAOF", "127.0.0.1", &port(replica)]);
                hold.await;
                server.command(&["REPLICAOF", "NO", "ONE"]);
                replica.command(&["REPLICAOF", "127.0.0.1", &port(server)]);
            }
            Site::Wired { wire, .. } => {
                match self {
                    Self::ResetInReplies => {
                        let mut random = Random::new(1);
                        let cut = || wire.cut_after(1 + random.next() % 200_000);
                        again_and_again(hold, Duration::from_millis(50), cut).await;
                    }
                    Self::SlowLink => {
                        let delay = Duration::from_millis(10);
                        wire.delay(delay, delay);
                        wire.limit(4_000_000);
                        hold.await;
                    }
                    Self::SlowerThanBudget => {
                        let delay = Duration::from_millis(40);
                        wire.delay(delay, delay);
                        hold.await;
                    }
                    _ => {
                        wire.partition();
                        hold.await;
                    }
                }
                wire.heal().await;
            }
            Site::Through { way, .. } => {
                way.forget_connections();
                hold.await;
            }
            Site::Cluster(cluster) => {
                cluster.fail_over("any").await;
                hold.await;
                for node in cluster.nodes().iter().filter(|node| !node.is_running()) {
                    node.restart().await;
                }
            }
            Site::Sentinel(sentinel) => {
                sentinel.fail_over().await;
                hold.await;
                let servers = sentinel.servers();
                for server in servers.iter().filter(|server| !server.is_running()) {
                    server.restart().await;
                }
            }
        }
    }

    async fn inject_into(self, server: &RedisServer, load: &Load, hold: impl Future<Output = ()>) {
        let set = |name: &str, value: &str| {
            server.command(&["CONFIG", "SET", name, value]);
        };
        let often = Duration::from_millis(5);
        match self {
            Self::Killed => {
                server.kill();
                hold.await;
                server.restart().await;
            }
            Self::Loading => {
                server.restart().await;
                set("appendfsync", "no");
                hold.await;
            }
            Self::Hung => {
                server.pause();
                hold.await;
                server.resume();
            }
            Self::OutOfMemory => {
                set("maxmemory", "1");
                hold.await;
                set("maxmemory", "0");
            }
            Self::Evicting => {
                let used: u64 = server.info("used_memory").parse().expect("a number");
                set("maxmemory-policy", "allkeys-lru");
                set("maxmemory", &(used * 6 / 10).to_string());
                hold.await;
                set("maxmemory", "0");
            }
            Self::HalfEntries => {
                let delete = || {
                    if let Ok(Value::BulkString(key)) = server.try_command(&["RANDOMKEY"]) {
                        server.command(&["DEL", &String::from_utf8_lossy(&key)]);
                    }
                };
                again_and_again(hold, often, delete).await;
            }
            Self::ForeignBytes => {
                let client = Client::open(server.url()).expect("a URL");
                let mut connection = client.get_connection().expect("a connection");
                let mut random = Random::new(2);
                let write = || write_foreign_bytes(&mut connection, &mut random);
                again_and_again(hold, often, write).await;
            }
            Self::WrongPassword => {
                set("requirepass", "wrong");
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                hold.await;
                set("requirepass", "right");
            }
            Self::ClockSkew => {
                load.shift_clock(1, 30);
                load.shift_clock(2, -30);
                hold.await;
                load.shift_clock(1, 0);
                load.shift_clock(2, 0);
            }
            Self::ScriptFlush => {
                let flush = || {
                    server.command(&["SCRIPT", "FLUSH"]);
                };
                again_and_again(hold, often, flush).await;
            }
            Self::ClientKill => {
                let kill = || {
                    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                };
                again_and_again(hold, Duration::from_millis(200), kill).await;
            }
            Self::FlushAll => {
                let flush = || {
                    server.command(&["FLUSHALL"]);
                };
                again_and_again(hold, Duration::from_millis(500), flush).await;
            }
            _ => hold.await,
        }
    }
}

async fn is_so(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "not so: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn again_and_again(hold: impl Future<Output = ()>, period: Duration, mut act: impl FnMut()) {
    let mut hold = pin!(hold);
    let mut ticks = interval(period);
    loop {
        tokio::select! {
            biased;
            () = &mut hold => return,
            _ = ticks.tick() => act(),
        }
    }
}

/// What another application, or a bug, could do to a key.
fn write_foreign_bytes(connection: &mut Connection, random: &mut Random) {
    let mut ask = |command: &redis::Cmd| -> Value {
        // It may be of another type by now.
        command.query(connection).unwrap_or(Value::Nil)
    };
    let (Value::BulkString(key), Value::BulkString(other)) =
        (ask(&cmd("RANDOMKEY")), ask(&cmd("RANDOMKEY")))
    else {
        return;
    };
    let bytes: Vec<u8> = (0..random.below(300))
        .map(|_| random.next() as u8)
        .collect();
    let length = match ask(cmd("STRLEN").arg(&key)) {
        Value::Int(length) => usize::try_from(length).unwrap_or_default(),
        _ => 0,
    };
    let place = random.below(length.max(1));
    match random.below(11) {
        0 => ask(cmd("SET").arg(&key).arg(&bytes).arg("KEEPTTL")),
        1 => ask(cmd("SETRANGE").arg(&key).arg(place).arg(&bytes)),
        2 => ask(cmd("SETRANGE").arg(&key).arg(random.below(80)).arg("x")),
        3 => ask(cmd("APPEND").arg(&key).arg(&bytes)),
        4 => {
            let beginning = match ask(cmd("GETRANGE").arg(&key).arg(0).arg(place)) {
                Value::BulkString(beginning) => beginning,
                _ => Vec::new(),
            };
            ask(cmd("SET").arg(&key).arg(beginning).arg("KEEPTTL"))
        }
        5 => {
            ask(cmd("DEL").arg(&key));
            ask(cmd("RPUSH").arg(&key).arg(&bytes))
        }
        6 => {
            ask(cmd("DEL").arg(&key));
            ask(cmd("HSET").arg(&key).arg("field").arg(&bytes))
        }
        7 => ask(cmd("HSET").arg(&key).arg(random.below(4)).arg(&bytes)),
        8 => ask(cmd("HDEL").arg(&key).arg(random.below(4))),
        // What is right at another key.
        _ => ask(cmd("COPY").arg(&other).arg(&key).arg("REPLACE")),
    };
}

/// A way to a server that can forget its connections, as a router does: nobody is told, what is sent
/// on them gets nowhere, and new ones are made as before.
#[derive(Debug)]
pub(crate) struct Way {
    address: SocketAddr,
    forgotten: Arc<watch::Sender<u64>>,
    _connections: JoinSet<()>,
}

impl Way {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let forgotten = Arc::new(watch::Sender::new(0));
        let mut connections = JoinSet::new();
        connections.spawn(pass_on(listener, server, forgotten.clone()));
        Self {
            address,
            forgotten,
            _connections: connections,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn forget_connections(&self) {
        self.forgotten.send_modify(|times| *times += 1);
    }
}

async fn pass_on(listener: TcpListener, server: SocketAddr, forgotten: Arc<watch::Sender<u64>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        let mut forgotten = forgotten.subscribe();
        connections.spawn(async move {
            let Ok(mut server) = TcpStream::connect(server).await else {
                return;
            };
            // Otherwise small packets wait for one another.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let is_passing = tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => true,
                _ = forgotten.changed() => false,
            };
            if !is_passing {
                // Both ends stay open.
                std::future::pending::<()>().await;
            }
        });
    }
}
