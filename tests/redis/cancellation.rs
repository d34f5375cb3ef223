//! Whoever leaves, at whatever point, over a real server and between two processes: nobody else hangs,
//! nobody gets anything wrong, no lease and no key without an end stays behind, and the next is right.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Backend, BoxFuture, CacheInfo, Lease, Outcome, Policy};
use cache_tower::{Cache, CacheLayer};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::{Replica, Site};

/// What requests meet.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meets {
    /// Nothing is stored.
    Nothing,
    /// Nothing is stored, and what comes is for each alone.
    Solitary,
    /// A response is stored, of which the body is read piece by piece.
    Stored,
    /// It is stale, and valid.
    Valid,
    /// It is stale, and validated in the background.
    Background,
    /// It is changed meanwhile.
    Change,
}

/// Who leaves, of four that ask: two in each process.
const LEAVING: [&[usize]; 4] = [&[0], &[2], &[0, 2], &[0, 1, 2, 3]];

impl Meets {
    fn control(self) -> &'static str {
        match self {
            Self::Solitary => "no-store",
            Self::Background => "max-age=60, stale-while-revalidate=600",
            _ => "max-age=60",
        }
    }

    fn request(self, path: &str, number: usize) -> Request<Full<Bytes>> {
        let method = match self {
            Self::Change if number == 1 => Method::PUT,
            _ => Method::GET,
        };
        let builder = Request::builder().method(method);
        let uri = format!("http://origin.test{path}");
        builder.uri(uri).body(Full::default()).expect("a request")
    }
}

/// What the origin has, a hundred times as much as is kept beside its head.
fn content() -> Bytes {
    (0..10_000_u32).flat_map(u32::to_be_bytes).collect()
}

/// An origin that takes a few turns for each thing that it does.
#[derive(Debug, Clone)]
struct Slow {
    control: &'static str,
}

struct Pieces {
    left: VecDeque<Bytes>,
    is_turn: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_turn = !self.is_turn;
        if self.is_turn {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop_front().map(Frame::data).map(Ok))
    }
}

impl Service<Request<Full<Bytes>>> for Slow {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let control = self.control;
        Box::pin(async move {
            for _ in 0..3 {
                yield_now().await;
            }
            let builder = Response::builder()
                .header("cache-control", control)
                .header("etag", "\"1\"");
            let fields = request.headers();
            let is_valid = fields
                .get("if-none-match")
                .is_some_and(|tag| tag == "\"1\"");
            let status = match () {
                () if *request.method() == Method::PUT => StatusCode::NO_CONTENT,
                () if is_valid => StatusCode::NOT_MODIFIED,
                () => StatusCode::OK,
            };
            let mut content = match status {
                StatusCode::OK => content(),
                _ => Bytes::new(),
            };
            let mut left = VecDeque::new();
            while !content.is_empty() {
                left.push_back(content.split_to(content.len().min(15_000)));
            }
            let body = Pieces {
                left,
                is_turn: false,
            };
            Ok(builder.status(status).body(body).expect("a response"))
        })
    }
}

/// A process: a layer of its own over the backend of a replica.
struct Process {
    layer: CacheLayer,
    cache: Cache<Slow>,
}

impl Process {
    fn over(replica: &Replica, origin: &Slow) -> Self {
        Self::with_lease(replica, origin, PATIENCE)
    }

    fn with_lease(replica: &Replica, origin: &Slow, lease: Duration) -> Self {
        let layer = CacheLayer::new(replica.backend.clone())
            .policy(replica.store.policy.clone())
            .clock(replica.store.clock.clone())
            .backend_budget(PATIENCE)
            .backend_timeout(PATIENCE)
            .coalescing_wait(PATIENCE)
            .lease(lease);
        Self {
            cache: layer.layer(origin.clone()),
            layer,
        }
    }
}

/// What a caller saw of a body that is whole.
struct Got {
    status: StatusCode,
    outcome: Outcome,
    bytes: Bytes,
}

async fn fetch(mut cache: Cache<Slow>, request: Request<Full<Bytes>>) -> Got {
    let Ok(response) = cache.call(request).await;
    let (parts, body) = response.into_parts();
    let info = parts.extensions.get::<CacheInfo>();
    Got {
        status: parts.status,
        outcome: info.expect("every response has a CacheInfo").outcome,
        bytes: body.collect().await.expect("a whole body").to_bytes(),
    }
}

/// A task that drops a future after so many polls, each when it has been woken; whether that was at its
/// end by then.
fn leave_after<F>(polls: usize, future: F) -> JoinHandle<bool>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(async move {
        let mut future = pin!(future);
        let mut left = polls;
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(false);
            }
            left -= 1;
            ready!(future.as_mut().poll(cx));
            Poll::Ready(true)
        })
        .await
    })
}

/// Whatever it is, it does not hang.
async fn soon<F: Future>(name: &str, future: F) -> F::Output {
    let Ok(output) = timeout(2 * PATIENCE, future).await else {
        panic!("{name}: it hangs");
    };
    output
}

