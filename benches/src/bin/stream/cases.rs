//! What is measured side by side, and what is hoped for.

use std::error::Error;
use std::net::SocketAddr;

use cache_benches::{Samples, until_gone};
use serde_json::Value;

use crate::Candidate;
use crate::candidate::RUN;
use crate::redis_server::Redis;

/// What a candidate is asked to do.
pub(crate) struct Asked {
    pub(crate) candidate: Candidate,
    pub(crate) url: String,
    pub(crate) bytes: u64,
    pub(crate) redis: String,
    /// The most that the caller reads in a second, in bytes.
    pub(crate) pace: Option<u64>,
}

/// Candidates for one body; the first is what the others are compared with.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    target: &'static str,
    pace: Option<u64>,
    pub(crate) measured: Vec<Measured>,
}

/// What is hoped for, beside the first of the case.
#[derive(Clone, Copy, Default)]
pub(crate) struct Goals {
    /// The least speed, as a part of that of the first.
    pub(crate) speed: Option<f64>,
    /// The most time that the first byte takes longer, in seconds.
    pub(crate) first_byte: Option<f64>,
    pub(crate) memory: Option<MemoryGoal>,
    /// Whether it is to be stored afterwards.
    pub(crate) is_stored: Option<bool>,
}

#[derive(Clone, Copy)]
pub(crate) enum MemoryGoal {
    /// The most that the peak is above that of the first, in bytes.
    AboveFirst(u64),
    /// The most that the peak is above that of the process before, as a part of the body.
    OfBody(f64),
    /// The same in bytes.
    AboveIdle(u64),
}

/// What was measured of one candidate.
pub(crate) struct Measured {
    pub(crate) candidate: Candidate,
    pub(crate) goals: Goals,
    /// Seconds.
    pub(crate) time: Samples,
    pub(crate) cpu: Samples,
    pub(crate) first_byte: Samples,
    /// Bytes.
    pub(crate) peak: Samples,
    pub(crate) above_idle: Samples,
    /// How often it was stored.
    pub(crate) stored: usize,
    /// What the store said last of what it did not do.
    pub(crate) failure: Option<String>,
}

impl Case {
    fn new(
        name: &'static str,
        bytes: u64,
        target: &'static str,
        candidates: impl IntoIterator<Item = (Candidate, Goals)>,
    ) -> Self {
        let measured = candidates.into_iter().map(|(candidate, goals)| Measured {
            candidate,
            goals,
            time: Samples::default(),
            cpu: Samples::default(),
            first_byte: Samples::default(),
            peak: Samples::default(),
            above_idle: Samples::default(),
            stored: 0,
            failure: None,
        });
        Self {
            name,
            bytes,
            target,
            pace: None,
            measured: measured.collect(),
        }
    }

    fn paced(mut self, pace: u64) -> Self {
        self.pace = Some(pace);
        self
    }

    /// All candidates, one after the other, each in a process of its own.
    pub(crate) fn measure(
        &mut self,
        round: usize,
        origin: SocketAddr,
        redis: &Redis,
    ) -> Result<(), Box<dyn Error>> {
        if self.pace.is_some() && round > MOST_PACED {
            return Ok(());
        }
        for measured in &mut self.measured {
            let candidate = measured.candidate;
            if !candidate.reads_what_was_stored() {
                redis.clear()?;
            }
            let asked = Asked {
                candidate,
                url: format!("http://{origin}/{}/{}", self.bytes, self.target),
                bytes: self.bytes,
                redis: match candidate {
                    Candidate::SlowRedis => redis.slow_url(),
                    _ => redis.url(),
                },
                pace: self.pace.filter(|_| !candidate.reads_what_was_stored()),
            };
            let output = until_gone(std::env::current_exe()?)
                .args([RUN, &asked.to_json().to_string()])
                .output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{}, round {round}: {said}", candidate.name()).into());
            }
            measured.add(&serde_json::from_slice(&output.stdout)?)?;
        }
        redis.clear()
    }
}

