//! What came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_benches::table::Style;
use cache_benches::{Samples, kib, table};
use serde_json::{Value, json};

use crate::load::Load;
use crate::others::{NGINX, VARNISH};
use crate::own::{EXAMPLE, LIMIT, OURS, SILENT, Server};

/// One size of pages.
pub(crate) struct Case {
    pub(crate) bytes: usize,
    pub(crate) measured: Vec<Measured>,
}

/// What was measured of one server.
pub(crate) struct Measured {
    name: &'static str,
    per_cpu_second: Samples,
    per_second: Samples,
}

impl Case {
    pub(crate) fn new(bytes: usize, servers: &[Server]) -> Self {
        let measured = servers.iter().map(|server| Measured {
            name: server.name,
            per_cpu_second: Samples::default(),
            per_second: Samples::default(),
        });
        Self {
            bytes,
            measured: measured.collect(),
        }
    }

    /// The ratio to one who may not be here.
    fn ratio(&self, measured: &Measured, other: &str) -> Option<f64> {
        let other = self.measured.iter().find(|all| all.name == other)?;
        Some(measured.per_cpu_second.ratio_to(&other.per_cpu_second))
    }
}

impl Measured {
    pub(crate) fn add(&mut self, load: &Load, cpu: Duration) {
        self.per_cpu_second.push(load.requests / cpu.as_secs_f64());
        self.per_second.push(load.per_second);
    }
}

pub(crate) fn print(cases: &[Case], style: Style) {
    println!(
        "\nhits of a gateway · thousands a second of its processor time, medians; ratios of that inside a round, \
         medians\n"
    );
    let heading = [
        "",
        "k / cpu s",
        "k / s",
        "it / limit",
        "it / nginx",
        "it / Varnish",
        "goals",
    ];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for case in cases {
        for measured in &case.measured {
            let ratio = |other| match case.ratio(measured, other) {
                Some(ratio) => format!("{ratio:.2} ×"),
                None => "–".into(),
            };
            rows.push(vec![
                format!("{} · {}", kib(case.bytes), measured.name),
                thousands(&measured.per_cpu_second),
                thousands(&measured.per_second),
                ratio(LIMIT),
                ratio(NGINX),
                ratio(VARNISH),
                goals(case, measured),
            ]);
        }
    }
    table::print(&rows, style);
}

fn thousands(samples: &Samples) -> String {
    format!("{:.1}", samples.median() / 1e3)
}

/// The goals of ours, and whether each is met.
fn goals(case: &Case, measured: &Measured) -> String {
    if ![EXAMPLE, OURS, SILENT].contains(&measured.name) {
        return String::new();
    }
    let goals: &[(&str, f64)] = match case.bytes {
        0..=65_536 => &[(LIMIT, 0.88), (NGINX, 1.5), (VARNISH, 2.0)],
        _ => &[(LIMIT, 0.95)],
    };
    let goals = goals.iter().map(|(other, least)| {
        let met = match case.ratio(measured, other) {
            Some(ratio) if ratio >= *least => "met",
            Some(_) => "missed",
            None => "not here",
        };
        format!("{least} × {other}: {met}")
    });
    goals.collect::<Vec<_>>().join(", ")
}

pub(crate) fn to_json(cases: &[Case]) -> Value {
    let cases = cases.iter().map(|case| {
        let candidates: BTreeMap<_, _> = case
            .measured
            .iter()
            .map(|measured| {
                let value = json!({
                    "requests_per_cpu_second": measured.per_cpu_second.median(),
                    "requests_per_second": measured.per_second.median(),
                    "ratio_to_limit": case.ratio(measured, LIMIT),
                    "ratio_to_nginx": case.ratio(measured, NGINX),
                    "ratio_to_varnish": case.ratio(measured, VARNISH),
                    "rounds": measured.per_cpu_second.all(),
                });
                (measured.name, value)
            })
            .collect();
        json!({ "name": kib(case.bytes), "body_bytes": case.bytes, "candidates": candidates })
    });
    json!({ "cases": cases.collect::<Vec<_>>() })
}