/// Four requests at the same time, of which some leave after so many polls; whether all of them were at
/// their end before.
async fn run(replicas: [&Replica; 2], meets: Meets, leaving: &[usize], polls: usize) -> bool {
    let name = format!("{meets:?}, {leaving:?} leave after {polls} polls");
    let path = format!("/{meets:?}/{leaving:?}/{polls}").replace([' ', '[', ']', ','], "-");
    let origin = Slow {
        control: meets.control(),
    };
    let whole = content();
    let processes = replicas.map(|replica| Process::over(replica, &origin));
    if !matches!(meets, Meets::Nothing | Meets::Solitary) {
        let first = Process::over(replicas[0], &origin);
        soon(&name, fetch(first.cache, meets.request(&path, 0))).await;
        soon(&name, first.layer.shutdown()).await;
    }
    if matches!(meets, Meets::Valid | Meets::Background) {
        replicas[0].store.wait(61);
    }
    let mut staying = Vec::new();
    let mut victims = Vec::new();
    for number in 0..4 {
        let cache = processes[number / 2].cache.clone();
        let exchange = fetch(cache, meets.request(&path, number));
        match leaving.contains(&number) {
            true => victims.push(leave_after(polls, exchange)),
            false => staying.push((number, tokio::spawn(exchange))),
        }
    }
    let mut all_were_over = true;
    for victim in victims {
        all_were_over &= soon(&name, victim).await.expect("no panic");
    }
    for (number, exchange) in staying {
        let got = soon(&name, exchange).await.expect("no panic");
        match *meets.request(&path, number).method() {
            Method::PUT => assert_eq!(got.status, 204, "{name}"),
            _ => assert!(got.bytes == whole, "{name}: {} bytes", got.bytes.len()),
        }
    }
    for process in &processes {
        soon(&name, process.layer.shutdown()).await;
        let shown = format!("{:?}", process.layer);
        assert!(shown.contains("Flights { running: 0,"), "{name}: {shown}");
    }
    // Nobody has the lease: who wants it is given it, or told that it is of no use.
    let plain = meets.request(&path, 0).map(|_| ());
    let key = replicas[0].store.key(&plain);
    let backend = &replicas[1].backend;
    match backend
        .lease(&key, PATIENCE)
        .wait()
        .await
        .expect("an answer")
    {
        Lease::Taken => panic!("{name}: a lease is left"),
        Lease::Granted(token) => {
            let ended = backend.end_lease(&key, token, None).wait().await;
            ended.expect("it is given back");
        }
        Lease::Useless => assert_eq!(meets, Meets::Solitary, "{name}"),
    }
    // What comes next is right, in both, and then it is stored.
    for replica in replicas {
        for round in 0..2 {
            let next = Process::over(replica, &origin);
            let got = soon(&name, fetch(next.cache, meets.request(&path, 0))).await;
            assert!(got.bytes == whole, "{name}: {} bytes", got.bytes.len());
            if round > 0 && meets != Meets::Solitary {
                assert_eq!(got.outcome, Outcome::Hit, "{name}");
            }
            soon(&name, next.layer.shutdown()).await;
        }
    }
    all_were_over
}

async fn leave_at_every_point(meets: Meets) {
    let site = Site::small(Policy::private()).await;
    let other = site.other();
    for leaving in LEAVING {
        let mut polls = 0;
        while !run([&*site, &other], meets, leaving, polls).await {
            polls += 1;
            assert!(polls < 500, "{meets:?} never ends");
        }
        // Who follows may have to be woken once only.
        assert!(polls > 1, "{meets:?}: nobody left on the way");
    }
    site.all_expire();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_meets_nothing_may_leave_at_any_point() {
    leave_at_every_point(Meets::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_meets_what_is_for_each_alone_may_leave_at_any_point() {
    leave_at_every_point(Meets::Solitary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_a_stored_body_may_leave_at_any_point() {
    leave_at_every_point(Meets::Stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_validates_may_leave_at_any_point() {
    leave_at_every_point(Meets::Valid).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_it_validated_in_the_background_may_leave_at_any_point() {
    leave_at_every_point(Meets::Background).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_something_may_leave_at_any_point() {
    leave_at_every_point(Meets::Change).await;
}

/// With its background work: dropped with its runtime, in the middle of it.
#[test]
fn a_process_may_end_at_any_point() {
    let server = tokio::runtime::Runtime::new().expect("a runtime");
    let site = server.block_on(Site::small(Policy::private()));
    for millis in [0, 1, 2, 4, 8, 16] {
        let path = format!("/ended/{millis}");
        let origin = Slow {
            control: "max-age=60",
        };
        let first = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        first.block_on(async {
            // That is how long those who come later wait at most.
            let lease = Duration::from_millis(200);
            let process = Process::with_lease(&site.other(), &origin, lease);
            for number in 0..4 {
                let request = Meets::Nothing.request(&path, number);
                tokio::spawn(fetch(process.cache.clone(), request));
            }
            tokio::time::sleep(Duration::from_millis(millis)).await;
        });
        drop(first);
        server.block_on(async {
            let next = Process::over(&site.other(), &origin);
            let got = soon(&path, fetch(next.cache, Meets::Nothing.request(&path, 0))).await;
            assert!(got.bytes == content(), "{path}");
            soon(&path, next.layer.shutdown()).await;
        });
    }
    site.all_expire();
}

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);
