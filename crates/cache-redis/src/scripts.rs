//! What has to be decided where the responses are: each script is one atomic command.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::{Cmd, ErrorKind, ServerErrorKind, Value, cmd};

use crate::lane::{Lane, LaneError};

/// The scripts, put together once.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) store: Script,
    pub(crate) remove: Script,
    pub(crate) invalidate: Script,
    pub(crate) end_lease: Script,
}

#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    digest: String,
    is_known: AtomicBool,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            store: Script::new(include_str!("scripts/store.lua")),
            remove: Script::new(include_str!("scripts/remove.lua")),
            invalidate: Script::new(include_str!("scripts/invalidate.lua")),
            end_lease: Script::new(include_str!("scripts/end_lease.lua")),
        }
    }
}

impl Script {
    fn new(own: &str) -> Self {
        let text = [include_str!("scripts/common.lua"), own].concat();
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self {
            text,
            digest,
            is_known: AtomicBool::new(false),
        }
    }

    /// Runs it; whether it did anything.
    ///
    /// The server knows scripts by their digest. It is told the text until it has answered once, so
    /// that nothing sent after the first call can overtake it, and again after a restart.
    pub(crate) async fn run(
        &self,
        lane: &Lane,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<bool, LaneError> {
        if self.is_known.load(Ordering::Relaxed) {
            let known = command("EVALSHA", &self.digest, keys, arguments);
            match lane.send(&known).await {
                Err(error) if is_unknown(&error) => {}
                reply => return Ok(reply? == Value::Int(1)),
            }
        }
        let reply = lane
            .send(&command("EVAL", &self.text, keys, arguments))
            .await?;
        self.is_known.store(true, Ordering::Relaxed);
        Ok(reply == Value::Int(1))
    }
}

fn command(name: &str, script: &str, keys: &[&str], arguments: &[&[u8]]) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(keys.len()).arg(keys);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

fn is_unknown(error: &LaneError) -> bool {
    error
        .as_redis()
        .is_some_and(|error| error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
}
