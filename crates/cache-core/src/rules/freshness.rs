//! Freshness and age (RFC 9111 §4.2), as far as they are known when a response arrives.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED};

use crate::header::age;
use crate::header::cache_control::ResponseDirectives;
use crate::header::date;
use crate::policy::{Retention, Terms, Ttl};

/// What a stored response says of its own reuse, worked out when it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// When the origin made it: its `Date`.
    pub dated_at: SystemTime,
    /// Its age when it arrived (RFC 9111 §4.2.3: `corrected_initial_age`).
    pub initial_age: Duration,
    /// Its freshness lifetime (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// Where the lifetime comes from.
    pub source: LifetimeSource,
    /// It must be validated before every reuse (`no-cache`).
    pub always_validate: bool,
    /// It must not be reused stale (`must-revalidate`, and in a shared cache `proxy-revalidate`
    /// and `s-maxage`).
    pub must_revalidate: bool,
    /// It does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// How long it may be reused stale while it is validated in the background.
    pub stale_while_revalidate: Duration,
    /// How long it may be reused stale instead of an error response.
    pub stale_if_error: Duration,
    /// The origin gave the window, so that it is not served beyond, even where no response comes.
    pub is_window_final: bool,
    /// The fields that are left out where it is reused without validation.
    pub no_cache_fields: Vec<HeaderName>,
    /// Until when it is kept; `None`: for ever.
    pub retain_until: Option<SystemTime>,
}

/// Where a freshness lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifetimeSource {
    /// `max-age`, `s-maxage` or `Expires`.
    Explicit,
    /// A tenth of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
    /// The policy: its `default_ttl` or `override_ttl`.
    Default,
    /// Nothing: the response is stale from the start.
    None,
}

impl Freshness {
    pub(crate) fn of(
        terms: &Terms<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        requested_at: SystemTime,
        received_at: SystemTime,
    ) -> Self {
        let dated_at = date::read(headers, &http::header::DATE).unwrap_or(received_at);
        let initial_age = initial_age(headers, dated_at, requested_at, received_at);
        let cap = terms.max_ttl.unwrap_or(Duration::MAX);
        let (lifetime, source) = match terms.override_ttl {
            Some(ttl) => {
                let left = left(ttl, received_at).min(cap);
                (initial_age.saturating_add(left), LifetimeSource::Default)
            }
            None => {
                let arrival = Arrival {
                    dated_at,
                    received_at,
                    initial_age,
                };
                let (lifetime, source) = lifetime(terms, status, headers, directives, &arrival);
                (lifetime.min(cap), source)
            }
        };
        let is_shared = terms.policy.is_shared();
        let must_revalidate = directives.must_revalidate
            || is_shared && (directives.proxy_revalidate || directives.s_maxage.is_some());
        let window = |said: Option<age::DeltaSeconds>, default: Option<Duration>| {
            said.map(age::DeltaSeconds::duration)
                .or(default)
                .unwrap_or_default()
        };
        let stale_while_revalidate = window(
            directives.stale_while_revalidate,
            terms.stale_while_revalidate,
        );
        let stale_if_error = window(directives.stale_if_error, terms.stale_if_error);
        let retain_until = match terms.retention {
            Retention::Forever => None,
            // A time past the end of time is for ever, too.
            Retention::Grace(grace) => received_at.checked_add(
                lifetime
                    .saturating_sub(initial_age)
                    .saturating_add(stale_while_revalidate.max(stale_if_error).max(grace)),
            ),
        };
        Self {
            dated_at,
            initial_age,
            lifetime,
            source,
            always_validate: directives.no_cache,
            must_revalidate,
            immutable: directives.immutable,
            stale_while_revalidate,
            stale_if_error,
            is_window_final: directives.stale_if_error.is_some(),
            no_cache_fields: directives.no_cache_fields.clone(),
            retain_until,
        }
    }
}

