//! The whole cache under a schedule, with faults and by a clock that all depend on one seed, and an oracle
//! that knows what the origin gave and nothing of how a cache works.
//!
//! Several processes (replicas) share a store; clients ask them for a few resources that change. What
//! cannot be chosen from outside, the order in which tasks run, follows from what can: every operation of
//! the store, every answer of the origin and every step of a client takes a time, or a number of turns,
//! that is drawn. So one seed is one history, and can be repeated.

mod chance;
mod client;
mod oracle;
mod origin;
mod store;
mod world;

use std::cell::Cell;
use std::fmt;
use std::panic;
use std::str::FromStr;
use std::sync::Once;
use std::time::Duration;

use cache_tower::CacheLayer;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tower_layer::Layer;

use world::World;

/// A rule that is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// The clock stands still.
    Clock,
    /// The store forgets what responses were selected by.
    Selecting,
    /// The store says that it has invalidated, and has not.
    Invalidation,
    /// Requests with different credentials are not kept apart.
    Partition,
    /// The store loses the end of bodies.
    Bodies,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Clock,
        Self::Selecting,
        Self::Invalidation,
        Self::Partition,
        Self::Bodies,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Selecting => "selecting",
            Self::Invalidation => "invalidation",
            Self::Partition => "partition",
            Self::Bodies => "bodies",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Broken {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|broken| broken.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{name:?} is no rule that can be broken; write one of {names}")
        })
    }
}

/// What became of one seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// What was seen how often.
    pub counts: Counts,
    /// A digest of all that happened, in its order.
    pub digest: u64,
}

/// What was seen how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests of clients.
    pub requests: usize,
    /// Requests that reached the origin.
    pub origin: usize,
    /// Fresh from the store.
    pub hits: usize,
    /// Stale from the store.
    pub stale: usize,
    /// From the store, validated.
    pub revalidated: usize,
    /// Given together with another request.
    pub collapsed: usize,
    /// Invalidations that the client was told of.
    pub invalidations: usize,
    /// Requests and bodies that clients gave up.
    pub given_up: usize,
    /// Bodies that ended with an error.
    pub broken_off: usize,
    /// Requests that ended with an error of the origin.
    pub failed: usize,
    /// Operations of the store that failed, hung, or lost their answer.
    pub faults: usize,
}

impl Counts {
    /// The sum of both.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.origin += other.origin;
        self.hits += other.hits;
        self.stale += other.stale;
        self.revalidated += other.revalidated;
        self.collapsed += other.collapsed;
        self.invalidations += other.invalidations;
        self.given_up += other.given_up;
        self.broken_off += other.broken_off;
        self.failed += other.failed;
        self.faults += other.faults;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests ({} hits, {} stale, {} revalidated, {} collapsed, {} failed with the origin, {} \
             given up, {} bodies broke off), {} invalidations, {} requests at the origin, {} faults of \
             the store",
            self.requests,
            self.hits,
            self.stale,
            self.revalidated,
            self.collapsed,
            self.failed,
            self.given_up,
            self.broken_off,
            self.invalidations,
            self.origin,
            self.faults
        )
    }
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, broken: Option<Broken>) -> Report {
    history(seed, broken, false)
}

/// Runs one seed, and prints what happens.
#[must_use]
pub fn tell(seed: u64, broken: Option<Broken>) -> Report {
    history(seed, broken, true)
}

fn history(seed: u64, broken: Option<Broken>, is_told: bool) -> Report {
    count_panics();
    PANICS.set(0);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let mut report = runtime.block_on(async { simulate(World::new(seed, broken, is_told)).await });
    drop(runtime);
    // A task of the cache that panics takes nobody with it, and would not be seen.
    if PANICS.get() > 0 {
        report.wrong.push("something panicked".to_owned());
    }
    report
}

async fn simulate(world: World) -> Report {
    let layers: Vec<CacheLayer> = (0..world.setting.replicas).map(|_| world.layer()).collect();
    let mut clients = Vec::new();
    for _ in 0..world.setting.clients {
        let caches = layers
            .iter()
            .map(|layer| layer.layer(origin::Origin::new(&world)))
            .collect();
        clients.push(tokio::spawn(client::run(world.clone(), caches)));
    }
    for client in clients {
        match timeout(LONG, client).await {
            Err(_) => world.wrong("a client hangs"),
            Ok(Err(_)) => world.wrong("a client panicked"),
            Ok(Ok(())) => {}
        }
    }
    for layer in layers {
        if timeout(LONG, layer.shutdown()).await.is_err() {
            world.wrong("background work does not end");
        }
        if !format!("{layer:?}").contains("Flights { running: 0,") {
            world.wrong("a flight is left");
        }
    }
    if world.setting.has_faults {
        // One whose return got lost ends by itself.
        tokio::time::sleep(store::LEASE).await;
    }
    if world.store.leases() > 0 {
        world.wrong("a lease is left");
    }
    world.report()
}

/// No history takes as long.
const LONG: Duration = Duration::from_secs(24 * 3600);

thread_local! {
    /// How often this thread panicked.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
}
