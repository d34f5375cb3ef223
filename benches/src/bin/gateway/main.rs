//! What a gateway answers from its store in a second of processor time, beside the limit, nginx, Varnish and
//! the peers. Each server has one core for itself, `wrk` has the other.

mod load;
mod others;
mod own;
mod report;
mod site;

use std::error::Error;
use std::time::Duration;

use cache_benches::{Options, SIZES, cpu_time, kib};
use load::Load;
use report::Case;
use site::Site;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, name, origin] = &*arguments
        && command == own::SERVE
    {
        return own::serve(name, origin.parse()?).map_err(|error| error as _);
    }
    let options = Options {
        rounds: 7,
        time: Duration::from_secs(3),
        ..Options::default()
    };
    measure(&options.parsed()?)
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let origin = runtime.block_on(Site::start())?;
    let directory = tempfile::tempdir()?;
    let mut servers = own::start_all(origin.address())?;
    servers.extend(others::start_all(origin.address(), directory.path())?);

    let mut cases: Vec<Case> = SIZES.map(|bytes| Case::new(bytes, &servers)).into();
    for round in 0..=options.rounds {
        for case in &mut cases {
            for (server, measured) in servers.iter().zip(&mut case.measured) {
                let before = (cpu_time(server.process.id())?, origin.asked());
                // The first round fills the stores.
                let time = match round {
                    0 => Duration::from_secs(1),
                    _ => options.time,
                };
                let load = Load::run(&server.url(case.bytes), case.bytes, time)
                    .map_err(|error| format!("{}, {}: {error}", server.name, kib(case.bytes)))?;
                if round == 0 {
                    continue;
                }
                if origin.asked() > before.1 {
                    return Err(format!("{} asked the origin again", server.name).into());
                }
                let cpu = cpu_time(server.process.id())? - before.0;
                measured.add(&load, cpu);
            }
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    report::print(&cases, options.style);
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report::to_json(&cases)))?;
    }
    Ok(())
}

/// The servers have this core, and `wrk` has the next.
const CORE: usize = 0;
