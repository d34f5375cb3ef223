//! Clients that ask all the time, an origin whose bodies are known, and what came of each request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cache_redis::RedisBackend;
use cache_tower::{Cache, CacheInfo, CacheLayer, Clock, Outcome};
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Empty;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower_layer::Layer;
use tower_service::Service;

/// Clients of caches over Redis, which ask until they are stopped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    layers: Vec<CacheLayer>,
    backends: Vec<RedisBackend>,
    clients: JoinSet<()>,
}

/// What came of one request.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) started: Instant,
    /// How long it took until the head was there.
    pub(crate) head: Duration,
    /// How long it took until all of the body was there.
    pub(crate) whole: Duration,
    /// The length of the body of which some or all was asked for.
    pub(crate) size: usize,
    /// It was answered from the store, without the origin.
    pub(crate) is_hit: bool,
    /// What was asked for, and what became of it.
    pub(crate) about: Arc<str>,
    pub(crate) problem: Option<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The response is not what the origin answers.
    Wrong(String),
    /// There is no whole response.
    Failed(String),
}

#[derive(Debug)]
struct Shared {
    catalogue: Arc<Catalogue>,
    caches: Vec<Cache<Origin>>,
    clocks: Vec<ShiftedClock>,
    records: Mutex<Vec<Record>>,
    is_over: AtomicBool,
}

