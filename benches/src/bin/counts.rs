//! What a hit costs in allocations and instructions, which do not depend on the machine's mood as times
//! do; `--check FILE` compares with a baseline, `--write FILE` makes one, `--peers` leaves ours and the
//! limit out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use cache_benches::table::{self, Style};
use cache_benches::{
    Candidate, LIMIT, OURS, SIZES, Server, TELLING, candidates, kib, ours_over_redis,
};
use lexopt::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut check = None;
    let mut write = None;
    let mut peers_only = false;
    let mut style = Style::Plain;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("check") => check = Some(PathBuf::from(arguments.value()?)),
            Long("write") => write = Some(PathBuf::from(arguments.value()?)),
            Long("peers") => peers_only = true,
            Long("markdown") => style = Style::Markdown,
            _ => return Err(argument.unexpected().into()),
        }
    }
    let counts = count(peers_only)?;
    report(&counts, style);
    if let Some(file) = write {
        let baseline: BTreeMap<_, _> = counts
            .iter()
            .map(|(name, counts)| (&**name, counts.to_json()))
            .chain([(COMPILER, json!(compiler()?))])
            .collect();
        std::fs::write(file, format!("{:#}\n", json!(baseline)))?;
    }
    let is_kept = match check {
        Some(file) => is_kept(&counts, &file)?,
        None => true,
    };
    Ok(if is_kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What one hit costs.
struct Counts {
    allocations: u64,
    bytes: u64,
    /// `None`: there is no valgrind.
    instructions: Option<u64>,
}

impl Counts {
    fn of(candidate: &dyn Candidate, runtime: &Runtime, instructions: Option<u64>) -> Self {
        let (allocations, bytes) = count_allocations(candidate, runtime);
        Self {
            allocations,
            bytes,
            instructions,
        }
    }

    fn to_json(&self) -> Value {
        json!({ "allocations": self.allocations, "instructions": self.instructions })
    }
}

fn count(peers_only: bool) -> Result<Vec<(String, Counts)>, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for bytes in SIZES {
        for candidate in candidates(bytes) {
            if peers_only && [LIMIT, OURS, TELLING].contains(&candidate.name()) {
                continue;
            }
            let instructions = count_instructions(candidate.name(), bytes, None)?;
            let name = format!("{}, {}", candidate.name(), kib(bytes));
            all.push((name, Counts::of(&*candidate, &runtime, instructions)));
        }
    }
    if peers_only {
        return Ok(all);
    }
    match runtime.block_on(Server::start()) {
        Err(error) => eprintln!("hits in Redis are not counted: {error}"),
        Ok(server) => {
            for bytes in SIZES {
                let name = format!("counts-{bytes}");
                for candidate in ours_over_redis(&server, &runtime, &name, bytes)? {
                    let name = format!("{} in Redis, {}", candidate.name(), kib(bytes));
                    let instructions = count_instructions(candidate.name(), bytes, Some("redis"))?;
                    all.push((name, Counts::of(&*candidate, &runtime, instructions)));
                }
            }
        }
    }
    Ok(all)
}

/// The allocations and bytes of a hit: medians, since some stores tidy up now and then.
fn count_allocations(candidate: &dyn Candidate, runtime: &Runtime) -> (u64, u64) {
    candidate.verify(runtime);
    // What `block_on` itself allocates, if it does, is not the candidate's.
    let (mut idle_allocations, mut idle_bytes) = (u64::MAX, u64::MAX);
    let mut allocations = Vec::with_capacity(HITS_COUNTED);
    let mut bytes = Vec::with_capacity(HITS_COUNTED);
    for _ in 0..HITS_COUNTED {
        let idle = allocated(|| {
            candidate.sequential(runtime, 0);
        });
        idle_allocations = idle_allocations.min(idle.0);
        idle_bytes = idle_bytes.min(idle.1);
        let hit = allocated(|| {
            candidate.sequential(runtime, 1);
        });
        allocations.push(hit.0);
        bytes.push(hit.1);
    }
    allocations.sort_unstable();
    bytes.sort_unstable();
    (
        allocations[HITS_COUNTED / 2] - idle_allocations,
        bytes[HITS_COUNTED / 2] - idle_bytes,
    )
}

