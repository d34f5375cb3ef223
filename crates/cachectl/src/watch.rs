//! `watch`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::SystemTime;

use cache_core::Digest;
use cache_tower::Listed;
use serde_json::json;
use tokio::time::sleep;

use crate::args::Watch;
use crate::store::Store;
use crate::text::{self, Output};
use crate::{Error, entry};

/// What tells one response from others, and from itself before.
type Seen = HashMap<(Digest, Digest), Listed>;

pub(crate) async fn watch(store: &Store, watch: &Watch, output: Output) -> Result<ExitCode, Error> {
    let mut before: Option<Seen> = None;
    let mut looks = 0;
    loop {
        let now = look(store, watch).await?;
        let at = store.now();
        match &before {
            None => {
                let value = json!({"event": "watching", "entries": now.len()});
                let stored = now.len();
                output.say(&value, || {
                    format!("watching; {stored} responses are stored")
                })?;
            }
            Some(before) => compare(before, &now, at, output)?,
        }
        before = Some(now);
        looks += 1;
        if watch.looks.is_some_and(|most| looks >= most) {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::select! {
            () = sleep(watch.interval) => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

async fn look(store: &Store, watch: &Watch) -> Result<Seen, Error> {
    let mut entries = store.handle.entries(watch.picked.clone().filter());
    let mut seen = Seen::new();
    while let Some(listed) = entries.next().await {
        let listed = listed?;
        seen.insert((listed.key().digest(), listed.head.variant()), listed);
    }
    Ok(seen)
}

fn compare(before: &Seen, now: &Seen, at: SystemTime, output: Output) -> Result<(), Error> {
    let mut events = Vec::new();
    for (which, listed) in now {
        let event = match before.get(which) {
            None => "stored",
            Some(old) if old.token != listed.token => "replaced",
            Some(old) if old.head != listed.head => "freshened",
            Some(_) => continue,
        };
        events.push((event, listed));
    }
    for (which, listed) in before {
        if !now.contains_key(which) {
            events.push(("gone", listed));
        }
    }
    events.sort_by_cached_key(|(event, listed)| (listed.key().url(), *event));
    for (event, listed) in events {
        let mut value = entry::json(listed, at);
        value["event"] = json!(event);
        output.say(&value, || {
            let (url, what) = (entry::url(&listed.head), entry::freshness(&listed.head, at));
            let shown = if event == "gone" {
                String::new()
            } else {
                format!("  {what}")
            };
            format!("{}  {event:<9}  {url}{shown}", text::time(at))
        })?;
    }
    Ok(())
}
