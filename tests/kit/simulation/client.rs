//! Clients: they ask for what they like, wait for one another or not, read slowly, and leave.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use cache_core::{CacheInfo, CacheMode, Outcome};
use cache_tower::{Cache, CacheBody};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::oracle;
use super::origin::{ASKED, GIVEN, Origin, OriginDown, SimBody};
use super::world::{Content, Told, World};

pub(crate) const KINDS: [&str; 2] = ["a", "b"];
pub(crate) const WHO: [&str; 2] = ["ann", "bob"];

/// A request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) number: usize,
    pub(crate) replica: usize,
    pub(crate) resource: usize,
    pub(crate) method: Method,
    pub(crate) kind: Option<&'static str>,
    pub(crate) who: Option<&'static str>,
    pub(crate) range: Option<&'static str>,
    pub(crate) tag: Option<String>,
    pub(crate) mode: CacheMode,
    pub(crate) directive: Option<&'static str>,
    pub(crate) at: Instant,
    /// The oldest version that may answer it.
    pub(crate) oldest: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// The end was read.
    pub(crate) is_whole: bool,
    /// An error was read.
    pub(crate) broke_off: bool,
}

/// One client, until it has had enough.
pub(crate) async fn run(world: World, mut caches: Vec<Cache<Origin>>) {
    let chance = world.chance.clone();
    for _ in 0..3 + chance.below(10) {
        sleep(pause(&world)).await;
        let asked = Asked::drawn(&world);
        let Some(answered) = call(&world, &mut caches[asked.replica], &asked).await else {
            world.count(|counts| counts.given_up += 1);
            continue;
        };
        match answered {
            Ok(response) => read(&world, &asked, response).await,
            Err(OriginDown(whose)) => {
                world.note(("failed", asked.number));
                world.count(|counts| counts.failed += 1);
                if whose != asked.number {
                    world.wrong(format!("the error is that of {whose}: {asked:?}"));
                }
            }
        }
    }
}

/// Until the next request; often the same as another client's, so that many come at once.
fn pause(world: &World) -> Duration {
    let chance = &world.chance;
    match chance.one_in(3) {
        true => {
            let second = Duration::from_secs(1);
            let into_second = world.clock.elapsed().subsec_nanos();
            second - Duration::from_nanos(into_second.into())
        }
        false => Duration::from_millis(chance.of(&[0, 0, 0, 1, 50, 500, 2_000, 6_000, 20_000])),
    }
}

impl Asked {
    fn drawn(world: &World) -> Self {
        let chance = &world.chance;
        let resources = world.setting.resources.len();
        let resource = chance.below(resources).min(chance.below(resources));
        let has_tag = world.resource(resource).has_tag;
        let replica = chance.below(world.setting.replicas);
        let maybe = |all: [&'static str; 2]| {
            let field = chance.of(&[None, None, Some(all[0]), Some(all[1])]);
            field.filter(|_| !world.setting.is_uniform)
        };
        let (kind, who) = (maybe(KINDS), maybe(WHO));
        let method = match chance.below(14) {
            0 => Method::POST,
            // Without a tag, nobody can know what the head is of.
            1 if has_tag => Method::HEAD,
            _ => Method::GET,
        };
        let is_get = method == Method::GET;
        let ranges = [
            "bytes=0-9",
            "bytes=50-",
            "bytes=-5",
            "bytes=1000-3999",
            "bytes=0-",
        ];
        let range = (is_get && chance.one_in(8)).then(|| chance.of(&ranges));
        let tag = (method != Method::POST && has_tag && range.is_none() && chance.one_in(10)).then(
            || {
                let settings = world.resource(resource);
                let version = world.version(resource);
                let content = Content {
                    resource,
                    version: version.saturating_sub(chance.below(2) as u64),
                    kind: settings.vary.and(kind),
                    who: who.filter(|_| settings.is_personal),
                };
                content.tag()
            },
        );
        let modes = [
            CacheMode::NoCache,
            CacheMode::Reload,
            CacheMode::ForceCache,
            CacheMode::OnlyIfCached,
            CacheMode::NoStore,
            CacheMode::ReadOnly,
        ];
        let directives = [
            "no-cache",
            "max-age=0",
            "max-age=2",
            "max-stale",
            "max-stale=3",
            "min-fresh=2",
            "only-if-cached",
            "no-store",
        ];
        let (mode, directive) = match chance.below(12) {
            0 if method != Method::POST => (chance.of(&modes), None),
            1 if method != Method::POST => (CacheMode::Default, Some(chance.of(&directives))),
            _ => (CacheMode::Default, None),
        };
        Self {
            number: world.ask(),
            oldest: world.oldest(resource, replica, who),
            at: Instant::now(),
            replica,
            resource,
            method,
            kind,
            who,
            range,
            tag,
            mode,
            directive,
        }
    }

