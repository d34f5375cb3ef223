//! `list` and `stats`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use cache_tower::Filter;
use serde_json::json;

use crate::args::List;
use crate::store::Store;
use crate::text::{self, Output, table};
use crate::{Error, entry};

pub(crate) async fn list(store: &Store, list: &List, output: Output) -> Result<ExitCode, Error> {
    let now = store.now();
    let mut entries = store.handle.entries(list.picked.clone().filter());
    let mut listed = Vec::new();
    let most = list.limit.unwrap_or(usize::MAX);
    while listed.len() < most {
        let Some(next) = entries.next().await else {
            break;
        };
        listed.push(next?);
    }
    listed.sort_by_cached_key(|one| (one.key().url(), one.key().clone(), one.head.variant()));
    if output.is_json {
        for one in &listed {
            output.say(&entry::json(one, now), String::new)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = listed
        .iter()
        .map(|one| {
            let head = &one.head;
            vec![
                entry::url(head),
                head.status().as_str().to_owned(),
                text::duration(head.age(now)),
                entry::freshness(head, now),
                one.body_length.to_string(),
                entry::varies_by(head).join(", "),
                (if head.key().is_partitioned() {
                    "yes"
                } else {
                    ""
                })
                .to_owned(),
            ]
        })
        .collect();
    let head = [
        "URL",
        "STATUS",
        "AGE",
        "FRESHNESS",
        "BODY",
        "VARIES BY",
        "PARTITIONED",
    ];
    output.say(&json!(null), || table(&head, &rows))?;
    if entries.unreadable() > 0 {
        eprintln!("{} values cannot be read", entries.unreadable());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn stats(store: &Store, output: Output) -> Result<ExitCode, Error> {
    let stats = store.handle.stats().await?;
    let mut hosts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut entries = store.handle.entries(Filter::all());
    while let Some(listed) = entries.next().await {
        let listed = listed?;
        let counted = hosts.entry(host(listed.key().url())).or_default();
        counted.0 += 1;
        counted.1 += listed.bytes;
    }
    let by_host: Vec<_> = hosts
        .iter()
        .map(|(host, (entries, bytes))| json!({"host": host, "entries": entries, "bytes": bytes}))
        .collect();
    let value = json!({
        "entries": stats.entries,
        "keys": stats.keys,
        "fresh": stats.fresh,
        "stale": stats.stale,
        "expired": stats.expired,
        "unreadable": stats.unreadable,
        "body_bytes": stats.body_bytes,
        "bytes": stats.bytes,
        "hosts": by_host,
    });
    output.say(&value, || {
        let rows = [
            ("responses", stats.entries.to_string()),
            ("keys", stats.keys.to_string()),
            ("fresh", stats.fresh.to_string()),
            ("stale", stats.stale.to_string()),
            ("kept no longer", stats.expired.to_string()),
            ("cannot be read", stats.unreadable.to_string()),
            ("bytes of bodies", text::bytes(stats.body_bytes)),
            ("bytes in the store", text::bytes(stats.bytes)),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        let hosts: Vec<Vec<String>> = hosts
            .iter()
            .map(|(host, (entries, bytes))| {
                vec![host.clone(), entries.to_string(), text::bytes(*bytes)]
            })
            .collect();
        let hosts = table(&["HOST", "RESPONSES", "BYTES"], &hosts);
        format!("{}\n\n{hosts}", table(&["STORED", ""], &rows))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn host(url: Option<String>) -> String {
    let url = url.unwrap_or_default();
    let authority = url.split_once("//").map_or("", |(_, rest)| rest);
    let host = authority.split(['/', '?']).next().unwrap_or_default();
    match host {
        "" => "(hidden)".to_owned(),
        host => text::plain(host),
    }
}