impl Load {
    /// So many clients, of one cache over each of these backends.
    pub(crate) fn start(backends: Vec<RedisBackend>, clients: usize) -> Self {
        let catalogue = Arc::new(Catalogue::new());
        let clocks: Vec<_> = backends.iter().map(|_| ShiftedClock::default()).collect();
        let layers: Vec<_> = backends
            .iter()
            .zip(&clocks)
            .map(|(backend, clock)| CacheLayer::new(backend.clone()).clock(clock.clone()))
            .collect();
        let origin = Origin(catalogue.clone());
        let shared = Arc::new(Shared {
            catalogue,
            caches: layers
                .iter()
                .map(|layer| layer.layer(origin.clone()))
                .collect(),
            clocks,
            records: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            tasks.spawn(ask_on(shared.clone(), client));
        }
        Self {
            shared,
            layers,
            backends,
            clients: tasks,
        }
    }

    /// Moves the clock of a cache.
    pub(crate) fn shift_clock(&self, cache: usize, seconds: i64) {
        let clock = &self.shared.clocks[cache];
        clock.was_moved.store(true, Ordering::SeqCst);
        clock.millis.store(seconds * 1000, Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> u64 {
        self.backends.iter().map(RedisBackend::connections).sum()
    }

    /// What came of all requests until now, in the order in which they ended.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.shared.records().clone()
    }

    /// Waits until this is so of the requests that ended; whether it came to be.
    pub(crate) async fn until(&self, limit: Duration, is_so: impl Fn(&[Record]) -> bool) -> bool {
        let start = Instant::now();
        while !is_so(&self.shared.records()) {
            if start.elapsed() > limit {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Lets the last requests end, and waits for what the caches do in the background; what came of
    /// all requests.
    pub(crate) async fn stop(mut self) -> Vec<Record> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no client panics");
        }
        for layer in &self.layers {
            timeout(LONGEST, layer.shutdown())
                .await
                .expect("what goes on in the background ends");
        }
        self.records()
    }
}

impl Record {
    pub(crate) fn ended(&self) -> Instant {
        self.started + self.whole
    }
}

/// How long after `healed` there were half as many hits as between `usual` and `broken`.
pub(crate) fn recovery(
    records: &[Record],
    usual: Instant,
    broken: Instant,
    healed: Instant,
) -> Option<Duration> {
    let before = records.iter().filter(|record| record.started >= usual);
    let usual = share_of_hits(before.filter(|record| record.ended() < broken));
    let after: Vec<_> = records
        .iter()
        .filter(|record| record.started >= healed)
        .collect();
    let back = after
        .windows(WINDOW)
        .find(|window| share_of_hits(window.iter().copied()) >= usual / 2.0)?;
    Some(back[0].ended() - healed)
}

/// From 0 to 1.
pub(crate) fn share_of_hits<'a>(records: impl Iterator<Item = &'a Record>) -> f64 {
    let (mut hits, mut all) = (0_u32, 0_u32);
    for record in records {
        hits += u32::from(record.is_hit);
        all += 1;
    }
    f64::from(hits) / f64::from(all.max(1))
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request, by any of the caches.
    async fn ask(&self, random: &mut Random) -> Record {
        let cache = random.below(self.caches.len());
        let index = self.catalogue.any(random);
        let resource = &self.catalogue.resources[index];
        let asked = Asked {
            cache,
            index,
            language: match resource.kind {
                Kind::Varying => random.below(LANGUAGES.len()),
                _ => 0,
            },
            range: (resource.size > 1000 && random.below(20) == 0).then(|| {
                let first = random.below(resource.size);
                (first, first + random.below(resource.size - first))
            }),
            is_put: resource.can_be_put() && random.below(150) == 0,
        };
        let started = Instant::now();
        let mut seen = Seen::default();
        let exchange = timeout(LONGEST, self.exchange(&asked, &mut seen)).await;
        let problem = match exchange {
            Ok(done) => done.err(),
            Err(_) => Some(Problem::Failed(format!("no end after {LONGEST:?}"))),
        };
        let whole = started.elapsed();
        Record {
            started,
            head: seen.head.unwrap_or(whole),
            whole,
            size: resource.size,
            is_hit: matches!(seen.outcome, Some(Outcome::Hit | Outcome::StaleHit)),
            about: asked.about(resource, seen.outcome),
            problem,
        }
    }

    async fn exchange(&self, asked: &Asked, seen: &mut Seen) -> Result<(), Problem> {
        let resource = &self.catalogue.resources[asked.index];
        let puts = resource.known_puts[asked.cache].load(Ordering::SeqCst);
        let (started, now) = (Instant::now(), now_millis());
        let response = self.caches[asked.cache]
            .clone()
            .call(asked.request(resource));
        let response = response.await.unwrap_or_else(|never| match never {});
        seen.head = Some(started.elapsed());
        let info = response.extensions().get::<CacheInfo>().copied();
        seen.outcome = info.map(|info| info.outcome);
        let (head, body) = response.into_parts();
        if asked.is_put {
            check(head.status == StatusCode::NO_CONTENT, || {
                format!("status {}", head.status)
            })?;
            let version = Version::read(&head.headers)?;
            resource.known_puts[asked.cache].fetch_max(version.puts, Ordering::SeqCst);
            return Ok(());
        }
        let version = Version::read(&head.headers)?;
        let text = |name: &str| {
            let value = head.headers.get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or("")
        };
        check(text(PATH) == resource.path, || {
            format!("the response of {:?}", text(PATH))
        })?;
        check(version.language == asked.language, || {
            format!("in language {}", version.language)
        })?;
        // What a clock that is wrong says of the order of things is wrong.
        if !self.clocks.iter().any(ShiftedClock::was_moved) {
            check(version.puts >= puts, || {
                format!("version {version:?}, from before a PUT: {puts}")
            })?;
            let generated: u64 = text(GENERATED).parse().unwrap_or_default();
            let age = now.saturating_sub(generated);
            check(age <= resource.longest_age(), || format!("{age} ms old"))?;
        }
        let whole = self.catalogue.body(asked.index, version);
        let expected = match (head.status, asked.range) {
            (StatusCode::OK, _) => whole,
            (StatusCode::PARTIAL_CONTENT, Some((first, last))) => {
                let range = content_range(first, last, whole.len());
                check(text(CONTENT_RANGE.as_str()) == range, || {
                    format!("{} for {range}", text(CONTENT_RANGE.as_str()))
                })?;
                whole.slice(first..=last)
            }
            (status, _) => return Err(Problem::Failed(format!("status {status}"))),
        };
        if let Some(length) = head.headers.get(CONTENT_LENGTH) {
            check(length == expected.len().to_string().as_str(), || {
                format!("Content-Length {length:?}")
            })?;
        }
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|error| {
                Problem::Failed(format!(
                    "the body ends after {} of {} bytes: {error}: {:?}",
                    seen.given,
                    expected.len(),
                    std::error::Error::source(&error).map(ToString::to_string),
                ))
            })?;
            let data = frame.into_data().unwrap_or_default();
            let given = seen.given;
            let is_right = expected.get(given..given + data.len()) == Some(&data[..]);
            check(is_right, || {
                format!("other bytes, between {given} and {}", given + data.len())
            })?;
            seen.given += data.len();
        }
        check(seen.given == expected.len(), || {
            format!("{} of {} bytes", seen.given, expected.len())
        })
    }
}

