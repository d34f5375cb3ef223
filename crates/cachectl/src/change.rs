//! What changes the store.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use cache_tower::{Filter, Progress, Sweep};
use serde_json::json;

use crate::args::{Clear, Consent, Delete, Mark, Picked, SetTtl};
use crate::store::Store;
use crate::text::Output;
use crate::{Error, warm};

pub(crate) async fn delete(
    store: &Store,
    delete: Delete,
    output: Output,
) -> Result<ExitCode, Error> {
    let filter = some(delete.picked, "to delete everything, write clear")?;
    if !consent(store, &filter, &delete.consent, "Delete").await? {
        return Ok(ExitCode::FAILURE);
    }
    run(store, store.handle.remove_all(filter), "deleted", output).await
}

pub(crate) async fn mark_stale(
    store: &Store,
    mark: Mark,
    output: Output,
) -> Result<ExitCode, Error> {
    let filter = some(mark.picked, "for everything, write --prefix ''")?;
    if !consent(store, &filter, &mark.consent, "Mark as stale").await? {
        return Ok(ExitCode::FAILURE);
    }
    run(
        store,
        store.handle.mark_stale(filter),
        "marked as stale",
        output,
    )
    .await
}

pub(crate) async fn set_ttl(store: &Store, set: SetTtl, output: Output) -> Result<ExitCode, Error> {
    let filter = some(set.picked, "for everything, write --prefix ''")?;
    if !consent(store, &filter, &set.consent, "Set the lifetime of").await? {
        return Ok(ExitCode::FAILURE);
    }
    run(
        store,
        store.handle.set_ttl(filter, set.ttl),
        "changed",
        output,
    )
    .await
}

pub(crate) async fn clear(store: &Store, clear: &Clear, output: Output) -> Result<ExitCode, Error> {
    if !consent(store, &Filter::all(), &clear.consent, "Delete all").await? {
        return Ok(ExitCode::FAILURE);
    }
    run(store, store.handle.clear(), "keys deleted", output).await
}

fn some(picked: Picked, or: &str) -> Result<Filter, Error> {
    if picked.is_everything() {
        let which = "--url, --prefix, --host, --status, --fresh, --stale or --older-than";
        return Err(format!("say which: {which}; {or}").into());
    }
    Ok(picked.filter())
}

/// Whether it is to be done.
async fn consent(
    store: &Store,
    filter: &Filter,
    consent: &Consent,
    what: &str,
) -> Result<bool, Error> {
    if consent.yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err("nobody is there to be asked; write --yes".into());
    }
    let mut count = 0_u64;
    let mut entries = store.handle.entries(filter.clone());
    while let Some(listed) = entries.next().await {
        listed?;
        count += 1;
    }
    eprint!("{what} {count} responses? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

async fn run(
    store: &Store,
    sweep: Sweep<'_>,
    done: &str,
    output: Output,
) -> Result<ExitCode, Error> {
    let bar = warm::spinner();
    let swept = sweep
        .on_progress(|progress| bar.set_message(told(progress, done)))
        .await;
    bar.finish_and_clear();
    let progress = swept?;
    store.save().await?;
    let value = json!({"seen": progress.seen, "done": progress.done});
    output.say(&value, || told(progress, done))?;
    Ok(ExitCode::SUCCESS)
}

fn told(progress: Progress, done: &str) -> String {
    format!("{} of {} {done}", progress.done, progress.seen)
}
