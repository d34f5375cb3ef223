//! Histories of the cache by seeds: all of them, one again, or with a rule that is broken.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use kit::simulation::{self, Broken, Counts, Report};

fn main() -> ExitCode {
    match Arguments::read(env::args().skip(1)) {
        Ok(arguments) => arguments.simulate(),
        Err(message) => {
            eprintln!("{message}\nusage: simulate SEEDS [--seed FIRST] [--broken [RULE]] [--tell]");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    seeds: u64,
    first: u64,
    broken: Vec<Broken>,
    is_told: bool,
}

impl Arguments {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.peekable();
        let number = |text: String| {
            let number = text.parse();
            number.map_err(|_| format!("{text:?} is no number of seeds, and no seed"))
        };
        let mut read = Self {
            seeds: 2000,
            first: 0,
            broken: Vec::new(),
            is_told: false,
        };
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--seed" => read.first = number(arguments.next().unwrap_or_default())?,
                "--tell" => read.is_told = true,
                "--broken" => match arguments.next_if(|next| !next.starts_with("--")) {
                    Some(name) => read.broken.push(name.parse()?),
                    None => read.broken.extend(Broken::ALL),
                },
                _ => read.seeds = number(argument)?,
            }
        }
        Ok(read)
    }

    fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.seeds).map({
            let first = self.first;
            move |i| first.wrapping_add(i)
        })
    }

    fn run(&self, seed: u64, broken: Option<Broken>) -> Report {
        match self.is_told {
            true => simulation::tell(seed, broken),
            false => simulation::run(seed, broken),
        }
    }

    fn simulate(&self) -> ExitCode {
        let is_right = match &*self.broken {
            [] => self.is_right(),
            broken => {
                let missed = broken.iter().filter(|broken| !self.finds(**broken));
                missed.count() == 0
            }
        };
        ExitCode::from(u8::from(!is_right))
    }

    fn is_right(&self) -> bool {
        let started = Instant::now();
        let mut counts = Counts::default();
        let mut wrong = 0;
        for seed in self.seeds() {
            let report = self.run(seed, None);
            counts.add(report.counts);
            if !report.wrong.is_empty() {
                tell(seed, &report, "");
                wrong += 1;
            }
        }
        println!(
            "{} seeds from {} in {:.1?}, {wrong} wrong: {counts}",
            self.seeds,
            self.first,
            started.elapsed()
        );
        wrong == 0
    }

    /// Whether a rule that is broken is found.
    fn finds(&self, broken: Broken) -> bool {
        for (i, seed) in self.seeds().enumerate() {
            let report = self.run(seed, Some(broken));
            if !report.wrong.is_empty() {
                println!("{broken} broken: found by the seed number {}", i + 1);
                tell(seed, &report, &format!(" --broken {broken}"));
                return true;
            }
        }
        println!("{broken} broken: not found by {} seeds", self.seeds);
        false
    }
}

/// Says what is wrong with a seed, and how to see it again.
fn tell(seed: u64, report: &Report, option: &str) {
    println!(
        "seed {seed}: {} wrong, the first of them: {}\n  again: scripts/simulate 1 --seed {seed}{option}",
        report.wrong.len(),
        report.wrong[0]
    );
}
