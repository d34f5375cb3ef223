//! Rounds in which all candidates take their turns, so that a ratio is of times that were measured close
//! to one another; what is printed are medians over the rounds.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::candidates::OWN;
use crate::samples::Samples;
use crate::table::Style;
use crate::{Candidate, LIMIT, OURS, table};

/// What can be said to each benchmark of times.
pub struct Options {
    /// How many rounds there are.
    pub rounds: usize,
    /// How long one candidate is measured in one round.
    pub time: Duration,
    /// Where to write what was measured, as JSON.
    pub json: Option<PathBuf>,
    /// How tables are printed.
    pub style: Style,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 31,
            time: Duration::from_millis(20),
            json: None,
            style: Style::Plain,
        }
    }
}

impl Options {
    /// Reads the arguments of the program, with the defaults for hits.
    ///
    /// # Errors
    ///
    /// Where one is unknown.
    pub fn parse() -> Result<Self, lexopt::Error> {
        Self::default().parsed()
    }

    /// The same with these defaults.
    ///
    /// # Errors
    ///
    /// Where one is unknown.
    pub fn parsed(self) -> Result<Self, lexopt::Error> {
        self.parse_with(
            |_, _| Ok(false),
            |value| Err(format!("what is {value}?").into()),
        )
    }

    /// The same where the program has options of its own, which `option` takes, and other arguments.
    ///
    /// # Errors
    ///
    /// Where one is unknown.
    pub fn parse_with(
        mut self,
        mut option: impl FnMut(&str, &mut lexopt::Parser) -> Result<bool, lexopt::Error>,
        mut other: impl FnMut(String) -> Result<(), lexopt::Error>,
    ) -> Result<Self, lexopt::Error> {
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("rounds") => self.rounds = arguments.value()?.parse::<usize>()?.max(1),
                Long("milliseconds") => {
                    self.time = Duration::from_millis(arguments.value()?.parse()?);
                }
                Long("json") => self.json = Some(arguments.value()?.into()),
                Long("markdown") => self.style = Style::Markdown,
                Long(name) => {
                    let name = name.to_owned();
                    if !option(&name, &mut arguments)? {
                        return Err(lexopt::Error::UnexpectedOption(format!("--{name}")));
                    }
                }
                Value(value) => other(value.string()?)?,
                argument @ Short(_) => return Err(argument.unexpected()),
            }
        }
        Ok(self)
    }
}

/// What is measured side by side.
pub struct Case<'a> {
    name: String,
    runtime: &'a Runtime,
    /// `None`: one request after the other.
    tasks: Option<u64>,
    measured: Vec<Measured>,
}

struct Measured {
    candidate: Box<dyn Candidate>,
    /// In one round, and in each task.
    hits: u64,
    /// Nanoseconds per hit, one for each round.
    samples: Samples,
}

impl<'a> Case<'a> {
    /// All candidates, each asked by one after the other, or by so many tasks.
    pub fn new(
        name: String,
        candidates: Vec<Box<dyn Candidate>>,
        runtime: &'a Runtime,
        tasks: Option<u64>,
    ) -> Self {
        let measured = candidates.into_iter().map(|candidate| Measured {
            candidate,
            hits: 1,
            samples: Samples::default(),
        });
        Self {
            name,
            runtime,
            tasks,
            measured: measured.collect(),
        }
    }

    /// Fills the stores, and finds how many hits take about this time.
    fn prepare(&mut self, time: Duration) {
        self.verify();
        for measured in &mut self.measured {
            loop {
                let taken = measured.run(self.runtime, self.tasks);
                if taken * 4 > time {
                    let scale = time.as_secs_f64() / taken.as_secs_f64();
                    // So that few of them are the first and the last of a task, beside which others rest.
                    let least = self.tasks.map_or(1, |_| HITS_OF_A_TASK);
                    measured.hits = ((measured.hits as f64 * scale) as u64).max(least);
                    break;
                }
                measured.hits *= 2;
            }
        }
    }

    fn measure(&mut self) {
        for measured in &mut self.measured {
            let taken = measured.run(self.runtime, self.tasks);
            let hits = measured.hits * self.tasks.unwrap_or(1);
            measured.samples.push(taken.as_nanos() as f64 / hits as f64);
        }
    }

    fn verify(&self) {
        for measured in &self.measured {
            measured.candidate.verify(self.runtime);
        }
    }

    fn of(&self, name: &str) -> &Measured {
        let mut all = self.measured.iter();
        all.find(|measured| measured.candidate.name() == name)
            .expect("one of the candidates")
    }

