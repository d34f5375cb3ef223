//! What is small beside what is large.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::candidate::{Candidate, Reader};

/// Tasks that read something small while others read something large. Its time is the median of single
/// hits of the small one.
pub(crate) struct Beside {
    small: Box<dyn Candidate>,
    large: Box<dyn Candidate>,
}

impl Beside {
    pub(crate) fn new(small: Box<dyn Candidate>, large: Box<dyn Candidate>) -> Self {
        Self { small, large }
    }
}

impl Candidate for Beside {
    fn name(&self) -> &'static str {
        self.small.name()
    }

    fn sequential(&self, runtime: &Runtime, hits: u64) -> Duration {
        let is_over = Arc::new(AtomicBool::new(false));
        runtime.block_on(async {
            let large: Vec<_> = (0..LARGE_TASKS)
                .map(|_| tokio::spawn(read(self.large.reader(), is_over.clone())))
                .collect();
            let small: Vec<_> = (0..SMALL_TASKS)
                .map(|_| tokio::spawn(times(self.small.reader(), hits)))
                .collect();
            let mut all = Vec::new();
            for task in small {
                all.extend(task.await.expect("a task that does not panic"));
            }
            is_over.store(true, Ordering::Relaxed);
            for task in large {
                task.await.expect("a task that does not panic");
            }
            all.sort_unstable();
            let median = all.get(all.len() / 2).copied().unwrap_or_default();
            median.mul_f64(hits as f64)
        })
    }

    fn concurrent(&self, runtime: &Runtime, _: u64, hits: u64) -> Duration {
        self.sequential(runtime, hits)
    }

    fn reader(&self) -> Reader {
        self.small.reader()
    }

    fn verify(&self, runtime: &Runtime) {
        self.small.verify(runtime);
        self.large.verify(runtime);
    }
}

async fn read(mut reader: Reader, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        reader().await;
    }
}

async fn times(mut reader: Reader, hits: u64) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..hits {
        let started = Instant::now();
        reader().await;
        times.push(started.elapsed());
    }
    times
}

const SMALL_TASKS: u64 = 16;
const LARGE_TASKS: u64 = 8;
