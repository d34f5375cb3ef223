//! The table that the tour prints.

use std::time::Duration;

use cache_tower::{CacheInfo, Outcome, Storing};
use http::{Method, StatusCode};

pub(crate) struct Row<'a> {
    pub(crate) request: (&'a Method, &'a str, Option<&'a str>),
    pub(crate) status: StatusCode,
    pub(crate) info: CacheInfo,
    pub(crate) elapsed: Duration,
    pub(crate) body: &'a str,
}

pub(crate) fn title() {
    println!(
        "{:<36} {:<6} {:<13} {:>5} {:>9}  {:<39} WHY",
        "REQUEST", "STATUS", "OUTCOME", "AGE", "TIME", "BODY"
    );
}

pub(crate) fn row(row: &Row<'_>) {
    let (method, path, field) = row.request;
    let request = match field {
        Some(field) => format!("{method} {path} ({field})"),
        None => format!("{method} {path}"),
    };
    let age = row
        .info
        .age
        .map_or_else(|| "-".to_owned(), |age| format!("{} s", age.as_secs()));
    println!(
        "{:<36} {:<6} {:<13} {:>5} {:>6} µs  {:<39} {}",
        request,
        row.status.as_u16(),
        row.info.outcome,
        age,
        row.elapsed.as_micros(),
        row.body.trim_end(),
        why(&row.info),
    );
}

pub(crate) fn note(text: &str) {
    println!("-- {text}");
}

pub(crate) fn end(asked: u64) {
    println!("The origin was asked {asked} times.");
}

fn why(info: &CacheInfo) -> String {
    match info.storing {
        Storing::Refused(reason) if info.outcome == Outcome::Miss => {
            format!("{}; not stored: {reason}", info.reason)
        }
        _ => info.reason.to_string(),
    }
}
