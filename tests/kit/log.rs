//! What was logged.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// What is logged by this thread, from now until it is dropped: at `INFO` or above, or everything.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Log {
    /// Begins to listen.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it does something")]
    pub fn new() -> Self {
        Self::from(Level::INFO)
    }

    /// Begins to listen to everything, spans included.
    #[must_use]
    pub fn everything() -> Self {
        Self::from(Level::TRACE)
    }

    fn from(level: Level) -> Self {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let listener = Listener {
            lines: lines.clone(),
            level,
        };
        // While there is only one subscriber, tracing asks that of the thread which comes to a place
        // in the code first whether anybody listens there, and remembers the answer for all threads.
        let _second = Dispatch::new(NoSubscriber::new());
        Self {
            lines,
            _guard: tracing::subscriber::set_default(listener),
        }
    }

    /// The lines since the last time, each its level and its fields.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Listener {
    lines: Arc<Mutex<Vec<String>>>,
    level: Level,
}

impl Listener {
    fn add(&self, line: String) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        if self.level == Level::TRACE {
            let mut line = format!("span {}", span.metadata().name());
            span.record(&mut Fields(&mut line));
            self.add(line);
        }
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        if self.level == Level::TRACE {
            let mut line = "span".to_owned();
            values.record(&mut Fields(&mut line));
            self.add(line);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut Fields(&mut line));
        self.add(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}
