//! What a history is made of, and what is known of it.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cache_core::{Partition, Policy};
use cache_tower::{CacheLayer, Clock, FailMode};
use http::StatusCode;
use tokio::time::Instant;

use super::chance::Chance;
use super::store::{LEASE, SimStore};
use super::{Broken, Counts, Report};

/// One history; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) clock: SimClock,
    pub(crate) setting: Arc<Setting>,
    pub(crate) store: SimStore,
    known: Arc<Mutex<Known>>,
}

/// What does not change in one history.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) broken: Option<Broken>,
    pub(crate) replicas: usize,
    pub(crate) clients: usize,
    pub(crate) resources: Vec<Resource>,
    pub(crate) is_shared: bool,
    pub(crate) is_closed: bool,
    pub(crate) has_faults: bool,
    pub(crate) leases: bool,
    pub(crate) coalesces: bool,
    pub(crate) refreshes_early: bool,
    pub(crate) stale_if_error: Option<u64>,
    pub(crate) origin_fails: bool,
    pub(crate) is_remote: bool,
    /// All clients have the same fields.
    pub(crate) is_uniform: bool,
    /// Told as it happens.
    pub(crate) is_told: bool,
}

/// How the origin speaks of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub(crate) max_age: Option<u64>,
    pub(crate) directives: Vec<&'static str>,
    pub(crate) stale_while_revalidate: Option<u64>,
    pub(crate) stale_if_error: Option<u64>,
    pub(crate) vary: Option<&'static str>,
    /// Everybody gets something else.
    pub(crate) is_personal: bool,
    pub(crate) has_tag: bool,
    pub(crate) is_announced: bool,
    pub(crate) length: usize,
    pub(crate) status: StatusCode,
}

impl Resource {
    fn drawn(chance: &Chance) -> Self {
        let windows = [None, None, Some(2), Some(20)];
        let directives: [&[&str]; 14] = [
            &[],
            &[],
            &[],
            &[],
            &[],
            &["public"],
            &["public"],
            &["public"],
            &["public"],
            &["private"],
            &["no-store"],
            &["no-cache"],
            &["must-revalidate"],
            &["public", "must-revalidate"],
        ];
        Self {
            max_age: chance.of(&[None, Some(0), Some(1), Some(3), Some(3), Some(10), Some(30)]),
            directives: chance.of(&directives).to_vec(),
            stale_while_revalidate: chance.of(&windows),
            stale_if_error: chance.of(&windows),
            vary: match chance.below(8) {
                0 => Some("*"),
                1..4 => Some("x-kind"),
                _ => None,
            },
            is_personal: chance.one_in(2),
            has_tag: !chance.one_in(3),
            is_announced: chance.one_in(2),
            length: chance.of(&[0, 1, 100, 5_000, 5_000, 70_000]),
            status: chance.of(&[StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND]),
        }
    }

    pub(crate) fn says(&self, directive: &str) -> bool {
        self.directives.contains(&directive)
    }

    pub(crate) fn cache_control(&self) -> String {
        let mut all: Vec<String> = self.directives.iter().map(ToString::to_string).collect();
        let numbers = [
            ("max-age", self.max_age),
            ("stale-while-revalidate", self.stale_while_revalidate),
            ("stale-if-error", self.stale_if_error),
        ];
        for (name, value) in numbers {
            all.extend(value.map(|value| format!("{name}={value}")));
        }
        all.join(", ")
    }
}

#[derive(Debug, Default)]
struct Known {
    versions: HashMap<usize, u64>,
    given: Vec<Given>,
    failures: Vec<Failed>,
    told: Vec<Told>,
    asked: usize,
    wrong: Vec<String>,
    counts: Counts,
    digest: DefaultHasher,
}

/// Whose words a response of the origin are, and what is behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) resource: usize,
    pub(crate) version: u64,
    pub(crate) kind: Option<&'static str>,
    pub(crate) who: Option<&'static str>,
}

/// A response that the origin gave.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) content: Content,
    pub(crate) at: Instant,
    /// The request of a client that it was for.
    pub(crate) to: usize,
    pub(crate) kind: Option<&'static str>,
    pub(crate) who: Option<&'static str>,
    pub(crate) is_error: bool,
    pub(crate) is_unsafe: bool,
    /// When its body ended before its end, without a word.
    pub(crate) cut_at: Option<Instant>,
}

/// A request that the origin failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) resource: usize,
    pub(crate) at: Instant,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// No response came.
    Disconnected,
    /// An error did.
    Error,
    /// A body broke off.
    BrokeOff,
}

/// A client was told that it has changed a resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) resource: usize,
    pub(crate) replica: usize,
    pub(crate) who: Option<&'static str>,
    pub(crate) version: u64,
}

impl World {
    pub(crate) fn new(seed: u64, broken: Option<Broken>, is_told: bool) -> Self {
        let chance = Chance::new(seed);
        let resources = 1 + chance.below(3);
        let setting = Setting {
            broken,
            replicas: 1 + chance.below(3),
            clients: 2 + chance.below(10),
            resources: (0..resources).map(|_| Resource::drawn(&chance)).collect(),
            is_shared: chance.one_in(2),
            is_closed: chance.one_in(8),
            has_faults: chance.one_in(2),
            leases: chance.one_in(2),
            coalesces: !chance.one_in(6),
            refreshes_early: chance.one_in(3),
            stale_if_error: chance.of(&[None, None, Some(5)]),
            origin_fails: chance.one_in(2),
            is_remote: chance.one_in(2),
            is_uniform: chance.one_in(3),
            is_told,
        };
        if is_told {
            println!("{setting:#?}");
        }
        let clock = SimClock::new(broken == Some(Broken::Clock));
        let setting = Arc::new(setting);
        Self {
            store: SimStore::new(&chance, &setting),
            chance,
            clock,
            setting,
            known: Arc::default(),
        }
    }

