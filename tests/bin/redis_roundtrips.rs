//! Counts what each exchange costs in commands and round trips, at a real server.
//!
//! Commands are those that the server has counted. Round trips are measured: all that goes to the
//! server is held back for a while on its way, and the time that an exchange takes is so many times
//! that.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use cache_redis::{RedisBackend, RedisConfig};
use cache_tower::{Cache, CacheInfo, CacheLayer, Outcome};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use kit::redis::{RedisServer, Wire};
use kit::{Answer, ManualClock, Origin, not_modified, ok};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

/// How long everything is held back on its way to the server.
const DELAY: Duration = Duration::from_millis(25);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let server = RedisServer::builder().tcp().start().await;
    println!(
        "Redis {}, a connection for heads and one for large bodies\n",
        server.version()
    );
    println!(
        "{:<34} {:>8}   {:>11}   commands, and those inside of scripts",
        "exchange", "body", "round trips"
    );
    for (size, name) in [(1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (8 << 20, "8 MiB")] {
        Bench::new(&server, size, name, None).await.run().await;
    }
    Bench::new(&server, 1 << 10, "1 KiB", Some("accept-language"))
        .await
        .run()
        .await;
}

/// A cache in front of a scripted origin, with a wire to the server that delays.
struct Bench<'a> {
    server: &'a RedisServer,
    wire: Wire,
    origin: Origin,
    clock: ManualClock,
    body: Bytes,
    name: &'static str,
    vary: Option<&'static str>,
}

impl<'a> Bench<'a> {
    async fn new(
        server: &'a RedisServer,
        size: usize,
        name: &'static str,
        vary: Option<&'static str>,
    ) -> Self {
        let clock = ManualClock::new();
        Self {
            server,
            wire: Wire::to(server.address()).await,
            origin: Origin::with_clock(clock.clone()),
            clock,
            body: vec![b'x'; size].into(),
            name,
            vary,
        }
    }

    fn path(&self) -> String {
        format!("/{}/{}", self.body.len(), self.vary.unwrap_or("all"))
    }

    /// A process of its own, so to speak: it has its connections, and knows nothing.
    async fn layer(&self) -> (CacheLayer, Cache<Origin>) {
        let url = self.server.tcp_url_through(self.wire.address());
        let mut config: RedisConfig = url.parse().expect("a URL");
        // The origin gives all at once.
        config.options.upload_buffer = 16 << 20;
        let backend = RedisBackend::from_config(&config).expect("a configuration");
        backend.ping().await.expect("the server answers");
        let layer = CacheLayer::new(backend)
            .clock(self.clock.clone())
            .backend_budget(Duration::from_secs(5));
        let cache = layer.layer(self.origin.clone());
        (layer, cache)
    }

    fn answer(&self) -> Answer {
        let answer = ok("").max_age(60).etag("\"1\"").chunk(self.body.clone());
        match self.vary {
            Some(vary) => answer.with("vary", vary),
            None => answer,
        }
    }

    async fn run(&self) {
        let (_, mut knows) = self.layer().await;
        // So that scripts are known, as they are but for the first time.
        self.origin.answers(self.answer());
        self.exchange(Method::GET, "/warm", None, false).await;
        self.origin.answers(ok("").cache_control("no-store"));
        self.exchange(Method::DELETE, "/warm", None, false).await;

        let path = self.path();
        self.origin.answers(self.answer());
        self.exchange(Method::GET, &path, Some("miss, stored"), false)
            .await;
        self.exchange(Method::GET, &path, Some("hit, by another process"), false)
            .await;
        self.hit(&mut knows, "hit").await;
        self.hit(&mut knows, "hit, once more").await;
        if self.body.len() > 1 << 20 {
            self.exchange(Method::GET, &path, Some("hit, bytes=1000000-1000999"), true)
                .await;
        }
        self.clock.advance(Duration::from_secs(61));
        self.origin
            .answers(not_modified().etag("\"1\"").max_age(60));
        self.exchange(Method::GET, &path, Some("validated: 304"), false)
            .await;
        self.origin.answers(ok("").cache_control("no-store"));
        self.exchange(Method::DELETE, &path, Some("purged"), false)
            .await;
        println!();
    }

    async fn hit(&self, cache: &mut Cache<Origin>, what: &str) {
        let request = self.request(Method::GET, &self.path(), false);
        self.measure(Some(what), async {
            let response = cache.call(request).await.expect("a response");
            assert_eq!(outcome(&response), Outcome::Hit, "{what}");
            let body = response.into_body().collect().await;
            assert!(body.expect("a body").to_bytes() == self.body);
        })
        .await;
    }

    /// An exchange by a process that does nothing else, until all that it leaves behind is done.
    async fn exchange(&self, method: Method, path: &str, what: Option<&str>, is_part: bool) {
        let (layer, mut cache) = self.layer().await;
        let request = self.request(method, path, is_part);
        self.measure(what, async {
            let response = cache.call(request).await.expect("a response");
            response.into_body().collect().await.expect("a body");
            layer.shutdown().await;
        })
        .await;
    }

    async fn measure(&self, what: Option<&str>, exchange: impl Future<Output = ()>) {
        self.server.reset_counts();
        self.wire.delay(DELAY, Duration::ZERO);
        let started = Instant::now();
        exchange.await;
        let trips = started.elapsed().as_secs_f64() / DELAY.as_secs_f64();
        self.wire.delay(Duration::ZERO, Duration::ZERO);
        let Some(what) = what else {
            return;
        };
        let what = match self.vary {
            Some(_) => format!("{what} (varies)"),
            None => what.to_owned(),
        };
        println!(
            "{what:<34} {:>8}   {trips:>11.1}   {}",
            self.name,
            commands(self.server.command_counts())
        );
    }

    fn request(&self, method: Method, path: &str, is_part: bool) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://origin.test{path}"))
            .header(header::ACCEPT_LANGUAGE, "en");
        if is_part {
            request = request.header(header::RANGE, "bytes=1000000-1000999");
        }
        request.body(Full::default()).expect("a request")
    }
}

fn outcome<B>(response: &http::Response<B>) -> Outcome {
    let info = response.extensions().get::<CacheInfo>();
    info.expect("what the cache did").outcome
}

/// What the client sent, and behind it what scripts did.
fn commands(counts: BTreeMap<String, u64>) -> String {
    let is_script = |name: &str| matches!(name, "evalsha" | "eval");
    let is_sent = |name: &str| match name {
        "get" | "mget" | "hset" | "hget" | "hlen" | "multi" | "exec" => true,
        "pexpire" => counts.contains_key("exec"),
        _ => is_script(name),
    };
    let list = |is_wanted: &dyn Fn(&str) -> bool| {
        let wanted = counts.iter().filter(|(name, _)| is_wanted(name));
        let words = wanted.map(|(name, count)| match count {
            1 => name.to_uppercase(),
            _ => format!("{count} {}", name.to_uppercase()),
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let (sent, inside) = (list(&is_sent), list(&|name| !is_sent(name)));
    if inside.is_empty() {
        sent
    } else {
        format!("{sent} [{inside}]")
    }
}
