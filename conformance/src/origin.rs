//! The origin: tests tell it what to answer, and ask what it was asked.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::case::{Line, Step};
use crate::field_value::FieldValue;
use crate::fields::Fields;
use crate::message::{Framing, Head, Wire};
use crate::record::{self, Record};
use crate::timeline::Timeline;

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

/// What is to be answered for one token, and what was asked.
#[derive(Debug)]
struct Play {
    script: Vec<Step>,
    records: Vec<Record>,
}

/// A response, byte by byte.
struct Answer {
    head: Head,
    body: Vec<u8>,
    /// Whether the connection is closed after it.
    closes: bool,
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
            Some("config") => plain(405, "Method Not Allowed"),
            Some("state") => self.state(token),
            Some("test") => return self.perform(token, method, target, head, wire).await,
            _ => plain(404, "Not Found"),
        }))
    }

    fn configure(&self, token: &str, body: &[u8]) -> Answer {
        let Ok(script) = serde_json::from_slice(body) else {
            return plain(400, "Bad Request");
        };
        let mut plays = self.plays();
        if plays.contains_key(token) {
            return plain(409, "Conflict");
        }
        let records = Vec::new();
        plays.insert(token.to_owned(), Play { script, records });
        Answer::new("201 Created", Fields::default(), b"OK".to_vec())
    }

    fn state(&self, token: &str) -> Answer {
        match self.plays().get(token) {
            Some(play) if !play.records.is_empty() => {
                let mut fields = Fields::default();
                fields.push("Content-Type", "application/json");
                let json = serde_json::to_vec(&play.records);
                Answer::new("200 OK", fields, json.expect("records are plain data"))
            }
            _ => plain(404, "Not Found"),
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
            return Ok(Some(plain(409, "Conflict")));
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

impl Play {
    /// Where the step for a request is in the script.
    fn index(&self, head: &Head) -> Option<usize> {
        let number = match head.fields.has("req-num") {
            true => usize::try_from(head.fields.number("req-num")?).ok()?,
            false => self.records.len() + 1,
        };
        number
            .checked_sub(1)
            .filter(|index| *index < self.script.len())
    }

    fn answer(
        &mut self,
        token: &str,
        method: &str,
        target: &str,
        head: &Head,
        now: i64,
    ) -> Option<Answer> {
        let index = self.index(head)?;
        self.resolve(index, now, target);
        let (code, reason) = self.status(index, head);
        let step = &self.script[index];
        let (mut fields, checked) = self.fields(step, target, head, now);
        self.records.push(Record {
            request_num: head.fields.number("req-num"),
            request_method: method.to_owned(),
            request_headers: record::request_headers(&head.fields),
            response_headers: checked,
        });
        if step.disconnect {
            return None;
        }
        let mut body = match step.response_body.as_deref() {
            None | Some("") => token.as_bytes().to_vec(),
            Some(body) => body.as_bytes().to_vec(),
        };
        if matches!(code, 204 | 304) || method == "HEAD" {
            body.clear();
        } else if !fields.has("transfer-encoding") {
            fields.push_missing("Content-Length", body.len().to_string());
        } else if fields.lists("transfer-encoding", "chunked") {
            let size = format!("{:x}\r\n", body.len());
            body = [size.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        }
        Some(Answer::new(&format!("{code} {reason}"), fields, body))
    }

    /// Resolves dates and locations, in place: who asks again gets the dates of the first time.
    fn resolve(&mut self, index: usize, now: i64, base: &str) {
        let step = &mut self.script[index];
        let resolved = step
            .response_headers
            .iter()
            .map(|line| step.resolve(&line.name, &line.value, Some(now), base))
            .collect::<Vec<_>>();
        for (line, value) in step.response_headers.iter_mut().zip(resolved) {
            line.value = FieldValue::Text(value);
        }
    }

    fn status(&self, index: usize, head: &Head) -> (u16, String) {
        let step = &self.script[index];
        if !step.expected_type.is_some_and(|kind| kind.is_validated()) {
            let status = step.response_status.clone();
            return status.unwrap_or_else(|| (200, "OK".to_owned()));
        }
        let previous = index.checked_sub(1).map(|index| &self.script[index]);
        let validator = |name: &str| {
            let lines = &previous?.response_headers;
            let is_named = |line: &&Line| line.name.eq_ignore_ascii_case(name);
            match &lines.iter().rfind(is_named)?.value {
                FieldValue::Text(text) => Some(text.clone()),
                FieldValue::Integer(_) => None,
            }
        };
        let is_match = |condition: &str, name: &str| {
            let validator = validator(name);
            validator.is_some() && head.fields.get(condition) == validator
        };
        if is_match("if-modified-since", "last-modified") || is_match("if-none-match", "etag") {
            (304, "Not Modified".to_owned())
        } else {
            (999, "304 Not Generated".to_owned())
        }
    }

    /// The fields of the answer, but those that say how long it is; and those to be checked.
    fn fields(
        &self,
        step: &Step,
        target: &str,
        head: &Head,
        now: i64,
    ) -> (Fields, Vec<(String, Vec<String>)>) {
        let number = |number: Option<i64>| number.map_or("NaN".to_owned(), |number| number.to_string());
        let this = head.fields.number("req-num");
        let mut fields = Fields::default();
        fields.push("Server-Base-Url", target);
        fields.push("Server-Request-Count", (self.records.len() + 1).to_string());
        fields.push("Client-Request-Count", number(this));
        fields.push("Server-Now", now.to_string());
        let mut checked: Vec<(String, Vec<String>)> = Vec::new();
        for line in &step.response_headers {
            fields.push(&line.name, line.value.text(&line.name, step.moment(Some(now))));
            if line.is_checked {
                checked.retain(|(name, _)| !name.eq_ignore_ascii_case(&line.name));
                let lines = fields.lines(&line.name).map(str::to_owned).collect();
                checked.push((line.name.clone(), lines));
            }
        }
        fields.push_missing("Content-Type", "text/plain");
        let numbers: Vec<_> = self
            .records
            .iter()
            .map(|record| record.request_num)
            .chain([this])
            .map(number)
            .collect();
        fields.push("Request-Numbers", numbers.join(" "));
        let date = FieldValue::Integer(0).text("date", step.moment(Some(now)));
        fields.push_missing("Date", date);
        if !fields.has("connection") {
            fields.push("Connection", "keep-alive");
            fields.push("Keep-Alive", "timeout=5");
        }
        (fields, checked)
    }
}

impl Answer {
    fn new(status: &str, fields: Fields, body: Vec<u8>) -> Self {
        let transfer = fields.has("transfer-encoding");
        Self {
            closes: fields.lists("connection", "close")
                || transfer && !fields.lists("transfer-encoding", "chunked"),
            head: Head {
                start: format!("HTTP/1.1 {status}"),
                fields,
            },
            body,
        }
    }
}

/// An answer about a request that is none of a test, or none that it told of.
fn plain(code: u16, reason: &str) -> Answer {
    let mut fields = Fields::default();
    fields.push("Content-Type", "text/plain");
    fields.push("Content-Length", reason.len().to_string());
    Answer::new(
        &format!("{code} {reason}"),
        fields,
        reason.as_bytes().to_vec(),
    )
}
