//! Plays a script to a cache.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cache_tower::{Cache, CacheBody, CacheLayer, Policy};
use http::header::{
    ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{Request, Response};
use http_body::Body;
use tokio::runtime::Builder;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::{ManualClock, date};
use crate::oracle::{Case, End, Seen};
use crate::origin::{Content, Disconnected, NoContent, Origin, STEP};
use crate::script::{Ask, Reading, Script};
use crate::store::Store;

/// Plays the script that these bytes mean, and panics where a caller gets what no cache may give.
pub fn play(bytes: &[u8]) {
    let script = Arc::new(Script::read(bytes));
    let clock = ManualClock::new();
    let store = Store::new(script.is_slow);
    let origin = Origin {
        script: script.clone(),
        clock: clock.clone(),
        journal: Arc::default(),
    };
    let policy = match script.is_shared {
        true => Policy::shared(),
        false => Policy::private(),
    };
    let layer = CacheLayer::new(store.clone())
        .policy(policy)
        .clock(clock.clone())
        // The oracle judges an exchange by what the origin said in it; what is spared it in between is
        // the simulation's to look at.
        .failure_pause(Duration::ZERO);
    let mut cache = layer.layer(origin.clone());
    // Its time stands still as well, and moves on when nothing else is to be done.
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    for (index, step) in script.steps.iter().enumerate() {
        clock.advance(step.wait * 1000);
        origin.journal().begin(index, clock.millis());
        store.set_fault(step.fault);
        let (seen, answered_at) = runtime.block_on(async {
            let seen = exchange(&mut cache, request(&step.ask, index), step.reading).await;
            let answered_at = clock.millis();
            if step.settles {
                // Longer than anything in the background may take.
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            (seen, answered_at)
        });
        let case = Case {
            script: &script,
            journal: &origin.journal(),
            answered_at,
        };
        case.judge(&seen);
    }
}

fn request(ask: &Ask, step: usize) -> Request<NoContent> {
    let mut request = Request::new(NoContent);
    *request.method_mut() = ask.method.parse().expect("a method");
    *request.uri_mut() = ask.uri.parse().expect("a URI");
    request.extensions_mut().insert(ask.mode);
    let text = |value: Option<&str>| value.map(str::to_owned);
    let fields = [
        (STEP, Some(step.to_string())),
        (AUTHORIZATION, text(ask.authorization)),
        (COOKIE, text(ask.cookie)),
        (ACCEPT_LANGUAGE, text(ask.language)),
        (HeaderName::from_static("x-a"), text(ask.x_a)),
        (CACHE_CONTROL, ask.directives.field()),
        (RANGE, text(ask.range)),
        (IF_RANGE, text(ask.if_range)),
        (IF_NONE_MATCH, text(ask.if_none_match)),
        (IF_MODIFIED_SINCE, ask.if_modified_since.map(date)),
        (IF_MATCH, text(ask.if_match)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            let value = HeaderValue::try_from(value).expect("a field value");
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// Sends a request, and reads as much of the response as it is told.
async fn exchange(
    cache: &mut Cache<Origin>,
    request: Request<NoContent>,
    reading: Reading,
) -> Option<Seen> {
    let response: Result<Response<CacheBody<Content>>, Disconnected> = cache.call(request).await;
    let (head, body) = response.ok()?.into_parts();
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    let mut frames = match reading {
        Reading::All => usize::MAX,
        Reading::OneFrame => 1,
        Reading::Nothing => 0,
    };
    let end = loop {
        if frames == 0 {
            break End::Unread;
        }
        frames -= 1;
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break End::InOrder,
            Some(Err(_)) => break End::Broken,
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
        }
    };
    Some(Seen { head, bytes, end })
}
