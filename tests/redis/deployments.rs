//! Servers of every kind, and what changes about them while requests are made.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use cache_core::{Backend as _, Entry, Lease, Outcome, Policy, Retention};
use cache_redis::{ConnectError, RedisBackend, RedisConfig};
use cache_tower::CacheLayer;
use deadpool_redis::Runtime;
use deadpool_redis::sentinel::SentinelServerType;
use http::{Method, Request};
use kit::contract::{get, in_language, varying};
use kit::ok;
use kit::redis::{Certificates, RedisCluster, RedisServer, Sentinel};

use crate::contract::RIGHTS;
use crate::faults_front::{Front, Pages};
use crate::support::{Replica, long, read, small_bodies, until};

/// What a user of a cluster must be allowed on each of its nodes, too.
const IN_A_CLUSTER: &str = "+cluster|slots +asking";

/// What a user of a server that sentinels watch must be allowed on it, too.
const BEHIND_SENTINELS: &str = "+role";

/// What a user of the sentinels must be allowed.
const AT_SENTINELS: [&str; 2] = ["+role", "+sentinel|masters"];

const SMALL: usize = 1000;
const LARGE: usize = 300 << 10;

fn front(backend: &RedisBackend, length: usize) -> Front {
    Front::over(backend.clone(), Pages::of(length, "max-age=600"))
}

fn backend(url: &str) -> RedisBackend {
    RedisBackend::connect_lazy(url).expect("a URL")
}

fn paths() -> impl Iterator<Item = String> {
    (0..20).map(|number| format!("/{number}"))
}

/// The message with those of its causes.
fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}

/// Every operation there is, with every branch that takes a command of its own.
async fn everything(replica: &mut Replica) {
    replica.backend.ping().await.expect("an answer");
    for policy in [
        Policy::private(),
        Policy::private().retention(Retention::Forever),
    ] {
        replica.store.policy = policy;
        for body in ["small".to_owned(), long("large")] {
            let plain = ok("").max_age(60).etag("\"1\"");
            let (asking, en) = (get("/"), in_language("en"));
            assert!(replica.publish(&asking, &plain, body.clone()).await);
            let entry = replica.one(&asking).await;
            assert_eq!(read(&entry).await.expect("a body"), body.as_bytes());
            let head = replica.head(&asking, &plain);
            replica.freshen(&entry, head).await;
            // It becomes one of several.
            assert!(replica.publish(&en, &varying(""), body.clone()).await);
            let entry = selected(replica, &en).await;
            assert_eq!(read(&entry).await.expect("a body"), body.as_bytes());
            let head = replica.head(&en, &varying("").with("vary", "accept"));
            replica.freshen(&entry, head).await;
            let entry = selected(replica, &en).await;
            replica.remove(&entry).await;
            replica.invalidate(&asking).await;
        }
        assert!(
            replica
                .publish(&get("/"), &ok("").max_age(60), long("large"))
                .await
        );
        let mut listing = replica.backend.list();
        while listing.next_batch().await.expect("a batch").is_some() {}
        replica.backend.clear(|_| ()).await.expect("cleared");
    }
    let key = replica.store.key(&get("/"));
    let lease = || replica.backend.lease(&key, Duration::from_secs(60)).wait();
    for useless_for in [None, Some(Duration::from_secs(60))] {
        let Ok(Lease::Granted(token)) = lease().await else {
            panic!("no lease");
        };
        let ended = replica.backend.end_lease(&key, token, useless_for).wait();
        ended.await.expect("it ends");
    }
}

/// The response that the fields of this request selected.
async fn selected(replica: &Replica, request: &Request<()>) -> Entry {
    let found = replica.matching(request).await;
    let is_selected = |entry: &&Entry| !entry.head.selecting().is_empty();
    found.iter().find(is_selected).expect("it is found").clone()
}

fn replica(url: &str) -> Replica {
    let mut config: RedisConfig = url.parse().expect("a URL");
    config.options = small_bodies();
    Replica::of(RedisBackend::from_config(&config).expect("a configuration"))
}

