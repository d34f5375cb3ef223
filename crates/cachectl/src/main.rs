//! `cachectl` looks after what an HTTP cache has stored.

mod args;
mod change;
mod copy;
mod dump;
mod entry;
mod list;
mod show;
mod store;
mod text;
mod warm;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use store::Store;
use text::Output;

/// What ends a command.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cachectl: {}", text::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<ExitCode, Error> {
    let output = Output { is_json: args.json };
    let store = Store::open(&args).await?;
    match args.command {
        Command::List(list) => list::list(&store, &list, output).await,
        Command::Show(show) => show::show(&store, &show, output).await,
        Command::WhyStale(which) => show::why_stale(&store, &which.url, output).await,
        Command::Stats => list::stats(&store, output).await,
        Command::Delete(delete) => change::delete(&store, delete, output).await,
        Command::MarkStale(mark) => change::mark_stale(&store, mark, output).await,
        Command::SetTtl(set) => change::set_ttl(&store, set, output).await,
        Command::Clear(clear) => change::clear(&store, &clear, output).await,
        Command::Watch(watch) => watch::watch(&store, &watch, output).await,
        Command::Warm(warm) => warm::warm(&store, &warm, output).await,
        Command::Copy(copy) => copy::copy(&store, copy, output).await,
    }
}
