//! How long a hit in Redis takes, beside a plain `GET` on a connection that all share, and the peers; and
//! what it costs the server.

use std::error::Error;

use cache_benches::table::{self, Style};
use cache_benches::{Case, OURS, Options, SIZES, Server, beside_large, kib, measure, over_redis};
use tokio::runtime::{Builder, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse()?;
    let one_thread = Builder::new_current_thread().enable_all().build()?;
    let two_workers = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let server = two_workers.block_on(Server::start_on_loopback())?;
    let nearer = two_workers.block_on(Server::start())?;
    count(&server, &one_thread, options.style)?;
    let mut cases = Vec::new();
    for (server, how, sizes) in [
        (&server, "TCP", &SIZES[..]),
        (&nearer, "Unix socket", &SIZES[..1]),
    ] {
        for (runtime, tasks, responses, who) in [
            (&one_thread, None, 1, "sequential"),
            (&two_workers, Some(TASKS), 1000, "64 tasks, 1,000 responses"),
            (&two_workers, Some(TASKS), 1, "64 tasks, one response"),
        ] {
            for bytes in sizes {
                let name = format!("case{}", cases.len());
                let candidates = over_redis(server, runtime, &name, *bytes, responses)?;
                let name = format!("{who}, {}, {how}", kib(*bytes));
                cases.push(Case::new(name, candidates, runtime, tasks));
            }
        }
    }
    let beside = beside_large(&server, &two_workers, "beside")?;
    let name = "p50 of 16 tasks, 1 KiB, beside 8 that read 1 MiB".to_owned();
    cases.push(Case::new(name, beside, &two_workers, None));
    measure("a hit in Redis", cases, &options)?;
    Ok(())
}

/// Commands and reads of sockets, counted by the server.
fn count(server: &Server, runtime: &Runtime, style: Style) -> Result<(), Box<dyn Error>> {
    println!("\na hit in Redis, one after the other, as the server counts\n");
    let heading = ["", "commands", "reads", "writes"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for bytes in SIZES {
        let candidates = over_redis(server, runtime, &format!("count{bytes}"), bytes, 1)?;
        for candidate in candidates {
            if !candidate.name().starts_with(OURS) {
                continue;
            }
            candidate.verify(runtime);
            let counters = [
                "total_commands_processed",
                "total_reads_processed",
                "total_writes_processed",
            ];
            // What counting itself costs the server is less than one hit's worth.
            let before: Vec<u64> = counters
                .iter()
                .map(|name| server.count(name))
                .collect::<Result<_, _>>()?;
            candidate.sequential(runtime, HITS);
            let mut row = vec![format!("{}, {}", candidate.name(), kib(bytes))];
            for (name, before) in counters.iter().zip(before) {
                let each = (server.count(name)? - before) as f64 / HITS as f64;
                row.push(format!("{each:.2}"));
            }
            rows.push(row);
        }
    }
    table::print(&rows, style);
    Ok(())
}

const TASKS: u64 = 64;
const HITS: u64 = 2_000;
