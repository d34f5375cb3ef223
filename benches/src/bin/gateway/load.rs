//! Load, by `wrk`.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use cache_benches::on_core;

use crate::CORE;

/// What `wrk` saw.
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
}

impl Load {
    /// One thread with 32 connections that are kept, for so long.
    pub(crate) fn run(url: &str, bytes: usize, time: Duration) -> Result<Self, Box<dyn Error>> {
        let seconds = time.as_secs().max(1);
        let output = on_core(CORE + 1, "wrk")
            .args(["-t1", "-c32", "--timeout", "10s"])
            .args([&format!("-d{seconds}s"), url])
            .output();
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err("setpriv and taskset are missing: install util-linux".into());
            }
            output => output?,
        };
        let text = String::from_utf8(output.stdout)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("wrk: {text}{said}").into());
        }
        for failure in ["Socket errors", "Non-2xx"] {
            if text.contains(failure) {
                return Err(format!("wrk: {text}").into());
            }
        }
        let requests = number(&text, |line| line.split_once(" requests in ")).ok_or(ODD)?;
        let per_second = number(&text, |line| {
            let (_, value) = line.split_once("Requests/sec:")?;
            Some((value, ""))
        });
        // A response that is not whole, or another one, is none of these.
        let read = number(&text, |line| {
            let (_, read) = line.split_once(" requests in ")?;
            let (_, read) = read.split_once(", ")?;
            let (read, _) = read.split_once(" read")?;
            Some((read, ""))
        });
        if read.ok_or(ODD)? < requests * bytes as f64 * 0.99 {
            return Err(format!("responses are too short: {text}").into());
        }
        Ok(Self {
            requests,
            per_second: per_second.ok_or(ODD)?,
        })
    }
}

/// The number before what is found, which may have a unit.
fn number<'a>(text: &'a str, find: impl Fn(&'a str) -> Option<(&'a str, &'a str)>) -> Option<f64> {
    let (found, _) = text.lines().find_map(find)?;
    let found = found.trim();
    let units = [("GB", 30), ("MB", 20), ("KB", 10), ("B", 0)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((found.strip_suffix(unit)?, *shift)))
        .unwrap_or((found, 0));
    Some(digits.parse::<f64>().ok()? * f64::from(1 << shift))
}

const ODD: &str = "wrk says something else than it used to";
