//! What requests notice of the faults of a Redis server: a table, a fault a line.

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kit::Log;
use tokio::time::sleep;
use tracing::dispatcher;

#[path = "../redis/faults_list.rs"]
mod faults_list;
#[path = "../redis/faults_load.rs"]
mod faults_load;

use faults_list::Fault;
use faults_load::{Load, Problem, Record, recovery, share_of_hits};

const HELP: &str = "\
Puts a cache over Redis under load, breaks the server or the way to it, heals it, and prints what the
requests noticed, a fault a line.

Usage: scripts/faults [--log] [NAME...]

With names: only the faults whose name has one of them in it. With --log: also the slowest request,
and the lines that are logged from the moment of the fault on.

  wrong      responses that are not what the origin answers, by a byte or a field
  failed     requests that got no whole response
  hits       of all requests, before the fault, during it, and after it was healed
  extra      the longest that a request took, until its head and until the end of its body, less the
             median for a body of that size without the fault
  recovered  how long after it was healed half as many requests were hits as before
  log        lines of level INFO or above

Exits with 1 where a response was wrong, a request failed, or hits did not come back.
";

/// How long requests are made without a fault, once there are hits.
const BEFORE: Duration = Duration::from_millis(1500);
/// How long the fault lasts.
const DURING: Duration = Duration::from_millis(2500);
/// How long requests are made after it.
const AFTER: Duration = Duration::from_millis(2000);
/// How long it may take until hits are back.
const PATIENCE: Duration = Duration::from_secs(15);
const CLIENTS: usize = 12;

fn main() -> ExitCode {
    let (options, names): (Vec<_>, Vec<_>) = env::args()
        .skip(1)
        .partition(|argument| argument.starts_with('-'));
    let has_log = match options.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--log"] => true,
        ["--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("faults: {} means nothing; see --help", options.join(" "));
            return ExitCode::from(2);
        }
    };
    let is_wanted = |fault: &&Fault| {
        let name = fault.name().to_lowercase();
        names.is_empty()
            || names
                .iter()
                .any(|wanted| name.contains(&wanted.to_lowercase()))
    };
    let faults: Vec<_> = Fault::ALL
        .iter()
        .copied()
        .filter(|fault| is_wanted(&fault))
        .collect();
    if faults.is_empty() {
        eprintln!("faults: no fault is called so; see --help");
        return ExitCode::from(2);
    }
    let log = Log::new();
    // Of all threads.
    dispatcher::get_default(|dispatch| dispatcher::set_global_default(dispatch.clone()))
        .expect("there is no other");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(print_table(&faults, &log, has_log))
}

async fn print_table(faults: &[Fault], log: &Log, has_log: bool) -> ExitCode {
    let started = Instant::now();
    println!(
        "{:<27} {:>8} {:>5} {:>6} {:>18} {:>17} {:>10} {:>4}",
        "fault", "requests", "wrong", "failed", "hits", "extra head/whole", "recovered", "log"
    );
    let mut code = ExitCode::SUCCESS;
    for fault in faults {
        let row = run(*fault, log).await;
        println!("{}", row.line);
        for note in row.notes.iter().chain(row.log.iter().filter(|_| has_log)) {
            println!("    {note}");
        }
        if !row.is_good {
            code = ExitCode::FAILURE;
        }
    }
    println!("in {:.0} s", started.elapsed().as_secs_f64());
    code
}

struct Row {
    line: String,
    notes: Vec<String>,
    log: Vec<String>,
    is_good: bool,
}

async fn run(fault: Fault, log: &Log) -> Row {
    let site = fault.site().await;
    let load = Load::start(fault.backends(&site), CLIENTS);
    // Most of what there is has been asked for.
    load.until(PATIENCE, |records| {
        let last = records.len().saturating_sub(200);
        records.len() > 2000 && share_of_hits(records[last..].iter()) > 0.5
    })
    .await;
    let usual = Instant::now();
    sleep(BEFORE).await;
    let _ = log.take();
    let broken = Instant::now();
    fault.inject(&site, &load, sleep(DURING)).await;
    let healed = Instant::now();
    load.until(PATIENCE, |records| {
        recovery(records, usual, broken, healed).is_some()
    })
    .await;
    sleep(AFTER).await;
    let mut lines = log.take();
    lines.insert(0, format!("connections: {}", load.connections()));
    let records = load.stop().await;
    let recovered = recovery(&records, usual, broken, healed);
    row(fault, &records, lines, [usual, broken, healed], recovered)
}

fn row(
    fault: Fault,
    records: &[Record],
    mut log: Vec<String>,
    [usual, broken, healed]: [Instant; 3],
    recovered: Option<Duration>,
) -> Row {
    let (mut wrong, mut failed) = (Vec::new(), Vec::new());
    for record in records {
        match &record.problem {
            Some(Problem::Wrong(text)) => wrong.push(format!("wrong: {}: {text}", record.about)),
            Some(Problem::Failed(text)) => failed.push(format!("failed: {}: {text}", record.about)),
            None => {}
        }
    }
    let hits = |from: Instant, to: Option<Instant>| {
        let records = records.iter().filter(|record| record.started >= from);
        let records = records.filter(|record| to.is_none_or(|to| record.started < to));
        format!("{:.0} %", 100.0 * share_of_hits(records))
    };
    let line = format!(
        "{:<27} {:>8} {:>5} {:>6} {:>18} {:>17} {:>10} {:>4}",
        fault.name(),
        records.len(),
        wrong.len(),
        failed.len(),
        [
            hits(usual, Some(broken)),
            hits(broken, Some(healed)),
            hits(healed, None)
        ]
        .join(" "),
        format!(
            "{}/{} ms",
            longest_extra(records, usual, broken, |record| record.head),
            longest_extra(records, usual, broken, |record| record.whole),
        ),
        recovered.map_or_else(
            || "never".to_owned(),
            |time| format!("{} ms", time.as_millis())
        ),
        log.len(),
    );
    let is_good = wrong.is_empty() && failed.is_empty() && recovered.is_some();
    let slowest = records.iter().max_by_key(|record| record.whole);
    if let Some(slowest) = slowest.filter(|record| record.ended() >= broken) {
        let (head, whole) = (slowest.head.as_millis(), slowest.whole.as_millis());
        log.insert(0, format!("slowest: {}, {head}/{whole} ms", slowest.about));
    }
    Row {
        line,
        notes: wrong
            .into_iter()
            .take(3)
            .chain(failed.into_iter().take(3))
            .collect(),
        log,
        is_good,
    }
}

/// In milliseconds; of the requests that ended when it was broken, or later.
fn longest_extra(
    records: &[Record],
    usual: Instant,
    broken: Instant,
    time: impl Fn(&Record) -> Duration,
) -> u128 {
    let mut sizes: Vec<usize> = records.iter().map(|record| record.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let longest = sizes.into_iter().filter_map(|size| {
        let of_size = || records.iter().filter(|record| record.size == size);
        let mut before: Vec<Duration> = of_size()
            .filter(|record| record.started >= usual && record.ended() < broken)
            .map(&time)
            .collect();
        before.sort_unstable();
        let median = before.get(before.len() / 2)?;
        let longest = of_size()
            .filter(|record| record.ended() >= broken)
            .map(&time)
            .max()?;
        Some(longest.saturating_sub(*median))
    });
    longest.max().unwrap_or_default().as_millis()
}
