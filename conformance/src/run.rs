//! All tests.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::Test;
use crate::front::Front;
use crate::options::Options;
use crate::origin::Origin;
use crate::store::Store;
use crate::timeline::Timeline;
use crate::trial::Trial;
use crate::verdict::{Failure, Verdict};

type BoxError = Box<dyn Error + Send + Sync>;

/// By id.
pub(crate) type Verdicts = HashMap<String, Verdict>;

/// How many tests go on at a time, where each has a gateway of its own.
const AT_A_TIME: usize = 16;

/// Where in a second a manual clock starts, in milliseconds: dates are cut down to seconds, and what
/// a cache does must not depend on what is cut off.
const STARTS: [u64; 2] = [0, 900];

pub(crate) async fn all(tests: &Arc<[Test]>, options: &Arc<Options>) -> Result<Verdicts, BoxError> {
    let store = Arc::new(Store::start(options.backend).await?);
    if options.real_time {
        in_real_time(tests, options, &store).await
    } else {
        in_manual_time(tests, options, &store).await
    }
}

/// All at once, against one gateway.
async fn in_real_time(
    tests: &Arc<[Test]>,
    options: &Options,
    store: &Store,
) -> Result<Verdicts, BoxError> {
    let origin = Origin::start(Timeline::Real).await?;
    let front = Front::start(options, store, origin.address, Timeline::Real);
    let front = Arc::new(front.await?);
    let mut running = JoinSet::new();
    for index in 0..tests.len() {
        let (tests, front) = (tests.clone(), front.clone());
        running.spawn(async move {
            let trial = Trial::new(&tests[index], &front, &Timeline::Real);
            (tests[index].id.clone(), trial.run().await)
        });
    }
    Ok(running.join_all().await.into_iter().collect())
}

/// Each against a gateway of its own, once for each start of the clock.
async fn in_manual_time(
    tests: &Arc<[Test]>,
    options: &Arc<Options>,
    store: &Arc<Store>,
) -> Result<Verdicts, BoxError> {
    let permits = Arc::new(Semaphore::new(AT_A_TIME));
    let mut running = JoinSet::new();
    for index in 0..tests.len() {
        let (tests, options, store) = (tests.clone(), options.clone(), store.clone());
        let permits = permits.clone();
        running.spawn(async move {
            let _permit = permits.acquire().await?;
            let mut verdicts = Vec::new();
            for start in STARTS {
                verdicts.push(from(start, &tests[index], &options, &store).await?);
            }
            Ok::<_, BoxError>((tests[index].id.clone(), agreed(verdicts)))
        });
    }
    running.join_all().await.into_iter().collect()
}

async fn from(
    start: u64,
    test: &Test,
    options: &Options,
    store: &Store,
) -> Result<Verdict, BoxError> {
    let timeline = Timeline::manual(start);
    let origin = Origin::start(timeline.clone()).await?;
    let front = Front::start(options, store, origin.address, timeline.clone()).await?;
    Ok(Trial::new(test, &front, &timeline).run().await)
}

/// The verdict of all runs of a test: a test passes where it does in all of them.
fn agreed(verdicts: Vec<Verdict>) -> Verdict {
    let is_always_so = verdicts.iter().all(Result::is_err);
    for (start, verdict) in STARTS.into_iter().zip(verdicts) {
        verdict.map_err(|failure| match is_always_so {
            true => failure,
            false => Failure {
                message: format!("{} (only from .{start:03} of a second on)", failure.message),
                ..failure
            },
        })?;
    }
    Ok(())
}
