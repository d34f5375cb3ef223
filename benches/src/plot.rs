//! Plots, in SVG.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::chart::SeriesLabelPosition;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

/// Lines over what grows.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    /// What grows.
    pub(crate) x: &'a str,
    /// What is measured, with its unit.
    pub(crate) y: &'a str,
    /// The sizes that were measured, and what they are called.
    pub(crate) sizes: Vec<f64>,
    pub(crate) labels: Vec<String>,
    pub(crate) series: Vec<Series>,
}

/// A line.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// The number of the size, and what was measured there.
    pub(crate) points: Vec<(usize, f64)>,
}

impl Plot<'_> {
    pub(crate) fn write(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, (640, 340)).into_drawing_area())?;
        // A picture in a page does not have the page's colours: it brings both.
        let start = svg.find('>').map_or(0, |at| at + 1);
        svg.insert_str(start, &style());
        std::fs::write(file, svg)?;
        Ok(())
    }

    fn draw(
        &self,
        area: DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    ) -> Result<(), Box<dyn Error>> {
        area.fill(&PAPER)?;
        let text = |size: i32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, text(19))
            .margin(10)
            .margin_right(24)
            .x_label_area_size(50)
            .y_label_area_size(70)
            .build_cartesian_2d(self.sizes(), self.values())?;
        chart
            .configure_mesh()
            .bold_line_style(LINES)
            .axis_style(AXES)
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style(text(16))
            .label_style(text(15))
            .draw()?;
        let sizes = self.sizes();
        for (number, series) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let points = series.points.iter();
            let points: Vec<_> = points.map(|(at, y)| (sizes.ticks[*at].0, *y)).collect();
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(line)?
                .label(series.name)
                .legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            let dots = points.into_iter();
            chart.draw_series(dots.map(|point| Circle::new(point, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(text(16))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// By size, each doubling as wide as any other; nothing is drawn left of the smallest.
    fn sizes(&self) -> Axis {
        let smallest = self.sizes.iter().copied().filter(|size| *size > 0.0);
        let smallest = smallest.fold(f64::INFINITY, f64::min);
        let at = |size: f64| match size > 0.0 {
            true => size.ln(),
            false => (smallest / 16.0).ln(),
        };
        let ticks = self.sizes.iter().zip(&self.labels);
        let ticks: Vec<_> = ticks
            .map(|(size, label)| (at(*size), label.clone()))
            .collect();
        let first = ticks.first().map_or(0.0, |tick| tick.0);
        let last = ticks.last().map_or(1.0, |tick| tick.0);
        let edge = ((last - first) / 30.0).max(0.01);
        Axis {
            ticks,
            range: first - edge..last + edge,
            is_logarithmic: false,
        }
    }

    /// From zero, unless what is small could not be seen then; with room for the legend above.
    fn values(&self) -> Axis {
        let all = self.series.iter().flat_map(|series| &series.points);
        let (smallest, largest) = all.fold((f64::INFINITY, 0.0), |(smallest, largest), (_, y)| {
            (f64::min(smallest, *y), f64::max(largest, *y))
        });
        let is_logarithmic = largest > smallest * 12.0;
        let (range, ticks): (Range<f64>, Vec<f64>) = if is_logarithmic {
            let range = smallest / 2.0..largest * 8.0;
            let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
            let ticks = decades.map(|decade| 10f64.powi(decade));
            (
                range.clone(),
                ticks.filter(|tick| range.contains(tick)).collect(),
            )
        } else {
            let step = step(largest / 5.0);
            let range = 0.0..largest * 1.4;
            let ticks = (0..).map(|number| f64::from(number) * step);
            (
                range.clone(),
                ticks.take_while(|tick| *tick < range.end).collect(),
            )
        };
        let label = |tick: &f64| (*tick, format!("{}", (tick * 1e6).round() / 1e6));
        Axis {
            ticks: ticks.iter().map(label).collect(),
            range,
            is_logarithmic,
        }
    }
}

/// The next of 1, 2, 5, 10, 20 …
fn step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(10.0 * decade)
}

/// An axis with ticks at given places.
struct Axis {
    ticks: Vec<(f64, String)>,
    range: Range<f64>,
    is_logarithmic: bool,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let place = |value: f64| match self.is_logarithmic {
            true => value.ln(),
            false => value,
        };
        let (start, end) = (place(self.range.start), place(self.range.end));
        let part = (place(*value) - start) / (end - start);
        from + (f64::from(to - from) * part).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        // Light lines would be drawn over the others.
        let is_light = hint.weight().allow_light_points();
        let ticks = self.ticks.iter().filter(|_| !is_light);
        ticks.map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == *value);
        tick.map(|tick| tick.1.clone()).unwrap_or_default()
    }
}

/// What each colour is in the dark.
fn style() -> String {
    let mut rules = String::new();
    for (light, dark) in DARK {
        let light = format!("#{:02X}{:02X}{:02X}", light.0, light.1, light.2);
        rules.push_str(&format!(
            "[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}"
        ));
    }
    format!("\n<style>@media(prefers-color-scheme:dark){{{rules}}}</style>")
}

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(31, 35, 40);
const AXES: RGBColor = RGBColor(101, 109, 118);
const LINES: RGBColor = RGBColor(216, 222, 228);
const COLOURS: [RGBColor; 3] = [
    RGBColor(110, 119, 129),
    RGBColor(9, 105, 218),
    RGBColor(188, 76, 0),
];
const DARK: [(RGBColor, &str); 7] = [
    (PAPER, "#0d1117"),
    (INK, "#e6edf3"),
    (AXES, "#8b949e"),
    (LINES, "#30363d"),
    (COLOURS[0], "#9198a1"),
    (COLOURS[1], "#4493f8"),
    (COLOURS[2], "#db6d28"),
];
