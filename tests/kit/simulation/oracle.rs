//! What a response may be: something that the origin gave for such a request, and not too long ago. It knows
//! what the origin and the clients did, and reads nothing of what the cache says of itself.

use std::time::Duration;

use bytes::Bytes;
use cache_core::CacheMode;
use http::{Method, StatusCode};

use super::client::{Asked, Seen};
use super::origin::part;
use super::world::{Given, How, Resource, World};

/// Whether a response may be what it is; otherwise, what is wrong with it.
pub(crate) fn judge(
    world: &World,
    asked: &Asked,
    seen: &Seen,
    given: Option<&Given>,
) -> Result<(), &'static str> {
    let Some(given) = given else {
        return without_origin(world, asked, seen);
    };
    let is_own = given.to == asked.number;
    if given.content.resource != asked.resource {
        return Err("it is of another resource");
    }
    if asked.wants_stored_only() && is_own {
        return Err("the origin was asked for what was to come from the store only");
    }
    if !is_own {
        reused(world, asked, given)?;
    }
    body(world, asked, seen, given)
}

/// What was given for another request.
fn reused(world: &World, asked: &Asked, given: &Given) -> Result<(), &'static str> {
    let resource = world.resource(asked.resource);
    let is_shared = world.setting.is_shared;
    if asked.method == Method::POST || given.is_unsafe {
        return Err("it is for an unsafe request, and not for this one");
    }
    if given.is_error {
        return Err("it is an error that another request met");
    }
    let for_all = resource.says("public") || resource.says("must-revalidate");
    match is_shared {
        true if given.who.is_some() && !for_all => return Err("it is for who had credentials"),
        false if given.who != asked.who => return Err("it is for somebody else"),
        _ => {}
    }
    match resource.vary {
        Some("*") => return Err("it varies by anything"),
        Some(_) if given.kind != asked.kind => return Err("it is another variant"),
        _ => {}
    }
    if resource.says("no-store") || is_shared && resource.says("private") {
        return Err("it was not to be stored");
    }
    if resource.says("no-cache") {
        return Err("it was not to be reused without validation");
    }
    let wants_origin = matches!(
        asked.mode,
        CacheMode::NoStore | CacheMode::Reload | CacheMode::NoCache
    );
    if wants_origin || matches!(asked.directive, Some("no-cache" | "no-store")) {
        return Err("the request wanted one of its own");
    }
    if given.content.version < asked.oldest {
        return Err("it is from before a change that this process told of");
    }
    age(world, asked, given, resource)
}

fn age(
    world: &World,
    asked: &Asked,
    given: &Given,
    resource: &Resource,
) -> Result<(), &'static str> {
    let age = asked.at.saturating_duration_since(given.at);
    let since = asked.at.checked_sub(SPARED).unwrap_or(asked.at);
    let failed = |how| world.failed_since(asked.resource, how, since);
    let (no_response, error) = (failed(How::Disconnected), failed(How::Error));
    let takes_stale = matches!(asked.mode, CacheMode::ForceCache | CacheMode::OnlyIfCached);
    if asked.directive == Some("max-age=2")
        && age > Duration::from_secs(2)
        && !no_response
        && !error
    {
        return Err("it is older than the request wanted");
    }
    let seconds = |seconds: Option<u64>| Duration::from_secs(seconds.unwrap_or_default());
    let mut stale = seconds(resource.stale_while_revalidate);
    let window = resource.stale_if_error.or(world.setting.stale_if_error);
    if error || no_response {
        stale = stale.max(seconds(window));
    }
    if no_response && resource.stale_if_error.is_none() {
        stale = stale.max(GRACE);
    }
    stale = match asked.directive {
        Some("max-stale") => GRACE,
        Some("max-stale=3") => stale.max(Duration::from_secs(3)),
        _ if takes_stale => GRACE,
        _ => stale,
    };
    if resource.says("must-revalidate") {
        stale = Duration::ZERO;
    }
    match age > seconds(resource.max_age) + stale {
        true => Err("it is too old"),
        false => Ok(()),
    }
}

fn body(world: &World, asked: &Asked, seen: &Seen, given: &Given) -> Result<(), &'static str> {
    let resource = world.resource(asked.resource);
    let field = |name| seen.headers.get(name).and_then(|value| value.to_str().ok());
    let whole = match given.is_error {
        true => Bytes::from_static(b"error"),
        false => given.content.bytes(resource.length),
    };
    let expected = match seen.status {
        StatusCode::NOT_MODIFIED => {
            let tag = given.content.tag();
            if asked.tag.as_ref() != Some(&tag) || field("etag").is_some_and(|seen| seen != tag) {
                return Err("it says that something else is not modified");
            }
            Bytes::new()
        }
        StatusCode::PARTIAL_CONTENT => {
            let wanted = asked.range.and_then(|range| part(range, whole.len()));
            let Some((first, last)) = wanted else {
                return Err("it is a part that nobody wanted");
            };
            let content_range = format!("bytes {first}-{last}/{}", whole.len());
            if field("content-range") != Some(&content_range) {
                return Err("it is another part");
            }
            whole.slice(first..=last)
        }
        status => {
            let is_right = match () {
                () if given.is_error => status.is_server_error(),
                () if given.is_unsafe => status == StatusCode::OK,
                () => status == resource.status,
            };
            if !is_right {
                return Err("its status is another");
            }
            whole
        }
    };
    let expected = match asked.method == Method::HEAD {
        true => Bytes::new(),
        false => expected,
    };
    if seen.broke_off {
        let broke_off = world.failed_since(asked.resource, How::BrokeOff, asked.at);
        if !broke_off && !world.setting.has_faults {
            return Err("it broke off without a reason");
        }
    }
    // What the origin itself cut short while it came: nobody could know. But it is not to be kept.
    let is_cut = given.cut_at.is_some_and(|at| at >= asked.at);
    match seen.is_whole && !is_cut {
        true if expected != seen.bytes => Err("its body is wrong"),
        false if !expected.starts_with(&seen.bytes) => Err("the beginning of its body is wrong"),
        _ => Ok(()),
    }
}

/// What the cache answers by itself.
fn without_origin(world: &World, asked: &Asked, seen: &Seen) -> Result<(), &'static str> {
    let setting = &world.setting;
    match seen.status {
        StatusCode::GATEWAY_TIMEOUT if asked.wants_stored_only() => Ok(()),
        StatusCode::SERVICE_UNAVAILABLE if setting.is_closed && setting.has_faults => Ok(()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let length = world.resource(asked.resource).length;
            let is_out = asked
                .range
                .is_some_and(|range| part(range, length).is_none());
            let says = seen.headers.get("content-range");
            match is_out && says.is_some_and(|says| says == &*format!("bytes */{length}")) {
                true => Ok(()),
                false => Err("there is such a part"),
            }
        }
        _ => Err("the origin gave nothing like it"),
    }
}

/// For how long an origin that failed is not asked again, and a little more.
const SPARED: Duration = Duration::from_secs(6);

/// How long a stale response is kept: longer than a history takes.
const GRACE: Duration = Duration::from_secs(3600);
