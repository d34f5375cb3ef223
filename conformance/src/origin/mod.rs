//! The origin: tests tell it what to answer, and ask what it was asked.

mod play;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fields::Fields;
use crate::message::{Framing, Head, Wire};
use crate::timeline::Timeline;
use play::{Answer, Play};

/// An origin on a port of its own; dropping it ends it, and closes its connections.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Origin {
    pub(crate) async fn start(timeline: Timeline) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Stage::new(timeline)));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }
}

async fn accept(listener: TcpListener, stage: Stage) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let stage = stage.clone();
        connections.spawn(async move {
            // A front that goes away is what a test sees, or what it has done.
            let _ = stage.converse(stream).await;
        });
    }
}

/// What all connections share.
#[derive(Debug, Clone)]
struct Stage {
    plays: Arc<Mutex<HashMap<String, Play>>>,
    timeline: Timeline,
}

impl Stage {
    fn new(timeline: Timeline) -> Self {
        Self {
            plays: Arc::default(),
            timeline,
        }
    }

    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut wire = Wire::new(stream)?;
        while let Some(head) = wire.head().await? {
            let body = wire.body(Framing::of_request(&head.fields)).await?;
            let Some(answer) = self.answer(&head, &body, &mut wire).await? else {
                return Ok(());
            };
            let mut bytes = answer.head.encode();
            bytes.extend(answer.body);
            wire.write(&bytes).await?;
            if answer.closes {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The answer; `None`: the connection is to be closed without one.
    async fn answer(
        &self,
        head: &Head,
        body: &[u8],
        wire: &mut Wire,
    ) -> io::Result<Option<Answer>> {
        let mut words = head.words();
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let mut segments = target.split(['/', '?']).skip(1);
        let (route, token) = (segments.next(), segments.next().unwrap_or_default());
        Ok(Some(match route {
            Some("config") if method == "PUT" => self.configure(token, body),
            Some("config") => refused("405 Method Not Allowed"),
            Some("state") => self.state(token),
            Some("test") => return self.perform(token, method, target, head, wire).await,
            _ => refused("404 Not Found"),
        }))
    }

    fn configure(&self, token: &str, body: &[u8]) -> Answer {
        let Ok(script) = serde_json::from_slice(body) else {
            return refused("400 Bad Request");
        };
        let mut plays = self.plays();
        if plays.contains_key(token) {
            return refused("409 Conflict");
        }
        let records = Vec::new();
        plays.insert(token.to_owned(), Play { script, records });
        Answer::beside("201 Created", "text/plain", b"OK".to_vec())
    }

    fn state(&self, token: &str) -> Answer {
        match self.plays().get(token) {
            Some(play) if !play.records.is_empty() => {
                let json = serde_json::to_vec(&play.records).expect("records are plain data");
                Answer::beside("200 OK", "application/json", json)
            }
            _ => refused("404 Not Found"),
        }
    }

    async fn perform(
        &self,
        token: &str,
        method: &str,
        target: &str,
        head: &Head,
        wire: &mut Wire,
    ) -> io::Result<Option<Answer>> {
        let pause = self.plays().get(token).and_then(|play| {
            let step = play.script.get(play.index(head)?)?;
            Some((step.response_pause, step.interim_responses.clone()))
        });
        let Some((pause, interim)) = pause else {
            return Ok(Some(refused("409 Conflict")));
        };
        if pause > 0 {
            self.timeline.wait(Duration::from_secs(pause)).await;
        }
        for interim in interim {
            let reason = match interim.status {
                102 => "Processing",
                103 => "Early Hints",
                _ => "Interim",
            };
            let mut fields = Fields::default();
            for (name, value) in interim.fields {
                fields.push(&name, value);
            }
            let start = format!("HTTP/1.1 {} {reason}", interim.status);
            wire.write(&Head { start, fields }.encode()).await?;
        }
        let now = self.timeline.millis();
        let mut plays = self.plays();
        let play = plays.get_mut(token).expect("scripts stay");
        Ok(play.answer(token, method, target, head, now))
    }

    fn plays(&self) -> MutexGuard<'_, HashMap<String, Play>> {
        self.plays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(status: &str) -> Answer {
    Answer::beside(status, "text/plain", status.as_bytes().to_vec())
}