async fn ask_on(shared: Arc<Shared>, client: usize) {
    let mut random = Random::new(client as u64);
    while !shared.is_over.load(Ordering::Relaxed) {
        let record = shared.ask(&mut random).await;
        shared.records().push(record);
        // So that the machine is not the bottleneck.
        sleep(Duration::from_millis(1)).await;
    }
}

fn check(is_right: bool, problem: impl FnOnce() -> String) -> Result<(), Problem> {
    if is_right {
        Ok(())
    } else {
        Err(Problem::Wrong(problem()))
    }
}

#[derive(Debug)]
struct Asked {
    cache: usize,
    index: usize,
    language: usize,
    range: Option<(usize, usize)>,
    is_put: bool,
}

#[derive(Debug, Default)]
struct Seen {
    head: Option<Duration>,
    outcome: Option<Outcome>,
    given: usize,
}

impl Asked {
    fn request(&self, resource: &Resource) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        if self.is_put {
            *request.method_mut() = Method::PUT;
        }
        let uri = format!("http://origin.test{}", resource.path);
        *request.uri_mut() = uri.parse().expect("a URI");
        let headers = request.headers_mut();
        headers.insert(
            ACCEPT_LANGUAGE,
            LANGUAGES[self.language].parse().expect("a value"),
        );
        if let (Some((first, last)), false) = (self.range, self.is_put) {
            let range = format!("bytes={first}-{last}");
            headers.insert(RANGE, range.parse().expect("a value"));
        }
        request
    }

    fn about(&self, resource: &Resource, outcome: Option<Outcome>) -> Arc<str> {
        let method = if self.is_put { "PUT" } else { "GET" };
        let mut about = format!("{method} {}", resource.path);
        if let Some((first, last)) = self.range {
            about.push_str(&format!(" {first}-{last}"));
        }
        if let Some(outcome) = outcome {
            about.push_str(&format!(", {outcome}"));
        }
        about.into()
    }
}

/// What there is at the origin.
#[derive(Debug)]
struct Catalogue {
    resources: Vec<Resource>,
    by_path: HashMap<String, usize>,
    /// How often each is asked for, added up.
    weights: Vec<usize>,
    noise: Bytes,
    started: Instant,
}

#[derive(Debug)]
struct Resource {
    path: String,
    kind: Kind,
    size: usize,
    has_tag: bool,
    has_length: bool,
    /// How often it was replaced by a request.
    puts: AtomicU64,
    /// The same, as far as the clients of each cache were told.
    known_puts: [AtomicU64; CACHES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It is fresh for long.
    Fixed,
    /// The same, in three languages.
    Varying,
    /// It is fresh for a second, and stays what it is.
    Validated,
    /// It is fresh for a second, and becomes another.
    Changing,
    /// The same, and it may be used for a while after that.
    Background,
}

/// Which of the bodies of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Version {
    puts: u64,
    changes: u64,
    language: usize,
}

