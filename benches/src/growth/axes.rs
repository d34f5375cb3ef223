//! What is made of a growth: rows and a plot.

use std::error::Error;
use std::path::Path;

use crate::growth::Growth;
use crate::plot::{Plot, Series};
use crate::{LIMIT, OURS, times};

/// What is told of a hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// How long it takes.
    Time,
    /// How many there are.
    Throughput,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Time => "µs a hit",
            Self::Throughput => "thousand hits a second",
        }
    }

    fn of(self, nanoseconds: f64) -> f64 {
        match self {
            Self::Time => nanoseconds / 1e3,
            Self::Throughput => 1e6 / nanoseconds,
        }
    }

    /// The ratio of two of them, where this is the ratio of times.
    fn ratio(self, ratio: f64) -> f64 {
        match self {
            Self::Time => ratio,
            Self::Throughput => 1.0 / ratio,
        }
    }
}

impl<'a> Growth<'a> {
    /// All cases, smallest first.
    pub fn cases_mut(&mut self) -> impl Iterator<Item = &mut crate::Case<'a>> {
        self.points.iter_mut().map(|point| &mut point.case)
    }

    /// The same, to look at.
    pub fn cases(&self) -> impl Iterator<Item = &crate::Case<'a>> {
        self.points.iter().map(|point| &point.case)
    }

    /// What it is, with its unit.
    pub fn title(&self) -> String {
        format!("{} · {}", self.title, self.unit.name())
    }

    /// A table of what was measured.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let mut heading = vec![self.what.to_owned()];
        let mut rows = Vec::new();
        for point in &self.points {
            let mut row = vec![point.label.clone()];
            let results: Vec<_> = point.case.results().collect();
            let of = |name| results.iter().find(|result| result.0 == name);
            let mut columns = Vec::new();
            if let (Some(ours), Some(limit)) = (of(OURS), of(LIMIT)) {
                columns.push((OURS.to_owned(), self.number(ours.1)));
                columns.push((LIMIT.to_owned(), self.number(limit.1)));
                columns.push(("ours / limit".to_owned(), times(self.unit.ratio(ours.2))));
            }
            let others = results.iter().filter(|one| ![OURS, LIMIT].contains(&one.0));
            for (name, nanoseconds, ratio) in others {
                columns.push(((*name).to_owned(), self.number(*nanoseconds)));
                columns.push(("it / limit".to_owned(), times(self.unit.ratio(*ratio))));
            }
            let also = point.also.iter();
            columns.extend(also.map(|(name, cell)| ((*name).to_owned(), cell.clone())));
            if rows.is_empty() {
                heading.extend(columns.iter().map(|(name, _)| name.clone()));
            }
            row.extend(columns.into_iter().map(|(_, cell)| cell));
            rows.push(row);
        }
        rows.insert(0, heading);
        rows
    }

    fn number(&self, nanoseconds: f64) -> String {
        let number = self.unit.of(nanoseconds);
        match number {
            ..10.0 => format!("{number:.2}"),
            ..100.0 => format!("{number:.1}"),
            _ => format!("{number:.0}"),
        }
    }

    /// Draws it into `NAME.svg`.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn draw(&self, directory: &Path) -> Result<(), Box<dyn Error>> {
        let mut series: Vec<Series> = Vec::new();
        for (at, point) in self.points.iter().enumerate() {
            for (name, nanoseconds, _) in point.case.results() {
                if !series.iter().any(|series| series.name == name) {
                    series.push(Series {
                        name,
                        points: Vec::new(),
                    });
                }
                let series = series.iter_mut().find(|series| series.name == name);
                if let Some(series) = series {
                    series.points.push((at, self.unit.of(nanoseconds)));
                }
            }
        }
        let plot = Plot {
            title: self.title,
            x: self.what,
            y: self.unit.name(),
            sizes: self.points.iter().map(|point| point.size).collect(),
            labels: self
                .points
                .iter()
                .map(|point| point.label.clone())
                .collect(),
            series,
        };
        plot.write(&directory.join(format!("{}.svg", self.name)))
    }
}
