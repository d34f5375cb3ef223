//! Whether a stored response answers a request (RFC 9111 §4 and §4.2.4, RFC 5861).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::backend::Token;
use crate::header::age::DeltaSeconds;
use crate::header::cache_control::RequestDirectives;
use crate::mode::CacheMode;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::stored::StoredHead;

/// What may be done with a stored response that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reusing {
    /// Reuse it.
    Allowed(Reason),
    /// Reuse it, and validate it in the background.
    AllowedWhileRevalidating,
    /// Not without asking the origin.
    Refused(Reason),
}

/// Judges a stored response; what the origin forbids comes before what the request permits.
#[inline]
pub(crate) fn reuse(
    policy: &Policy,
    directives: &RequestDirectives,
    mode: CacheMode,
    stored: &StoredHead,
    now: SystemTime,
) -> Reusing {
    let freshness = &stored.freshness;
    if freshness.always_validate {
        return Reusing::Refused(Reason::ResponseNoCache);
    }
    let remaining = stored.remaining(now);
    let is_fresh = !remaining.is_zero();
    if mode.takes_stale() && (is_fresh || !freshness.must_revalidate) {
        return Reusing::Allowed(if is_fresh {
            Reason::Fresh
        } else {
            Reason::ModeTakesStale
        });
    }
    if let Some(reason) = request_refuses(directives, mode, stored, now, remaining) {
        return Reusing::Refused(reason);
    }
    if policy.always_revalidate && stored.has_validator() && !(is_fresh && freshness.immutable) {
        return Reusing::Refused(Reason::AlwaysRevalidate);
    }
    if is_fresh {
        return Reusing::Allowed(Reason::Fresh);
    }
    if freshness.must_revalidate {
        return Reusing::Refused(Reason::Stale);
    }
    let stale_for = stored.stale_for(now);
    if directives
        .max_stale
        .is_some_and(|bound| covers(bound, stale_for))
    {
        return Reusing::Allowed(Reason::MaxStale);
    }
    // RFC 9111 §5.2.1.1: who bounds the age, and no staleness, does not want a stale response.
    let takes_stale = directives.max_age.is_none() || directives.max_stale.is_some();
    if stale_for < freshness.stale_while_revalidate && takes_stale && !directives.only_if_cached {
        return Reusing::AllowedWhileRevalidating;
    }
    Reusing::Refused(Reason::Stale)
}

/// What the request itself holds against a stored response, however fresh (RFC 9111 §5.2.1).
fn request_refuses(
    directives: &RequestDirectives,
    mode: CacheMode,
    stored: &StoredHead,
    now: SystemTime,
    remaining: Duration,
) -> Option<Reason> {
    if directives.no_cache || mode == CacheMode::NoCache {
        return Some(Reason::RequestNoCache);
    }
    if let Some(max_age) = directives.max_age {
        // §5.2.1.1: whether "unless max-stale is present" lifts the bound is not said; it does not.
        if stored.age(now) > max_age.duration() {
            return Some(Reason::RequestMaxAge);
        }
    }
    if let Some(min_fresh) = directives.min_fresh {
        if remaining < min_fresh.duration() {
            return Some(Reason::RequestMinFresh);
        }
    }
    None
}

fn covers(bound: DeltaSeconds, stale_for: Duration) -> bool {
    stale_for <= bound.duration()
}

/// Whether a fresh response is near enough to its end to be brought up to date in the background. Where
/// that begins is drawn by the seed for each response, and again where it was freshened.
pub(crate) fn is_due_early(
    policy: &Policy,
    stored: &StoredHead,
    token: Token,
    seed: u64,
    now: SystemTime,
) -> bool {
    let Some(fraction) = policy.early_refresh else {
        return false;
    };
    let Token(token) = token;
    let received_at = stored.received_at.duration_since(UNIX_EPOCH);
    let drawn = [
        token as u64,
        (token >> 64) as u64,
        received_at.unwrap_or_default().as_nanos() as u64,
    ]
    .iter()
    .fold(seed, |drawn, with| mix(drawn ^ with));
    let drawn = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    let begins = fraction + (1.0 - fraction) / 2.0 * drawn;
    let freshness = &stored.freshness;
    !freshness.immutable
        && stored.age(now).as_secs_f64() >= freshness.lifetime.as_secs_f64() * begins
}

/// One step of SplitMix64.
fn mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Why the origin gave no usable response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the engine has to tell them apart")]
pub enum Failure {
    /// No response at all.
    Disconnected,
    /// One of the errors of RFC 5861 §4.
    ErrorResponse,
}

/// Whether a stored response may stand in for one that the origin failed to give.
pub(crate) fn stand_in(
    directives: &RequestDirectives,
    mode: CacheMode,
    stored: &StoredHead,
    failure: Failure,
    now: SystemTime,
) -> Option<Reason> {
    let freshness = &stored.freshness;
    let is_fresh = !stored.remaining(now).is_zero();
    if freshness.always_validate || freshness.must_revalidate && !is_fresh {
        return None;
    }
    let stale_for = stored.stale_for(now);
    let asked_for = directives
        .stale_if_error
        .is_some_and(|bound| covers(bound, stale_for));
    let wants_validation =
        directives.no_cache || matches!(mode, CacheMode::NoCache | CacheMode::Reload);
    if wants_validation && !asked_for {
        return None;
    }
    let is_within = asked_for || stale_for < freshness.stale_if_error;
    match failure {
        Failure::Disconnected if is_within => Some(Reason::StaleIfError),
        // RFC 5861 §4: the window that the origin gave is also the end of it.
        Failure::Disconnected if freshness.is_window_final => None,
        Failure::Disconnected => Some(Reason::Disconnected),
        Failure::ErrorResponse => is_within.then_some(Reason::StaleIfError),
    }
}

impl Failure {
    /// What a response with this status code is (RFC 5861 §4), if it is a failure.
    #[must_use]
    pub fn of(status: StatusCode) -> Option<Self> {
        is_error(status).then_some(Self::ErrorResponse)
    }
}

/// The errors of RFC 5861 §4.
pub(crate) fn is_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
