//! One test, from start to end.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::case::{Step, Test};
use crate::client::{Client, Request, Response};
use crate::fields::Fields;
use crate::front::Front;
use crate::judge;
use crate::record::Record;
use crate::timeline::Timeline;
use crate::verdict::{Class, Failure, Verdict, check};

/// How long the gateway may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test waits where it says so.
const PAUSE: Duration = Duration::from_secs(3);

/// A test under way.
pub(crate) struct Trial<'a> {
    test: &'a Test,
    front: &'a Front,
    timeline: &'a Timeline,
    client: Client,
    token: String,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(test: &'a Test, front: &'a Front, timeline: &'a Timeline) -> Self {
        Self {
            test,
            front,
            timeline,
            client: Client::new(front.address),
            token: token(),
        }
    }

    pub(crate) async fn run(mut self) -> Verdict {
        self.configure().await?;
        let mut responses = Vec::<Response>::new();
        for (number, step) in (1..).zip(&self.test.steps) {
            let request = self.request(number, step, responses.last());
            let response = self.send(request).await?;
            judge::response(step, number, &self.token, &response)?;
            responses.push(response);
            if step.pause_after {
                self.timeline.wait(PAUSE).await;
            }
        }
        let records = self.records().await?;
        judge::records(&self.test.steps, &responses, &records)
    }

    async fn configure(&mut self) -> Verdict {
        let mut fields = Fields::default();
        fields.push("Content-Type", "application/json");
        let response = self.send(Request {
            method: "PUT",
            target: format!("/config/{}", self.token),
            fields,
            body: Some(self.test.script.to_string()),
        });
        let status = response.await?.status;
        check(status == 201, Class::Setup, || {
            format!("the origin was not configured: {status}")
        })
    }

    /// What the origin was asked.
    async fn records(&mut self) -> Result<Vec<Record>, Failure> {
        let response = self
            .send(Request {
                method: "GET",
                target: format!("/state/{}", self.token),
                fields: Fields::default(),
                body: None,
            })
            .await?;
        if response.status != 200 {
            return Ok(Vec::new());
        }
        serde_json::from_str(&response.body)
            .map_err(|error| Failure::new(Class::Broken, format!("reading the records: {error}")))
    }

    fn request<'s>(&self, number: i64, step: &'s Step, last: Option<&Response>) -> Request<'s> {
        let mut fields = Fields::default();
        fields.push("Pragma", "foo");
        fields.push("Cache-Control", "nothing-to-see-here");
        let now = last.and_then(|last| last.fields.number("server-now"));
        for (name, value) in &step.request_headers {
            let is_magic = step.magic_ims && name.eq_ignore_ascii_case("if-modified-since");
            // Without the magic an integer is an integer.
            let value = value.text(if is_magic { name } else { "" }, step.moment(now));
            fields.join(name, value.trim());
        }
        fields.join("Test-Name", &self.test.name);
        fields.join("Test-ID", &self.test.id);
        fields.join("Req-Num", &number.to_string());
        let mut target = format!("/test/{}", self.token);
        if let Some(name) = &step.filename {
            target = format!("{target}/{name}");
        }
        if let Some(query) = &step.query_arg {
            target = format!("{target}?{query}");
        }
        Request {
            method: step.method(),
            target,
            fields,
            body: step.request_body.clone(),
        }
    }

    async fn send(&mut self, request: Request<'_>) -> Result<Response, Failure> {
        let response = timeout(PATIENCE, self.client.send(request)).await;
        let response = response
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| Failure::new(Class::Broken, error.to_string()))?;
        if let Timeline::Manual(_) = self.timeline {
            // Where waiting takes no time, what goes on in the background would have none.
            timeout(PATIENCE, self.front.activity.ends())
                .await
                .map_err(|_| Failure::new(Class::Broken, "the background work does not end"))?;
        }
        Ok(response)
    }
}

/// A random UUID (version 4).
fn token() -> String {
    // Each state hashes with a key of its own.
    let random = || RandomState::new().hash_one(());
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff,
    )
}
