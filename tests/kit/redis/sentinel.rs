//! Sentinels, and what they watch.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{RedisServer, until};

/// A primary and a replica of a test's own, and three sentinels that watch them, of which two must
/// agree. They find within seconds that the primary is gone.
///
/// All methods panic where the servers do not do what they are asked.
#[derive(Debug)]
pub struct Sentinel {
    /// The first is the primary at the beginning.
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
    _programs: TempDir,
}

impl Sentinel {
    /// Starts all of them, and waits until they know each other and the replica is in sync.
    ///
    /// # Panics
    ///
    /// Where they do not come up.
    pub async fn start() -> Self {
        let server = || {
            RedisServer::builder()
                .tcp()
                .config("repl-diskless-sync-delay", "0")
        };
        let primary = server().start().await;
        let port = primary.address().port();
        let replica = server()
            .config("replicaof", &format!("127.0.0.1 {port}"))
            .start()
            .await;
        until("the replica is in sync", || {
            replica.info("master_link_status") == "up"
        })
        .await;

        // Called by this name, the server is a sentinel.
        let programs = tempfile::tempdir().expect("a directory for temporary files");
        let program = programs.path().join("redis-sentinel");
        symlink(primary.executable(), &program).expect("the directory can be written to");
        let mut starting = JoinSet::new();
        for _ in 0..3 {
            starting.spawn(
                RedisServer::builder()
                    .sentinel(&program)
                    .config("sentinel", &format!("monitor {NAME} 127.0.0.1 {port} 2"))
                    .config("sentinel", &format!("down-after-milliseconds {NAME} 1000"))
                    .config("sentinel", &format!("failover-timeout {NAME} 5000"))
                    .start(),
            );
        }
        let sentinel = Self {
            servers: vec![primary, replica],
            sentinels: starting.join_all().await,
            _programs: programs,
        };
        for sentinel in &sentinel.sentinels {
            // Where they cannot be made to look more often, it only takes longer.
            let _ = sentinel.try_command(&[
                "SENTINEL",
                "DEBUG",
                "INFO-PERIOD",
                "200",
                "PUBLISH-PERIOD",
                "200",
            ]);
        }
        sentinel.settles().await;
        for server in &sentinel.servers {
            server.reset_counts();
        }
        sentinel
    }

    /// The URL of the sentinels that run, with the name of the primary.
    #[must_use]
    pub fn url(&self) -> String {
        let sentinels: Vec<String> = self
            .running_sentinels()
            .map(|sentinel| sentinel.address().to_string())
            .collect();
        format!("redis-sentinel://{}/{NAME}", sentinels.join(","))
    }

    /// The name under which the sentinels know the primary.
    #[must_use]
    pub fn master_name(&self) -> &'static str {
        NAME
    }

    /// The sentinels, those that were killed included.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The two servers, those that were killed included.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The primary, as the first sentinel that runs knows it.
    #[must_use]
    pub fn primary(&self) -> &RedisServer {
        let address = primary_of(self.running_sentinels().next().expect("a sentinel"));
        let mut servers = self.servers.iter();
        let primary = servers.find(|server| server.address() == address);
        primary.expect("the sentinels know these servers only")
    }

    /// Kills the primary, and waits until all sentinels know the replica as the new one, which is
    /// returned. The one that was killed becomes a replica when it is restarted.
    pub async fn fail_over(&self) -> &RedisServer {
        let old = self.primary();
        old.kill();
        self.has_passed_on(old.address()).await
    }

    /// Has the replica take the place of the primary, and waits until all sentinels know it as the
    /// new one, which is returned. The old one becomes a replica.
    pub async fn hand_over(&self) -> &RedisServer {
        let old = self.primary();
        let sentinel = self.running_sentinels().next().expect("a sentinel");
        sentinel.command(&["SENTINEL", "FAILOVER", NAME]);
        let new = self.has_passed_on(old.address()).await;
        until("the old primary is a replica", || {
            old.info("role") == "slave"
        })
        .await;
        new
    }

    /// Waits until the sentinels that run know each other and the replica.
    pub async fn settles(&self) {
        let others = (self.running_sentinels().count() - 1).to_string();
        until("the sentinels know each other and the replica", || {
            self.running_sentinels().all(|sentinel| {
                let known: BTreeMap<String, String> = sentinel.query(&["SENTINEL", "MASTER", NAME]);
                known["num-other-sentinels"] == others
                    && known["num-slaves"] == "1"
                    && known["flags"] == "master"
            })
        })
        .await;
    }

    async fn has_passed_on(&self, old: SocketAddr) -> &RedisServer {
        until("all sentinels know the new primary", || {
            let mut sentinels = self.running_sentinels();
            sentinels.all(|sentinel| primary_of(sentinel) != old)
        })
        .await;
        let new = self.primary();
        until("the replica is the primary", || {
            new.info("role") == "master"
        })
        .await;
        new
    }

    fn running_sentinels(&self) -> impl Iterator<Item = &RedisServer> {
        self.sentinels
            .iter()
            .filter(|sentinel| sentinel.is_running())
    }
}

fn primary_of(sentinel: &RedisServer) -> SocketAddr {
    let (ip, port): (String, u16) = sentinel.query(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let ip: IpAddr = ip.parse().expect("an address");
    (ip, port).into()
}

const NAME: &str = "primary";
