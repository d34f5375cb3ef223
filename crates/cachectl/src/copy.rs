//! `copy`.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::args::Copy;
use crate::store::{self, Store};
use crate::text::Output;
use crate::{Error, dump, warm};

pub(crate) async fn copy(store: &Store, copy: Copy, output: Output) -> Result<ExitCode, Error> {
    let filter = copy.picked.filter();
    let bar = warm::spinner();
    let told = |done: u64, seen: u64| format!("{done} of {seen} copied");
    let copied = if copy.to.contains("://") {
        let to = store::redis(&copy.to, store.codec.as_ref()).await?;
        let copying = store.handle.copy_to(to, filter);
        let copying =
            copying.on_progress(|progress| bar.set_message(told(progress.done, progress.seen)));
        copying.await.map_err(Error::from)
    } else {
        let path = Path::new(&copy.to);
        if path.exists() && !copy.yes {
            let problem = "is there already; write --yes to replace it";
            return Err(format!("{} {problem}", path.display()).into());
        }
        if store.is_dump(path) {
            return Err("a dump cannot be copied onto itself".into());
        }
        let mut tell =
            |progress: cache_tower::Progress| bar.set_message(told(progress.done, progress.seen));
        dump::write_picked(&store.handle, path, filter, &mut tell).await
    };
    bar.finish_and_clear();
    let progress = copied?;
    let value = json!({"seen": progress.seen, "done": progress.done});
    output.say(&value, || told(progress.done, progress.seen))?;
    Ok(ExitCode::SUCCESS)
}
