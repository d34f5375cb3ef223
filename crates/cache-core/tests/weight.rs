//! What a stored head takes, counted by the allocator, in a process of its own.

use std::time::{Duration, UNIX_EPOCH};

use cache_core::{
    AfterForward, AfterLookup, Begin, Candidates, Policy, RequestHead, ResponseHead, StoredHead,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// As it is stored where it comes from an origin.
fn stored(fields: usize) -> StoredHead {
    let (policy, now) = (
        Policy::private(),
        UNIX_EPOCH + Duration::from_secs(1_780_000_000),
    );
    let request = Request::get("http://a.test/").body(()).expect("a request");
    let request = RequestHead::from(&request);
    let Begin::Lookup(lookup) = Begin::new(&policy, &request, now) else {
        panic!("a plain GET is looked up");
    };
    let none = Candidates::default();
    let AfterLookup::Forward(forward) = lookup.next(&policy, &request, none, now) else {
        panic!("nothing is stored");
    };
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_static("max-age=60"));
    headers.insert("connection", HeaderValue::from_static("x-lost"));
    headers.insert("x-lost", HeaderValue::from_static("of the connection"));
    for number in 0..fields {
        let name = HeaderName::try_from(format!("x-{number}")).expect("a name");
        headers.insert(name, HeaderValue::from_static("of one's own"));
    }
    let response = ResponseHead::new(StatusCode::OK, Version::HTTP_11, &headers);
    match forward.next(&policy, response, now) {
        AfterForward::Store(head, _) => head,
        _ => panic!("it is stored"),
    }
}

#[test]
fn a_stored_head_takes_no_more_than_it_weighs() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for fields in [0, 4, 11, 12, 13, 25, 49, 100] {
        let before = dhat::HeapStats::get().curr_bytes;
        let head = stored(fields);
        let taken = dhat::HeapStats::get().curr_bytes - before;
        let weight = head.weight();
        assert!(
            taken <= weight,
            "{fields} fields: {taken} bytes weigh {weight}"
        );
    }
}
