//! How a hit grows with what is stored, and with how many ask for it.

mod axes;

use std::error::Error;

use cache_tower::{CacheLayer, MemoryBackend, Policy};
use http::header::ACCEPT_LANGUAGE;
use tokio::runtime::Runtime;
use tower::Layer;

use crate::ask::{Ask, Listed, Numbered};
use crate::candidate::{Candidate, Measured};
use crate::exchange::{Asked, Origin, Prebuilt};
use crate::over_redis::with_lanes;
use crate::{Case, LIMIT, OURS, Server, memory};

pub use axes::Unit;

/// Something that grows, and a case for each of its sizes.
pub struct Growth<'a> {
    /// What it is called on the command line, and its plot.
    pub name: &'static str,
    title: &'static str,
    /// What grows.
    what: &'static str,
    unit: Unit,
    points: Vec<Point<'a>>,
}

struct Point<'a> {
    size: f64,
    label: String,
    case: Case<'a>,
    /// Heading and cell of a column of its own.
    also: Vec<(&'static str, String)>,
}

/// What is needed to measure.
pub struct Means<'a> {
    /// For what is asked one after the other.
    pub one_thread: &'a Runtime,
    /// For what many ask at once.
    pub two_workers: &'a Runtime,
    /// Where it is to be had.
    pub server: Option<&'a Server>,
    /// How many entries there are at most.
    pub most_entries: u64,
}

/// Fills the stores of those that are wanted.
///
/// # Errors
///
/// Where a server does not answer.
pub fn growths<'a>(
    means: &Means<'a>,
    wants: impl Fn(&str) -> bool,
) -> Result<Vec<Growth<'a>>, Box<dyn Error>> {
    let mut all = Vec::new();
    if wants("entries") {
        all.push(entries(means)?);
    }
    if wants("variants") {
        all.push(variants(means)?);
    }
    if wants("heads") {
        all.push(heads(means)?);
    }
    if wants("bodies-memory") {
        all.push(bodies(means)?);
    }
    if wants("tasks-hot") {
        let title = "Hits in memory by tasks, all for one key, 2 workers, 1 KiB";
        all.push(tasks(means, "tasks-hot", title, Asked::new())?);
    }
    if wants("tasks-many") {
        let title = "Hits in memory by tasks, for 1,000 keys, 2 workers, 1 KiB";
        all.push(tasks(means, "tasks-many", title, Listed::uris(1000))?);
    }
    if let Some(server) = means.server {
        if wants("bodies-redis") {
            all.push(bodies_in_redis(means, server)?);
        }
        for (name, title, body_bytes) in [
            (
                "lanes-small",
                "Hits in Redis by lanes, 64 tasks, 2 workers, 1 KiB",
                1 << 10,
            ),
            (
                "lanes-large",
                "Hits in Redis by lanes, 64 tasks, 2 workers, 128 KiB",
                128 << 10,
            ),
        ] {
            if wants(name) {
                all.push(lanes(means, server, name, title, body_bytes)?);
            }
        }
    }
    Ok(all)
}

/// All names.
pub const NAMES: [&str; 9] = [
    "entries",
    "variants",
    "heads",
    "bodies-memory",
    "bodies-redis",
    "tasks-hot",
    "tasks-many",
    "lanes-small",
    "lanes-large",
];

fn entries<'a>(means: &Means<'a>) -> Result<Growth<'a>, Box<dyn Error>> {
    let (head_bytes, body_bytes) = (256, 64);
    let mut points: Vec<Point<'_>> = Vec::new();
    let mut each = 0;
    for counts in [
        &[1_000][..],
        &[100_000],
        &[10_000_000, 5_000_000, 2_000_000, 1_000_000],
    ] {
        // There is other work on the machine.
        let most = memory::available()? / 2;
        let fits = |count: &&u64| **count <= means.most_entries && **count * each <= most;
        let Some(&count) = counts.iter().find(fits) else {
            break;
        };
        let prebuilt = Prebuilt::with_head_of(head_bytes, body_bytes);
        let backend = MemoryBackend::with_capacity((count * 4096).max(MEMORY))?;
        let resident = memory::resident()?;
        let candidates = pair(&backend, prebuilt, body_bytes, Numbered::new(count));
        eprintln!("storing {count} responses");
        for candidate in &candidates {
            candidate.verify(means.one_thread);
        }
        each = (memory::resident()?.saturating_sub(resident) / count).max(1);
        points.push(Point {
            size: count as f64,
            label: grouped(count),
            also: vec![
                ("resident bytes an entry", grouped(each)),
                ("counted bytes an entry", grouped(backend.weight() / count)),
            ],
            case: Case::new(grouped(count), candidates, means.one_thread, None),
        });
    }
    Ok(Growth {
        name: "entries",
        title: "A hit in memory by entries, random keys, 64 bytes",
        what: "entries",
        unit: Unit::Time,
        points,
    })
}

