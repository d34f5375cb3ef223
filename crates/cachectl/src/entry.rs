//! What is said of one stored response.

use std::time::{Duration, SystemTime};

use cache_core::StoredHead;
use cache_tower::Listed;
use serde_json::{Value, json};

use crate::text;

/// Its URL, or what stands for one that cannot be told.
pub(crate) fn url(head: &StoredHead) -> String {
    let url = head.key().url();
    url.map_or_else(|| format!("{:?}", head.key()), |url| text::plain(&url))
}

/// What it was selected by.
pub(crate) fn varies_by(head: &StoredHead) -> Vec<&str> {
    let fields = head.selecting().iter();
    fields.map(|field| field.name().as_str()).collect()
}

/// Whether it is fresh, and for how long or since when.
pub(crate) fn freshness(head: &StoredHead, now: SystemTime) -> String {
    let remaining = head.remaining(now);
    if is_expired(head, now) {
        "kept no longer".to_owned()
    } else if remaining.is_zero() {
        format!("stale for {}", text::duration(head.stale_for(now)))
    } else {
        format!("fresh for {}", text::duration(remaining))
    }
}

pub(crate) fn is_expired(head: &StoredHead, now: SystemTime) -> bool {
    head.retain_until().is_some_and(|until| until <= now)
}

/// All of it but fields and body.
pub(crate) fn json(listed: &Listed, now: SystemTime) -> Value {
    let head = &listed.head;
    let part = head
        .part()
        .map(|part| json!({"first": part.bytes.start, "end": part.bytes.end, "of": part.length}));
    json!({
        "url": head.key().url(),
        "status": head.status().as_u16(),
        "partitioned": head.key().is_partitioned(),
        "varies_by": varies_by(head),
        "part": part,
        "age_seconds": seconds(head.age(now)),
        "is_fresh": !head.remaining(now).is_zero(),
        "fresh_for_seconds": seconds(head.remaining(now)),
        "stale_for_seconds": seconds(head.stale_for(now)),
        "received_at": text::time(head.received_at()),
        "kept_until": head.retain_until().filter(|until| text::has_date(*until)).map(text::time),
        "body_bytes": listed.body_length,
        "stored_bytes": listed.bytes,
        "token": format!("{:032x}", listed.token.0),
    })
}

pub(crate) fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
