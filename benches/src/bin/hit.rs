//! Nothing but hits, for callgrind: `hit CANDIDATE BYTES HITS`.

use std::error::Error;

use cache_benches::candidates;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, bytes, hits] = arguments.as_slice() else {
        return Err("usage: hit CANDIDATE BYTES HITS".into());
    };
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let candidate = candidates(bytes.parse()?)
        .into_iter()
        .find(|candidate| candidate.name() == name)
        .ok_or_else(|| format!("{name} is not compiled in"))?;
    candidate.verify(&runtime);
    candidate.sequential(&runtime, hits.parse()?);
    Ok(())
}
