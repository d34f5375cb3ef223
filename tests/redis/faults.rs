//! What is promised whatever happens to the server: no response is wrong, no request fails, none
//! takes long, and hits come back by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cache_core::{
    Answer, Backend, BackendError, BodyWriter, Candidates, Entry, Outcome, PrimaryKey, Query,
    StoredHead,
};
use cache_redis::{Options, RedisBackend, RedisConfig};
use cache_tower::CacheLayer;
use http::Method;
use kit::redis::RedisServer;
use kit::{FaultyBackend, Log, Operation};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::faults_front::{Front, LIMIT, Pages};
use crate::faults_list::{Fault, Way};
use crate::faults_load::{Load, recovery, share_of_hits};
use crate::support::until;

async fn nobody_notices(fault: Fault) {
    let site = fault.site().await;
    let load = Load::start(fault.backends(&site), 8);
    let usual = Instant::now();
    let has_hits = load
        .until(LIMIT, |records| {
            let last = records.len().saturating_sub(100);
            records.len() > 500 && share_of_hits(records[last..].iter()) > 0.5
        })
        .await;
    assert!(has_hits, "there are no hits without a fault");
    let broken = Instant::now();
    let before = load.records().len();
    let hold = async {
        let goes_on = load.until(LIMIT, |records| records.len() > before + 400);
        assert!(goes_on.await, "requests do not end");
    };
    fault.inject(&site, &load, hold).await;
    let healed = Instant::now();
    let is_back = |records: &[_]| recovery(records, usual, broken, healed).is_some();
    let is_back = load.until(LIMIT, is_back).await;
    let connections = load.connections();
    for record in load.stop().await {
        let about = format!("{} ({} bytes)", record.about, record.size);
        assert_eq!(record.problem, None, "{about}");
        assert!(
            record.head < LONGEST_TO_THE_HEAD,
            "{about}: {:?}",
            record.head
        );
        assert!(record.whole < LONGEST, "{about}: {:?}", record.whole);
    }
    assert!(is_back, "hits do not come back: {}", fault.name());
    assert!(
        connections < 100,
        "{connections} connections: {}",
        fault.name()
    );
}

macro_rules! nobody_notices {
    ($($name:ident: $fault:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                nobody_notices(Fault::$fault).await;
            }
        )*

        #[test]
        fn every_fault_is_tested() {
            assert_eq!([$(Fault::$fault),*], Fault::ALL);
        }
    };
}

nobody_notices! {
    nobody_notices_anything_without_a_fault: Nothing
    nobody_notices_that_the_server_is_killed_and_restarted: Killed
    nobody_notices_that_the_server_hangs: Hung
    nobody_notices_that_the_server_has_no_memory_left: OutOfMemory
    nobody_notices_that_keys_are_evicted: Evicting
    nobody_notices_that_half_of_an_entry_is_gone: HalfEntries
    nobody_notices_that_the_server_has_become_a_replica: Demoted
    nobody_notices_that_the_server_is_loading: Loading
    nobody_notices_that_the_password_is_wrong: WrongPassword
    nobody_notices_that_connections_are_reset_in_the_middle_of_a_reply: ResetInReplies
    nobody_notices_that_the_link_is_slow: SlowLink
    nobody_notices_that_the_link_is_slower_than_the_budget: SlowerThanBudget
    nobody_notices_that_the_server_cannot_be_reached: Partition
    nobody_notices_that_connections_die_unnoticed: DeadConnections
    nobody_notices_that_others_write_to_our_keys: ForeignBytes
    nobody_notices_that_clocks_differ: ClockSkew
    nobody_notices_that_scripts_are_forgotten: ScriptFlush
    nobody_notices_that_connections_are_closed: ClientKill
    nobody_notices_that_everything_is_removed: FlushAll
    nobody_notices_that_a_cluster_fails_over: ClusterFailover
    nobody_notices_that_sentinels_fail_over: SentinelFailover
}

const LARGE: usize = 300 << 10;

/// Deletes the bodies that do not stand behind their heads.
fn lose_bodies(server: &RedisServer) {
    let keys = server.keys();
    let bodies: Vec<_> = keys.iter().filter(|key| key.contains("}:b:")).collect();
    assert!(!bodies.is_empty(), "there are none: {keys:?}");
    for body in bodies {
        server.command(&["DEL", body]);
    }
}

