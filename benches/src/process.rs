//! Processes that are started for a benchmark, and what Linux says of them.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// A process that ends when this is dropped.
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where there is no such program.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked before it is killed: servers have processes of their own to end.
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let asked = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if asked.elapsed() > PATIENCE {
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
            sleep(Duration::from_millis(5));
        }
    }
}

/// A program that runs on this core only, and ends with the thread that starts it, however that ends.
pub fn on_core(core: usize, program: impl AsRef<OsStr>) -> Command {
    let mut command = until_gone("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// A program that ends with the thread that starts it, however that ends.
pub fn until_gone(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// The time that a process and those that it started, and that still run, had on a processor.
///
/// # Errors
///
/// Where there is no such process.
pub fn cpu_time(process: u32) -> Result<Duration, Box<dyn Error>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        if let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) {
            all.push((id, Stat::parse(&stat).ok_or("an odd /proc/PID/stat")?));
        }
    }
    let mut family = vec![process];
    let mut ticks = 0;
    while let Some(parent) = family.pop() {
        family.extend(
            all.iter()
                .filter(|(_, stat)| stat.parent == parent)
                .map(|(id, _)| *id),
        );
        let of_parent = all.iter().find(|(id, _)| *id == parent);
        ticks += of_parent.ok_or("the process has ended")?.1.ticks;
    }
    Ok(Duration::from_secs_f64(
        ticks as f64 / clock_ticks_per_second() as f64,
    ))
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The name of the program is in parentheses, and may have any of them itself.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
        })
    }
}

/// The time that this process had on a processor.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The resident memory of this process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// The most that there was.
    pub peak: u64,
}

impl Memory {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Where this is no Linux.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |name: &str| -> Result<u64, Box<dyn Error>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            Ok(kib.ok_or("an odd /proc/self/status")?.parse::<u64>()? << 10)
        };
        Ok(Self {
            now: of("VmRSS:")?,
            peak: of("VmHWM:")?,
        })
    }

    /// The most that there was is what there is now.
    ///
    /// # Errors
    ///
    /// Where this is no Linux.
    pub fn forget_peak() -> io::Result<()> {
        fs::write("/proc/self/clear_refs", "5")
    }

    /// What programs can have without anything being swapped out, on the whole machine, in bytes.
    ///
    /// # Errors
    ///
    /// Where this is no Linux.
    pub fn available() -> Result<u64, Box<dyn Error>> {
        let all = fs::read_to_string("/proc/meminfo")?;
        let mut lines = all.lines();
        let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.ok_or("an odd /proc/meminfo")?.parse::<u64>()? << 10)
    }
}

/// A port that nobody listens on, for those who cannot say which one they got.
///
/// # Errors
///
/// Where there is none.
pub fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// How long a process may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
