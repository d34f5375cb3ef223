//! What a process has done.

use std::fs;
use std::time::Duration;

/// What a process has done, as one line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    /// How long requests took, by steps of a sixteenth to a half.
    pub(crate) times: Vec<u64>,
    /// Resident memory, in KiB, as it went.
    pub(crate) memory: Vec<u64>,
}

impl Totals {
    pub(crate) fn took(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let step = step(micros);
        if self.times.len() <= step {
            self.times.resize(step + 1, 0);
        }
        self.times[step] += 1;
    }

    /// Takes note of the memory that this process has now.
    pub(crate) fn remember(&mut self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut fields = status
            .lines()
            .filter_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = fields.next().and_then(|rest| rest.trim().split(' ').next());
        self.memory
            .extend(kibibytes.and_then(|text| text.parse::<u64>().ok()));
    }

    pub(crate) fn write(&self) -> String {
        let list = |all: &[u64]| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join(",")
        };
        format!(
            "{} {} {} {} {} {}",
            self.requests,
            self.hits,
            self.wrong,
            self.failed,
            list(&self.times),
            list(&self.memory)
        )
    }

    /// What [`write`](Self::write) wrote.
    pub(crate) fn read(line: &str) -> Self {
        let mut fields = line.split(' ');
        let mut number = || fields.next()?.parse().ok();
        let mut next = || number().unwrap_or_default();
        let (requests, hits, wrong, failed) = (next(), next(), next(), next());
        let mut list = || {
            let list = fields.next().unwrap_or_default().split(',');
            list.filter_map(|text| text.parse().ok()).collect()
        };
        Self {
            requests,
            hits,
            wrong,
            failed,
            times: list(),
            memory: list(),
        }
    }

    pub(crate) fn print_heading() {
        println!(
            "{:<30}{:>9}{:>9}{:>8}{:>8}{:>10}{:>10}   resident memory: start, middle, end",
            "", "requests", "hits", "wrong", "failed", "median", "99 %"
        );
    }

    pub(crate) fn print(&self, name: &str) {
        let mebibytes =
            |at: usize| self.memory.get(at).copied().unwrap_or_default() as f64 / 1024.0;
        let last = self.memory.len().saturating_sub(1);
        println!(
            "{name:<30}{:>9}{:>9}{:>8}{:>8}{:>7.1} ms{:>7.1} ms   {:.1}, {:.1}, {:.1} MiB",
            self.requests,
            self.hits,
            self.wrong,
            self.failed,
            self.quantile(0.5),
            self.quantile(0.99),
            mebibytes(0),
            mebibytes(last / 2),
            mebibytes(last)
        );
    }

    /// In milliseconds, at most so much too long as a step is.
    fn quantile(&self, part: f64) -> f64 {
        let all: u64 = self.times.iter().sum();
        let mut left = (all as f64 * part) as u64;
        for (step, count) in self.times.iter().enumerate() {
            if *count > left {
                return end(step) as f64 / 1000.0;
            }
            left -= count;
        }
        0.0
    }

    /// The mean of a quarter of the time.
    pub(crate) fn mebibytes(&self, quarter: usize) -> f64 {
        let length = self.memory.len() / 4;
        let quarter = self
            .memory
            .iter()
            .skip(length * quarter)
            .take(length.max(1));
        quarter.sum::<u64>() as f64 / length.max(1) as f64 / 1024.0
    }

    /// Whether memory does not grow: in the last quarter of the time it is at most a tenth and 8 MiB more
    /// than in the second, when everything was there already.
    pub(crate) fn is_flat(&self) -> bool {
        self.memory.len() >= 8 && self.mebibytes(3) <= self.mebibytes(1) * 1.1 + 8.0
    }
}

/// Sixteen steps for each doubling.
fn step(micros: u64) -> usize {
    let doublings = u64::BITS - micros.leading_zeros();
    match doublings {
        0..5 => usize::try_from(micros).unwrap_or_default(),
        _ => {
            let within = (micros >> (doublings - 5)) & 15;
            (doublings as usize - 4) * 16 + usize::try_from(within).unwrap_or_default()
        }
    }
}

/// Where a step ends.
fn end(step: usize) -> u64 {
    match step {
        0..16 => step as u64,
        _ => {
            let (doublings, within) = (step / 16 + 4, step % 16);
            (17 + within as u64) << (doublings - 5)
        }
    }
}