async fn a_lost_body_goes_on(cache_control: &'static str, wait: u64, outcome: Outcome) {
    let server = RedisServer::start().await;
    let backend = RedisBackend::connect(&server.url())
        .await
        .expect("it answers");
    let front = Front::over(backend, Pages::of(LARGE, cache_control));
    front.hits("/").await;
    front.clock.advance(Duration::from_secs(wait));
    let response = front.send(Method::GET, "/").await;
    lose_bodies(&server);
    let seen = front.read("/", response).await;
    assert_eq!(seen.outcome, outcome);
    assert_eq!(seen.version, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_lost_behind_a_fresh_head_comes_from_the_origin() {
    a_lost_body_goes_on("max-age=600", 0, Outcome::Hit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_lost_behind_a_validated_head_comes_from_the_origin() {
    a_lost_body_goes_on("max-age=600", 700, Outcome::Revalidated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_lost_behind_a_stale_head_comes_from_the_origin() {
    let cache_control = "max-age=600, stale-while-revalidate=600";
    a_lost_body_goes_on(cache_control, 700, Outcome::StaleHit).await;
}

/// A backend of which a lookup can be held back after the store has answered it.
#[derive(Debug, Clone)]
struct Gate<B> {
    inner: B,
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GateState {
    Open,
    /// The next lookup is held back.
    Closing,
    /// It is held back, and the others are not.
    Closed,
}

impl<B> Gate<B> {
    async fn is(&self, wanted: GateState) {
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| *state == wanted).await;
        drop(state.expect("the sender is in here"));
    }
}

impl<B: Backend> Backend for Gate<B> {
    fn lookup<'a>(
        &'a self,
        query: Query<'a>,
        now: SystemTime,
    ) -> Answer<'a, Result<Candidates, BackendError>> {
        Answer::later(async move {
            let found = self.inner.lookup(query, now).wait().await;
            let is_held = self.state.send_if_modified(|state| {
                let is_closing = *state == GateState::Closing;
                if is_closing {
                    *state = GateState::Closed;
                }
                is_closing
            });
            if is_held {
                self.is(GateState::Open).await;
            }
            found
        })
    }

    fn writer(&self, head: StoredHead) -> Box<dyn BodyWriter> {
        self.inner.writer(head)
    }

    fn freshen<'a>(
        &'a self,
        entry: &'a Entry,
        head: Arc<StoredHead>,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.inner.freshen(entry, head, now)
    }

    fn remove<'a>(&'a self, entry: &'a Entry) -> Answer<'a, Result<(), BackendError>> {
        self.inner.remove(entry)
    }

    fn invalidate<'a>(
        &'a self,
        key: &'a PrimaryKey,
        now: SystemTime,
    ) -> Answer<'a, Result<(), BackendError>> {
        self.inner.invalidate(key, now)
    }
}

/// A change that the store could not be told of is remembered as long as anything from before it
/// may still be on its way from the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_looked_up_before_an_invalidation_was_made_up_for_is_not_served() {
    let server = RedisServer::start().await;
    let redis = RedisBackend::connect(&server.url())
        .await
        .expect("it answers");
    let faulty = FaultyBackend::new(redis);
    let gate = Gate {
        inner: faulty.clone(),
        state: Arc::new(watch::Sender::new(GateState::Open)),
    };
    let layer = CacheLayer::new(gate.clone()).backend_budget(LIMIT);
    let front = Front::of(layer, Pages::of(100, "max-age=600"));
    front.hits("/").await;
    front.hits("/other").await;
    front.clock.advance(Duration::from_secs(1));
    faulty.fail(Operation::Invalidate);
    front.send(Method::PUT, "/").await;
    faulty.heal();

    gate.state.send_replace(GateState::Closing);
    let late = tokio::spawn({
        let front = front.clone();
        async move { front.get("/").await }
    });
    gate.is(GateState::Closed).await;
    // Now that the store answers, it is told.
    front.get("/other").await;
    front.layer.shutdown().await;
    let keys = server.keys();
    assert!(keys.iter().any(|key| key.ends_with("}:t")), "{keys:?}");
    gate.state.send_replace(GateState::Open);
    let seen = late.await.expect("an answer");
    assert_eq!(seen.version, Ok(1));
}