    /// A process of its own.
    pub(crate) fn layer(&self) -> CacheLayer {
        let setting = &*self.setting;
        let mut policy = match setting.is_shared {
            true => Policy::shared(),
            false => Policy::private(),
        };
        if let Some(seconds) = setting.stale_if_error {
            policy = policy.stale_if_error(Duration::from_secs(seconds));
        }
        if setting.refreshes_early {
            policy = policy.early_refresh(0.6).expect("a fraction");
        }
        if setting.broken == Some(Broken::Partition) {
            policy = policy.partition(Partition::None);
        }
        let mut layer = CacheLayer::new(self.store.clone())
            .policy(policy)
            .clock(self.clock.clone())
            .backend_budget(Duration::from_millis(200))
            .seed(self.chance.below(usize::MAX) as u64);
        if setting.is_closed {
            layer = layer.fail_mode(FailMode::Closed);
        }
        if setting.leases {
            layer = layer.lease(LEASE);
        }
        if !setting.coalesces {
            layer = layer.coalescing_wait(Duration::ZERO);
        }
        layer
    }

    pub(crate) fn resource(&self, resource: usize) -> &Resource {
        &self.setting.resources[resource]
    }

    /// The number of a request.
    pub(crate) fn ask(&self) -> usize {
        let mut known = self.lock();
        known.asked += 1;
        known.counts.requests += 1;
        known.asked
    }

    pub(crate) fn version(&self, resource: usize) -> u64 {
        *self.lock().versions.entry(resource).or_default()
    }

    /// The resource changes.
    pub(crate) fn change(&self, resource: usize) -> u64 {
        let mut known = self.lock();
        let version = known.versions.entry(resource).or_default();
        *version += 1;
        *version
    }

    /// Takes note of a response of the origin; its number.
    pub(crate) fn give(&self, given: Given) -> usize {
        let mut known = self.lock();
        known.given.push(given);
        known.given.len() - 1
    }

    /// The body of a response ended before its end.
    pub(crate) fn cut(&self, number: usize) {
        if let Some(given) = self.lock().given.get_mut(number) {
            given.cut_at = Some(Instant::now());
        }
    }

    pub(crate) fn given(&self, number: usize) -> Option<Given> {
        self.lock().given.get(number).cloned()
    }

    pub(crate) fn fail(&self, resource: usize, how: How) {
        let at = Instant::now();
        let failed = Failed { resource, at, how };
        self.lock().failures.push(failed);
    }

    /// Whether the origin failed so for a resource, at this time or later.
    pub(crate) fn failed_since(&self, resource: usize, how: How, since: Instant) -> bool {
        let known = self.lock();
        let mut failures = known.failures.iter().rev();
        failures
            .any(|failed| failed.resource == resource && failed.how == how && failed.at >= since)
    }

    pub(crate) fn tell(&self, told: Told) {
        self.note(("told", told.resource, told.version));
        let mut known = self.lock();
        known.counts.invalidations += 1;
        known.told.push(told);
    }

    /// The oldest version that may be served to who asks this process from now on.
    pub(crate) fn oldest(&self, resource: usize, replica: usize, who: Option<&str>) -> u64 {
        let known = self.lock();
        let is_meant = |told: &&Told| {
            told.resource == resource
                && told.replica == replica
                && (self.setting.is_shared || told.who == who)
        };
        let told = known.told.iter().filter(is_meant);
        told.map(|told| told.version).max().unwrap_or_default()
    }

    /// What happened, in its order.
    pub(crate) fn note(&self, what: impl Hash + fmt::Debug) {
        let now = self.clock.elapsed().as_nanos();
        if self.setting.is_told {
            println!("{:>12.6} {what:?}", now as f64 / 1e9);
        }
        let mut known = self.lock();
        (now, what).hash(&mut known.digest);
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.lock().counts);
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) {
        self.lock().wrong.push(what.into());
    }

    pub(crate) fn report(&self) -> Report {
        let mut known = self.lock();
        known.counts.faults = self.store.faults();
        Report {
            wrong: known.wrong.clone(),
            counts: known.counts,
            digest: known.digest.finish(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    pub(crate) fn tag(&self) -> String {
        let Self {
            resource,
            version,
            kind,
            who,
        } = self;
        let (kind, who) = (kind.unwrap_or("-"), who.unwrap_or("-"));
        format!("\"{resource}.{version}.{kind}.{who}\"")
    }

    /// The bytes: no two contents have the same.
    pub(crate) fn bytes(&self, length: usize) -> Bytes {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        bytes.into()
    }
}

/// The clock of the runtime, by which no two things happen at the same time.
#[derive(Debug, Clone)]
pub(crate) struct SimClock {
    began: Instant,
    reads: Arc<AtomicU64>,
    stands_still: bool,
}

impl SimClock {
    fn new(stands_still: bool) -> Self {
        Self {
            began: Instant::now(),
            reads: Arc::default(),
            stands_still,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time at the origin, whose clock is right.
    pub(crate) fn date(&self) -> String {
        httpdate::fmt_http_date(epoch() + self.elapsed())
    }
}

impl Clock for SimClock {
    fn now(&self) -> SystemTime {
        let reads = self.reads.fetch_add(1, Ordering::SeqCst);
        let elapsed = match self.stands_still {
            true => Duration::ZERO,
            false => self.elapsed(),
        };
        epoch() + elapsed + Duration::from_nanos(reads)
    }
}

/// In the year 2026, not at a full second.
fn epoch() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_780_000_000_300)
}
