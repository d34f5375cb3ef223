//! How a hit grows: with what is stored, and with how many ask for it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use cache_benches::growth::{Means, NAMES, growths};
use cache_benches::{Options, Server, run, table, to_json};
use lexopt::prelude::*;
use tokio::runtime::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut names, mut plots, mut most_entries) = (Vec::new(), None, 10_000_000);
    let options = Options {
        rounds: 11,
        time: Duration::from_millis(40),
        ..Options::default()
    }
    .parse_with(
        |name, arguments| {
            match name {
                "plots" => plots = Some(PathBuf::from(arguments.value()?)),
                "entries" => most_entries = arguments.value()?.parse::<u64>()?.max(1),
                _ => return Ok(false),
            }
            Ok(true)
        },
        |name| {
            names.push(wanted(name)?);
            Ok(())
        },
    )?;
    let one_thread = Builder::new_current_thread().enable_all().build()?;
    let two_workers = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let server = two_workers.block_on(Server::start());
    if let Err(error) = &server {
        eprintln!("nothing over Redis is measured: {error}");
    }
    let means = Means {
        one_thread: &one_thread,
        two_workers: &two_workers,
        server: server.as_ref().ok(),
        most_entries,
    };
    let is_wanted = |name: &str| {
        let mut names = names.iter();
        names.len() == 0 || names.any(|wanted| name.starts_with(&**wanted))
    };
    let mut all = growths(&means, is_wanted)?;
    let mut cases: Vec<_> = all.iter_mut().flat_map(|one| one.cases_mut()).collect();
    run(&mut cases, &options);
    for one in &all {
        println!("\n{}\n", one.title());
        table::print(&one.rows(), options.style);
        if let Some(directory) = &plots {
            one.draw(directory)?;
        }
    }
    if let Some(file) = &options.json {
        let all: BTreeMap<_, _> = all
            .iter()
            .map(|one| (one.name, to_json(one.cases())))
            .collect();
        std::fs::write(file, format!("{:#}\n", serde_json::json!(all)))?;
    }
    Ok(())
}

/// A name, or what several begin with.
fn wanted(name: String) -> Result<String, String> {
    match NAMES.iter().any(|one| one.starts_with(&name)) {
        true => Ok(name),
        false => Err(format!("{name} is none of {}", NAMES.join(", "))),
    }
}
