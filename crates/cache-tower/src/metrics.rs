//! `Metrics`.

use cache_core::{BackendErrorKind, CacheInfo};
use metrics::{counter, histogram};

use crate::event::{Event, Listener};

/// Counts what happens, through the facade of the `metrics` crate; a recorder has to be installed to
/// see it.
///
/// | name | kind | labels | |
/// |---|---|---|---|
/// | `http_cache_requests_total` | counter | `outcome`, `reason`, `collapsed` | requests that were answered |
/// | `http_cache_failures_total` | counter | | requests that were not |
/// | `http_cache_age_seconds` | histogram | `outcome` | the age of stored responses that answered |
/// | `http_cache_forwards_total` | counter | `reason`, `background` | requests that were sent to the origin |
/// | `http_cache_origin_seconds` | histogram | `status`: `2xx`, …, `none` | the time until the head of its response |
/// | `http_cache_stored_bytes` | histogram | | bodies of responses that were stored |
/// | `http_cache_not_stored_total` | counter | `reason` | responses that were to be stored, and are not |
/// | `http_cache_changes_total` | counter | `change`: `freshened`, `removed`, `invalidated` | of what is stored |
/// | `http_cache_backend_errors_total` | counter | `kind` | failures of the store |
///
/// Reasons have the names of [`Reason`](crate::Reason). All have the label `cache`, where it is named.
///
/// ```
/// use cache_tower::{CacheLayer, MemoryBackend, Metrics};
///
/// let layer = CacheLayer::new(MemoryBackend::default()).listener(Metrics::named("catalogue"));
/// # let _ = layer;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    labels: Vec<metrics::Label>,
}

impl Metrics {
    /// Without the name of a cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this name of the cache, as the label `cache`.
    #[must_use]
    pub fn named(cache: impl Into<String>) -> Self {
        Self {
            labels: vec![metrics::Label::new("cache", cache.into())],
        }
    }

    fn labels<const N: usize>(&self, labels: [(&'static str, String); N]) -> Vec<metrics::Label> {
        let own = labels
            .into_iter()
            .map(|(name, value)| metrics::Label::new(name, value));
        self.labels.iter().cloned().chain(own).collect()
    }

    fn count_answered(&self, info: &CacheInfo) {
        let outcome = info.outcome.as_str().replace(' ', "_");
        if let Some(age) = info.age {
            let labels = self.labels([("outcome", outcome.clone())]);
            histogram!("http_cache_age_seconds", labels).record(age.as_secs_f64());
        }
        let labels = self.labels([
            ("outcome", outcome),
            ("reason", format!("{:?}", info.reason)),
            ("collapsed", info.collapsed.to_string()),
        ]);
        counter!("http_cache_requests_total", labels).increment(1);
    }

    fn count_change(&self, change: &str) {
        let labels = self.labels([("change", change.to_owned())]);
        counter!("http_cache_changes_total", labels).increment(1);
    }

    fn time_origin(&self, status: String, after: std::time::Duration) {
        let labels = self.labels([("status", status)]);
        histogram!("http_cache_origin_seconds", labels).record(after.as_secs_f64());
    }
}

impl Listener for Metrics {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Answered { info, .. } => self.count_answered(info),
            Event::Failed => {
                counter!("http_cache_failures_total", self.labels([])).increment(1);
            }
            Event::Forwarded {
                reason,
                in_background,
            } => {
                let labels = self.labels([
                    ("reason", format!("{reason:?}")),
                    ("background", in_background.to_string()),
                ]);
                counter!("http_cache_forwards_total", labels).increment(1);
            }
            Event::OriginAnswered { status, after } => {
                self.time_origin(format!("{}xx", status.as_u16() / 100), *after);
            }
            Event::OriginFailed { after } => self.time_origin("none".into(), *after),
            Event::Stored { bytes, .. } => {
                let bytes = u32::try_from(*bytes).unwrap_or(u32::MAX);
                histogram!("http_cache_stored_bytes", self.labels([])).record(bytes);
            }
            Event::NotStored { reason, .. } => {
                let labels = self.labels([("reason", format!("{reason:?}"))]);
                counter!("http_cache_not_stored_total", labels).increment(1);
            }
            Event::Freshened { .. } => self.count_change("freshened"),
            Event::Removed { .. } => self.count_change("removed"),
            Event::Invalidated { .. } => self.count_change("invalidated"),
            Event::BackendFailed { error } => {
                let kind = match error.kind() {
                    BackendErrorKind::TimedOut => "timed_out",
                    BackendErrorKind::Declined => "declined",
                    _ => "unavailable",
                };
                let labels = self.labels([("kind", kind.to_owned())]);
                counter!("http_cache_backend_errors_total", labels).increment(1);
            }
        }
    }
}
