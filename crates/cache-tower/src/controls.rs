//! What can be changed of a cache while it runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use cache_core::{CacheOptions, Policy, Switches};
use http::Extensions;

use crate::engine::Engine;

/// What can be changed of a cache while it runs, for all services of a layer; cheap to clone.
///
/// ```
/// use cache_tower::{CacheLayer, MemoryBackend, Policy};
/// use std::time::Duration;
///
/// let layer = CacheLayer::new(MemoryBackend::default());
/// let controls = layer.controls();
///
/// controls.set_offline(true);
/// controls.set_offline(false);
/// controls.set_policy(Policy::private().default_ttl(Duration::from_secs(60)));
/// ```
///
/// A change holds for requests that come after it: those under way end as they began. It is not
/// retroactive: what is stored keeps the lifetime that it has. A hit takes no lock to see it.
#[derive(Debug, Clone)]
pub struct CacheControls {
    live: Arc<Live>,
}

/// An engine that can be exchanged, and what holds beside it.
pub(crate) struct Live {
    engine: ArcSwap<Engine>,
    switches: AtomicU8,
}

const DISABLED: u8 = 1;
const OFFLINE: u8 = 2;
const READ_ONLY: u8 = 4;

impl CacheControls {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    /// Lets the cache do its work; it does from the beginning.
    pub fn enable(&self) {
        self.live.set(DISABLED, false);
    }

    /// Nothing is looked up or stored until [`enable`](Self::enable). Requests with an unsafe method
    /// invalidate as ever, so that nothing is out of date afterwards.
    pub fn disable(&self) {
        self.live.set(DISABLED, true);
    }

    /// Whether the origin is not asked any more: what is stored answers, however stale, unless that
    /// forbids it, and everything else is answered 504. Validations that are on their way in the
    /// background go on.
    #[doc(alias = "only_if_cached")]
    pub fn set_offline(&self, is_offline: bool) {
        self.live.set(OFFLINE, is_offline);
    }

    /// Whether nothing is written any more: no response, no validation, no invalidation.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.live.set(READ_ONLY, is_read_only);
    }

    /// What holds at the moment.
    #[must_use]
    pub fn switches(&self) -> Switches {
        self.live.switches().unwrap_or_default()
    }

    /// The policy of now.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.live.engine().policy.clone()
    }

    /// Another policy. One with another partition or key settings finds nothing that is stored under
    /// those before.
    pub fn set_policy(&self, policy: Policy) {
        self.update_policy(|_| policy.clone());
    }

    /// Another policy, made of the one of now. `change` may be called more than once, where others
    /// change something at the same time.
    pub fn update_policy(&self, change: impl Fn(&Policy) -> Policy) {
        self.live
            .update(|engine| engine.policy = change(&engine.policy));
    }

    /// As [`CacheLayer::backend_budget`](crate::CacheLayer::backend_budget).
    pub fn set_backend_budget(&self, budget: Duration) {
        self.live.update(|engine| engine.backend_budget = budget);
    }

    /// As [`CacheLayer::backend_timeout`](crate::CacheLayer::backend_timeout).
    pub fn set_backend_timeout(&self, timeout: Duration) {
        self.live.update(|engine| engine.backend_timeout = timeout);
    }

    /// As [`CacheLayer::coalescing_wait`](crate::CacheLayer::coalescing_wait).
    pub fn set_coalescing_wait(&self, wait: Duration) {
        self.live.update(|engine| engine.coalescing_wait = wait);
    }
}

impl Live {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine: ArcSwap::from_pointee(engine),
            switches: AtomicU8::new(0),
        }
    }

    /// The engine of now.
    pub(crate) fn engine(&self) -> arc_swap::Guard<Arc<Engine>> {
        self.engine.load()
    }

    /// The same switches over an engine that is changed.
    pub(crate) fn changed(&self, change: impl FnOnce(&mut Engine)) -> Self {
        let mut engine = Engine::clone(&self.engine());
        change(&mut engine);
        let changed = Self::new(engine);
        let switches = self.switches.load(Ordering::Acquire);
        changed.switches.store(switches, Ordering::Release);
        changed
    }

    fn update(&self, change: impl Fn(&mut Engine)) {
        self.engine.rcu(|engine| {
            let mut engine = Engine::clone(engine);
            change(&mut engine);
            engine
        });
    }

    fn set(&self, switch: u8, is_on: bool) {
        match is_on {
            true => self.switches.fetch_or(switch, Ordering::AcqRel),
            false => self.switches.fetch_and(!switch, Ordering::AcqRel),
        };
    }

    fn switches(&self) -> Option<Switches> {
        let switches = self.switches.load(Ordering::Acquire);
        (switches != 0).then_some(Switches {
            is_disabled: switches & DISABLED != 0,
            is_offline: switches & OFFLINE != 0,
            is_read_only: switches & READ_ONLY != 0,
        })
    }

    /// The engine for a request, which is told what holds at the moment; `None`: that of now.
    pub(crate) fn impose(&self, extensions: &mut Extensions) -> Option<Arc<Engine>> {
        if let Some(switches) = self.switches() {
            let options = CacheOptions::of(extensions).cloned().unwrap_or_default();
            extensions.insert(options.with_switches(switches));
        }
        if extensions.is_empty() {
            return None;
        }
        match CacheOptions::of(extensions)?.waits() {
            (None, None) => None,
            (budget, wait) => {
                let mut engine = Engine::clone(&self.engine());
                engine.backend_budget = budget.unwrap_or(engine.backend_budget);
                engine.coalescing_wait = wait.unwrap_or(engine.coalescing_wait);
                Some(Arc::new(engine))
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("engine", &**self.engine())
            .field("switches", &self.switches())
            .finish()
    }
}
