//! Two processes under load that share a Redis, while Redis and one of them are killed: what their callers
//! see, how often the origin is asked, and what memory they take.

mod origin;
mod site;
mod totals;
mod worker;

use std::env;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kit::redis::RedisServer;
use tokio::time::{Instant, sleep, sleep_until};

use origin::{Origin, millis};
use totals::Totals;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match &*arguments {
        [redis, origin, seconds] => worker::run(redis, origin, seconds).await,
        [seconds] => load(seconds).await,
        _ => Err("usage: load SECONDS".to_owned()),
    };
    match result {
        Ok(is_right) => ExitCode::from(u8::from(!is_right)),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The whole of it.
async fn load(seconds: &str) -> Result<bool, String> {
    let seconds: u64 = seconds
        .parse()
        .ok()
        .filter(|seconds| *seconds >= SHORTEST)
        .ok_or_else(|| format!("{seconds:?} is no time; write {SHORTEST} seconds or more"))?;
    let server = RedisServer::builder().tcp().start().await;
    let origin = Origin::default();
    let address = origin.serve().await.map_err(|error| error.to_string())?;
    let started = Instant::now();
    let start = |left: u64| {
        Process::start(&[
            &server.tcp_url(),
            &format!("http://{address}"),
            &left.to_string(),
        ])
    };
    let one = start(seconds)?;
    let other = start(seconds)?;
    let at = |percent: u64| sleep_until(started + Duration::from_millis(seconds * 10 * percent));

    at(20).await;
    kill_redis(&server, &origin, started).await;
    at(40).await;
    tell(started, "a process is killed, and another takes its place");
    let since = millis();
    let killed = other.kill();
    let other = start(seconds * 60 / 100)?;
    origin.note_trouble(since);
    at(60).await;
    tell(started, "Redis stands still");
    let since = millis();
    server.pause();
    sleep(Duration::from_millis(1500)).await;
    server.resume();
    origin.note_trouble(since);
    tell(started, "Redis goes on");
    at(75).await;
    kill_redis(&server, &origin, started).await;
    let last = started + Duration::from_secs(seconds) + PATIENCE;
    let one = one.end(last).await?;
    let other = other.end(last).await?;

    origin.print();
    println!();
    Totals::print_heading();
    one.print("the first process");
    killed.print("the one that was killed");
    other.print("the one that took its place");
    let for_ever = keys_for_ever(&server);
    println!("keys without an end in Redis: {for_ever}");
    let all = [&one, &killed, &other];
    let wrong: u64 = all.iter().map(|totals| totals.wrong).sum();
    let failed: u64 = all.iter().map(|totals| totals.failed).sum();
    println!("wrong bodies: {wrong}; requests failed because of the cache: {failed}");
    let is_flat = one.is_flat();
    println!(
        "resident memory of the first process is {}: {:.1} MiB in the second quarter, {:.1} MiB in the last",
        if is_flat { "flat" } else { "not flat" },
        one.mebibytes(1),
        one.mebibytes(3),
    );
    let is_right = wrong == 0 && failed == 0 && is_flat && for_ever == 0;
    Ok(is_right && one.requests > 0 && other.requests > 0)
}

/// As `kill -9` does; after a second it starts again.
async fn kill_redis(server: &RedisServer, origin: &Origin, started: Instant) {
    tell(started, "Redis is killed");
    let since = millis();
    server.kill();
    sleep(Duration::from_secs(1)).await;
    server.restart().await;
    origin.note_trouble(since);
    tell(started, "Redis is back, and empty");
}

fn tell(started: Instant, what: &str) {
    println!("{:>6.1} s: {what}", started.elapsed().as_secs_f64());
}

fn keys_for_ever(server: &RedisServer) -> usize {
    let keys = server.keys();
    // It may be gone by now: then its time was -2.
    let is_for_ever = |key: &&String| server.query::<i64>(&["PTTL", key]) == -1;
    keys.iter().filter(is_for_ever).count()
}

/// A process that works, and says each second what it has done so far.
struct Process {
    child: Child,
    said: Arc<Mutex<Option<String>>>,
    reading: thread::JoinHandle<()>,
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let output = child.stdout.take().ok_or("a process without an output")?;
        let said = Arc::<Mutex<Option<String>>>::default();
        let heard = said.clone();
        let reading = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
            }
        });
        Ok(Self {
            child,
            said,
            reading,
        })
    }

    /// As `kill -9` does.
    fn kill(mut self) -> Totals {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.totals()
    }

    /// Waits until it has ended by itself.
    async fn end(mut self, last: Instant) -> Result<Totals, String> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(self.totals()),
                Ok(Some(status)) => return Err(format!("a process ended with {status}")),
                Ok(None) if Instant::now() < last => sleep(Duration::from_millis(100)).await,
                _ => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err("a process does not end".to_owned());
                }
            }
        }
    }

    fn totals(self) -> Totals {
        let _ = self.reading.join();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_deref().map(Totals::read).unwrap_or_default()
    }
}

/// In less, nothing of it can be seen.
const SHORTEST: u64 = 10;

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(20);
