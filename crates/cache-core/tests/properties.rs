//! What holds for every request and response, however odd.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{
    AfterForward, AfterLookup, Begin, Candidates, Entry, Policy, PrimaryKey, RequestHead,
    StoredBody, StoredHead, StoredHeadParts, Token,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use proptest::prelude::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000 + seconds)
}

/// Values that mean something, and values that nearly do.
fn value() -> impl Strategy<Value = HeaderValue> {
    let meaningful = prop::sample::select(vec![
        "max-age=60",
        "max-age=0",
        "s-maxage=60",
        "no-cache",
        "no-store",
        "private",
        "public",
        "must-revalidate",
        "no-cache=\"x-a\"",
        "private=\"x-a\"",
        "stale-while-revalidate=60, max-age=1",
        "stale-if-error=60, max-age=1",
        "immutable, max-age=9",
        "only-if-cached",
        "max-stale",
        "min-fresh=5",
        "\"1\"",
        "W/\"1\"",
        "\"1\", \"2\"",
        "*",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Tue, 26 May 2026 12:00:00 GMT",
        "Fri, 29 May 2026 12:00:00 GMT",
        "0",
        "-1",
        "99999999999999999999",
        "accept-language",
        "x-a, x-b",
        "max-age=\"",
        "max-age=60, private=\"x",
        "bytes=0-1",
        "",
        ",,,",
        "=",
        "\"",
        "\\",
        "no-store=\"\\",
    ])
    .prop_map(HeaderValue::from_static);
    let any = prop::collection::vec(any::<u8>(), 0..40)
        .prop_filter_map("not a field value", |bytes| {
            HeaderValue::from_bytes(&bytes).ok()
        });
    prop_oneof![4 => meaningful, 1 => any]
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop::sample::select(vec![
        "cache-control",
        "age",
        "date",
        "expires",
        "last-modified",
        "etag",
        "vary",
        "pragma",
        "connection",
        "set-cookie",
        "content-length",
        "content-location",
        "location",
        "authorization",
        "cookie",
        "range",
        "if-none-match",
        "if-modified-since",
        "if-match",
        "accept-language",
        "x-a",
        "x-b",
        "host",
    ])
    .prop_map(HeaderName::from_static)
}

prop_compose! {
    fn headers()(fields in prop::collection::vec((name(), value()), 0..8)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value);
        }
        headers
    }
}

prop_compose! {
    fn request()(
        method in prop::sample::select(vec!["GET", "HEAD", "GET", "GET", "POST", "M-SEARCH", "OPTIONS"]),
        uri in prop::sample::select(vec!["http://a.test/", "http://a.test/?%7e%", "/x", "https://u@b.test:8443/%2f", "*"]),
        headers in headers(),
    ) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.uri_mut() = uri.parse().expect("a URI");
        *request.headers_mut() = headers;
        request
    }
}

prop_compose! {
    fn response()(
        status in prop_oneof![3 => Just(200_u16), 1 => Just(304), 1 => Just(503), 1 => 100_u16..1000],
        headers in headers(),
    ) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status code");
        *response.headers_mut() = headers;
        response
    }
}

fn policies() -> [Policy; 3] {
    let odd = Policy::shared()
        .default_ttl(Duration::MAX)
        .grace(Duration::MAX)
        .stale_if_error(Duration::MAX)
        .stale_while_revalidate(Duration::MAX)
        .always_revalidate(true);
    [Policy::private(), Policy::shared(), odd]
}

/// The head under which the response to this request is stored, if it is.
fn stored(policy: &Policy, request: &Request<()>, response: &Response<()>) -> Option<StoredHead> {
    let head = RequestHead::from(request);
    let forward = match Begin::new(policy, &head, at(0)) {
        Begin::Lookup(lookup) => match lookup.next(policy, &head, Candidates::default(), at(0)) {
            AfterLookup::Forward(forward) => forward,
            _ => return None,
        },
        Begin::Forward(forward) => forward,
        Begin::Unsafe(unsafe_method) => {
            return unsafe_method.next(policy, response.into(), at(1)).store;
        }
        _ => return None,
    };
    match forward.next(policy, response.into(), at(1)) {
        AfterForward::Store(head, _) => Some(head),
        _ => None,
    }
}

