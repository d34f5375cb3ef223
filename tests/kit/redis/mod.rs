//! Redis servers of a test's own: one, a cluster, one that sentinels watch, and a wire to them that
//! can be slow, or break.
//!
//! They are real servers, started by [`EmbeddedRedis`](cache_redis::EmbeddedRedis) on the loopback
//! interface, and end with their test. Where one does not start, the test fails; none is left out
//! because there is no Redis.

mod cluster;
pub use cluster::RedisCluster;

mod sentinel;
pub use sentinel::Sentinel;

mod standalone;
pub use standalone::{RedisServer, RedisServerBuilder};

mod tls;
pub use tls::Certificates;

mod wire;
pub use wire::{Flow, Traffic, Wire};

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Waits until something is so, in real time.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    // Held together, so that they differ.
    let listeners: [TcpListener; N] = std::array::from_fn(|_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface")
    });
    listeners.map(|listener| listener.local_addr().expect("a bound socket").port())
}

const PATIENCE: Duration = Duration::from_secs(30);