/// `later - earlier`, zero where they are the other way round.
pub(crate) fn elapsed(earlier: SystemTime, later: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

/// The age of a response on arrival (RFC 9111 §4.2.3).
fn initial_age(
    headers: &HeaderMap,
    dated_at: SystemTime,
    requested_at: SystemTime,
    received_at: SystemTime,
) -> Duration {
    let apparent_age = elapsed(dated_at, received_at);
    let age_value = age::read(headers)
        .map(age::DeltaSeconds::duration)
        .unwrap_or_default();
    let response_delay = elapsed(requested_at, received_at);
    apparent_age.max(age_value.saturating_add(response_delay))
}

/// When a response was made and arrived, and how old it was then.
struct Arrival {
    dated_at: SystemTime,
    received_at: SystemTime,
    initial_age: Duration,
}

/// The freshness lifetime (RFC 9111 §4.2.1), before the policy's cap.
fn lifetime(
    terms: &Terms<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    &Arrival {
        dated_at,
        received_at,
        initial_age,
    }: &Arrival,
) -> (Duration, LifetimeSource) {
    let s_maxage = directives.s_maxage.filter(|_| terms.policy.is_shared());
    if let Some(seconds) = s_maxage.or(directives.max_age) {
        return (seconds.duration(), LifetimeSource::Explicit);
    }
    if headers.contains_key(EXPIRES) && !directives.is_targeted && !terms.ignores_origin {
        // An invalid date, "0" above all, is a time in the past (RFC 9111 §5.3).
        let lifetime = date::read(headers, &EXPIRES).map(|at| elapsed(dated_at, at));
        return (lifetime.unwrap_or_default(), LifetimeSource::Explicit);
    }
    let is_cacheable = directives.public || is_heuristically_cacheable(status);
    if let Some(ttl) = terms.default_ttl {
        if is_cacheable || terms.default_is_for_status {
            let lifetime = match ttl {
                Ttl::After(lifetime) => lifetime,
                ttl => initial_age.saturating_add(left(ttl, received_at)),
            };
            return (lifetime, LifetimeSource::Default);
        }
    }
    match date::read(headers, &LAST_MODIFIED) {
        Some(modified_at) if is_cacheable => {
            let lifetime = (elapsed(modified_at, dated_at) / 10).min(terms.policy.heuristic_cap);
            (lifetime, LifetimeSource::Heuristic)
        }
        _ => (Duration::ZERO, LifetimeSource::None),
    }
}

/// How long a response is fresh that has just arrived.
fn left(ttl: Ttl, received_at: SystemTime) -> Duration {
    match ttl {
        Ttl::After(time) => time,
        Ttl::At(end) => elapsed(received_at, end),
        Ttl::Never => Duration::MAX,
    }
}

/// The status codes that RFC 9110 §15.1 defines as heuristically cacheable.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::date::format;
    use crate::policy::Policy;
    use http::HeaderValue;
    use http::header::{AGE, CACHE_CONTROL, DATE};
    use std::time::UNIX_EPOCH;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + secs(1_000_000_000 + seconds)
    }

    /// A response that was asked for at second 100 and came at second 102.
    #[track_caller]
    fn freshness(policy: &Policy, status: u16, fields: &[(HeaderName, &str)]) -> Freshness {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).expect("a field value"));
        }
        let directives = ResponseDirectives::read(&headers, &[]);
        let status = StatusCode::from_u16(status).expect("a status code");
        let terms = Terms::of_policy(policy, status);
        Freshness::of(&terms, status, &headers, &directives, at(100), at(102))
    }

    fn date(seconds: u64) -> String {
        format(at(seconds))
            .to_str()
            .expect("a date is text")
            .to_owned()
    }

    #[track_caller]
    fn lifetime(
        policy: &Policy,
        status: u16,
        fields: &[(HeaderName, &str)],
    ) -> (u64, LifetimeSource) {
        let found = freshness(policy, status, fields);
        (found.lifetime.as_secs(), found.source)
    }

    #[test]
    fn s_maxage_counts_before_max_age_before_expires_and_only_when_shared() {
        use LifetimeSource::Explicit;
        let all = [
            (CACHE_CONTROL, "s-maxage=3, max-age=2"),
            (DATE, &date(100)),
            (EXPIRES, &date(101)),
        ];
        assert_eq!(lifetime(&Policy::shared(), 200, &all), (3, Explicit));
        assert_eq!(lifetime(&Policy::private(), 200, &all), (2, Explicit));
        assert_eq!(lifetime(&Policy::private(), 200, &all[1..]), (1, Explicit));
        assert_eq!(lifetime(&Policy::private(), 200, &all[2..]), (0, Explicit));
    }

    #[test]
    fn an_invalid_max_age_is_stale_even_with_expires() {
        let fields = [
            (CACHE_CONTROL, "max-age=x"),
            (DATE, &date(100)),
            (EXPIRES, &date(200)),
        ];
        assert_eq!(
            lifetime(&Policy::private(), 200, &fields),
            (0, LifetimeSource::Explicit)
        );
    }

    #[test]
    fn an_invalid_expires_is_stale_and_leaves_no_room_for_the_heuristic() {
        for expires in ["0", "-1", "", "never"] {
            let fields = [
                (EXPIRES, expires),
                (DATE, &date(100)),
                (LAST_MODIFIED, &date(0)),
            ];
            let policy = Policy::private().default_ttl(secs(60));
            assert_eq!(
                lifetime(&policy, 200, &fields),
                (0, LifetimeSource::Explicit)
            );
        }
    }

    #[test]
    fn the_heuristic_is_a_tenth_of_the_time_since_the_last_change_and_capped() {
        let fields = [(DATE, &*date(100)), (LAST_MODIFIED, &*date(0))];
        assert_eq!(
            lifetime(&Policy::private(), 200, &fields),
            (10, LifetimeSource::Heuristic)
        );
        let capped = Policy::private().heuristic_cap(secs(4));
        assert_eq!(
            lifetime(&capped, 200, &fields),
            (4, LifetimeSource::Heuristic)
        );
        let future = [(DATE, &*date(100)), (LAST_MODIFIED, &*date(200))];
        assert_eq!(
            lifetime(&Policy::private(), 200, &future),
            (0, LifetimeSource::Heuristic)
        );
    }

    #[test]
    fn only_some_status_codes_have_a_heuristic_unless_the_response_is_public() {
        let fields = [
            (DATE, &*date(100)),
            (LAST_MODIFIED, &*date(0)),
            (CACHE_CONTROL, "public"),
        ];
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(
                lifetime(&Policy::private(), status, &fields[..2]).0,
                10,
                "{status}"
            );
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 500, 502, 503, 504, 599] {
            assert_eq!(
                lifetime(&Policy::private(), status, &fields[..2]).0,
                0,
                "{status}"
            );
            assert_eq!(
                lifetime(&Policy::private(), status, &fields).0,
                10,
                "{status}"
            );
        }
    }

    #[test]
    fn default_ttl_replaces_the_heuristic_and_max_ttl_caps_everything() {
        let policy = Policy::private().default_ttl(secs(60));
        let fields = [(DATE, &*date(100)), (LAST_MODIFIED, &*date(0))];
        assert_eq!(
            lifetime(&policy, 200, &fields),
            (60, LifetimeSource::Default)
        );
        assert_eq!(lifetime(&policy, 403, &fields), (0, LifetimeSource::None));
        assert_eq!(
            lifetime(&policy, 404, &fields),
            (10, LifetimeSource::Heuristic)
        );
        assert_eq!(lifetime(&policy, 404, &[]), (0, LifetimeSource::None));
        assert_eq!(lifetime(&policy, 200, &[(CACHE_CONTROL, "max-age=9")]).0, 9);
        let capped = policy.max_ttl(secs(5));
        assert_eq!(lifetime(&capped, 200, &fields).0, 5);
        assert_eq!(lifetime(&capped, 200, &[(CACHE_CONTROL, "max-age=9")]).0, 5);
        assert_eq!(lifetime(&capped, 200, &[(CACHE_CONTROL, "max-age=2")]).0, 2);
    }

    #[test]
    fn immutable_gives_no_lifetime() {
        assert_eq!(
            lifetime(&Policy::private(), 200, &[(CACHE_CONTROL, "immutable")]).0,
            0
        );
    }

    #[test]
    fn the_initial_age_counts_the_date_the_age_field_and_the_delay() {
        let age = |fields: &[(HeaderName, &str)]| {
            freshness(&Policy::private(), 200, fields)
                .initial_age
                .as_secs()
        };
        assert_eq!(age(&[]), 2, "the delay alone");
        assert_eq!(
            age(&[(DATE, &date(101))]),
            2,
            "the delay is longer than the apparent age"
        );
        assert_eq!(age(&[(DATE, &date(72))]), 30, "the apparent age");
        assert_eq!(
            age(&[(DATE, &date(72)), (AGE, "50")]),
            52,
            "the field and the delay"
        );
        assert_eq!(
            age(&[(DATE, &date(500)), (AGE, "15")]),
            17,
            "a clock that is ahead"
        );
    }

    #[test]
    fn huge_ages_saturate() {
        let fields = [
            (AGE, "18446744073709551615"),
            (CACHE_CONTROL, "max-age=99999999999"),
        ];
        let found = freshness(&Policy::private(), 200, &fields);
        assert!(found.initial_age >= found.lifetime);
    }

    #[test]
    fn stale_rules_of_a_shared_cache_do_not_bind_a_private_one() {
        for (value, shared, private) in [
            ("max-age=1", false, false),
            ("max-age=1, must-revalidate", true, true),
            ("max-age=1, proxy-revalidate", true, false),
            ("s-maxage=1", true, false),
        ] {
            let fields = [(CACHE_CONTROL, value)];
            let rule = |policy| freshness(&policy, 200, &fields).must_revalidate;
            assert_eq!(rule(Policy::shared()), shared, "{value}");
            assert_eq!(rule(Policy::private()), private, "{value}");
        }
    }

    #[test]
    fn retention_is_what_is_left_of_the_lifetime_and_the_longest_window_or_grace() {
        let until = |policy: &Policy, value| {
            let fields = [(CACHE_CONTROL, value), (AGE, "8")];
            freshness(policy, 200, &fields).retain_until
        };
        let policy = Policy::private().grace(secs(20));
        assert_eq!(until(&policy, "max-age=100"), Some(at(102 + 90 + 20)));
        assert_eq!(until(&policy, "max-age=5"), Some(at(102 + 20)));
        let windows = "max-age=100, stale-while-revalidate=30, stale-if-error=40";
        assert_eq!(until(&policy, windows), Some(at(102 + 90 + 40)));
        assert_eq!(until(&policy.retention(Retention::Forever), windows), None);
        assert_eq!(
            until(&Policy::private().grace(Duration::MAX), windows),
            None
        );
    }

    #[test]
    fn the_windows_of_the_policy_are_for_responses_that_do_not_say() {
        let policy = Policy::private()
            .stale_if_error(secs(7))
            .stale_while_revalidate(secs(8));
        let windows = |value| {
            let found = freshness(&policy, 200, &[(CACHE_CONTROL, value)]);
            (
                found.stale_if_error.as_secs(),
                found.stale_while_revalidate.as_secs(),
            )
        };
        assert_eq!(windows("max-age=1"), (7, 8));
        assert_eq!(
            windows("max-age=1, stale-if-error=0, stale-while-revalidate=1"),
            (0, 1)
        );
    }
}
