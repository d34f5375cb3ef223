//! One of the processes: callers of a cache over the Redis that it shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cache_redis::RedisBackend;
use cache_tower::{Cache, CacheInfo, CacheLayer};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tower_layer::Layer;
use tower_service::Service;

use crate::origin::{GIVEN_AT, millis};
use crate::site::Thing;
use crate::totals::Totals;

type Http = Client<HttpConnector, Full<Bytes>>;

/// Works for so many seconds, and says each second what it has done so far.
pub(crate) async fn run(redis: &str, origin: &str, seconds: &str) -> Result<bool, String> {
    let seconds: u64 = seconds.parse().map_err(|_| "no number of seconds")?;
    let ends_at = Instant::now() + Duration::from_secs(seconds);
    let backend = RedisBackend::connect(redis)
        .await
        .map_err(|error| error.to_string())?;
    let layer = CacheLayer::new(backend).lease(Duration::from_secs(2));
    let cache = layer.layer(Client::builder(TokioExecutor::new()).build_http());
    let totals = Arc::<Mutex<Totals>>::default();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (cache, totals, origin) = (cache.clone(), totals.clone(), origin.to_owned());
        callers.spawn(call(cache, origin, totals, ends_at));
    }
    let telling = tokio::spawn({
        let totals = totals.clone();
        async move {
            let mut interval = interval(Duration::from_secs(1));
            loop {
                interval.tick().await;
                let mut totals = lock(&totals);
                totals.remember();
                println!("{}", totals.write());
            }
        }
    });
    while let Some(called) = callers.join_next().await {
        called.map_err(|error| error.to_string())?;
    }
    let ended = timeout(Duration::from_secs(10), layer.shutdown()).await;
    ended.map_err(|_| "background work does not end")?;
    telling.abort();
    let mut totals = lock(&totals);
    totals.remember();
    println!("{}", totals.write());
    Ok(true)
}

/// One caller, until the end.
async fn call(mut cache: Cache<Http>, origin: String, totals: Arc<Mutex<Totals>>, end: Instant) {
    let mut random = fastrand::Rng::new();
    while Instant::now() < end {
        let thing = Thing::drawn(&mut random);
        let started = Instant::now();
        // More than the origin and the cache may take together.
        let seen = timeout(Duration::from_secs(15), fetch(&mut cache, &origin, thing)).await;
        let seen = seen.unwrap_or_else(|_| Seen::Failed("it hangs".to_owned()));
        {
            let mut totals = lock(&totals);
            totals.requests += 1;
            totals.took(started.elapsed());
            match &seen {
                Seen::Right { is_hit } => totals.hits += u64::from(*is_hit),
                Seen::Wrong(_) => totals.wrong += 1,
                Seen::Failed(_) => totals.failed += 1,
            }
        }
        if let Seen::Wrong(what) | Seen::Failed(what) = seen {
            eprintln!("{}: {thing:?}: {what}", thing.class().name);
        }
        sleep(Duration::from_millis(random.u64(..5))).await;
    }
}

/// What came of a request.
enum Seen {
    Right { is_hit: bool },
    Wrong(String),
    Failed(String),
}

async fn fetch(cache: &mut Cache<Http>, origin: &str, thing: Thing) -> Seen {
    let mut builder = Request::get(format!("{origin}{}", thing.path()));
    if let Some(kind) = thing.kind() {
        builder = builder.header("x-kind", kind);
    }
    let Ok(request) = builder.body(Full::default()) else {
        return Seen::Failed("no request".to_owned());
    };
    let sent_at = millis();
    let response = match cache.call(request).await {
        Ok(response) => response,
        Err(error) => return Seen::Failed(format!("{error:?}")),
    };
    let (parts, body) = response.into_parts();
    let info = parts.extensions.get::<CacheInfo>().copied();
    let said = info.map_or_else(String::new, |info| info.to_string());
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Seen::Failed(format!("the body of a {said}: {error:?}")),
    };
    let field = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let version = field("etag").and_then(|tag| thing.version(tag));
    let given_at = field(GIVEN_AT).and_then(|at| at.parse::<u64>().ok());
    let (Some(version), Some(given_at)) = (version, given_at) else {
        return Seen::Wrong(format!("{} of something else; {said}", parts.status));
    };
    let class = thing.class();
    if body != thing.content(version) {
        return Seen::Wrong(format!("its body, of {} bytes; {said}", body.len()));
    }
    let age = sent_at.saturating_sub(given_at);
    if age > class.lifetime + class.stale {
        return Seen::Wrong(format!("it is {age} ms old; {said}"));
    }
    Seen::Right {
        is_hit: info.is_some_and(|info| info.is_hit()),
    }
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many ask at the same time.
const CALLERS: usize = 24;
