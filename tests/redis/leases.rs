//! Leases: who of all processes asks the origin.

use std::time::Duration;

use cache_core::{Backend, Lease, Token};
use http::Request;
use kit::contract::get;
use kit::ok;
use kit::redis::{RedisServer, Wire};

use crate::support::{Replica, Site, assert_same, small_bodies, until};

const LONG: Duration = Duration::from_secs(60);

async fn lease(replica: &Replica, request: &Request<()>, time: Duration) -> Lease {
    let key = replica.store.key(request);
    let lease = replica.backend.lease(&key, time).wait().await;
    lease.expect("an answer")
}

async fn end(replica: &Replica, request: &Request<()>, token: Token, useless: Option<Duration>) {
    let key = replica.store.key(request);
    let ended = replica.backend.end_lease(&key, token, useless).wait().await;
    ended.expect("ended, or nothing done");
}

#[track_caller]
fn granted(lease: Lease) -> Token {
    match lease {
        Lease::Granted(token) => token,
        other => panic!("it is not granted: {other:?}"),
    }
}

fn key(site: &Site) -> String {
    format!("{}:l", site.primary(&get("/")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_all_processes_has_a_lease_until_it_gives_it_back() {
    let site = Site::start().await;
    let other = site.other();
    let token = granted(lease(&site, &get("/"), LONG).await);
    for replica in [&*site, &other] {
        assert_eq!(lease(replica, &get("/"), LONG).await, Lease::Taken);
    }
    granted(lease(&other, &get("/other"), LONG).await);
    end(&site, &get("/"), token, None).await;
    let next = granted(lease(&other, &get("/"), LONG).await);
    assert_ne!(next, token);
    // Whoever had it before has nothing to give back.
    end(&site, &get("/"), token, None).await;
    end(&site, &get("/"), token, Some(LONG)).await;
    assert_eq!(lease(&site, &get("/"), LONG).await, Lease::Taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_over_after_its_time() {
    let site = Site::start().await;
    let other = site.other();
    let token = granted(lease(&site, &get("/"), Duration::from_secs(7)).await);
    let left = site.pttl(&key(&site));
    assert!((1..=7000).contains(&left), "{left}");
    // Whoever asks meanwhile does not make it longer.
    assert_eq!(lease(&other, &get("/"), LONG).await, Lease::Taken);
    assert!(site.pttl(&key(&site)) <= 7000);
    end(&site, &get("/"), token, None).await;

    granted(lease(&site, &get("/"), Duration::from_micros(1)).await);
    until("it is over", || site.server.keys().is_empty()).await;
    granted(lease(&other, &get("/"), LONG).await);
    site.all_expire();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_no_use_to_others_keeps_nobody_waiting() {
    let site = Site::start().await;
    let other = site.other();
    let token = granted(lease(&site, &get("/"), LONG).await);
    end(&site, &get("/"), token, Some(Duration::from_secs(9))).await;
    for replica in [&*site, &other] {
        assert_eq!(lease(replica, &get("/"), LONG).await, Lease::Useless);
    }
    let left = site.pttl(&key(&site));
    assert!((1..=9000).contains(&left), "{left}");
    // It says nothing of another resource, nor of what is stored.
    granted(lease(&site, &get("/other"), LONG).await);
    assert!(site.publish(&get("/"), &ok("").max_age(60), "one").await);
    assert_eq!(other.bodies(&get("/")).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_nothing_that_is_stored() {
    let site = Site::start().await;
    granted(lease(&site, &get("/"), LONG).await);
    assert!(!site.is_found(&get("/")).await);
    let mut listing = site.backend.list();
    while let Some(batch) = listing.next_batch().await.expect("a batch") {
        assert!(batch.is_empty());
    }
    site.invalidate(&get("/")).await;
    assert_eq!(lease(&site, &get("/"), LONG).await, Lease::Taken);
    site.backend.clear(|_| ()).await.expect("cleared");
    granted(lease(&site, &get("/"), LONG).await);
    assert_eq!(site.backend.undecodable(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_ask_at_once_one_has_it() {
    let site = std::sync::Arc::new(Site::start().await);
    for round in 0..20 {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move {
                    let other = site.other();
                    lease(&other, &get(&format!("/{round}")), LONG).await
                })
            })
            .collect();
        let mut holders = 0;
        for asking in asking {
            match asking.await.expect("nobody panicked") {
                Lease::Granted(_) => holders += 1,
                other => assert_eq!(other, Lease::Taken),
            }
        }
        assert_eq!(holders, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_one_packet_there_and_so_is_its_end() {
    let server = RedisServer::builder().tcp().start().await;
    let wire = Wire::to(server.address()).await;
    let url = server.tcp_url_through(wire.address());
    let replica = Replica::at(&url, small_bodies());
    let token = granted(lease(&replica, &get("/warm"), LONG).await);
    end(&replica, &get("/warm"), token, None).await;

    for useless in [None, Some(LONG)] {
        wire.reset_traffic();
        let token = granted(lease(&replica, &get("/"), LONG).await);
        assert_eq!(wire.traffic().to_server.packets, 1);
        wire.reset_traffic();
        end(&replica, &get("/"), token, useless).await;
        assert_eq!(wire.traffic().to_server.packets, 1);
    }
}

/// Nobody waits for a lease that nobody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_at_the_key_of_a_lease_and_is_none_keeps_nobody_waiting() {
    for command in [
        ["RPUSH", "KEY", "one"].as_slice(),
        &["HSET", "KEY", "one", "1"],
        &["SADD", "KEY", "one"],
        &["ZADD", "KEY", "1", "one"],
        &["SET", "KEY", ""],
        &["SET", "KEY", "theirs"],
        &["SET", "KEY", "12345"],
    ] {
        let site = Site::start().await;
        let name = key(&site);
        let command: Vec<&str> = command
            .iter()
            .map(|word| if *word == "KEY" { &name } else { *word })
            .collect();
        site.server.command(&command);
        let asked = site.store.key(&get("/"));
        let found = site.backend.lease(&asked, LONG).wait().await;
        let found = found.unwrap_or_else(|error| panic!("{command:?}: {error:?}"));
        assert_ne!(found, Lease::Taken, "{command:?}: nobody has it");
        end(&site, &get("/"), Token(1), None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_lease_that_was_lost_is_no_error() {
    let site = Site::start().await;
    for meanwhile in [
        ["DEL", "KEY"].as_slice(),
        &["SET", "KEY", "theirs"],
        &["FLUSHALL"],
    ] {
        let token = granted(lease(&site, &get("/"), LONG).await);
        let name = key(&site);
        let command: Vec<&str> = meanwhile
            .iter()
            .map(|word| if *word == "KEY" { &name } else { *word })
            .collect();
        site.server.command(&command);
        let before = site.server.dump();
        end(&site, &get("/"), token, Some(LONG)).await;
        assert_same(&site.server.dump(), &before, "ended");
        let _: String = site.server.query(&["FLUSHALL"]);
    }
    // Of another type, too.
    let token = granted(lease(&site, &get("/"), LONG).await);
    let name = key(&site);
    let _: u64 = site.server.query(&["DEL", &name]);
    let _: u64 = site.server.query(&["RPUSH", &name, "theirs"]);
    end(&site, &get("/"), token, None).await;
}
