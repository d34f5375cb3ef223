//! `CacheLayer`.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Backend, CacheName, Policy};
use tower_layer::Layer;

use crate::background::Background;
use crate::clock::Clock;
use crate::controls::{CacheControls, Live};
use crate::engine::Engine;
use crate::event::Listener;
use crate::fail_mode::FailMode;
use crate::revalidations::Revalidations;
use crate::service::Cache;

/// Puts a [`Cache`] around a service.
///
/// What the layer makes, and what clones of it make, shares one store and one state.
///
/// Requests that are under way together, a store that takes its time and work in the background need a Tokio
/// runtime with its timer on ([`enable_time`](tokio::runtime::Builder::enable_time)); without a runtime each
/// request goes its own way.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    live: Arc<Live>,
}

impl CacheLayer {
    /// A private cache over `backend`, partitioned by the credentials of requests:
    /// [`Policy::private`].
    pub fn new(backend: impl Backend) -> Self {
        Self {
            live: Arc::new(Live::new(Engine::new(Arc::new(backend)))),
        }
    }

    /// What can be changed while the cache runs, for all services of this layer and of its clones. A
    /// setting made here afterwards makes a layer of its own, so take it when all is set.
    #[must_use]
    pub fn controls(&self) -> CacheControls {
        CacheControls::new(self.live.clone())
    }

    fn change(self, change: impl FnOnce(&mut Engine)) -> Self {
        Self {
            live: Arc::new(self.live.changed(change)),
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Another policy.
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.change(|engine| engine.policy = policy)
    }

    /// Another clock. Default: the clock of the system.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.change(|engine| engine.clock = Arc::new(clock))
    }

    /// Adds a member of this name to the `Cache-Status` field of every response (RFC 9211), behind
    /// those of other caches. Default: none; what the cache did is always in the extensions, as
    /// [`CacheInfo`](crate::CacheInfo).
    #[must_use]
    pub fn cache_status(self, name: CacheName) -> Self {
        self.change(|engine| engine.cache_name = Some(name))
    }

    /// Whether every response has a [`CacheInfo`](crate::CacheInfo) in its extensions. It takes less than a
    /// tenth of the time of a hit in memory. Default: yes.
    #[must_use]
    pub fn cache_info(self, wanted: bool) -> Self {
        self.change(|engine| engine.has_info = wanted)
    }

    /// The longest that all operations on the backend may take together on the way of one request;
    /// what is not done by then is a miss, or not stored. Default: 50 ms.
    #[must_use]
    pub fn backend_budget(self, budget: Duration) -> Self {
        self.change(|engine| engine.backend_budget = budget)
    }

    /// How long a request waits for another for the same that is on its way to the origin already,
    /// until it is sent by itself; and for how long others are made to wait for that one. Zero: never.
    /// Default: 5 seconds.
    ///
    /// Whoever waits gets the same response while it arrives, if it is fresh and answers its own
    /// fields, too; otherwise it is sent by itself at once, and for a while nobody waits for that key.
    #[must_use]
    pub fn coalescing_wait(self, wait: Duration) -> Self {
        self.change(|engine| engine.coalescing_wait = wait)
    }

    /// Lets the processes that share the store wait for one another as requests in one process do: who
    /// asks the origin first takes a lease in the store, for this long at most, and others look into
    /// the store until it is there, or the lease is over, or `coalescing_wait` is.
    ///
    /// It costs a miss two round trips more, and a process that dies while it has the lease holds up
    /// the others as long as it lasts. Default: no lease.
    #[must_use]
    pub fn lease(self, time: Duration) -> Self {
        self.change(|engine| engine.lease = Some(time).filter(|time| !time.is_zero()))
    }

    /// Tells how a request body of this type is made that has no content, such as `Body::default`.
    ///
    /// A stored body that the store loses on its way goes on from the origin, which takes a request to
    /// ask with. Where one was sent already, to validate the response, there has to be a second.
    /// `Empty<Bytes>`, `Full<Bytes>` and `String` are known; with a type that is not, and where the request
    /// has content, the body then ends with an error.
    #[must_use]
    pub fn empty_body<B: 'static>(self, make: fn() -> B) -> Self {
        self.change(|engine| engine.empty_bodies.add(make))
    }

    /// What becomes of requests while the store is away. Default: [`FailMode::Open`], they go to the
    /// origin.
    #[must_use]
    pub fn fail_mode(self, mode: FailMode) -> Self {
        self.change(|engine| engine.fail_mode = mode)
    }

    /// What is drawn, as the point from which a response is [due
    /// early](Policy::early_refresh), is drawn from this. Default: a number that no other process has.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.change(|engine| engine.seed = seed)
    }

    /// For how long an origin that failed to validate a stored response is not asked again for it, and
    /// the stale one stands in, as far as it may. Default: 5 seconds. Zero: it is asked each time.
    #[must_use]
    pub fn failure_pause(self, pause: Duration) -> Self {
        self.change(|engine| engine.revalidations = Arc::new(Revalidations::new(pause)))
    }

    /// Adds someone who hears what happens: see [`Listener`]. Default: nobody.
    #[must_use]
    pub fn listener(self, listener: impl Listener) -> Self {
        self.change(|engine| engine.listeners.add(listener))
    }

    /// How many tasks of each kind go on in the background at most: validations, and responses that are
    /// being made visible in a store that takes its time. What is more is left undone. Default: 256.
    #[must_use]
    pub fn background_tasks(self, most: usize) -> Self {
        self.change(|engine| engine.background = Background::new(most))
    }

    /// Waits for what goes on in the background, and begins nothing more of it that can be left
    /// undone. Requests are answered as before.
    ///
    /// Dropping the future leaves the work to go on. A validation takes as long as its origin does.
    pub async fn shutdown(&self) {
        let background = self.live.engine().background.clone();
        background.shutdown().await;
    }

    /// The longest that one operation on the backend may take which is not on the way of a request:
    /// making a stored response visible, what is left to the background, and each part of a stored
    /// body that is read. Default: 5 seconds.
    #[must_use]
    pub fn backend_timeout(self, timeout: Duration) -> Self {
        self.change(|engine| engine.backend_timeout = timeout)
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache::new(inner, self.live.clone())
    }
}
