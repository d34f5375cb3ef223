//! Which stored responses are being validated in the background, so that each is once; and which
//! could not be validated, so that it is not tried again at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cache_core::{Failure, Token};

#[derive(Debug)]
pub(crate) struct Revalidations {
    known: Mutex<Known>,
    /// For how long an origin that failed is not asked again for the same.
    pause: Duration,
}

#[derive(Debug, Default)]
struct Known {
    states: HashMap<Token, State>,
    /// How many were added since those that mean nothing any more were looked for.
    added: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running,
    /// The origin failed; it is left alone until then.
    Failed {
        until: SystemTime,
        failure: Failure,
    },
}

impl Revalidations {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            known: Mutex::default(),
            pause,
        }
    }

    /// A permit to validate it; `None`: that is being done already, or failed a short while ago.
    pub(crate) fn begin(self: &Arc<Self>, token: Token, now: SystemTime) -> Option<Permit> {
        self.change(|known| match known.states.get(&token) {
            Some(State::Running) => false,
            Some(State::Failed { until, .. }) if self.is_before(now, *until) => false,
            _ => {
                self.forget_old(known, now);
                known.states.insert(token, State::Running);
                true
            }
        })
        .then(|| Permit {
            all: self.clone(),
            token,
        })
    }

    /// Takes note that the origin could not validate it.
    pub(crate) fn fail(&self, token: Token, failure: Failure, now: SystemTime) {
        let until = now.checked_add(self.pause).unwrap_or(now);
        self.change(|known| {
            self.forget_old(known, now);
            if known.states.len() < MOST || known.states.contains_key(&token) {
                known.states.insert(token, State::Failed { until, failure });
            }
        });
    }

    /// Takes note that the origin answers again.
    pub(crate) fn succeed(&self, token: Token) {
        self.change(|known| {
            if let Some(State::Failed { .. }) = known.states.get(&token) {
                known.states.remove(&token);
            }
        });
    }

    /// How the origin failed to validate it a short while ago, if it did.
    pub(crate) fn failed(&self, token: Token, now: SystemTime) -> Option<Failure> {
        self.change(|known| match known.states.get(&token) {
            Some(State::Failed { until, failure }) if self.is_before(now, *until) => Some(*failure),
            _ => None,
        })
    }

    /// Whether it is before `until`, by a clock that was not set back meanwhile.
    fn is_before(&self, now: SystemTime, until: SystemTime) -> bool {
        until
            .duration_since(now)
            .is_ok_and(|left| !left.is_zero() && left <= self.pause)
    }

    fn forget_old(&self, known: &mut Known, now: SystemTime) {
        known.added += 1;
        if known.added < known.states.len().max(FEW) {
            return;
        }
        // Seldom enough that it costs each of them little, even where none can be forgotten yet.
        known.added = 0;
        known.states.retain(|_, state| match state {
            State::Running => true,
            State::Failed { until, .. } => self.is_before(now, *until),
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        // Inserting and removing leave nothing half done, so poison means nothing.
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
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
            if let Some(State::Running) = known.states.get(&self.token) {
                known.states.remove(&self.token);
            }
        });
    }
}

/// Of so many, none is looked for that means nothing any more.
const FEW: usize = 1024;

/// More failures are not remembered; then the origin is asked again.
const MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_forgotten_in_time_and_never_more_than_so_many() {
        let pause = Duration::from_secs(5);
        let all = Revalidations::new(pause);
        let start = SystemTime::UNIX_EPOCH;
        let fail = |number: usize, now| {
            all.fail(Token(number as u128), Failure::Disconnected, now);
        };
        let count = || all.change(|known| known.states.len());
        for number in 0..MOST + 10 {
            fail(number, start);
        }
        assert_eq!(count(), MOST);
        assert_eq!(all.failed(Token(9), start), Some(Failure::Disconnected));
        let later = start + 2 * pause;
        assert_eq!(all.failed(Token(9), later), None);
        for number in 0..3 * MOST {
            fail(number % 10, later);
        }
        assert_eq!(count(), 10);
        assert_eq!(all.failed(Token(9), later), Some(Failure::Disconnected));
    }
}
