//! Runs the public HTTP cache tests against the gateway of the examples, in this process.
//!
//! A scripted origin and a client, both on sockets, with the gateway between them; a judge; scores.
//! Both ends write and read header fields as Latin-1, so that bytes above 127 can be compared.

mod options;

mod case;
mod field_value;
mod fields;
mod message;

mod activity;
mod front;
#[path = "../../examples/reverse_proxy/gateway/mod.rs"]
mod gateway;
mod origin;
mod record;
mod store;
mod timeline;
mod watched;

mod client;
mod expected_failures;
mod judge;
mod report;
mod run;
mod score;
mod trial;
mod verdict;

#[cfg(test)]
mod gateway_tests;

use std::error::Error;
use std::iter;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use options::Options;
use score::Scores;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance: {error}; see --help");
            return ExitCode::from(2);
        }
    };
    match conform(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let error: &dyn Error = &*error;
            let causes = iter::successors(Some(error), |&error| error.source());
            let texts: Vec<_> = causes.map(ToString::to_string).collect();
            eprintln!("conformance: {}", texts.join(": "));
            ExitCode::from(2)
        }
    }
}

/// Whether all is as it should be.
async fn conform(options: Options) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let tests = case::load(&options.data)?;
    let tests = Arc::from(case::matching(tests, options.filter.as_deref()));
    let options = Arc::new(options);
    let started = Instant::now();
    let verdicts = run::all(&tests, &options).await?;
    let scores = Scores::of(&tests, verdicts);
    if options.json {
        report::json(&tests, &scores, &options);
    } else {
        report::text(&tests, &scores, &options, started.elapsed());
    }
    Ok(expected_failures::only(&tests, &scores, options.cache))
}