fn entry(head: StoredHead) -> Entry {
    Entry {
        head: Arc::new(head),
        body: StoredBody::default(),
        token: Token(1),
    }
}

/// What becomes of a request when this entry is all that is stored.
fn lookup(
    policy: &Policy,
    request: &Request<()>,
    entry: &Entry,
    now: SystemTime,
) -> Option<AfterLookup> {
    let head = RequestHead::from(request);
    match Begin::new(policy, &head, now) {
        Begin::Lookup(lookup) => {
            Some(lookup.next(policy, &head, Candidates::from_iter([entry.clone()]), now))
        }
        _ => None,
    }
}

/// What a backend that keeps heads elsewhere writes down.
fn parts(head: &StoredHead) -> StoredHeadParts {
    let selecting = head.selecting().iter();
    StoredHeadParts {
        key: PrimaryKey::from_bytes(head.key().as_bytes()),
        status: head.status(),
        version: head.version(),
        headers: head.headers().clone(),
        selecting: selecting
            .map(|field| (field.name().clone(), field.value()))
            .collect(),
        requested_at: head.requested_at(),
        received_at: head.received_at(),
        freshness: head.freshness().clone(),
        part: head.part().cloned(),
    }
}

fn is_reused(after: Option<&AfterLookup>) -> bool {
    matches!(
        after,
        Some(AfterLookup::Reuse(_) | AfterLookup::ReuseWhileRevalidating(..))
    )
}