fn variants<'a>(means: &Means<'a>) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for count in [1, 4, 16, 64] {
        let prebuilt = Prebuilt::new(SMALL).selected_by(ACCEPT_LANGUAGE);
        let asked = Listed::values(&ACCEPT_LANGUAGE, count);
        let candidates = pair(&capacious()?, prebuilt, SMALL, asked);
        points.push(Point::new(
            count,
            count.to_string(),
            candidates,
            means.one_thread,
        ));
    }
    Ok(Growth {
        name: "variants",
        title: "A hit in memory by variants of one URI, any of them, 1 KiB",
        what: "variants of one URI",
        unit: Unit::Time,
        points,
    })
}

fn heads<'a>(means: &Means<'a>) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for bytes in [512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10] {
        let prebuilt = Prebuilt::with_head_of(bytes, SMALL);
        let fields = prebuilt.headers().len();
        let candidates = pair(&capacious()?, prebuilt, SMALL, Asked::new());
        let mut point = Point::new(bytes as u64, size(bytes), candidates, means.one_thread);
        point.also = vec![("fields", fields.to_string())];
        points.push(point);
    }
    Ok(Growth {
        name: "heads",
        title: "A hit in memory by the size of the header section, 1 KiB of body",
        what: "header section",
        unit: Unit::Time,
        points,
    })
}

fn bodies<'a>(means: &Means<'a>) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for bytes in [0, 1 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20] {
        let candidates = pair(&capacious()?, Prebuilt::new(bytes), bytes, Asked::new());
        points.push(Point::new(
            bytes as u64,
            size(bytes),
            candidates,
            means.one_thread,
        ));
    }
    Ok(Growth {
        name: "bodies-memory",
        title: "A hit in memory by the size of the body",
        what: "body",
        unit: Unit::Time,
        points,
    })
}

fn tasks<'a>(
    means: &Means<'a>,
    name: &'static str,
    title: &'static str,
    asked: impl Ask,
) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for tasks in [1, 4, 16, 64, 256, 1024, 4096] {
        let candidates = pair(&capacious()?, Prebuilt::new(SMALL), SMALL, asked.clone());
        let case = Case::new(grouped(tasks), candidates, means.two_workers, Some(tasks));
        points.push(Point {
            size: tasks as f64,
            label: grouped(tasks),
            case,
            also: Vec::new(),
        });
    }
    Ok(Growth {
        name,
        title,
        what: "tasks",
        unit: Unit::Throughput,
        points,
    })
}

fn bodies_in_redis<'a>(means: &Means<'a>, server: &Server) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for bytes in [0, 1 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let name = format!("bodies-{bytes}");
        let candidates = with_lanes(server, means.one_thread, &name, bytes, 1)?;
        points.push(Point::new(
            bytes as u64,
            size(bytes),
            candidates,
            means.one_thread,
        ));
    }
    Ok(Growth {
        name: "bodies-redis",
        title: "A hit in Redis by the size of the body",
        what: "body",
        unit: Unit::Time,
        points,
    })
}

fn lanes<'a>(
    means: &Means<'a>,
    server: &Server,
    name: &'static str,
    title: &'static str,
    body_bytes: usize,
) -> Result<Growth<'a>, Box<dyn Error>> {
    let mut points = Vec::new();
    for lanes in [1, 2, 4, 8, 16] {
        let space = format!("{name}-{lanes}");
        let candidates = with_lanes(server, means.two_workers, &space, body_bytes, lanes)?;
        points.push(Point {
            size: lanes as f64,
            label: lanes.to_string(),
            case: Case::new(lanes.to_string(), candidates, means.two_workers, Some(64)),
            also: Vec::new(),
        });
    }
    Ok(Growth {
        name,
        title,
        what: "lanes",
        unit: Unit::Throughput,
        points,
    })
}

impl<'a> Point<'a> {
    fn new(
        size: u64,
        label: String,
        candidates: Vec<Box<dyn Candidate>>,
        runtime: &'a Runtime,
    ) -> Self {
        Self {
            size: size as f64,
            case: Case::new(label.clone(), candidates, runtime, None),
            label,
            also: Vec::new(),
        }
    }
}

/// The limit and ours.
fn pair<A: Ask>(
    backend: &MemoryBackend,
    prebuilt: Prebuilt,
    body_bytes: usize,
    asked: A,
) -> Vec<Box<dyn Candidate>> {
    let limit = Measured::new(LIMIT, prebuilt.clone(), prebuilt.clone(), body_bytes, None);
    let origin = Origin::copying(prebuilt.clone());
    let layer = CacheLayer::new(backend.clone())
        .policy(Policy::private().max_body_bytes(MEMORY))
        .cache_info(false);
    let service = layer.layer(origin.clone());
    let ours = Measured::new(OURS, service, prebuilt, body_bytes, Some(origin));
    vec![
        Box::new(limit.asking(asked.clone())),
        Box::new(ours.asking(asked)),
    ]
}

/// A store for whatever is measured but entries.
fn capacious() -> Result<MemoryBackend, Box<dyn Error>> {
    Ok(MemoryBackend::with_capacity(MEMORY)?)
}

/// A size for people.
fn size(bytes: usize) -> String {
    match bytes {
        0 => "0".to_owned(),
        1..1024 => format!("{} KiB", bytes as f64 / 1024.0),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A number for people.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

const SMALL: usize = 1 << 10;
const MEMORY: u64 = 1 << 30;
