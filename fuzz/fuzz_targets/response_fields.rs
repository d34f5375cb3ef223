//! A header section that is stored, sent again, and freshened by a 304 that has the same: what is
//! sent is in order, and freshening changes nothing but times.

#![no_main]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{
    AfterForward, AfterLookup, Begin, CacheMode, Candidates, Entry, Policy, RequestHead,
    ResponseHead, Reuse, StoredBody, StoredHead, Token, Upkeep,
};
use cache_fuzz::text;
use http::header::{AGE, CONNECTION, DATE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Response, StatusCode};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some(response) = text::response(input) else {
        return;
    };
    for policy in [Policy::private(), Policy::shared()] {
        let request = Request::get("http://a.test/").body(()).expect("a request");
        if let Some(head) = store(&policy, &request, &response) {
            check(&policy, &request, &response, head);
        }
    }
});

fn check(policy: &Policy, request: &Request<()>, response: &Response<()>, head: StoredHead) {
    let once = freshen(policy, request, response, head.clone());
    let Some(once) = once else {
        return;
    };
    assert_same(&head, &once);
    let twice = freshen(policy, request, response, once.clone());
    assert_same(
        &once,
        &twice.expect("what could be freshened once can be freshened again"),
    );
}

fn store(policy: &Policy, request: &Request<()>, response: &Response<()>) -> Option<StoredHead> {
    let head = RequestHead::from(request);
    let Begin::Lookup(lookup) = Begin::new(policy, &head, at(0)) else {
        return None;
    };
    let AfterLookup::Forward(forward) = lookup.next(policy, &head, Candidates::default(), at(0))
    else {
        return None;
    };
    match forward.next(policy, ResponseHead::from(response), at(0)) {
        AfterForward::Store(head, _) => Some(head),
        _ => None,
    }
}

/// Freshens by a 304 with the same header section; `None`: it has no validator, or the 304 is taken
/// for one of another response.
fn freshen(
    policy: &Policy,
    request: &Request<()>,
    response: &Response<()>,
    stored: StoredHead,
) -> Option<StoredHead> {
    let entry = Entry {
        body: StoredBody::whole(vec![0; length(&stored)].into()),
        head: Arc::new(stored),
        token: Token(1),
    };
    let mut request = request.clone();
    request.extensions_mut().insert(CacheMode::ForceCache);
    let lookup = |request: &Request<()>| {
        let head = RequestHead::from(request);
        match Begin::new(policy, &head, at(1)) {
            Begin::Lookup(lookup) => {
                lookup.next(policy, &head, Candidates::from_iter([entry.clone()]), at(1))
            }
            _ => unreachable!("a plain GET is looked up"),
        }
    };
    if let AfterLookup::Reuse(reuse) = lookup(&request) {
        check_sent(&reuse, &entry.head);
    }
    request.extensions_mut().insert(CacheMode::NoCache);
    let AfterLookup::Forward(forward) = lookup(&request) else {
        unreachable!("this mode asks the origin");
    };
    let mut not_modified = response.clone();
    *not_modified.status_mut() = StatusCode::NOT_MODIFIED;
    match forward.next(policy, ResponseHead::from(&not_modified), at(1)) {
        AfterForward::Reuse(reuse, upkeep) => {
            check_sent(&reuse, &entry.head);
            match upkeep {
                Upkeep::Freshen(_, head) => Some(Arc::unwrap_or_clone(head)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// So many bytes as the head announces, since others are no match; few, in any case.
fn length(head: &StoredHead) -> usize {
    let length = cache_core::content_length(head.headers()).unwrap_or_default();
    usize::try_from(length.min(1000)).unwrap_or_default()
}

/// What is sent has one age, a date, and nothing of another connection.
fn check_sent(reuse: &Reuse<'_>, stored: &StoredHead) {
    let sent = reuse.headers(at(1));
    let ages: Vec<_> = sent.get_all(AGE).iter().collect();
    let is_age = |age: &[u8]| !age.is_empty() && age.iter().all(u8::is_ascii_digit);
    assert!(
        matches!(ages[..], [age] if is_age(age.as_bytes())),
        "{ages:?}"
    );
    let is_left_out = stored.freshness().no_cache_fields.contains(&DATE);
    assert!(sent.contains_key(DATE) || is_left_out, "no Date");
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        assert!(!sent.contains_key(&name), "{name} is of the connection");
    }
}

/// The same but for times.
fn assert_same(one: &StoredHead, other: &StoredHead) {
    let fields = |head: &StoredHead| {
        let mut headers = head.headers().clone();
        headers.remove(AGE);
        headers.remove(DATE);
        let mut fields: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect();
        // Stable: lines of one name stay in their order.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        fields
    };
    assert_eq!(fields(one), fields(other));
    assert_eq!(one.selecting(), other.selecting());
    let said = |head: &StoredHead| {
        let freshness = head.freshness().clone();
        (
            freshness.source,
            freshness.always_validate,
            freshness.must_revalidate,
            freshness.immutable,
            freshness.stale_while_revalidate,
            freshness.stale_if_error,
            freshness.no_cache_fields,
        )
    };
    assert_eq!(said(one), said(other));
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000 + seconds)
}
