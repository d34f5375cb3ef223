//! Connections from wherever they come: a pool of the application's, another protocol, another
//! database.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cache_core::Policy;
use cache_redis::{Options, RedisBackend, RedisConfig};
use deadpool_redis::{Pool, Runtime};
use kit::contract::{get, in_language, varying};
use kit::ok;
use kit::redis::{RedisCluster, RedisServer};
use redis::AsyncCommands as _;

use crate::support::{Replica, long, noise, patient, read, small_bodies, until};

fn pool(server: &RedisServer, size: usize) -> Pool {
    let config = deadpool_redis::Config::from_url(server.url());
    let builder = config.builder().expect("a URL");
    let pool = builder.max_size(size).runtime(Runtime::Tokio1).build();
    pool.expect("a pool")
}

/// All that can be done, done once.
async fn everything_works(replica: &Replica) {
    let (en, plain) = (in_language("en"), get("/plain"));
    let answer = ok("").max_age(60).etag("\"1\"");
    for body in ["small".to_owned(), long("large"), String::new()] {
        assert!(replica.publish(&en, &varying(""), body.clone()).await);
        assert!(replica.publish(&plain, &answer, body.clone()).await);
        for asking in [&en, &plain] {
            for _ in 0..2 {
                let entry = replica.one(asking).await;
                assert_eq!(read(&entry).await.expect("a body"), body.as_bytes());
            }
        }
        replica.wait(1);
        let entry = replica.one(&plain).await;
        replica.freshen(&entry, replica.head(&plain, &answer)).await;
        let freshened = replica.one(&plain).await;
        assert_eq!(freshened.head.received_at(), replica.store.now());
        replica.remove(&freshened).await;
        assert!(!replica.is_found(&plain).await);
        replica.invalidate(&en).await;
        assert!(!replica.is_found(&en).await);
        replica.wait(1);
    }
    assert!(replica.publish(&plain, &answer, noise(500_000, 1)).await);
    let entry = replica.one(&plain).await;
    assert!(read(&entry).await.expect("a body") == noise(500_000, 1));
    let mut listing = replica.backend.list();
    let mut listed = 0;
    while let Some(batch) = listing.next_batch().await.expect("a batch") {
        listed += batch.len();
    }
    assert!(listed > 0);
    replica.backend.clear(|_| ()).await.expect("cleared");
    assert!(!replica.is_found(&plain).await);
    assert_eq!(replica.backend.undecodable(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_two_is_its_owners_still() {
    let server = RedisServer::start().await;
    let pool = pool(&server, 2);
    let replica = Replica::of(RedisBackend::with_options(pool.clone(), small_bodies()));
    for round in 0..3 {
        everything_works(&replica).await;
        // Both at once, as its size says.
        let mut one = pool.get().await.expect("a connection");
        let mut other = pool.get().await.expect("another connection");
        let _: () = one.set("theirs", round).await.expect("set");
        let found: i64 = other.get("theirs").await.expect("got");
        assert_eq!(found, round);
        // While its owner has all of them, the backend goes on.
        everything_works(&replica).await;
    }
    assert_eq!(replica.backend.connections(), 2);
    assert!(pool.status().max_size == 2 && pool.status().size <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_can_be_handed_to_several_backends() {
    let server = RedisServer::start().await;
    let pool = pool(&server, 2);
    let replicas: Vec<Replica> = (0..4)
        .map(|number| {
            let options = Options {
                namespace: format!("n{number}").parse().expect("a namespace"),
                ..small_bodies()
            };
            Replica::of(RedisBackend::with_options(pool.clone(), options))
        })
        .collect();
    for replica in &replicas {
        everything_works(replica).await;
    }
    let mut connection = pool.get().await.expect("a connection");
    let answer: String = redis::cmd("PING")
        .query_async(&mut connection)
        .await
        .expect("an answer");
    assert_eq!(answer, "PONG");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_whose_connections_are_all_taken_is_no_connection_and_soon_one_again() {
    let server = RedisServer::start().await;
    let pool = pool(&server, 1);
    let taken = pool.get().await.expect("a connection");
    let options = Options {
        connect_timeout: Duration::from_millis(50),
        ..patient()
    };
    let replica = Replica::of(RedisBackend::with_options(pool.clone(), options));
    assert!(replica.backend.ping().await.is_err());
    drop(taken);
    let start = Instant::now();
    while replica.backend.ping().await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "no connection");
        tokio::task::yield_now().await;
    }
    everything_works(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_over_every_kind_of_connection() {
    let server = RedisServer::builder().tcp().tls().start().await;
    let ca = server.ca_pem().display().to_string();
    let tls = format!("{}?ca_file={ca}", server.tls_url());
    for url in [server.url(), server.tcp_url(), tls] {
        for resp3 in [false, true] {
            for lanes in [1, 3] {
                let mut config: RedisConfig = url.parse().expect("a URL");
                config.resp3 = resp3;
                config.options = Options {
                    lanes,
                    ..small_bodies()
                };
                let backend = RedisBackend::from_config(&config).expect("a backend");
                everything_works(&Replica::of(backend)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_with_resp3_in_a_cluster() {
    let cluster = RedisCluster::start(3, 0).await;
    for resp3 in [false, true] {
        let url = format!("{}?resp3={resp3}", cluster.url());
        let mut config: RedisConfig = url.parse().expect("a URL");
        config.options = small_bodies();
        let backend = RedisBackend::from_config(&config).expect("a backend");
        everything_works(&Replica::of(backend)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resp3_is_spoken_where_it_is_asked_for() {
    let server = RedisServer::start().await;
    for (resp3, expected) in [("false", "resp=2"), ("true", "resp=3")] {
        let replica = Replica::at(&format!("{}?resp3={resp3}", server.url()), small_bodies());
        everything_works(&replica).await;
        let clients: String = server.query(&["CLIENT", "LIST"]);
        let asked_last = |command: &str| {
            clients
                .lines()
                .filter(|client| client.contains(&format!("cmd={command} ")))
                .all(|client| client.contains(expected))
        };
        assert!(asked_last("get") && asked_last("unlink"), "{clients}");
        drop(replica);
        until("its connections are closed", || {
            let clients: String = server.query(&["CLIENT", "LIST"]);
            clients.lines().count() == 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_of_one_server_are_apart() {
    let server = RedisServer::builder().tcp().start().await;
    let socket = server.url();
    let address = server.address();
    let urls = [
        socket.clone(),
        format!("{socket}?db=3"),
        format!("redis://{address}/5"),
        format!("redis://{address}?db=7"),
    ];
    for (index, url) in urls.iter().enumerate() {
        let replica = Replica::at(url, patient());
        assert!(!replica.is_found(&get("/")).await, "{url}");
        assert!(
            replica
                .publish(&get("/"), &ok("").max_age(60), index.to_string())
                .await
        );
    }
    let keyspace: String = server.query(&["INFO", "keyspace"]);
    for database in ["db0:keys=1", "db3:keys=1", "db5:keys=1", "db7:keys=1"] {
        assert!(keyspace.contains(database), "{keyspace}");
    }
    let last = Replica::at(&urls[3], patient());
    last.backend.clear(|_| ()).await.expect("cleared");
    for (index, url) in urls.iter().take(3).enumerate() {
        let replica = Replica::at(url, patient());
        assert_eq!(replica.bodies(&get("/")).await, [index.to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_a_user_are_presented() {
    let server = RedisServer::builder()
        .tcp()
        .password("secret")
        .user("cache", "hidden", "~http-cache:* +@all")
        .start()
        .await;
    let address = server.address();
    for url in [
        server.url(),
        server.tcp_url(),
        server.url_for("cache", "hidden"),
        format!("redis://cache:hidden@{address}"),
        format!("redis://cache:h%69dden@{address}"),
    ] {
        everything_works(&Replica::at(&url, small_bodies())).await;
    }
    for url in [
        format!("redis://{address}"),
        format!("redis://:wrong@{address}"),
        format!("redis://cache:secret@{address}"),
    ] {
        assert!(RedisBackend::connect(&url).await.is_err(), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_backend_are_one() {
    let server = RedisServer::start().await;
    let replica = Replica::at(&server.url(), small_bodies());
    let mut clone = Replica::of(replica.backend.clone());
    clone.store.policy = Policy::private();
    assert!(
        replica
            .publish(&in_language("en"), &varying(""), "hello")
            .await
    );
    assert_eq!(clone.bodies(&in_language("en")).await, ["hello"]);
    assert_eq!(replica.backend.connections(), 1);
    assert_eq!(clone.backend.connections(), 1);
}

/// Requests share a connection, and each gets its own answer, also where others went away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_no_reply_to_another() {
    let server = RedisServer::start().await;
    let replica = std::sync::Arc::new(Replica::at(&server.url(), small_bodies()));
    let path = |number: u64| format!("/{}", number % 50);
    let body = |number: u64| {
        let text = (number % 50).to_string();
        if number.is_multiple_of(2) {
            text
        } else {
            long(&text)
        }
    };
    for number in 0..50 {
        let asking = get(&path(number));
        assert!(
            replica
                .publish(&asking, &ok("").max_age(60), body(number))
                .await
        );
    }
    let callers: Vec<_> = (0..8_u64)
        .map(|caller| {
            let replica = replica.clone();
            tokio::spawn(async move {
                for round in 0..100 {
                    let number = caller * 31 + round * 7;
                    // Somebody who goes away after a step or two.
                    let asking = get(&path(number + 1));
                    let mut given_up = Box::pin(replica.matching(&asking));
                    for _ in 0..round % 3 {
                        let step = |cx: &mut Context<'_>| {
                            Poll::Ready(given_up.as_mut().poll(cx).is_ready())
                        };
                        if poll_fn(step).await {
                            break;
                        }
                    }
                    drop(given_up);
                    let found = replica.bodies(&get(&path(number))).await;
                    assert_eq!(found, [body(number)]);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no caller panicked");
    }
    assert_eq!(replica.backend.connections(), 2);
}