impl Catalogue {
    fn new() -> Self {
        let kinds = [
            Kind::Fixed,
            Kind::Varying,
            Kind::Validated,
            Kind::Changing,
            Kind::Background,
        ];
        // Size, how many of each kind, and how often each is asked for.
        let sizes = [
            (100, 8, 60),
            (10 << 10, 6, 40),
            (300 << 10, 2, 20),
            (2 << 20, 1, 6),
        ];
        let mut resources = Vec::new();
        let mut weights = Vec::new();
        let mut weight = 0;
        for (size, count, share) in sizes {
            for kind in kinds {
                for number in 0..count {
                    weight += share;
                    weights.push(weight);
                    resources.push(Resource {
                        path: format!("/{kind:?}/{size}/{number}").to_lowercase(),
                        kind,
                        size,
                        // Without it, a large body could not be gone on with.
                        has_tag: size > 64 << 10 || number % 4 != 3,
                        has_length: number % 3 != 2,
                        puts: AtomicU64::new(0),
                        known_puts: std::array::from_fn(|_| AtomicU64::new(0)),
                    });
                }
            }
        }
        let by_path = resources.iter().enumerate();
        let by_path = by_path.map(|(index, resource)| (resource.path.clone(), index));
        Self {
            by_path: by_path.collect(),
            resources,
            weights,
            noise: noise(8 << 20),
            started: Instant::now(),
        }
    }

    fn any(&self, random: &mut Random) -> usize {
        let point = random.below(self.weights[self.weights.len() - 1]);
        self.weights.partition_point(|weight| *weight <= point)
    }

    fn current(&self, resource: &Resource, language: usize) -> Version {
        let millis = self.started.elapsed().as_millis();
        Version {
            puts: resource.puts.load(Ordering::SeqCst),
            changes: match resource.kind {
                Kind::Changing | Kind::Background => {
                    u64::try_from(millis / 700).unwrap_or_default()
                }
                _ => 0,
            },
            language,
        }
    }

    /// No two of them are alike, as far as chance goes.
    fn body(&self, index: usize, version: Version) -> Bytes {
        let mut hasher = DefaultHasher::new();
        (index, version).hash(&mut hasher);
        let size = self.resources[index].size;
        let most = (self.noise.len() - size) as u64;
        let start = usize::try_from(hasher.finish() % most).unwrap_or_default();
        self.noise.slice(start..start + size)
    }
}

impl Resource {
    fn can_be_put(&self) -> bool {
        matches!(self.kind, Kind::Fixed | Kind::Varying)
    }

    fn cache_control(&self) -> &'static str {
        match self.kind {
            Kind::Fixed | Kind::Varying => "max-age=600",
            Kind::Validated | Kind::Changing => "max-age=1",
            Kind::Background => "max-age=1, stale-while-revalidate=3",
        }
    }

    /// In milliseconds, with some for the way.
    fn longest_age(&self) -> u64 {
        match self.kind {
            Kind::Fixed | Kind::Varying => 600_000,
            Kind::Validated | Kind::Changing => 1_500,
            Kind::Background => 4_500,
        }
    }
}

impl Version {
    fn tag(self) -> String {
        format!("\"{}.{}.{}\"", self.puts, self.changes, self.language)
    }

    fn parse(tag: &str) -> Option<Self> {
        let mut parts = tag.trim().trim_matches('"').split('.');
        Some(Self {
            puts: parts.next()?.parse().ok()?,
            changes: parts.next()?.parse().ok()?,
            language: parts.next()?.parse().ok()?,
        })
    }

    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let version = headers.get(VERSION).and_then(|value| value.to_str().ok());
        version
            .and_then(Self::parse)
            .ok_or_else(|| Problem::Wrong("no version".to_owned()))
    }
}

/// Answers with what is in the catalogue, and takes some time for it.
///
/// Asked for the rest of a version that is not the current one any more, it still has it.
#[derive(Debug, Clone)]
pub(crate) struct Origin(Arc<Catalogue>);