    fn peers(&self) -> impl Iterator<Item = &Measured> {
        let all = self.measured.iter();
        all.filter(|measured| !OWN.contains(&measured.candidate.name()))
    }

    /// The name of each candidate, how many nanoseconds a hit takes it, and how many times as long that
    /// is as with the limit.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let limit = self.of(LIMIT);
        self.measured.iter().map(move |measured| {
            let ratio = measured.ratio_to(limit);
            (measured.candidate.name(), measured.median(), ratio)
        })
    }

    fn others(&self) -> impl Iterator<Item = &Measured> {
        let all = self.measured.iter();
        all.filter(|measured| ![LIMIT, OURS].contains(&measured.candidate.name()))
    }

    fn best_peer(&self) -> Option<&Measured> {
        self.peers()
            .min_by(|one, other| one.median().total_cmp(&other.median()))
    }
}

impl Measured {
    fn run(&self, runtime: &Runtime, tasks: Option<u64>) -> Duration {
        match tasks {
            None => self.candidate.sequential(runtime, self.hits),
            Some(tasks) => self.candidate.concurrent(runtime, tasks, self.hits),
        }
    }

    fn median(&self) -> f64 {
        self.samples.median()
    }

    /// How many times as long it takes as another.
    fn ratio_to(&self, other: &Self) -> f64 {
        self.samples.ratio_to(&other.samples)
    }
}

/// Measures all in each round, and prints what came of it.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn measure(title: &str, mut cases: Vec<Case<'_>>, options: &Options) -> io::Result<()> {
    let mut all: Vec<_> = cases.iter_mut().collect();
    run(&mut all, options);
    report(title, &cases, options.style);
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", to_json(cases.iter())))?;
    }
    Ok(())
}

/// Measures all in each round.
pub fn run(cases: &mut [&mut Case<'_>], options: &Options) {
    for case in &mut *cases {
        case.prepare(options.time);
    }
    for round in 1..=options.rounds {
        for case in &mut *cases {
            case.measure();
        }
        eprintln!("round {round} of {}", options.rounds);
    }
    for case in cases {
        case.verify();
    }
}

fn report(title: &str, cases: &[Case<'_>], style: Style) {
    println!("\n{title} · nanoseconds, medians; ratios inside a round, medians\n");
    let heading = [
        "",
        "ours",
        "limit",
        "best peer",
        "ours / limit",
        "best peer / ours",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for case in cases {
        let (ours, limit) = (case.of(OURS), case.of(LIMIT));
        let mut row = vec![
            case.name.clone(),
            format!("{:.0}", ours.median()),
            format!("{:.0}", limit.median()),
        ];
        match case.best_peer() {
            None => row.extend(["–".into(), times(ours.ratio_to(limit)), "–".into()]),
            Some(peer) => row.extend([
                format!("{} {:.0}", peer.candidate.name(), peer.median()),
                times(ours.ratio_to(limit)),
                times(peer.ratio_to(ours)),
            ]),
        }
        rows.push(row);
    }
    table::print(&rows, style);

    println!("\nall others\n");
    let heading = ["", "nanoseconds", "it / limit", "it / ours"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for case in cases {
        for peer in case.others() {
            rows.push(vec![
                format!("{} · {}", case.name, peer.candidate.name()),
                format!("{:.0}", peer.median()),
                times(peer.ratio_to(case.of(LIMIT))),
                times(peer.ratio_to(case.of(OURS))),
            ]);
        }
    }
    table::print(&rows, style);
}

/// A ratio for people.
pub fn times(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

/// What was measured.
pub fn to_json<'a, 'b: 'a>(cases: impl Iterator<Item = &'a Case<'b>>) -> serde_json::Value {
    let cases = cases.map(|case| {
        let candidates: BTreeMap<_, _> = case
            .measured
            .iter()
            .map(|measured| {
                let value = json!({
                    "nanoseconds_per_hit": measured.median(),
                    "ratio_to_limit": measured.ratio_to(case.of(LIMIT)),
                    "ratio_to_ours": measured.ratio_to(case.of(OURS)),
                    "rounds": measured.samples.all(),
                });
                (measured.candidate.name(), value)
            })
            .collect();
        json!({
            "name": case.name,
            "best_peer": case.best_peer().map(|peer| peer.candidate.name()),
            "candidates": candidates,
        })
    });
    json!({ "cases": cases.collect::<Vec<_>>() })
}

const HITS_OF_A_TASK: u64 = 16;
