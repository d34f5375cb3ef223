//! How long a hit in memory takes, beside the limit and the peers.

use std::error::Error;

use cache_benches::{Case, Options, SIZES, candidates, kib, measure};
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let one_thread = Builder::new_current_thread().enable_time().build()?;
    let two_workers = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    let mut cases = Vec::new();
    for bytes in SIZES {
        let name = format!("sequential, {}", kib(bytes));
        cases.push(Case::new(name, candidates(bytes), &one_thread, None));
    }
    let name = format!("{TASKS} tasks on 2 workers, {}", kib(SIZES[0]));
    let hot = candidates(SIZES[0]);
    cases.push(Case::new(name, hot, &two_workers, Some(TASKS)));
    measure("a hit in memory", cases, &options)?;
    Ok(())
}

const TASKS: u64 = 64;
