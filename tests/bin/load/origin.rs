//! The origin, behind a socket; it counts what it is asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_RANGE, DATE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE, VARY,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::site::{SITE, Thing};

/// When a response was given, in milliseconds since 1970.
pub(crate) const GIVEN_AT: &str = "x-given-at";

/// Clones are the same origin.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// When it answered, in milliseconds since 1970.
    asked: Arc<Mutex<HashMap<Thing, Vec<u64>>>>,
    /// For rests of bodies, by class.
    rests: Arc<Mutex<[u64; SITE.len()]>>,
    /// When something was killed, and when all was well again.
    troubles: Arc<Mutex<Vec<(u64, u64)>>>,
}

impl Origin {
    pub(crate) async fn serve(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let origin = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let origin = origin.clone();
                let service = service_fn(move |request| origin.clone().answer(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(address)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let field = |name: http::HeaderName| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let kind = field(http::HeaderName::from_static("x-kind"));
        let Some(thing) = Thing::read(request.uri().path(), kind) else {
            return Ok(nothing(StatusCode::NOT_FOUND));
        };
        let class = thing.class();
        let range = field(RANGE);
        if range.is_some() {
            self.rests.lock().unwrap_or_else(PoisonError::into_inner)[thing.class] += 1;
        }
        sleep(Duration::from_millis(class.takes)).await;
        if range.is_none() {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.entry(thing).or_default().push(millis());
        }
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let version = since.as_secs().checked_div(class.changes_after);
        let version = version.unwrap_or_default();
        let tag = thing.tag(version);
        let mut builder = Response::builder()
            .header(CACHE_CONTROL, class.control)
            .header(ETAG, &tag)
            .header(DATE, httpdate::fmt_http_date(now))
            .header(GIVEN_AT, since.as_millis().to_string());
        if class.is_varied {
            builder = builder.header(VARY, "x-kind");
        }
        let mut content = thing.content(version);
        if field(IF_NONE_MATCH) == Some(&tag) {
            builder = builder.status(StatusCode::NOT_MODIFIED);
            content = Bytes::new();
        } else if let Some(first) = range
            .filter(|_| field(IF_RANGE).is_none_or(|wanted| wanted == tag))
            .and_then(first)
            .filter(|first| *first < content.len())
        {
            let (last, length) = (content.len() - 1, content.len());
            builder = builder
                .status(StatusCode::PARTIAL_CONTENT)
                .header(CONTENT_RANGE, format!("bytes {first}-{last}/{length}"));
            content = content.slice(first..);
        }
        let response = builder.body(Full::new(content));
        Ok(response.unwrap_or_else(|_| nothing(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// From then until now there was trouble.
    pub(crate) fn note_trouble(&self, since: u64) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.push((since, millis() + RECOVERS_WITHIN));
    }

    /// How often it was asked; in lifetimes that no trouble fell into, how often in each.
    pub(crate) fn print(&self) {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        println!();
        println!(
            "{:<26}{:>8}{:>10}{:>11}{:>12}{:>9}{:>8}",
            "at the origin", "keys", "requests", "quiet", "requests", "at most", "rests"
        );
        println!("{:<44}{:>11}{:>12}", "", "lifetimes", "in each");
        for (number, class) in SITE.iter().enumerate() {
            let of_class = asked.iter().filter(|(thing, _)| thing.class == number);
            let times: Vec<&Vec<u64>> = of_class.map(|(_, times)| times).collect();
            let requests: usize = times.iter().map(|times| times.len()).sum();
            let per_lifetime: Vec<usize> = times
                .iter()
                .flat_map(|times| lifetimes(times, class.lifetime, &troubles))
                .collect();
            let quiet: usize = per_lifetime.iter().sum();
            let most = per_lifetime.iter().max().copied().unwrap_or_default();
            print!("{:<26}{:>8}{requests:>10}", class.name, times.len());
            match class.lifetime {
                0 => print!("{:>11}{:>12}{:>9}", "-", "-", "-"),
                _ => print!(
                    "{:>11}{:>12.2}{most:>9}",
                    per_lifetime.len(),
                    quiet as f64 / per_lifetime.len().max(1) as f64
                ),
            }
            println!("{:>8}", rests[number]);
        }
    }
}

fn nothing(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The first byte of a range that has no other end than that of the whole, or names it.
fn first(range: &str) -> Option<usize> {
    let (first, _) = range.strip_prefix("bytes=")?.split_once('-')?;
    first.parse().ok()
}

/// How many requests there were in each lifetime that no trouble fell into: from one answer on, until that
/// was stale. A `Date` is in full seconds, and it is from there that age counts.
fn lifetimes(times: &[u64], lifetime: u64, troubles: &[(u64, u64)]) -> Vec<usize> {
    let mut all: Vec<(u64, usize)> = Vec::new();
    let end = |began: u64| began / 1_000 * 1_000 + lifetime;
    for time in times {
        match all.last_mut() {
            Some((began, count)) if *time < end(*began) => *count += 1,
            _ => all.push((*time, 1)),
        }
    }
    let is_quiet = |began: u64| {
        let is_apart = |(from, to): &(u64, u64)| end(began) < *from || began > *to;
        troubles.iter().all(is_apart)
    };
    all.retain(|(began, _)| is_quiet(*began));
    all.into_iter().map(|(_, count)| count).collect()
}

/// The time now, in milliseconds since 1970.
pub(crate) fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// How long it takes after a trouble until all is as before, in milliseconds: a store that failed is left
/// alone for a second.
const RECOVERS_WITHIN: u64 = 1_500;
