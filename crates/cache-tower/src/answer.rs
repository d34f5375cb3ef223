//! The responses that the engine gives, and what they say of themselves.

use std::time::SystemTime;

use cache_core::{CacheInfo, Outcome, Reason, Reuse, Storing};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tracing::{Level, debug, event_enabled};

use crate::body::CacheBody;
use crate::engine::Engine;
use crate::health::PAUSE;
use crate::watch;

impl Engine {
    /// A stored response as the answer, without the origin.
    pub(crate) fn answer<B>(&self, reuse: Reuse<'_>, now: SystemTime) -> Response<CacheBody<B>> {
        match self.is_told() {
            true => {
                let info = reuse.info(now);
                self.respond(reuse, info, now)
            }
            false => self.give(reuse, now),
        }
    }

    /// Whether anybody is told what became of a request.
    fn is_told(&self) -> bool {
        self.has_info
            || self.cache_name.is_some()
            || watch::is_heard(self)
            || event_enabled!(Level::DEBUG)
    }

    /// A stored response as the answer.
    pub(crate) fn respond<B>(
        &self,
        reuse: Reuse<'_>,
        info: CacheInfo,
        now: SystemTime,
    ) -> Response<CacheBody<B>> {
        self.conclude(self.give(reuse, now), info)
    }

    fn give<B>(&self, reuse: Reuse<'_>, now: SystemTime) -> Response<CacheBody<B>> {
        let mut response = Response::new(match reuse.body() {
            Some((body, bytes)) => CacheBody::stored(body, bytes, self.backend_timeout),
            None => CacheBody::default(),
        });
        *response.status_mut() = reuse.status();
        *response.version_mut() = reuse.version();
        *response.headers_mut() = reuse.headers(now);
        response
    }

    /// The inner service's response, untouched.
    pub(crate) fn pass<B>(
        &self,
        response: Response<B>,
        outcome: Outcome,
        why: Reason,
        why_not_stored: Reason,
    ) -> Response<CacheBody<B>> {
        let status = Some(response.status());
        let response = response.map(|body| CacheBody::origin(body, None));
        let info = CacheInfo::unstored(outcome, why, Storing::Refused(why_not_stored));
        self.conclude(response, info.with_forward(why, status))
    }

    /// 504 (RFC 9111 §5.2.1.7).
    pub(crate) fn unsatisfiable<B>(&self, reason: Reason) -> Response<CacheBody<B>> {
        let mut response = Response::new(CacheBody::default());
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        let storing = Storing::Refused(Reason::OnlyIfCached);
        // Without a member of `Cache-Status`: it is made of nothing stored (RFC 9211 §2).
        self.explain(
            response,
            CacheInfo::unstored(Outcome::Unsatisfiable, reason, storing),
        )
    }

    /// 503: the store is away, and the origin is not asked for what may be in it.
    pub(crate) fn unavailable<B>(&self) -> Response<CacheBody<B>> {
        let mut response = Response::new(CacheBody::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let after = HeaderValue::from(PAUSE.as_secs());
        response.headers_mut().insert(RETRY_AFTER, after);
        let reason = Reason::BackendUnavailable;
        let info = CacheInfo::unstored(Outcome::Unsatisfiable, reason, Storing::Refused(reason));
        self.explain(response, info)
    }

    /// Says what happened, to the caller and to the log, and where it is wanted in a field.
    pub(crate) fn conclude<B>(&self, mut response: Response<B>, info: CacheInfo) -> Response<B> {
        if let Some(name) = &self.cache_name {
            // Behind what other caches on the way said: the last one is nearest to the caller.
            response
                .headers_mut()
                .append(CACHE_STATUS, info.cache_status(name));
        }
        self.explain(response, info)
    }

    /// The same, but for the field.
    fn explain<B>(&self, mut response: Response<B>, info: CacheInfo) -> Response<B> {
        debug!(
            outcome = info.outcome.as_str(),
            reason = info.reason.explain(),
            stored = info.is_stored()
        );
        if self.has_info || watch::is_heard(self) {
            response.extensions_mut().insert(info);
        }
        response
    }
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