/// Requests give up a silent connection sooner than it can be told that it is dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_dies_unnoticed_while_the_store_rests_is_replaced() {
    let server = RedisServer::builder().tcp().start().await;
    let way = Way::to(server.address()).await;
    let mut config: RedisConfig = way.url().parse().expect("a URL");
    config.options = Options {
        response_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    let backend = RedisBackend::from_config(&config).expect("a configuration");
    let front = Front::over(backend.clone(), Pages::of(100, "max-age=600"));
    front.hits("/").await;
    way.forget_connections();
    // As many as it takes until the store is left alone; it is for as long as the clock stands.
    for _ in 0..6 {
        let seen = front.get("/").await;
        assert_eq!(seen.version, Ok(0));
    }
    let before = backend.connections();
    // What was to be stored meanwhile shows that it is dead.
    until("there is a new connection", || {
        backend.connections() > before
    })
    .await;
    way.forget_connections();
    front.hits("/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_to_write_is_not_connected_to_for_each_write() {
    let primary = RedisServer::builder().tcp().start().await;
    let port = primary.address().port().to_string();
    let server = RedisServer::start().await;
    let backend = RedisBackend::connect(&server.url())
        .await
        .expect("it answers");
    let front = Front::over(backend.clone(), Pages::of(100, "max-age=600"));
    front.hits("/").await;
    server.command(&["REPLICAOF", "127.0.0.1", &port]);
    let before = backend.connections();
    for number in 0..100 {
        let path = format!("/{number}");
        assert_eq!(front.get(&path).await.version, Ok(0));
    }
    let made = backend.connections() - before;
    assert!(made < 10, "{made} connections for 100 writes");
    server.command(&["REPLICAOF", "NO", "ONE"]);
    front.hits("/").await;
}

/// A full server can still be told to remove something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_invalidated_while_there_is_no_memory_left_is_gone_for_all() {
    let server = RedisServer::start().await;
    let origin = Pages::of(100, "max-age=600");
    let replica = || {
        let backend = RedisBackend::connect_lazy(&server.url());
        Front::over(backend.expect("a URL"), origin.clone())
    };
    let (one, other) = (replica(), replica());
    one.hits("/").await;
    other.hits("/").await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    one.send(Method::PUT, "/").await;
    let seen = other.get("/").await;
    assert_eq!(seen.version, Ok(1));
}

#[tokio::test]
async fn an_outage_is_a_line_at_its_beginning_and_one_at_its_end() {
    let log = Log::new();
    let server = RedisServer::start().await;
    let backend = RedisBackend::connect(&server.url())
        .await
        .expect("it answers");
    let layer = CacheLayer::new(backend).backend_budget(LIMIT);
    let front = Front::of(layer, Pages::of(100, "max-age=600"));
    front.hits("/").await;
    assert_eq!(log.take(), [""; 0]);

    server.kill();
    for number in 0..100 {
        let path = format!("/{number}");
        assert_eq!(front.get(&path).await.version, Ok(0));
        front.clock.advance(Duration::from_millis(100));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(changes(&log.take()), ["WARN Reading", "WARN Writing"]);

    server.restart().await;
    front.hits("/").await;
    // Not before it has lasted.
    front.clock.advance(Duration::from_secs(5));
    for number in 0..100 {
        front.hits(&format!("/{number}")).await;
    }
    front.layer.shutdown().await;
    let lines = log.take();
    assert_eq!(
        changes(&lines),
        ["INFO Reading", "INFO Writing"],
        "{lines:#?}"
    );
}

/// Level and operation of each line, in the order of the alphabet.
fn changes(lines: &[String]) -> Vec<String> {
    let change = |line: &String| {
        let level = line.split(' ').next();
        let doing = line.split("doing=").nth(1);
        format!("{} {}", level.unwrap_or(line), doing.unwrap_or(line))
    };
    let mut changes: Vec<_> = lines.iter().map(change).collect();
    changes.sort();
    changes
}

/// How long a request may take on a machine that has other things to do: fifty milliseconds of it are
/// the store's.
const LONGEST_TO_THE_HEAD: Duration = Duration::from_secs(4);

/// The same until its end: the reading of a stored body is given up after two seconds, and then it is
/// asked for.
const LONGEST: Duration = Duration::from_secs(8);
