//! `show` and `why-stale`.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use cache_core::{LifetimeSource, StoredHead};
use cache_tower::{Filter, Listed};
use http::{HeaderName, HeaderValue, Uri};
use serde_json::json;

use crate::args::Show;
use crate::store::Store;
use crate::text::{self, Output, duration, exact};
use crate::{Error, entry};

/// What is stored for a URL; an error where that is nothing.
async fn find(store: &Store, url: &Uri) -> Result<Vec<Listed>, Error> {
    let mut entries = store.handle.entries(Filter::all().url(url.clone()));
    let mut found = Vec::new();
    while let Some(listed) = entries.next().await {
        found.push(listed?);
    }
    if found.is_empty() {
        return Err("nothing is stored for this URL".into());
    }
    found.sort_by_cached_key(|one| (one.key().clone(), one.head.variant()));
    Ok(found)
}

pub(crate) async fn show(store: &Store, show: &Show, output: Output) -> Result<ExitCode, Error> {
    let now = store.now();
    for (number, listed) in find(store, &show.url).await?.iter().enumerate() {
        let (fields, preview) = match store.handle.open(listed).await? {
            Some(found) => (
                fields(&found.head, show.secrets),
                store.handle.read(&found, show.preview).await?,
            ),
            None => continue,
        };
        let mut value = entry::json(listed, now);
        let shown = shown(&preview);
        let trailers = listed.trailers.as_ref();
        value["fields"] = json!(fields);
        value["trailers"] = json!(trailers.map(|trailers| {
            let names = trailers.keys().map(HeaderName::as_str);
            names.collect::<Vec<_>>()
        }));
        value["body_preview"] = json!(shown);
        output.say(&value, || {
            let head = &listed.head;
            let mut text = String::new();
            if number > 0 {
                text.push('\n');
            }
            let _ = writeln!(text, "{}", entry::url(head));
            let _ = writeln!(text, "  status     {}", head.status());
            let _ = writeln!(text, "  age        {}", duration(head.age(now)));
            let _ = writeln!(text, "  freshness  {}", entry::freshness(head, now));
            let _ = writeln!(text, "  received   {}", text::time(head.received_at()));
            let _ = match head.retain_until() {
                Some(until) => writeln!(text, "  kept until {}", text::time(until)),
                None => writeln!(text, "  kept       for ever"),
            };
            if head.key().is_partitioned() {
                let _ = writeln!(text, "  for        requests with the same credentials only");
            }
            for field in head.selecting() {
                let what = match field.value() {
                    Some(digest) => format!("a value with the digest {}", hex(&digest)),
                    None => "no value".to_owned(),
                };
                let _ = writeln!(text, "  selected   by {}: {what}", field.name());
            }
            if let Some(part) = head.part() {
                let (first, end, of) = (part.bytes.start, part.bytes.end, part.length);
                let _ = writeln!(text, "  part       bytes {first} to {end} of {of}");
            }
            for (name, field) in &fields {
                let _ = writeln!(text, "  > {name}: {field}");
            }
            let length = text::bytes(listed.body_length);
            let _ = write!(text, "  body       {length}");
            for line in shown.lines() {
                let _ = write!(text, "\n  | {line}");
            }
            if show.preview > 0 && (preview.len() as u64) < listed.body_length {
                let _ = write!(text, "\n  | ...");
            }
            text
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(head: &StoredHead, with_secrets: bool) -> Vec<(String, String)> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = match with_secrets || !is_secret(name) {
            true => text::plain(&String::from_utf8_lossy(value.as_bytes())),
            false => "[redacted]".to_owned(),
        };
        (name.as_str().to_owned(), value)
    };
    head.headers().iter().map(field).collect()
}

fn is_secret(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains("cookie")
        || name.contains("auth")
        || name.contains("token")
        || name.contains("api-key")
        || name.contains("secret")
}

/// The beginning of a body: text, or what it is in hexadecimal digits.
fn shown(preview: &[u8]) -> String {
    let text = match std::str::from_utf8(preview) {
        Ok(text) => Some(text),
        // A character that is cut in two at the end.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&preview[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => text::plain(text),
        None => {
            let lines = preview.chunks(32).map(hex);
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) async fn why_stale(store: &Store, url: &Uri, output: Output) -> Result<ExitCode, Error> {
    let now = store.now();
    for (number, listed) in find(store, url).await?.iter().enumerate() {
        let why = explain(&listed.head, now);
        let mut value = entry::json(listed, now);
        value["because"] = json!(why);
        output.say(&value, || {
            let gap = if number > 0 { "\n" } else { "" };
            let lines = why.iter().map(|line| format!("\n  {line}"));
            format!(
                "{gap}{}{}",
                entry::url(&listed.head),
                lines.collect::<String>()
            )
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(head: &StoredHead, now: SystemTime) -> Vec<String> {
    let freshness = head.freshness();
    let is_stale = head.remaining(now).is_zero();
    // What is said has to add up: all of it is made of rounded ages and lifetimes.
    let unit = match head.age(now) < SHORT {
        true => MILLISECOND,
        false => SECOND,
    };
    let age = down(head.age(now), unit);
    let initial_age = down(freshness.initial_age, unit);
    let lifetime = match is_stale {
        true => down(freshness.lifetime, unit),
        false => up(freshness.lifetime, unit),
    };
    let mut why = Vec::new();
    why.push(if head.stale_for(now) == Duration::MAX {
        "It is stale: it arrived later than now, so a clock was set back, and nobody knows its age."
            .to_owned()
    } else if is_stale {
        format!(
            "It has been stale for {}: its age of {} has reached its lifetime of {}.",
            exact(age.saturating_sub(lifetime)),
            exact(age),
            exact(lifetime)
        )
    } else {
        format!(
            "It is fresh for {}: its age of {} is below its lifetime of {}.",
            exact(lifetime.saturating_sub(age)),
            exact(age),
            exact(lifetime)
        )
    });
    why.push(match freshness.source {
        LifetimeSource::Explicit => {
            format!("The lifetime is what the origin said: {}.", said(head))
        }
        LifetimeSource::Heuristic => {
            "The lifetime is a tenth of the time since Last-Modified, as the origin said none."
                .into()
        }
        LifetimeSource::Default => {
            "The lifetime was set by the policy, or by whoever looks after the cache.".into()
        }
        _ => "There is no lifetime: the origin said none, and nothing to guess one by.".into(),
    });
    let arrived = text::time(head.received_at());
    why.push(format!(
        "It arrived at {arrived} with an age of {}, {} ago.",
        exact(initial_age),
        exact(age.saturating_sub(initial_age))
    ));
    if freshness.always_validate {
        why.push("It is validated before each use, however fresh (no-cache).".into());
    }
    let mut window = |length: Duration, what: &str| {
        if !length.is_zero() {
            let left = length.saturating_sub(head.stale_for(now));
            why.push(match left.is_zero() {
                true => format!("{what} for {}, which are over.", exact(up(length, unit))),
                false => format!("{what}, for {} still.", exact(up(left, unit))),
            });
        }
    };
    if freshness.must_revalidate {
        why.push("It is not used stale (must-revalidate, proxy-revalidate or s-maxage).".into());
    } else {
        window(
            freshness.stale_while_revalidate,
            "Stale, it may be used while it is validated",
        );
        window(
            freshness.stale_if_error,
            "Stale, it may be used in the place of an error",
        );
    }
    why.push(match head.has_validator() {
        true => "The origin can be asked whether it is current (ETag or Last-Modified).".into(),
        false => {
            "The origin can only be asked for all of it: there is no ETag or Last-Modified.".into()
        }
    });
    why.push(match head.retain_until() {
        None => "It is kept until it is replaced or evicted.".into(),
        Some(_) if entry::is_expired(head, now) => "It is kept no longer.".into(),
        Some(until) => format!("It is kept until {}.", text::time(until)),
    });
    why
}

/// Below this age parts of a second count.
const SHORT: Duration = Duration::from_secs(10);

/// In nanoseconds.
const SECOND: u32 = 1_000_000_000;
const MILLISECOND: u32 = 1_000_000;

/// A time in whole units of so many nanoseconds.
fn down(time: Duration, unit: u32) -> Duration {
    let rest = time.subsec_nanos() % unit;
    time.saturating_sub(Duration::from_nanos(rest.into()))
}

/// The same, rounded up.
fn up(time: Duration, unit: u32) -> Duration {
    match down(time, unit) {
        whole if whole == time => whole,
        whole => whole.saturating_add(Duration::from_nanos(unit.into())),
    }
}

/// The fields that a lifetime was read from.
fn said(head: &StoredHead) -> String {
    let names = ["cache-control", "cdn-cache-control", "expires"];
    let lines = names.iter().flat_map(|name| {
        let values = head.headers().get_all(*name).iter();
        values.map(move |value| {
            let value = text::plain(&String::from_utf8_lossy(value.as_bytes()));
            format!("{name}: {value}")
        })
    });
    lines.collect::<Vec<_>>().join("; ")
}
