//! Large bodies on their way: what a layer costs their speed, their first byte and the memory of the process,
//! where they are stored and where they are not.
//!
//! The origin and Redis have processes of their own, and each candidate another one in each round, so
//! that its peak of memory is its own.

mod candidate;
mod cases;
mod origin;
mod redis_server;
mod report;

use std::error::Error;

use cache_benches::{Memory, Options};
use candidate::Candidate;
use cases::Asked;
use redis_server::Redis;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, asked] = &*arguments
        && command == candidate::RUN
    {
        let measured = candidate::run(&serde_json::from_str(asked)?);
        println!("{}", measured.map_err(|error| error as Box<dyn Error>)?);
        return Ok(());
    }
    let options = Options {
        rounds: 15,
        ..Options::default()
    };
    measure(&options.parsed()?)
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (origin, redis) = runtime.block_on(async {
        Ok::<_, Box<dyn Error>>((origin::start().await?, Redis::start().await?))
    })?;
    let mut cases = cases::all(in_redis()?);
    for round in 1..=options.rounds {
        for case in &mut cases {
            case.measure(round, origin, &redis)?;
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    report::print(&cases, options.style);
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report::to_json(&cases)))?;
    }
    Ok(())
}

/// The largest body that Redis gets, in bytes.
fn in_redis() -> Result<u64, Box<dyn Error>> {
    let available = Memory::available()?;
    let fits = |bytes: &u64| bytes * 2 < available;
    let bytes = [1 << 30, 512 << 20, 256 << 20].into_iter().find(fits);
    Ok(bytes.ok_or("there is less than 512 MiB of memory available, and Redis needs that")?)
}
