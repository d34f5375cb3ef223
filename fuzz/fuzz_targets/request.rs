//! A whole exchange with anything in any field: request, response, a second request, and a response
//! to that. Every step is total, and nothing that is written to a log shows a marked secret.

#![no_main]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::{
    AfterForward, AfterLookup, Begin, CacheName, Candidates, Entry, Forward, Policy, RequestHead,
    ResponseHead, Reuse, StoredBody, StoredHead, Token, Upkeep,
};
use cache_fuzz::text;
use http::header::{CACHE_CONTROL, HeaderMap};
use http::{Request, Response};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut sections = text::sections(input);
    let mut next = || sections.next().unwrap_or_default();
    let (Some(first), Some(answer)) = (text::request(next()), text::response(next())) else {
        return;
    };
    if is_shown(&first, &answer) {
        return;
    }
    let stored = stored(&first, &answer);
    let (Some(second), Some(update)) = (text::request(next()), text::response(next())) else {
        return;
    };
    if is_shown(&second, &update) {
        return;
    }
    for (policy, head) in stored {
        play(&policy, head, &second, &update);
    }
});

/// What may not be in any log, wherever in a message it stood.
const SECRET: &str = "hunter2";

/// The time at which the first request is sent.
const START: u64 = 1_780_000_000;

/// Method, path and names of fields are no secrets, and are shown.
fn is_shown(request: &Request<()>, response: &Response<()>) -> bool {
    let names_it = |headers: &HeaderMap| {
        let directives = headers.get_all(CACHE_CONTROL).iter();
        let targeted = headers.get_all("cdn-cache-control").iter();
        headers.keys().any(|name| name.as_str().contains(SECRET))
            || directives.chain(targeted).any(|line| {
                line.as_bytes()
                    .to_ascii_lowercase()
                    .windows(7)
                    .any(|text| text == SECRET.as_bytes())
            })
    };
    request.method().as_str().contains(SECRET)
        || request.uri().path().contains(SECRET)
        || names_it(request.headers())
        || names_it(response.headers())
}

/// What each kind of cache stores of the first exchange.
fn stored(request: &Request<()>, answer: &Response<()>) -> Vec<(Policy, StoredHead)> {
    let policies = [
        Policy::private(),
        Policy::shared(),
        Policy::shared()
            .default_ttl(Duration::from_secs(60))
            .stale_while_revalidate(Duration::from_secs(60)),
    ];
    let store = |policy: Policy| {
        let head = RequestHead::from(request);
        show(&head);
        let begin = Begin::new(&policy, &head, at(0));
        show(&begin);
        let forward = match begin {
            Begin::Lookup(lookup) => {
                match lookup.next(&policy, &head, Candidates::default(), at(0)) {
                    AfterLookup::Forward(forward) => forward,
                    _ => return None,
                }
            }
            Begin::Forward(forward) => forward,
            Begin::Unsafe(unsafe_method) => {
                let after = unsafe_method.next(&policy, ResponseHead::from(answer), at(1));
                show(&after);
                return after.store.map(|head| (policy, head));
            }
            _ => return None,
        };
        match go_on(forward, &policy, request, answer) {
            AfterForward::Store(head, _) => Some((policy, head)),
            _ => None,
        }
    };
    policies.into_iter().filter_map(store).collect()
}

/// The second exchange, with what the first one left in the store.
fn play(policy: &Policy, stored: StoredHead, request: &Request<()>, update: &Response<()>) {
    let entry = Entry {
        head: Arc::new(stored),
        body: StoredBody::whole(bytes::Bytes::from_static(b"0123456789")),
        token: Token(1),
    };
    show(&entry);
    let head = RequestHead::from(request);
    let forward = match Begin::new(policy, &head, at(90)) {
        Begin::Lookup(lookup) => {
            show(&lookup.query(policy, head));
            let after = lookup.next(
                policy,
                &head,
                Candidates::from_iter([entry.clone()]),
                at(90),
            );
            show(&after);
            match after {
                AfterLookup::Reuse(reuse) => return answer(&reuse),
                AfterLookup::ReuseWhileRevalidating(reuse, forward) => {
                    answer(&reuse);
                    forward
                }
                AfterLookup::Forward(forward) => forward,
                AfterLookup::Unsatisfiable(_) => return,
            }
        }
        Begin::Forward(forward) => forward,
        _ => return,
    };
    match go_on(forward, policy, request, update) {
        AfterForward::Reuse(reuse, upkeep) => {
            answer(&reuse);
            if let Upkeep::Freshen(_, head) = upkeep {
                let _ = (
                    head.age(at(99)),
                    head.remaining(at(99)),
                    head.stale_for(at(99)),
                );
            }
        }
        AfterForward::Store(..) | AfterForward::Pass(..) => {}
    }
}

fn go_on(
    mut forward: Forward,
    policy: &Policy,
    request: &Request<()>,
    response: &Response<()>,
) -> AfterForward {
    let mut sent = request.headers().clone();
    forward.prepare(&mut sent, at(90));
    let response = ResponseHead::from(response);
    show(&response);
    let after = forward.next(policy, response, at(91));
    show(&after);
    after
}

/// What the caller gets of a stored response.
fn answer(reuse: &Reuse<'_>) {
    show(reuse);
    let info = reuse.info(at(90));
    show(&info);
    let name = CacheName::new("fuzz").expect("a name");
    let _ = (
        reuse.status(),
        reuse.version(),
        reuse.headers(at(90)),
        info.cache_status(&name),
    );
    if let Some((body, bytes)) = reuse.body() {
        assert!(
            bytes.start <= bytes.end && bytes.end <= body.len(),
            "{bytes:?} are not there"
        );
    }
}

fn show(shown: &impl Debug) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}