/// The instructions of a hit: the difference between a run with few hits and one with many.
fn count_instructions(
    name: &str,
    bytes: usize,
    store: Option<&str>,
) -> Result<Option<u64>, Box<dyn Error>> {
    // Those over Redis take long enough.
    let (few, many) = match store {
        None => (FEW, MANY),
        Some(_) => (FEW / 5, MANY / 5),
    };
    let run = |hits| run(name, bytes, hits, store);
    let (Some(least), Some(most)) = (run(few)?, run(many)?) else {
        return Ok(None);
    };
    Ok(Some((most - least) / (many - few)))
}

fn run(
    name: &str,
    bytes: usize,
    hits: u64,
    store: Option<&str>,
) -> Result<Option<u64>, Box<dyn Error>> {
    let hit = std::env::current_exe()?.with_file_name("hit");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(hit)
        .args([name, &bytes.to_string(), &hits.to_string()])
        .args(store)
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind: {log}").into());
    }
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    let (_, instructions) = collected.ok_or("valgrind did not say what it collected")?;
    Ok(Some(instructions.trim().parse()?))
}

fn report(counts: &[(String, Counts)], style: Style) {
    println!("\na hit, request and reading of the response included\n");
    let heading = ["", "allocations", "bytes", "instructions"];
    let mut rows = vec![heading.map(String::from).to_vec()];
    for (name, counts) in counts {
        rows.push(vec![
            name.clone(),
            counts.allocations.to_string(),
            counts.bytes.to_string(),
            counts
                .instructions
                .map_or_else(|| "–".into(), |count| count.to_string()),
        ]);
    }
    table::print(&rows, style);
}

/// Whether all is as in the baseline; says what is not.
fn is_kept(counts: &[(String, Counts)], file: &Path) -> Result<bool, Box<dyn Error>> {
    let baseline: BTreeMap<String, Value> = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut is_kept = true;
    println!();
    let compiler = compiler()?;
    let is_same_compiler = baseline.get(COMPILER) == Some(&json!(compiler));
    if !is_same_compiler {
        println!(
            "instructions are not compared: the baseline is of another compiler than {compiler}"
        );
    }
    for (name, counts) in counts {
        let Some(expected) = baseline.get(name) else {
            println!("{name}: not in the baseline");
            is_kept = false;
            continue;
        };
        if expected["allocations"] != counts.allocations {
            println!(
                "{name}: {} allocations, {} in the baseline",
                counts.allocations, expected["allocations"]
            );
            is_kept = false;
        }
        if !is_same_compiler {
            continue;
        }
        match (counts.instructions, expected["instructions"].as_f64()) {
            (None, _) => println!("{name}: instructions not compared, there is no valgrind"),
            (Some(count), Some(expected)) if (count as f64 / expected - 1.0).abs() <= TOLERANCE => {
            }
            (Some(count), _) => {
                println!(
                    "{name}: {count} instructions, {} in the baseline",
                    expected["instructions"]
                );
                is_kept = false;
            }
        }
    }
    if is_kept {
        println!("as in the baseline");
    } else {
        println!("after a change for the better, or of the compiler: scripts/bench counts --write");
    }
    Ok(is_kept)
}

/// The compiler of which instructions depend.
fn compiler() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

const COMPILER: &str = "compiler";

fn allocated(work: impl FnOnce()) -> (u64, u64) {
    let before = (
        ALLOCATIONS.load(Ordering::Relaxed),
        BYTES.load(Ordering::Relaxed),
    );
    work();
    (
        ALLOCATIONS.load(Ordering::Relaxed) - before.0,
        BYTES.load(Ordering::Relaxed) - before.1,
    )
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn add(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const HITS_COUNTED: usize = 1001;

/// The hits of the two runs under callgrind.
const FEW: u64 = 500;
const MANY: u64 = 2500;

/// How far instructions may be from the baseline, since processors have different `memcpy`s; allocations
/// may not.
const TOLERANCE: f64 = 0.05;
