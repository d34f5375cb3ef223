//! Where the server is, as configurations say it: what is right, what is wrong, and what is said of
//! that.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use cache_redis::{
    ConfigError, Deployment, Options, Password, RedisBackend, RedisConfig, Tls, from_url,
};
use kit::contract::get;
use kit::ok;
use kit::redis::RedisServer;
use serde_json::{Value, json};

use crate::support::Replica;

fn parse(url: &str) -> RedisConfig {
    url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn of(nodes: &[&str]) -> RedisConfig {
    RedisConfig {
        nodes: nodes.iter().map(ToString::to_string).collect(),
        ..RedisConfig::default()
    }
}

/// The message with those of its causes.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut told = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(&format!(" {error} {error:?}"));
        cause = error.source();
    }
    told
}

#[test]
fn urls_of_every_form_are_read() {
    let password = |text: &str| Some(Password::from(text));
    let user = Some("user".to_owned());
    let tls = Some(Tls::default());
    let cases = [
        ("redis://host", of(&["host"])),
        ("redis://host/", of(&["host"])),
        ("redis://host:1", of(&["host:1"])),
        ("redis://host:65535", of(&["host:65535"])),
        ("redis://[::1]:6380", of(&["[::1]:6380"])),
        ("redis://[::1]", of(&["[::1]"])),
        ("valkey://host", of(&["host"])),
        (
            "redis://host/3",
            RedisConfig {
                database: 3,
                ..of(&["host"])
            },
        ),
        (
            "redis://host?db=3",
            RedisConfig {
                database: 3,
                ..of(&["host"])
            },
        ),
        ("redis://host/?", of(&["host"])),
        (
            "redis://user:secret@host",
            RedisConfig {
                username: user.clone(),
                password: password("secret"),
                ..of(&["host"])
            },
        ),
        (
            "redis://:secret@host",
            RedisConfig {
                password: password("secret"),
                ..of(&["host"])
            },
        ),
        (
            "redis://us%3Aer:s%40c%2Fr%3Ft%25@host",
            RedisConfig {
                username: Some("us:er".to_owned()),
                password: password("s@c/r?t%"),
                ..of(&["host"])
            },
        ),
        (
            "redis://user:se:cr@et@host",
            RedisConfig {
                username: user.clone(),
                password: password("se:cr@et"),
                ..of(&["host"])
            },
        ),
        (
            "redis://host?resp3=true",
            RedisConfig {
                resp3: true,
                ..of(&["host"])
            },
        ),
        ("redis://host?resp3=false", of(&["host"])),
        (
            "rediss://host",
            RedisConfig {
                tls: tls.clone(),
                ..of(&["host"])
            },
        ),
        (
            "valkeys://host",
            RedisConfig {
                tls: tls.clone(),
                ..of(&["host"])
            },
        ),
        (
            "rediss://host?ca_file=/etc/ca%20file.pem",
            RedisConfig {
                tls: Some(Tls {
                    ca_file: Some(PathBuf::from("/etc/ca file.pem")),
                    ..Tls::default()
                }),
                ..of(&["host"])
            },
        ),
        (
            "redis+unix:///run/redis.sock",
            RedisConfig {
                unix_socket: Some("/run/redis.sock".into()),
                ..RedisConfig::default()
            },
        ),
        (
            "unix:///run/my%20redis.sock?db=2&user=user&pass=s%40cret",
            RedisConfig {
                unix_socket: Some("/run/my redis.sock".into()),
                database: 2,
                username: user.clone(),
                password: password("s@cret"),
                ..RedisConfig::default()
            },
        ),
        (
            "redis-cluster://one,two:7000,[::1]:7001",
            RedisConfig {
                deployment: Deployment::Cluster,
                ..of(&["one", "two:7000", "[::1]:7001"])
            },
        ),
        (
            "rediss-cluster://user:secret@one,two",
            RedisConfig {
                deployment: Deployment::Cluster,
                tls: tls.clone(),
                username: user,
                password: password("secret"),
                ..of(&["one", "two"])
            },
        ),
        (
            "redis-sentinel://one,two:26380/primary/4",
            RedisConfig {
                deployment: Deployment::Sentinel,
                master_name: Some("primary".to_owned()),
                database: 4,
                ..of(&["one", "two:26380"])
            },
        ),
        (
            "rediss-sentinel://one/my%20primary",
            RedisConfig {
                deployment: Deployment::Sentinel,
                master_name: Some("my primary".to_owned()),
                tls,
                ..of(&["one"])
            },
        ),
        (
            "redis://host?namespace=catalogue%3Av2",
            RedisConfig {
                options: Options {
                    namespace: "catalogue:v2".parse().expect("a namespace"),
                    ..Options::default()
                },
                ..of(&["host"])
            },
        ),
    ];
    for (url, expected) in cases {
        assert_eq!(parse(url), expected, "{url}");
        // It connects when it is used; until then nothing is wrong.
        if expected
            .tls
            .as_ref()
            .is_none_or(|tls| tls.ca_file.is_none())
        {
            RedisBackend::from_config(&expected).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }
}

#[test]
fn wrong_urls_are_errors_that_say_what_to_write() {
    let schemes = "write redis://host:port, rediss://, redis+unix:///path";
    let cases = [
        ("", schemes),
        ("host", schemes),
        ("host:6379", schemes),
        ("redis:host", schemes),
        ("http://host", schemes),
        ("REDIS://host", schemes),
        ("redis-cluster+unix:///socket", schemes),
        ("redis://", "write host:port"),
        ("redis://:6379", "write host:port"),
        ("redis:///1", "write host:port"),
        ("redis://host:", "write a number from 1 to 65535"),
        ("redis://host:port", "write a number from 1 to 65535"),
        ("redis://host:0", "write a number from 1 to 65535"),
        ("redis://host:65536", "write a number from 1 to 65535"),
        ("redis://host:-1", "write a number from 1 to 65535"),
        ("redis://host:6379:6379", "write"),
        ("redis://::1", "write"),
        ("redis://[::1", "write"),
        ("redis://[::1]6379", "write"),
        ("redis://host,other", "write one, or redis-cluster://"),
        ("redis://host/one", "write a number from 0"),
        ("redis://host/-1", "write a number from 0"),
        ("redis://host?db=x", "write a number from 0"),
        ("redis://host/1/2", schemes),
        ("redis://host?database=1", "write db, user, pass, resp3"),
        ("redis://host?RESP3=true", "write db, user, pass, resp3"),
        ("redis://host?resp3=yes", "write resp3=true or resp3=false"),
        ("redis://host?resp3", "write resp3=true or resp3=false"),
        ("redis://host?namespace=a*", "write 1 to 64 letters"),
        ("redis://host?namespace=", "write 1 to 64 letters"),
        ("redis://%ff@host", "percent-encode it"),
        ("redis://user:%ff@host", "percent-encode it"),
        ("redis+unix://", "write redis+unix:///path/to/socket"),
        ("redis+unix:///socket?ca_file=x", "leave tls out"),
        ("redis-cluster://", "write host:port"),
        ("redis-cluster://one,,two", "write host:port"),
        ("redis-cluster://one/1", "use a namespace"),
        (
            "redis-sentinel://one",
            "write master_name, or redis-sentinel://",
        ),
        (
            "redis-sentinel://one/",
            "write master_name, or redis-sentinel://",
        ),
        ("redis-sentinel://one/primary/x", "write a number from 0"),
        ("redis-sentinel://one/primary/1/2", schemes),
    ];
    let mut wrong = Vec::new();
    for (url, remedy) in cases {
        match url.parse::<RedisConfig>() {
            Ok(config) => wrong.push(format!("{url} is read as {:?}", config.nodes)),
            Err(error) => assert!(error.to_string().contains(remedy), "{url}: {error}"),
        }
        assert_eq!(
            RedisBackend::connect_lazy(url).is_err(),
            from_url(url).is_err(),
            "{url}"
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn read(config: Value) -> Result<RedisConfig, serde_json::Error> {
    serde_json::from_value(config)
}

#[test]
fn configurations_are_read() {
    assert_eq!(
        read(json!({})).expect("the defaults"),
        RedisConfig::default()
    );
    let all = json!({
        "deployment": "sentinel",
        "nodes": ["one", "two:26380"],
        "master_name": "primary",
        "database": 3,
        "username": "user",
        "password": "secret",
        "sentinel_username": "watcher",
        "sentinel_password": "hidden",
        "tls": {
            "ca_file": "ca.pem",
            "certificate_file": "client.pem",
            "key_file": "client.key",
        },
        "resp3": true,
        "pool_size": 4,
        "options": {
            "namespace": "catalogue",
            "inline_limit": 1000,
            "lanes": 2,
            "upload_buffer": 5000,
            "ttl_jitter": "5s",
            "reader_grace": "1min",
            "staging_ttl": "30s",
            "invalidation_memory": "1h",
            "connect_timeout": "500ms",
            "response_timeout": "1s 500ms",
        },
    });
    let expected = RedisConfig {
        deployment: Deployment::Sentinel,
        nodes: vec!["one".to_owned(), "two:26380".to_owned()],
        unix_socket: None,
        master_name: Some("primary".to_owned()),
        database: 3,
        username: Some("user".to_owned()),
        password: Some("secret".into()),
        sentinel_username: Some("watcher".to_owned()),
        sentinel_password: Some("hidden".into()),
        tls: Some(Tls {
            ca_file: Some("ca.pem".into()),
            certificate_file: Some("client.pem".into()),
            key_file: Some("client.key".into()),
        }),
        resp3: true,
        pool_size: 4,
        options: Options {
            namespace: "catalogue".parse().expect("a namespace"),
            inline_limit: 1000,
            lanes: 2,
            upload_buffer: 5000,
            ttl_jitter: Duration::from_secs(5),
            reader_grace: Duration::from_secs(60),
            staging_ttl: Duration::from_secs(30),
            invalidation_memory: Duration::from_secs(3600),
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(1500),
        },
    };
    assert_eq!(read(all).expect("a configuration"), expected);
    for (deployment, expected) in [
        ("single", Deployment::Single),
        ("cluster", Deployment::Cluster),
    ] {
        let config = read(json!({ "deployment": deployment })).expect("a configuration");
        assert_eq!(config.deployment, expected);
    }
}

#[test]
fn configurations_that_cannot_be_read_are_errors_that_say_what_to_write() {
    let cases = [
        (
            json!({"host": "one"}),
            "expected one of `deployment`, `nodes`",
        ),
        (
            json!({"options": {"ttl": "5s"}}),
            "expected one of `namespace`",
        ),
        (json!({"tls": {"ca": "x"}}), "expected one of `ca_file`"),
        (
            json!({"deployment": "Cluster"}),
            "expected one of `single`, `cluster`, `sentinel`",
        ),
        (
            json!({"options": {"ttl_jitter": "5"}}),
            "like \"500ms\" or \"2s\"",
        ),
        (
            json!({"options": {"ttl_jitter": "-5s"}}),
            "like \"500ms\" or \"2s\"",
        ),
        (
            json!({"options": {"ttl_jitter": ""}}),
            "like \"500ms\" or \"2s\"",
        ),
        (json!({"options": {"ttl_jitter": 5}}), "expected a string"),
        (
            json!({"options": {"namespace": "a b"}}),
            "write 1 to 64 letters",
        ),
        (json!({"nodes": "one"}), "expected a sequence"),
        (json!({"pool_size": -1}), "expected usize"),
        (json!({"tls": true}), "expected struct Tls"),
    ];
    for (config, expected) in cases {
        let error = read(config.clone()).expect_err("no configuration");
        assert!(error.to_string().contains(expected), "{config}: {error}");
    }
}

#[test]
fn configurations_that_make_no_sense_are_errors_that_say_what_to_write() {
    let cases = [
        (json!({"nodes": []}), "write at least one host:port"),
        (json!({"nodes": [""]}), "write host:port"),
        (
            json!({"nodes": ["one", "two"]}),
            "write one, or redis-cluster://",
        ),
        (
            json!({"nodes": ["one:x"]}),
            "write a number from 1 to 65535",
        ),
        (json!({"nodes": ["redis://one"]}), "write"),
        (json!({"pool_size": 0}), "write a pool_size of 2 or more"),
        (json!({"pool_size": 1}), "write a pool_size of 2 or more"),
        (
            json!({"pool_size": usize::MAX}),
            "write a pool_size of 10000 or less",
        ),
        (
            json!({"options": {"lanes": 10_001}}),
            "write lanes of 10000 or less",
        ),
        (json!({"database": -1}), "number from 0"),
        (
            json!({"unix_socket": ""}),
            "write redis+unix:///path/to/socket",
        ),
        (
            json!({"unix_socket": "/socket", "tls": {}}),
            "leave tls out",
        ),
        (
            json!({"unix_socket": "/socket", "deployment": "cluster"}),
            "name nodes",
        ),
        (json!({"deployment": "sentinel"}), "write master_name"),
        (
            json!({"deployment": "sentinel", "master_name": ""}),
            "write master_name",
        ),
        (json!({"master_name": "primary"}), "leave it out"),
        (
            json!({"deployment": "cluster", "master_name": "primary"}),
            "leave it out",
        ),
        (
            json!({"deployment": "cluster", "database": 1}),
            "use a namespace",
        ),
        (
            json!({"tls": {"ca_file": "/nothing/here.pem"}}),
            "name a PEM file",
        ),
        (
            json!({"tls": {"certificate_file": "client.pem"}}),
            "write both certificate_file and key_file",
        ),
        (
            json!({"tls": {"key_file": "client.key"}}),
            "write both certificate_file and key_file",
        ),
    ];
    let mut wrong = Vec::new();
    for (config, expected) in cases {
        let read = read(config.clone()).expect("a configuration that can be read");
        match RedisBackend::from_config(&read) {
            Ok(_) => wrong.push(config.to_string()),
            Err(error) => assert!(error.to_string().contains(expected), "{config}: {error}"),
        }
    }
    assert!(wrong.is_empty(), "these are taken: {wrong:#?}");
}

/// What a password of this test has in it.
const SECRET: &str = "hunter2";

#[test]
fn no_password_is_in_what_is_shown_of_a_configuration() {
    for url in [
        "redis://:hunter2@host",
        "redis://user:hunter2@host",
        "redis://user:%68unter2@host",
        "redis://user:hunter2%40@host",
        "redis+unix:///socket?pass=hunter2",
        "redis-cluster://:hunter2@one,two",
        "redis-sentinel://:hunter2@one/primary",
    ] {
        let config = parse(url);
        assert!(config.password.is_some(), "{url}");
        let backend = RedisBackend::from_config(&config).expect("a backend");
        let pool = config.pool().expect("a pool");
        let shown = format!("{config:?} {config:#?} {backend:?} {backend:#?} {pool:?}");
        assert!(!shown.contains(SECRET), "{url}: {shown}");
    }
    let config = RedisConfig {
        sentinel_password: Some(SECRET.into()),
        ..RedisConfig::default()
    };
    assert!(!format!("{config:?}").contains(SECRET));
}

/// Not all that is wrong is said: what it is may be a password, or a part of one.
#[test]
fn no_password_is_in_what_is_said_of_a_wrong_url() {
    let mut leaks = Vec::new();
    for url in [
        "redis://:hunter2@host:port",
        "redis://user:hunter2@",
        "redis://user:hunter2@:1",
        "redis://user:hunter2@host:6379:1:x",
        "redis://user:hunter2@one,two",
        "redis://user:hunter2@host/x",
        "redis://user:hunter2@host/1/2",
        "redis://user:hunter2@host?what=1",
        "redis://user:hunter2@host?resp3=what",
        "redis://user:hunter2%ff@host",
        "redis://user:%ffhunter2@host",
        "redis+unix:///socket?pass=hunter2&what",
        "redis+unix:///socket?pass=%ffhunter2",
        "redis+unix:///socket?password=hunter2",
        "redis-cluster://:hunter2@one/3",
        "redis-sentinel://:hunter2@one",
        // What was to be encoded was not.
        "redis://:hunter2/@host",
        "redis://:/hunter2@host",
        "redis://user:12/hunter2@host:6379/0",
        "redis://user:1?hunter2@host",
        "redis://user:1?hunter2=3@host",
        "redis://user:hunter2?1@host",
        "redis://user:hunter2#@host",
        "redis://user:1#hunter2@host",
        // And here the host was forgotten, or the scheme.
        "redis://user:hunter2",
        "redis://:hunter2",
        "redis://user:hunter2/0",
        "user:hunter2@host",
    ] {
        let errors = [url.parse::<RedisConfig>().err(), from_url(url).err()];
        for error in errors.into_iter().flatten() {
            let told = told(&error);
            if told.contains(SECRET) {
                leaks.push(format!("{url}: {error}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[test]
fn no_password_is_in_what_is_said_of_a_configuration_that_cannot_be_read() {
    let mut leaks = Vec::new();
    for name in ["password", "sentinel_password"] {
        for (value, secret) in [
            (json!(1_234_567), "1234567"),
            (json!(-1_234_567), "1234567"),
            (json!(1234.5), "1234.5"),
            (json!(["hunter2"]), SECRET),
            (json!({"hunter2": "hunter2"}), SECRET),
        ] {
            let mut config = serde_json::Map::new();
            config.insert(name.to_owned(), value.clone());
            let error = read(Value::Object(config)).expect_err("no configuration");
            if told(&error).contains(secret) {
                leaks.push(format!("{name} {value}: {error}"));
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_is_in_what_is_said_of_a_server_that_refuses_it() {
    let server = RedisServer::builder()
        .tcp()
        .password("another")
        .start()
        .await;
    for url in [
        format!("redis://:hunter2@{}", server.address()),
        format!("redis://user:hunter2@{}", server.address()),
        format!("redis+unix://{}?pass=hunter2", server.socket().display()),
    ] {
        let error = RedisBackend::connect(&url)
            .await
            .expect_err("no connection");
        let told = told(&error);
        assert!(!told.contains(SECRET), "{told}");
        assert!(
            told.contains("Redis does not answer as it should"),
            "{told}"
        );
        let backend = RedisBackend::connect_lazy(&url).expect("a backend");
        let lookup = Replica::of(backend.clone());
        assert!(!format!("{backend:?}").contains(SECRET));
        let asking = get("/");
        let query = lookup.store.lookup(&asking);
        let query = query.query(&lookup.store.policy, (&asking).into());
        let found = cache_core::Backend::lookup(&backend, query, lookup.store.now());
        let error = found.wait().await.expect_err("no connection");
        let told = crate::config::told(&error);
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_fails_where_nobody_answers_and_says_why() {
    let server = RedisServer::start().await;
    let url = server.url();
    server.kill();
    let error = RedisBackend::connect(&url).await.expect_err("nobody");
    assert!(error.source().is_some(), "{error:?}");
    let error = RedisBackend::connect("redis://host:port").await;
    let told = told(&error.expect_err("no port"));
    assert!(told.contains("write a number from 1 to 65535"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_is_had_from_a_url() {
    let server = RedisServer::start().await;
    let backend = RedisBackend::connect(&server.url())
        .await
        .expect("connected");
    let replica = Replica::of(backend);
    assert!(replica.publish(&get("/"), &ok("").max_age(60), "one").await);
    let other = from_url(&server.url()).expect("a backend");
    let other = kit::contract::Store::new(other);
    assert_eq!(other.body(&get("/")).await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_in_memory_is_had_from_a_url() {
    for url in ["memory://", "memory://?capacity=1048576"] {
        let store = kit::contract::Store::new(from_url(url).expect(url));
        store.publish(&get("/"), ok("one").max_age(60)).await;
        assert_eq!(store.body(&get("/")).await.as_deref(), Some("one"), "{url}");
    }
}

#[test]
fn a_wrong_url_of_memory_is_an_error_that_says_what_to_write() {
    for url in [
        "memory://?capacity=",
        "memory://?capacity=1MB",
        "memory://?capacity=-1",
        "memory://?capacity=1",
        "memory://?size=1000000",
        "memory://here",
        "memory://?",
        "memory:",
        "memory",
    ] {
        let error: ConfigError = from_url(url).expect_err(url);
        assert!(error.to_string().contains("write "), "{url}: {error}");
    }
    // Whoever is told what there is to choose from is told of this, too.
    let error = from_url("file:///cache").expect_err("no backend");
    assert!(error.to_string().contains("memory://"), "{error}");
}