impl Service<Request<Empty<Bytes>>> for Origin {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Pieces>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let catalogue = self.0.clone();
        Box::pin(async move {
            let response =
                catalogue.answer(request.method(), request.uri().path(), request.headers());
            sleep(Duration::from_millis(2)).await;
            Ok(response)
        })
    }
}

impl Catalogue {
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Pieces> {
        let index = self.by_path[path];
        let resource = &self.resources[index];
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let language = match resource.kind {
            Kind::Varying => LANGUAGES
                .iter()
                .position(|language| text(ACCEPT_LANGUAGE) == Some(language))
                .unwrap_or_default(),
            _ => 0,
        };
        if method == Method::PUT {
            resource.puts.fetch_add(1, Ordering::SeqCst);
        }
        let current = self.current(resource, language);
        let version = text(IF_RANGE).and_then(Version::parse).unwrap_or(current);
        let mut response = Response::new(Pieces::default());
        let fields = response.headers_mut();
        let mut set = |name: &str, value: String| {
            let name: http::HeaderName = name.parse().expect("a name");
            fields.insert(name, value.parse().expect("a value"));
        };
        set(VERSION, version.tag());
        set(PATH, resource.path.clone());
        set(GENERATED, now_millis().to_string());
        set(DATE.as_str(), httpdate::fmt_http_date(SystemTime::now()));
        if method == Method::PUT {
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        set(CACHE_CONTROL.as_str(), resource.cache_control().to_owned());
        if resource.has_tag {
            set(ETAG.as_str(), version.tag());
        }
        if resource.kind == Kind::Varying {
            set(VARY.as_str(), "accept-language".to_owned());
        }
        let tags = text(IF_NONE_MATCH).unwrap_or_default().split(',');
        if resource.has_tag && tags.map(str::trim).any(|tag| tag == version.tag()) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let mut body = self.body(index, version);
        let range = text(RANGE).and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let status = match range {
            Some((first, last)) => {
                set(
                    CONTENT_RANGE.as_str(),
                    content_range(first, last, body.len()),
                );
                body = body.slice(first..=last);
                StatusCode::PARTIAL_CONTENT
            }
            None => StatusCode::OK,
        };
        if resource.has_length {
            set(CONTENT_LENGTH.as_str(), body.len().to_string());
        }
        *response.status_mut() = status;
        response.map(|_| Pieces {
            left: body,
            has_length: resource.has_length,
            has_paused: false,
        })
    }
}

fn content_range(first: usize, last: usize, length: usize) -> String {
    format!("bytes {first}-{last}/{length}")
}

/// A body that comes in pieces, not all at once.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    left: Bytes,
    has_length: bool,
    has_paused: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        self.has_paused = !self.has_paused;
        if self.has_paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.left.len().min(48 << 10);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(length)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.has_length {
            SizeHint::with_exact(self.left.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

/// The clock of the system, moved.
#[derive(Debug, Clone, Default)]
struct ShiftedClock {
    millis: Arc<AtomicI64>,
    was_moved: Arc<AtomicBool>,
}

impl ShiftedClock {
    fn was_moved(&self) -> bool {
        self.was_moved.load(Ordering::SeqCst)
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> SystemTime {
        let millis = self.millis.load(Ordering::SeqCst);
        let by = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 {
            SystemTime::now() - by
        } else {
            SystemTime::now() + by
        }
    }
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or_default()
}

/// Numbers as if by chance, the same each time.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or_default() % most
    }
}

fn noise(length: usize) -> Bytes {
    let mut random = Random::new(0);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    words.flatten().take(length).collect()
}

const LANGUAGES: [&str; 3] = ["de", "en", "fr"];
const VERSION: &str = "x-version";
const PATH: &str = "x-path";
const GENERATED: &str = "x-generated";

/// How many caches there are at most.
const CACHES: usize = 3;

/// Nothing takes so long, whatever happens.
const LONGEST: Duration = Duration::from_secs(20);

/// How many requests make a share of hits.
const WINDOW: usize = 50;
