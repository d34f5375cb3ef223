//! The suite that every backend passes, on every kind of server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use cache_redis::{Options, RedisBackend, RedisConfig};
use kit::redis::RedisServer;

/// What a user of a server must be allowed, whose backend has the default namespace.
pub(crate) const RIGHTS: &str = "~http-cache:* resetchannels -@all +ping +get +mget +getrange +set +setrange \
     +hset +hget +hlen +rename +pttl +pexpire +persist +unlink +sadd +srem +smembers +multi +exec +eval +evalsha +scan";

/// A backend of its own on a server that others use, too.
fn backend(url: &str) -> RedisBackend {
    with_options(url, Options::default())
}

fn with_options(url: &str, options: Options) -> RedisBackend {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut config: RedisConfig = url.parse().expect("a URL");
    config.options = Options {
        namespace: format!("http-cache:{number}").parse().expect("a namespace"),
        ..options
    };
    RedisBackend::from_config(&config).expect("a configuration")
}

/// What is shared by the tests of a module is never dropped, and so is gone only with the process.
fn gone_with_the_process(server: RedisServer) -> RedisServer {
    remove_with_the_process(server.socket().parent().expect("a directory"));
    server
}

fn remove_with_the_process(directory: &Path) {
    let child = Command::new("/bin/sh")
        .args(["-c", "trap '' INT TERM HUP; read -r line; rm -rf \"$0\""])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Its input ends with this process.
    std::mem::forget(child.expect("a shell"));
}

mod unix_socket {
    use cache_redis::{EmbeddedRedis, RedisBackend};
    use tokio::sync::OnceCell;

    pub(crate) async fn url() -> String {
        static SERVER: OnceCell<EmbeddedRedis> = OnceCell::const_new();
        let start = || async { EmbeddedRedis::start().await.expect("a server") };
        SERVER.get_or_init(start).await.url()
    }

    async fn backend() -> RedisBackend {
        super::backend(&url().await)
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

/// What is larger than 1 KiB does not stand behind its head.
mod small_inline_limit {
    use cache_redis::{Options, RedisBackend};

    async fn backend() -> RedisBackend {
        let options = Options {
            inline_limit: 1 << 10,
            ..Options::default()
        };
        super::with_options(&super::unix_socket::url().await, options)
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

/// Nothing but what is empty stands behind its head.
mod no_inline_limit {
    use cache_redis::{Options, RedisBackend};

    async fn backend() -> RedisBackend {
        let options = Options {
            inline_limit: 0,
            ..Options::default()
        };
        super::with_options(&super::unix_socket::url().await, options)
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod several_lanes {
    use cache_redis::{Options, RedisBackend};

    async fn backend() -> RedisBackend {
        let options = Options {
            lanes: 4,
            ..Options::default()
        };
        super::with_options(&super::unix_socket::url().await, options)
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod tcp {
    use cache_redis::RedisBackend;
    use kit::redis::RedisServer;
    use tokio::sync::OnceCell;

    pub(crate) async fn url() -> String {
        static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
        let start = || async {
            let server = RedisServer::builder().tcp().start().await;
            super::gone_with_the_process(server)
        };
        SERVER.get_or_init(start).await.tcp_url()
    }

    async fn backend() -> RedisBackend {
        super::backend(&url().await)
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod resp3 {
    use cache_redis::RedisBackend;

    async fn backend() -> RedisBackend {
        let url = super::tcp::url().await;
        super::backend(&format!("{url}?resp3=true"))
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod tls {
    use cache_redis::RedisBackend;
    use kit::redis::RedisServer;
    use tokio::sync::OnceCell;

    async fn backend() -> RedisBackend {
        static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
        let start = || async {
            let server = RedisServer::builder().tls().start().await;
            super::gone_with_the_process(server)
        };
        let server = SERVER.get_or_init(start).await;
        let ca_file = server.ca_pem().display();
        super::backend(&format!("{}?ca_file={ca_file}", server.tls_url()))
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod password {
    use cache_redis::RedisBackend;
    use kit::redis::RedisServer;
    use tokio::sync::OnceCell;

    async fn backend() -> RedisBackend {
        static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
        let start = || async {
            let server = RedisServer::builder().tcp().password("secret").start();
            super::gone_with_the_process(server.await)
        };
        super::backend(&SERVER.get_or_init(start).await.tcp_url())
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

/// A user who may do only what is needed.
mod least_rights {
    use cache_redis::RedisBackend;
    use kit::redis::RedisServer;
    use tokio::sync::OnceCell;

    async fn backend() -> RedisBackend {
        static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
        let start = || async {
            let server = RedisServer::builder().user("cache", "secret", super::RIGHTS);
            super::gone_with_the_process(server.start().await)
        };
        super::backend(&SERVER.get_or_init(start).await.url_for("cache", "secret"))
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

/// Three primaries, with a replica each.
mod cluster {
    use cache_redis::RedisBackend;
    use kit::redis::RedisCluster;
    use tokio::sync::OnceCell;

    async fn backend() -> RedisBackend {
        static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
        let start = || async {
            let cluster = RedisCluster::start(3, 1).await;
            for node in cluster.nodes() {
                let socket = node.socket();
                super::remove_with_the_process(socket.parent().expect("a directory"));
            }
            cluster
        };
        super::backend(&CLUSTER.get_or_init(start).await.url())
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}

mod sentinel {
    use cache_redis::RedisBackend;
    use kit::redis::Sentinel;
    use tokio::sync::OnceCell;

    async fn backend() -> RedisBackend {
        static SENTINEL: OnceCell<Sentinel> = OnceCell::const_new();
        let start = || async {
            let sentinel = Sentinel::start().await;
            for server in sentinel.servers().iter().chain(sentinel.sentinels()) {
                let socket = server.socket();
                super::remove_with_the_process(socket.parent().expect("a directory"));
            }
            sentinel
        };
        super::backend(&SENTINEL.get_or_init(start).await.url())
    }

    kit::backend_contract!(backend().await);
    kit::management_contract!(backend().await);
}
