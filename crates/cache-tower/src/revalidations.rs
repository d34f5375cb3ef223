//! Which stored responses are being validated in the background, so that each is once; and which
//! could not be validated, so that it is not tried again at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cache_core::Token;

#[derive(Debug, Default)]
pub(crate) struct Revalidations {
    known: Mutex<HashMap<Token, State>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    /// The origin failed; it is left alone until then.
    Failed {
        until: SystemTime,
    },
}

impl Revalidations {
    /// A permit to validate it; `None`: that is being done already, or failed a short while ago.
    pub(crate) fn begin(self: &Arc<Self>, token: Token, now: SystemTime) -> Option<Permit> {
        self.change(|known| match known.get(&token) {
            Some(State::Running) => false,
            Some(State::Failed { until }) if is_before(now, *until) => false,
            _ => {
                forget_old(known, now);
                known.insert(token, State::Running);
                true
            }
        })
        .then(|| Permit {
            all: self.clone(),
            token,
        })
    }

    /// Takes note that the origin could not validate it.
    pub(crate) fn fail(&self, token: Token, now: SystemTime) {
        let until = now.checked_add(PAUSE).unwrap_or(now);
        self.change(|known| {
            forget_old(known, now);
            known.insert(token, State::Failed { until });
        });
    }

    /// Whether the origin could not validate it a short while ago.
    pub(crate) fn failed(&self, token: Token, now: SystemTime) -> bool {
        self.change(|known| {
            matches!(known.get(&token), Some(State::Failed { until }) if is_before(now, *until))
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Token, State>) -> T) -> T {
        // Inserting and removing leave nothing half done, so poison means nothing.
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether it is before `until`, by a clock that was not set back meanwhile.
fn is_before(now: SystemTime, until: SystemTime) -> bool {
    until
        .duration_since(now)
        .is_ok_and(|left| !left.is_zero() && left <= PAUSE)
}

fn forget_old(known: &mut HashMap<Token, State>, now: SystemTime) {
    if known.len() >= MOST {
        known.retain(|_, state| match state {
            State::Running => true,
            State::Failed { until } => is_before(now, *until),
        });
    }
}

/// Held while a validation runs, or until its task is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    all: Arc<Revalidations>,
    token: Token,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.change(|known| {
            if let Some(State::Running) = known.get(&self.token) {
                known.remove(&self.token);
            }
        });
    }
}

/// For how long an origin that failed is not asked again for the same.
const PAUSE: Duration = Duration::from_secs(5);

/// When so many are known, those that mean nothing any more are forgotten.
const MOST: usize = 1024;
