//! Nothing but hits, for callgrind: `hit CANDIDATE BYTES HITS [redis]`.

use std::error::Error;

use cache_benches::{Server, candidates, ours_over_redis};
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ([name, bytes, hits] | [name, bytes, hits, "redis"]) = arguments[..] else {
        return Err("usage: hit CANDIDATE BYTES HITS [redis]".into());
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let bytes = bytes.parse()?;
    let server = match arguments.len() {
        3 => None,
        _ => Some(runtime.block_on(Server::start())?),
    };
    let candidates = match &server {
        None => candidates(bytes),
        Some(server) => ours_over_redis(server, &runtime, "hit", bytes)?,
    };
    let candidate = candidates
        .into_iter()
        .find(|candidate| candidate.name() == name)
        .ok_or_else(|| format!("{name} is not compiled in"))?;
    candidate.verify(&runtime);
    candidate.sequential(&runtime, hits.parse()?);
    Ok(())
}