/// The commands that are allowed by these rules.
fn allowed(rules: &str) -> BTreeSet<String> {
    let commands = rules.split(' ').filter_map(|rule| rule.strip_prefix('+'));
    commands.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_rights_are_needed_and_no_others() {
    let server = RedisServer::builder()
        .user("cache", "secret", RIGHTS)
        .start()
        .await;
    everything(&mut replica(&server.url_for("cache", "secret"))).await;
    let used: BTreeSet<String> = server.command_counts().into_keys().collect();
    // What everybody may do.
    let used: BTreeSet<_> = used
        .into_iter()
        .filter(|name| name != "auth" && name != "hello")
        .collect();
    assert_eq!(used, allowed(RIGHTS));
    let denied: Vec<String> = server.query(&["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_missing_is_named() {
    let rights = RIGHTS.replace(" +scan", "");
    assert_ne!(rights, RIGHTS);
    let server = RedisServer::builder()
        .user("cache", "secret", &rights)
        .start()
        .await;
    let backend = backend(&server.url_for("cache", "secret"));
    let walked = CacheLayer::new(backend).handle().stats().await;
    let error = walked.expect_err("no right to scan");
    let source = Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("'scan'"), "{source}");
}

#[test]
fn the_rights_are_documented() {
    let page = include_str!("../../docs/redis.md");
    let words: Vec<_> = page.split_whitespace().collect();
    let page = words.join(" ");
    let at_sentinels = AT_SENTINELS.join(" ");
    for rights in [RIGHTS, IN_A_CLUSTER, BEHIND_SENTINELS, &at_sentinels] {
        assert!(page.contains(rights), "{rights}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_two_rights_more_are_needed() {
    let cluster = RedisCluster::start(3, 0).await;
    for node in cluster.nodes() {
        allow(node, IN_A_CLUSTER);
    }
    let url = cluster.url().replace("://", "://cache:secret@");
    everything(&mut replica(&url)).await;
    let used: BTreeSet<String> = cluster
        .nodes()
        .iter()
        .flat_map(|node| node.command_counts().into_keys())
        .collect();
    assert!(used.contains("cluster|slots"), "{used:?}");
    for node in cluster.nodes() {
        let denied: redis::Value = node.command(&["ACL", "LOG"]);
        assert_eq!(denied, redis::Value::Array(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_one_right_more_is_needed_and_two_at_them() {
    let sentinel = Sentinel::start().await;
    for server in sentinel.servers() {
        allow(server, BEHIND_SENTINELS);
    }
    for sentinel in sentinel.sentinels() {
        let user = ["ACL", "SETUSER", "watcher", "on", ">other"];
        sentinel.command(&[&user[..], &AT_SENTINELS].concat());
    }
    let url = sentinel.url().replace("://", "://cache:secret@");
    let mut config: RedisConfig = url.parse().expect("a URL");
    config.sentinel_username = Some("watcher".to_owned());
    config.sentinel_password = Some("other".into());
    config.options = small_bodies();
    let backend = RedisBackend::from_config(&config).expect("a configuration");
    everything(&mut Replica::of(backend)).await;
    let used = sentinel.primary().command_counts();
    assert!(used.contains_key("role"), "{used:?}");
    for server in sentinel.sentinels().iter().chain([sentinel.primary()]) {
        let denied: redis::Value = server.command(&["ACL", "LOG"]);
        assert_eq!(denied, redis::Value::Array(Vec::new()));
    }
}

/// Lets the user do what is needed, and this.
fn allow(server: &RedisServer, more: &str) {
    let words = ["ACL", "SETUSER", "cache", "on", ">secret"];
    let rules = RIGHTS.split(' ').chain(more.split(' '));
    server.command(&words.into_iter().chain(rules).collect::<Vec<_>>());
}

/// A slot, the node that has it, and another.
async fn with_a_response(
    cluster: &RedisCluster,
    front: &Front,
) -> (String, u16, SocketAddr, SocketAddr) {
    front.hits("/").await;
    let is_primary = |key: &String| key.ends_with('}');
    let keys = cluster.nodes().iter().flat_map(RedisServer::keys);
    let key = keys
        .into_iter()
        .find(is_primary)
        .expect("a stored response");
    let slot = cluster.slot_of(&key);
    let from = cluster.primary_of_slot(slot).address();
    let others = cluster.nodes().iter().map(RedisServer::address);
    let to = others.into_iter().find(|other| *other != from);
    (key, slot, from, to.expect("another node"))
}

fn at(cluster: &RedisCluster, address: SocketAddr) -> &RedisServer {
    let mut nodes = cluster.nodes().iter();
    let node = nodes.find(|node| node.address() == address);
    node.expect("it is one of the nodes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_was_moved_is_followed() {
    let cluster = RedisCluster::start(3, 0).await;
    for length in [SMALL, LARGE] {
        let front = front(&backend(&cluster.url()), length);
        let (_, slot, _, to) = with_a_response(&cluster, &front).await;
        let to = at(&cluster, to);
        cluster.move_slot(slot, to).await;
        front.hits("/").await;
        front.send(Method::PUT, "/").await;
        assert_eq!(front.get("/").await.version, Ok(1));
        front.hits("/").await;
        assert_eq!(front.get("/").await.version, Ok(1));
        for node in cluster.nodes() {
            node.command(&["FLUSHALL"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_being_moved_is_followed() {
    let cluster = RedisCluster::start(3, 0).await;
    for length in [SMALL, LARGE] {
        let front = front(&backend(&cluster.url()), length);
        let (key, slot, from, to) = with_a_response(&cluster, &front).await;
        let (from, to) = (at(&cluster, from), at(&cluster, to));
        cluster.begin_to_move(slot, to);
        front.hits("/").await;
        // Only the head; what else there is stays where it was.
        let (ip, port) = (
            to.address().ip().to_string(),
            to.address().port().to_string(),
        );
        from.command(&["MIGRATE", &ip, &port, &key, "0", "10000"]);
        for _ in 0..10 {
            assert_eq!(front.get("/").await.version, Ok(0));
        }
        front.send(Method::PUT, "/").await;
        for _ in 0..10 {
            assert_eq!(front.get("/").await.version, Ok(1));
            front.clock.advance(Duration::from_millis(300));
        }
        cluster.move_keys(slot, to);
        cluster.finish_move(slot, to).await;
        front.hits("/").await;
        assert_eq!(front.get("/").await.version, Ok(1));
        for node in cluster.nodes() {
            node.command(&["FLUSHALL"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_primary_fails_is_followed() {
    let cluster = RedisCluster::start(3, 1).await;
    let backend = RedisBackend::connect(&cluster.url())
        .await
        .expect("it answers");
    let (small, large) = (front(&backend, SMALL), front(&backend, LARGE));
    let all_hit = async || {
        for path in paths() {
            small.hits(&path).await;
            large.hits(&format!("/large{path}")).await;
        }
    };
    all_hit().await;
    cluster.hand_over("any").await;
    all_hit().await;
    cluster.fail_over("any").await;
    all_hit().await;
    for node in cluster.nodes().iter().filter(|node| !node.is_running()) {
        node.restart().await;
    }
    // It may be loading what it replicates.
    until("all nodes answer", || {
        let mut nodes = cluster.nodes().iter();
        nodes.all(|node| node.try_command(&["CLUSTER", "NODES"]).is_ok())
    })
    .await;
    cluster.settles().await;
    all_hit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_followed() {
    let sentinel = Sentinel::start().await;
    let backend = RedisBackend::connect(&sentinel.url()).await;
    let front = front(&backend.expect("it answers"), LARGE);
    for path in paths() {
        front.hits(&path).await;
    }
    let old = sentinel.primary().address();
    let new = sentinel.hand_over().await;
    for path in paths() {
        front.hits(&path).await;
        front.send(Method::PUT, &path).await;
        front.hits(&path).await;
    }
    assert!(new.address() != old && !new.keys().is_empty());
    let old = sentinel.primary().address();
    sentinel.settles().await;
    assert_ne!(sentinel.fail_over().await.address(), old);
    for path in paths() {
        front.hits(&path).await;
    }
}

/// Two of three know what to do, and one is enough to be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_is_gone_is_not_missed() {
    let sentinel = Sentinel::start().await;
    let backend = RedisBackend::connect(&sentinel.url())
        .await
        .expect("it answers");
    let front = front(&backend, SMALL);
    front.hits("/").await;
    sentinel.sentinels()[0].kill();
    sentinel
        .primary()
        .command(&["CLIENT", "KILL", "TYPE", "normal"]);
    front.hits("/").await;
    front.hits("/other").await;
}

async fn survives(pool: impl Into<cache_redis::Pool>, servers: &[RedisServer]) {
    let backend = RedisBackend::new(pool);
    let (small, large) = (front(&backend, SMALL), front(&backend, LARGE));
    for path in paths() {
        small.hits(&path).await;
        large.hits(&format!("/large{path}")).await;
    }
    for server in servers {
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    for path in paths() {
        small.hits(&path).await;
        large.hits(&format!("/large{path}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_connections_to_a_server_can_be_used() {
    let server = RedisServer::builder().tcp().start().await;
    let config = deadpool_redis::Config::from_url(server.tcp_url());
    let pool = config.create_pool(Some(Runtime::Tokio1)).expect("a pool");
    survives(pool.clone(), &[server]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_connections_to_a_cluster_can_be_used() {
    let cluster = RedisCluster::start(3, 0).await;
    let nodes = cluster.nodes().iter().map(RedisServer::tcp_url);
    let config = deadpool_redis::cluster::Config::from_urls(nodes.collect::<Vec<_>>());
    let pool = config.create_pool(Some(Runtime::Tokio1)).expect("a pool");
    survives(pool, cluster.nodes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_connections_to_what_sentinels_name_can_be_used() {
    let sentinel = Sentinel::start().await;
    let sentinels = sentinel.sentinels().iter().map(RedisServer::tcp_url);
    let config = deadpool_redis::sentinel::Config::from_urls(
        sentinels.collect::<Vec<_>>(),
        sentinel.master_name().to_owned(),
        SentinelServerType::Master,
    );
    let pool = config.create_pool(Some(Runtime::Tokio1)).expect("a pool");
    survives(pool, &[]).await;
}

/// What `connect` says of it; and where nobody waits for a connection, each request is a miss.
async fn is_refused(url: &str) -> String {
    let error = match RedisBackend::connect(url).await {
        Err(error @ ConnectError::NoAnswer(_)) => error,
        other => panic!("{url}: {other:?}"),
    };
    let front = front(&backend(url), SMALL);
    for path in paths() {
        let seen = front.get(&path).await;
        assert_eq!((seen.outcome, seen.version), (Outcome::Miss, Ok(0)));
    }
    told(&error)
}

#[track_caller]
fn assert_says(told: &str, what: &str) {
    assert!(told.contains(what), "{told:?} does not say {what:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_refused() {
    let server = RedisServer::builder().tls().start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let others = Certificates::write_to(directory.path());
    let other = others.authority().display();
    let url = format!("{}?ca_file={other}", server.tls_url());
    assert_says(&is_refused(&url).await, "certificate");
    // By what the system trusts.
    assert_says(&is_refused(&server.tls_url()).await, "certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_a_server_that_asks_for_it_does_not_answer() {
    let server = RedisServer::builder().tls().start().await;
    let url = server.tls_url().replace("rediss://", "redis://");
    is_refused(&url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused() {
    let server = RedisServer::builder().tcp().password("right").start().await;
    let with = |password: &str| server.tcp_url().replace(":right@", password);
    assert_says(
        &is_refused(&with(":wrong@")).await,
        "Password authentication failed",
    );
    assert_says(
        &is_refused(&with("nobody:right@")).await,
        "Password authentication failed",
    );
    assert_says(&is_refused(&with("")).await, "NOAUTH");
    front(&backend(&with(":right@")), SMALL).hits("/").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_there_is_refused() {
    let server = RedisServer::builder().tcp().start().await;
    let url = format!("{}/99", server.tcp_url());
    assert_says(&is_refused(&url).await, "DB index is out of range");
    front(&backend(&format!("{}/9", server.tcp_url())), SMALL)
        .hits("/")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_do_what_is_needed_is_told() {
    let rules = RIGHTS.replace(" +evalsha", "").replace(" +eval", "");
    let server = RedisServer::builder()
        .user("cache", "secret", &rules)
        .start()
        .await;
    let replica = replica(&server.url_for("cache", "secret"));
    let head = replica.head(&get("/"), &ok("").max_age(60));
    let published = replica.backend.writer(head).publish(None).wait().await;
    let error = published.expect_err("it may not");
    assert_says(&told(&error), "no permissions");
}

/// All primaries are walked through, whichever has what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_listed_and_cleared_while_a_slot_is_being_moved() {
    let cluster = RedisCluster::start(3, 0).await;
    let backend = RedisBackend::connect(&cluster.url())
        .await
        .expect("it answers");
    let front = front(&backend, SMALL);
    for path in paths() {
        front.hits(&path).await;
    }
    let (key, slot, from, to) = with_a_response(&cluster, &front).await;
    let (from, to) = (at(&cluster, from), at(&cluster, to));
    cluster.begin_to_move(slot, to);
    let (ip, port) = (
        to.address().ip().to_string(),
        to.address().port().to_string(),
    );
    from.command(&["MIGRATE", &ip, &port, &key, "0", "10000"]);
    let mut listing = backend.list();
    let mut listed = 0;
    while let Some(batch) = listing.next_batch().await.expect("a batch") {
        listed += batch.len();
    }
    assert_eq!(listed, 21);
    let progress = backend.clear(|_| ()).await.expect("cleared");
    let left: Vec<_> = cluster.nodes().iter().flat_map(RedisServer::keys).collect();
    assert!(left.is_empty(), "{left:?} of {progress:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_which_a_part_is_gone_is_not_listed_as_if_that_were_all() {
    let cluster = RedisCluster::start(3, 0).await;
    let backend = RedisBackend::connect(&cluster.url())
        .await
        .expect("it answers");
    let front = front(&backend, SMALL);
    for path in paths() {
        front.hits(&path).await;
    }
    cluster.nodes()[1].kill();
    let mut listing = backend.list();
    let failed = loop {
        match listing.next_batch().await {
            Ok(Some(_)) => {}
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(failed, "a part is missing, and nobody is told");
    assert!(backend.clear(|_| ()).await.is_err());
    let seen = front.get("/0").await;
    assert_eq!(seen.version, Ok(0));
}
