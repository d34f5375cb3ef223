//! The memory of the machine and of this process, as Linux says it.

use std::error::Error;

/// How many bytes are free, or can be made so without writing anything to disk.
///
/// # Errors
///
/// Where this is not Linux.
pub fn available() -> Result<u64, Box<dyn Error>> {
    field("/proc/meminfo", "MemAvailable:")
}

/// How many bytes of this process are in memory.
///
/// # Errors
///
/// Where this is not Linux.
pub fn resident() -> Result<u64, Box<dyn Error>> {
    field("/proc/self/status", "VmRSS:")
}

fn field(file: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let kibibytes: u64 = kibibytes.ok_or("no such field")?.trim().parse()?;
    Ok(kibibytes << 10)
}
