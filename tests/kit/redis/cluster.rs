//! A cluster.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::{RedisServer, until};

/// A Redis Cluster of a test's own, on the loopback interface. Its nodes find within seconds that
/// one of them is gone.
///
/// All methods panic where the cluster does not do what it is asked.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// A node, as a node sees it.
struct Seen {
    port: u16,
    flags: Vec<String>,
    primary: String,
    is_connected: bool,
    slots: Vec<(u16, u16)>,
}

impl RedisCluster {
    /// So many primaries, among which the slots are divided, and so many replicas of each. Waits
    /// until all nodes agree and the replicas are in sync.
    ///
    /// # Panics
    ///
    /// Where it does not come up.
    pub async fn start(primaries: usize, replicas_each: usize) -> Self {
        let count = primaries * (1 + replicas_each);
        let mut starting = JoinSet::new();
        for _ in 0..count {
            starting.spawn(
                RedisServer::builder()
                    .cluster_node()
                    .config("cluster-node-timeout", "1000")
                    .config("cluster-replica-validity-factor", "0")
                    .config("cluster-allow-replica-migration", "no")
                    .config("repl-diskless-sync-delay", "0")
                    .start(),
            );
        }
        let cluster = Self {
            nodes: starting.join_all().await,
        };
        cluster.divide_slots(primaries);
        cluster.meet();
        until("all nodes know each other", || {
            cluster.nodes.iter().all(|node| {
                let seen = look(node);
                seen.len() == count && seen.iter().all(Seen::is_known)
            })
        })
        .await;
        for (number, replica) in cluster.nodes.iter().skip(primaries).enumerate() {
            let primary: String = cluster.nodes[number % primaries].query(&["CLUSTER", "MYID"]);
            replica.command(&["CLUSTER", "REPLICATE", &primary]);
        }
        cluster.settles().await;
        for node in &cluster.nodes {
            node.reset_counts();
        }
        cluster
    }

