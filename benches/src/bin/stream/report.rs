//! What came of it.

use cache_benches::table::{self, Style};
use serde_json::{Value, json};

use crate::cases::{Case, Measured, MemoryGoal};

pub(crate) fn print(cases: &[Case], style: Style) {
    println!(
        "\nlarge bodies on their way · medians; ratios and differences to the first of each case inside a round, \
         medians; the goal beside each"
    );
    let heading = [
        "",
        "MB/s",
        "ratio",
        "goal",
        "cpu / 1st",
        "first byte",
        "later",
        "goal",
        "peak",
        "above 1st",
        "above idle",
        "goal",
        "stored",
        "",
    ];
    for case in cases {
        println!("\n{} · {} MiB\n", case.name, case.bytes >> 20);
        let mut rows = vec![heading.map(String::from).to_vec()];
        let first = &case.measured[0];
        for measured in &case.measured {
            let goals = measured.goals;
            let mut row = vec![
                measured.candidate.name().into(),
                format!("{:.0}", case.bytes as f64 / measured.time.median() / 1e6),
                format!("{:.2} ×", case.speed(measured)),
                goals
                    .speed
                    .map_or_else(String::new, |goal| format!("≥ {goal}")),
                format!("{:.2} ×", measured.cpu.ratio_to(&first.cpu)),
                milliseconds(measured.first_byte.median()),
                milliseconds(case.later(measured)),
                goals
                    .first_byte
                    .map_or_else(String::new, |goal| format!("≤ {}", milliseconds(goal))),
                mib(measured.peak.median()),
                mib(measured.peak.difference_to(&first.peak)),
                mib(measured.above_idle.median()),
            ];
            row.push(match goals.memory {
                Some(MemoryGoal::AboveFirst(most)) => format!("≤ 1st + {}", mib(most as f64)),
                Some(MemoryGoal::AboveIdle(most)) => format!("≤ idle + {}", mib(most as f64)),
                Some(MemoryGoal::OfBody(part)) => format!("≤ idle + {part} × body"),
                None => String::new(),
            });
            row.push(match measured.stored {
                _ if !measured.candidate.tells() => "?".into(),
                0 => "no".into(),
                stored if stored == measured.time.all().len() => "yes".into(),
                stored => format!("{stored} of {}", measured.time.all().len()),
            });
            row.push(case.verdict(measured));
            rows.push(row);
        }
        table::print(&rows, style);
        for measured in &case.measured {
            if let Some(failure) = &measured.failure {
                println!("{}: {failure}", measured.candidate.name());
            }
        }
    }
}

impl Case {
    /// Of a candidate, as a part of that of the first.
    fn speed(&self, measured: &Measured) -> f64 {
        self.measured[0].time.ratio_to(&measured.time)
    }

    /// How much later the first byte of a candidate comes, in seconds.
    fn later(&self, measured: &Measured) -> f64 {
        let first = &self.measured[0].first_byte;
        measured.first_byte.difference_to(first)
    }

    /// Which goals were missed.
    fn missed(&self, measured: &Measured) -> Vec<&'static str> {
        let goals = measured.goals;
        let mut missed = Vec::new();
        if goals.speed.is_some_and(|goal| self.speed(measured) < goal) {
            missed.push("speed");
        }
        if goals
            .first_byte
            .is_some_and(|goal| self.later(measured) > goal)
        {
            missed.push("first byte");
        }
        let above_first = measured.peak.difference_to(&self.measured[0].peak);
        let above_idle = measured.above_idle.median();
        let (above, most) = match goals.memory {
            Some(MemoryGoal::AboveFirst(most)) => (above_first, most as f64),
            Some(MemoryGoal::AboveIdle(most)) => (above_idle, most as f64),
            Some(MemoryGoal::OfBody(part)) => (above_idle, part * self.bytes as f64),
            None => (0.0, 0.0),
        };
        if above > most {
            missed.push("memory");
        }
        let rounds = measured.time.all().len();
        match goals.is_stored {
            Some(true) if measured.stored < rounds => missed.push("storing"),
            Some(false) if measured.stored > 0 => missed.push("not storing"),
            _ => {}
        }
        missed
    }

    fn verdict(&self, measured: &Measured) -> String {
        let goals = measured.goals;
        let has_none =
            goals.speed.is_none() && goals.first_byte.is_none() && goals.memory.is_none();
        match &*self.missed(measured) {
            _ if has_none => String::new(),
            [] => "met".into(),
            missed => format!("missed: {}", missed.join(", ")),
        }
    }
}

pub(crate) fn to_json(cases: &[Case]) -> Value {
    let cases = cases.iter().map(|case| {
        let candidates = case.measured.iter().map(|measured| {
            json!({
                "name": measured.candidate.name(),
                "seconds": measured.time.median(),
                "speed_ratio_to_first": case.speed(measured),
                "cpu_seconds": measured.cpu.median(),
                "cpu_ratio_to_first": measured.cpu.ratio_to(&case.measured[0].cpu),
                "first_byte_seconds": measured.first_byte.median(),
                "first_byte_seconds_after_first": case.later(measured),
                "peak_bytes": measured.peak.median(),
                "peak_bytes_above_first": measured.peak.difference_to(&case.measured[0].peak),
                "peak_bytes_above_idle": measured.above_idle.median(),
                "rounds_stored": measured.stored,
                "goals_missed": case.missed(measured),
                "rounds": measured.time.all(),
            })
        });
        json!({
            "name": case.name,
            "body_bytes": case.bytes,
            "candidates": candidates.collect::<Vec<_>>(),
        })
    });
    json!({ "cases": cases.collect::<Vec<_>>() })
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