    /// It wants nothing but what is stored.
    pub(crate) fn wants_stored_only(&self) -> bool {
        self.mode == CacheMode::OnlyIfCached || self.directive == Some("only-if-cached")
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let fields = [
            ("x-kind", self.kind),
            ("authorization", self.who),
            ("range", self.range),
            ("if-none-match", self.tag.as_deref()),
            ("cache-control", self.directive),
        ];
        let mut builder = Request::builder()
            .method(self.method.clone())
            .uri(format!("http://origin.test/{}", self.resource))
            .header(ASKED, self.number)
            .extension(self.mode);
        for (name, value) in fields {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        builder.body(Full::default()).expect("a request")
    }
}

/// What a call gives; `None`: it was given up.
async fn call(
    world: &World,
    cache: &mut Cache<Origin>,
    asked: &Asked,
) -> Option<Result<Response<CacheBody<SimBody>>, OriginDown>> {
    let chance = &world.chance;
    let mut polls = match chance.one_in(8) {
        true => 1 + chance.below(8),
        false => usize::MAX,
    };
    let patience = match chance.one_in(8) {
        true => Duration::from_millis(chance.below(3_000) as u64),
        false => super::LONG,
    };
    world.note((
        "asks",
        asked.number,
        asked.method.as_str(),
        asked.resource,
        asked.replica,
        asked.who,
    ));
    let mut call = pin!(chance.shuffled(cache.call(asked.request())));
    let until = poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        call.as_mut().poll(cx).map(Some)
    });
    tokio::time::timeout(patience, until)
        .await
        .unwrap_or_default()
}

async fn read(world: &World, asked: &Asked, response: Response<CacheBody<SimBody>>) {
    let chance = &world.chance;
    let (parts, body) = response.into_parts();
    let info: CacheInfo = match parts.extensions.get() {
        Some(info) => *info,
        None => return world.wrong(format!("nothing is said of {asked:?}")),
    };
    let number = parts.headers.get(GIVEN);
    let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
    let given = number.and_then(|number| world.given(number));
    if let Some(given) = given.as_ref().filter(|given| !given.is_error)
        && asked.method == Method::POST
    {
        world.tell(Told {
            resource: asked.resource,
            replica: asked.replica,
            who: asked.who,
            version: given.content.version,
        });
    }
    let mut seen = Seen {
        status: parts.status,
        headers: parts.headers,
        bytes: Vec::new(),
        is_whole: false,
        broke_off: false,
    };
    let mut frames = match chance.one_in(8) {
        true => chance.below(4),
        false => usize::MAX,
    };
    let is_slow = chance.one_in(6);
    let mut body = pin!(body);
    while frames > 0 {
        frames -= 1;
        if is_slow {
            sleep(Duration::from_millis(chance.below(300) as u64)).await;
        }
        match chance.shuffled(body.frame()).await {
            None => {
                seen.is_whole = true;
                break;
            }
            Some(Err(_)) => {
                seen.broke_off = true;
                break;
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    seen.bytes.extend_from_slice(data);
                }
            }
        }
    }
    world.note((
        asked.number,
        seen.status.as_u16(),
        seen.bytes.len(),
        seen.is_whole,
        info.outcome.as_str(),
    ));
    world.count(|counts| {
        counts.collapsed += usize::from(info.collapsed);
        counts.broken_off += usize::from(seen.broke_off);
        counts.given_up += usize::from(!seen.is_whole && !seen.broke_off);
        match info.outcome {
            Outcome::Hit => counts.hits += 1,
            Outcome::StaleHit => counts.stale += 1,
            Outcome::Revalidated => counts.revalidated += 1,
            _ => {}
        }
    });
    let given = number.and_then(|number| world.given(number));
    if let Err(what) = oracle::judge(world, asked, &seen, given.as_ref()) {
        let how = format!("{}, {} bytes", seen.status, seen.bytes.len());
        let resource = world.resource(asked.resource);
        world.wrong(format!(
            "{what}\n  {asked:?}\n  {how}, {info}\n  {given:?}\n  {resource:?}"
        ));
    }
}