    /// The URL of the cluster, which names all nodes that run.
    #[must_use]
    pub fn url(&self) -> String {
        let mut url = "redis-cluster://".to_owned();
        for (number, node) in self.running().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(url, "{comma}{}", node.address()).expect("a string can be written to");
        }
        url
    }

    /// All nodes, those that were killed included.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot_of(&self, key: &str) -> u16 {
        self.any().query(&["CLUSTER", "KEYSLOT", key])
    }

    /// The primary that has a key's slot.
    #[must_use]
    pub fn primary_of(&self, key: &str) -> &RedisServer {
        self.primary_of_slot(self.slot_of(key))
    }

    /// The primary that has a slot.
    #[must_use]
    pub fn primary_of_slot(&self, slot: u16) -> &RedisServer {
        let seen = look(self.any());
        let owner = seen.iter().find(|node| node.has(slot));
        self.at(owner.expect("all slots are served").port)
    }

    /// The replicas of a primary that run.
    #[must_use]
    pub fn replicas_of(&self, primary: &RedisServer) -> Vec<&RedisServer> {
        let id: String = primary.query(&["CLUSTER", "MYID"]);
        let seen = look(self.any());
        let replicas = seen.iter().filter(|node| node.primary == id);
        replicas
            .map(|node| self.at(node.port))
            .filter(|node| node.is_running())
            .collect()
    }

    /// Kills the primary that has a key, and waits until all other nodes know its replica as the
    /// new one, which is returned.
    pub async fn fail_over(&self, key: &str) -> &RedisServer {
        let slot = self.slot_of(key);
        let old = self.primary_of_slot(slot);
        assert!(!self.replicas_of(old).is_empty(), "there is no replica");
        old.kill();
        self.has_passed_on(slot, old.address()).await
    }

    /// Has a replica of the primary that has a key take its place, without a loss, and waits until
    /// all nodes know it as the new one, which is returned. The old one becomes a replica.
    pub async fn hand_over(&self, key: &str) -> &RedisServer {
        let slot = self.slot_of(key);
        let old = self.primary_of_slot(slot);
        let replicas = self.replicas_of(old);
        let replica = replicas.first().expect("a replica");
        replica.command(&["CLUSTER", "FAILOVER"]);
        self.has_passed_on(slot, old.address()).await
    }

    /// Moves a slot with its keys to another primary: from then on the old one answers `MOVED`.
    pub async fn move_slot(&self, slot: u16, to: &RedisServer) {
        self.begin_to_move(slot, to);
        self.move_keys(slot, to);
        self.finish_move(slot, to).await;
    }

    /// Begins to move a slot to another primary: until it is [finished](Self::finish_move), the old
    /// one answers `ASK` for keys that it does not have.
    pub fn begin_to_move(&self, slot: u16, to: &RedisServer) {
        let from = self.primary_of_slot(slot);
        let slot = slot.to_string();
        let (from_id, to_id): (String, String) = (
            from.query(&["CLUSTER", "MYID"]),
            to.query(&["CLUSTER", "MYID"]),
        );
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    }

    /// Moves the keys of a slot that is being moved.
    pub fn move_keys(&self, slot: u16, to: &RedisServer) {
        let from = self.primary_of_slot(slot);
        let address = to.address();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let keys: Vec<String> =
            from.query(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1000000"]);
        for key in keys {
            from.command(&["MIGRATE", &ip, &port, &key, "0", "10000"]);
        }
    }

    /// Finishes to move a slot, which has no keys left, and waits until all nodes know.
    pub async fn finish_move(&self, slot: u16, to: &RedisServer) {
        let id: String = to.query(&["CLUSTER", "MYID"]);
        let from = self.primary_of_slot(slot);
        for node in [to, from] {
            node.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
        }
        let port = to.address().port();
        until("all nodes know where the slot is", || {
            self.running().all(|node| {
                let seen = look(node);
                seen.iter().any(|node| node.has(slot) && node.port == port)
            })
        })
        .await;
    }

    /// Waits until all nodes that run agree that all is well, and all replicas are in sync.
    pub async fn settles(&self) {
        until("the cluster is well, and replicas are in sync", || {
            self.running().all(|node| {
                let seen = look(node);
                let mut running = seen.iter().filter(|other| self.at(other.port).is_running());
                is_well(node)
                    && is_in_sync(node)
                    && running.all(|other| other.is_known() && other.has_part())
            })
        })
        .await;
    }

    fn divide_slots(&self, primaries: usize) {
        for (number, node) in self.nodes.iter().enumerate() {
            let epoch = (number + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            if number < primaries {
                let first = (SLOTS * number / primaries).to_string();
                let last = (SLOTS * (number + 1) / primaries - 1).to_string();
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
        }
    }

    /// Introduces all to all, which is quicker than gossip.
    fn meet(&self) {
        for (number, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[number + 1..] {
                let port = other.address().port().to_string();
                let bus_port = other.bus_port().to_string();
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]);
            }
        }
    }

    async fn has_passed_on(&self, slot: u16, old: SocketAddr) -> &RedisServer {
        until("all nodes know the new primary", || {
            self.running().all(|node| {
                let seen = look(node);
                let mut owners = seen.iter().filter(|node| node.has(slot));
                owners.any(|node| node.port != old.port()) && is_well(node)
            })
        })
        .await;
        self.settles().await;
        self.primary_of_slot(slot)
    }

    fn running(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    fn any(&self) -> &RedisServer {
        self.running().next().expect("a node that runs")
    }

    fn at(&self, port: u16) -> &RedisServer {
        let mut nodes = self.nodes.iter();
        let node = nodes.find(|node| node.address().port() == port);
        node.expect("it is a node of this cluster")
    }
}

impl Seen {
    /// From a line of `CLUSTER NODES`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let address = words.nth(1)?.split(['@', ',']).next()?;
        let port = address.rsplit(':').next()?.parse().ok()?;
        let flags = words.next()?.split(',').map(str::to_owned).collect();
        let primary = words.next()?.to_owned();
        let is_connected = words.nth(3)? == "connected";
        let slots = words
            .filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                // A slot that is being moved is in brackets, after the ranges.
                Some((first.parse().ok()?, last.parse().ok()?))
            })
            .collect();
        Some(Self {
            port,
            flags,
            primary,
            is_connected,
            slots,
        })
    }

    fn has(&self, slot: u16) -> bool {
        !self.flags.iter().any(|flag| flag == "fail")
            && self
                .slots
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&slot))
    }

    /// One that comes back is nothing, before it is a replica.
    fn has_part(&self) -> bool {
        !self.slots.is_empty() || self.primary != "-"
    }

    fn is_known(&self) -> bool {
        let unknown = ["handshake", "noaddr", "fail", "fail?"];
        self.is_connected
            && !self
                .flags
                .iter()
                .any(|flag| unknown.contains(&flag.as_str()))
    }
}

fn look(node: &RedisServer) -> Vec<Seen> {
    let nodes: String = node.query(&["CLUSTER", "NODES"]);
    nodes.lines().filter_map(Seen::parse).collect()
}

fn is_well(node: &RedisServer) -> bool {
    let info: String = node.query(&["CLUSTER", "INFO"]);
    info.lines().any(|line| line == "cluster_state:ok")
}

/// Whether it is connected to its primary, or all of its replicas to it.
fn is_in_sync(node: &RedisServer) -> bool {
    if node.info("role") == "slave" {
        return node.info("master_link_status") == "up";
    }
    let id: String = node.query(&["CLUSTER", "MYID"]);
    let replicas = look(node)
        .iter()
        .filter(|other| other.primary == id && other.is_known())
        .count();
    let online = (0..replicas).filter_map(|number| node.find_info(&format!("slave{number}")));
    online
        .filter(|replica| replica.contains("state=online"))
        .count()
        == replicas
}

const SLOTS: usize = 16384;