fn plain(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// A whole exchange and the next one, with anything in any field: no step panics.
    #[test]
    fn no_field_of_a_request_or_response_makes_any_step_panic(
        first in request(), answer in response(), second in request(), update in response(), later in 0_u64..200,
    ) {
        for policy in policies() {
            let Some(head) = stored(&policy, &first, &answer) else { continue };
            let entry = entry(head);
            let now = at(later);
            let _ = (entry.head.age(now), entry.head.remaining(now), entry.head.stale_for(now), format!("{entry:?}"));
            match lookup(&policy, &second, &entry, now) {
                Some(AfterLookup::Reuse(reuse)) => {
                    let _ = (reuse.headers(now), reuse.info(now).to_string());
                }
                Some(AfterLookup::Forward(mut forward) | AfterLookup::ReuseWhileRevalidating(_, mut forward)) => {
                    let mut headers = second.headers().clone();
                    forward.prepare(&mut headers, now);
                    let _ = forward.next(&policy, (&update).into(), now);
                }
                _ => {}
            }
        }
    }

    /// Reuse implies matching: the same key, and the same values of what `Vary` names.
    #[test]
    fn a_response_is_reused_only_for_a_request_that_it_matches(
        first in request(), answer in response(), second in request(),
    ) {
        for policy in policies() {
            let Some(head) = stored(&policy, &first, &answer) else { continue };
            let names: Vec<HeaderName> = head.selecting().iter().map(|field| field.name().clone()).collect();
            let entry = entry(head);
            if !is_reused(lookup(&policy, &second, &entry, at(1)).as_ref()) {
                continue;
            }
            prop_assert_eq!(first.uri(), second.uri());
            for name in names {
                let one = first.headers().contains_key(&name);
                prop_assert_eq!(one, second.headers().contains_key(&name), "{}", name);
            }
            if !policy.is_shared() {
                for name in ["authorization", "cookie"] {
                    let lines = |request: &Request<()>| -> Vec<_> {
                        request.headers().get_all(name).iter().cloned().collect()
                    };
                    prop_assert_eq!(lines(&first), lines(&second));
                }
            }
        }
    }

    /// Adding a prohibition never makes a response reusable that was not.
    #[test]
    fn a_prohibition_never_makes_a_response_more_reusable(
        first in request(), answer in response(), second in request(), later in 0_u64..200,
        prohibition in prop::sample::select(vec!["no-store", "no-cache", "must-revalidate", "private", "max-age=0", "proxy-revalidate"]),
    ) {
        for policy in policies() {
            let mut stricter = answer.clone();
            stricter.headers_mut().append("cache-control", HeaderValue::from_static(prohibition));
            let Some(strict) = stored(&policy, &first, &stricter) else { continue };
            if !is_reused(lookup(&policy, &second, &entry(strict), at(later)).as_ref()) {
                continue;
            }
            // `private` permits a private cache to store, and `must-revalidate` a shared one what has
            // credentials, and what is explicit is not left to a default; none of that is a prohibition.
            let lax = stored(&policy, &first, &answer);
            let permits = lax.is_none() || prohibition == "max-age=0";
            let reused = lax.is_some_and(|lax| is_reused(lookup(&policy, &second, &entry(lax), at(later)).as_ref()));
            prop_assert!(reused || permits, "{} made it reusable", prohibition);
        }
    }

    /// Age never decreases as time goes on, and what is stale does not become fresh.
    #[test]
    fn age_grows_and_freshness_ends_for_good(answer in response(), now in 0_u64..100, later in 0_u64..100) {
        for policy in policies() {
            let Some(head) = stored(&policy, &plain("http://a.test/"), &answer) else { continue };
            let (now, later) = (at(now), at(now + later));
            prop_assert!(head.age(now) <= head.age(later));
            prop_assert!(head.remaining(now) >= head.remaining(later));
            prop_assert!(head.stale_for(now) <= head.stale_for(later));
            prop_assert!(head.remaining(later).is_zero() || head.stale_for(later).is_zero());
        }
    }

    /// A head that is written down and read again is the same.
    #[test]
    fn a_head_is_what_its_parts_are(first in request(), answer in response()) {
        for policy in policies() {
            if let Some(head) = stored(&policy, &first, &answer) {
                prop_assert_eq!(StoredHead::from(parts(&head)), head);
            }
        }
    }

    /// A shared cache never stores what is private or what it must not.
    #[test]
    fn what_is_forbidden_is_not_stored(first in request(), answer in response()) {
        let says = |directive: &str| {
            answer.headers().get_all("cache-control").iter().any(|line| {
                line.to_str().is_ok_and(|line| line.split(',').any(|member| member.trim() == directive))
            })
        };
        for policy in policies() {
            if stored(&policy, &first, &answer).is_some() {
                prop_assert!(!says("no-store"));
                prop_assert!(!(policy.is_shared() && says("private")));
            }
        }
    }

    /// Two URIs that differ in more than RFC 3986 lets them have two keys.
    #[test]
    fn different_resources_have_different_keys(
        one in "[a-z%2fF]{0,6}", other in "[a-z%2fF]{0,6}", query in prop::option::of("[a-c=&;%7e]{0,4}"),
    ) {
        let uri = |path: &str, query: Option<&str>| match query {
            Some(query) => format!("http://a.test/{path}?{query}"),
            None => format!("http://a.test/{path}"),
        };
        let key = |uri: &str| -> Option<PrimaryKey> {
            let request = Request::get(uri).body(()).ok()?;
            match Begin::new(&Policy::private(), &RequestHead::from(&request), at(0)) {
                Begin::Lookup(lookup) => Some(lookup.key().clone()),
                _ => None,
            }
        };
        let decoded = |text: &str| text.replace("%2f", "%2F").replace("%2a", "%2A").replace("%7e", "~").replace("%7E", "~");
        let first = key(&uri(&one, query.as_deref()));
        let second = key(&uri(&other, query.as_deref()));
        if let (Some(first), Some(second)) = (first, second) {
            if first == second {
                prop_assert_eq!(decoded(&one).to_ascii_lowercase(), decoded(&other).to_ascii_lowercase());
            }
            if one == other {
                prop_assert_eq!(first, second);
            }
        }
        prop_assert!(key(&uri(&one, None)) != key(&uri(&one, Some(query.as_deref().unwrap_or_default()))));
    }
}