impl Measured {
    fn add(&mut self, found: &Value) -> Result<(), Box<dyn Error>> {
        let number = |name: &str| found[name].as_f64().ok_or("a number is missing");
        self.time.push(number("seconds")?);
        self.cpu.push(number("cpu_seconds")?);
        self.first_byte.push(number("first_byte_seconds")?);
        self.peak.push(number("peak_bytes")?);
        self.above_idle
            .push(number("peak_bytes")? - number("idle_bytes")?);
        self.stored += usize::from(found["is_stored"] == true);
        if let Some(failure) = found["failure"].as_str() {
            self.failure = Some(failure.into());
        }
        Ok(())
    }
}

/// All cases; `in_redis` is the largest body that Redis can have.
pub(crate) fn all(in_redis: u64) -> Vec<Case> {
    let passing = Goals {
        speed: Some(0.95),
        first_byte: Some(MILLISECOND),
        memory: Some(MemoryGoal::AboveFirst(2 << 20)),
        is_stored: Some(false),
    };
    // How long it is turns out too late.
    let turning_out = Goals {
        memory: Some(MemoryGoal::AboveFirst(18 << 20)),
        ..passing
    };
    let storing = Goals {
        speed: Some(0.8),
        first_byte: Some(MILLISECOND),
        memory: Some(MemoryGoal::OfBody(1.05)),
        is_stored: Some(true),
    };
    let in_redis_goals = Goals {
        speed: Some(0.8),
        is_stored: Some(true),
        ..Goals::default()
    };
    let unhindered = Goals {
        speed: Some(0.95),
        first_byte: Some(MILLISECOND),
        memory: Some(MemoryGoal::AboveIdle(16 << 20)),
        is_stored: None,
    };
    let slow = Goals {
        is_stored: Some(false),
        ..unhindered
    };
    let large = Goals {
        first_byte: Some(MILLISECOND),
        memory: Some(MemoryGoal::AboveIdle(16 << 20)),
        is_stored: Some(true),
        ..Goals::default()
    };
    let none = Goals::default();
    vec![
        Case::new(
            "not stored: no-store",
            GIB,
            "no-store",
            [(Candidate::PassThrough, none), (Candidate::Memory, passing)],
        ),
        Case::new(
            "not stored: too large, as the header section says",
            GIB,
            "max-age=3600",
            [(Candidate::PassThrough, none), (Candidate::Memory, passing)],
        ),
        Case::new(
            "not stored: too large, as turns out after 16 MiB",
            GIB,
            "max-age=3600?unannounced",
            [
                (Candidate::PassThrough, none),
                (Candidate::Memory, turning_out),
            ],
        ),
        Case::new(
            "stored in memory on its way",
            200 << 20,
            "max-age=3600",
            [
                (Candidate::PassThrough, none),
                (Candidate::RoomyMemory, storing),
                #[cfg(feature = "peers")]
                (Candidate::TowerHttpCache, none),
                #[cfg(feature = "peers")]
                (Candidate::HttpCacheTower, none),
            ],
        ),
        Case::new(
            "the same beside who keeps the pieces, and no more than that",
            200 << 20,
            "max-age=3600",
            [
                (Candidate::Keeping, none),
                (Candidate::RoomyMemory, storing),
            ],
        ),
        Case::new(
            "the caller, while it is stored in Redis",
            200 << 20,
            "max-age=3600",
            [
                (Candidate::PassThrough, none),
                (Candidate::Redis, unhindered),
                (Candidate::SlowRedis, slow),
            ],
        ),
        Case::new(
            "until it is in Redis",
            200 << 20,
            "max-age=3600",
            [
                (Candidate::RawWrite, none),
                (Candidate::RawAppend, none),
                (Candidate::RoomyRedis, in_redis_goals),
            ],
        ),
        Case::new(
            "in Redis, for a caller who reads 100 MB/s, and read back",
            in_redis,
            "max-age=3600",
            [
                (Candidate::PassThrough, none),
                (Candidate::Redis, large),
                (Candidate::RedisAgain, large),
            ],
        )
        .paced(100_000_000),
    ]
}

/// How often what takes its time is measured at most.
const MOST_PACED: usize = 3;

const GIB: u64 = 1 << 30;
const MILLISECOND: f64 = 0.001;
