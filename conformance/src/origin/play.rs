//! What the origin does in one test.

use crate::case::{Line, Step};
use crate::field_value::{FieldValue, Moment};
use crate::fields::Fields;
use crate::message::Head;
use crate::record::{self, Record};

/// What is to be answered for one token, and what was asked.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) script: Vec<Step>,
    pub(crate) records: Vec<Record>,
}

/// A response, byte by byte.
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// Whether the connection is closed after it.
    pub(crate) closes: bool,
}

impl Play {
    /// Where the step for a request is in the script.
    pub(crate) fn index(&self, head: &Head) -> Option<usize> {
        let number = match head.fields.has("req-num") {
            true => usize::try_from(head.fields.number("req-num")?).ok()?,
            false => self.records.len() + 1,
        };
        number
            .checked_sub(1)
            .filter(|index| *index < self.script.len())
    }

    pub(crate) fn answer(
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
        let number = |number: Option<i64>| {
            number.map_or_else(|| "NaN".to_owned(), |number| number.to_string())
        };
        let this = head.fields.number("req-num");
        let mut fields = Fields::default();
        fields.push("Server-Base-Url", target);
        fields.push("Server-Request-Count", (self.records.len() + 1).to_string());
        fields.push("Client-Request-Count", number(this));
        fields.push("Server-Now", now.to_string());
        let mut checked: Vec<(String, Vec<String>)> = Vec::new();
        for line in &step.response_headers {
            fields.push(
                &line.name,
                line.value.text(&line.name, step.moment(Some(now))),
            );
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
        let moment = Moment {
            now: Some(now),
            rfc850: &[],
        };
        fields.push_missing("Date", FieldValue::Integer(0).text("date", moment));
        if !fields.has("connection") {
            fields.push("Connection", "keep-alive");
            fields.push("Keep-Alive", "timeout=5");
        }
        (fields, checked)
    }
}

impl Answer {
    fn new(status: &str, fields: Fields, body: Vec<u8>) -> Self {
        let has_no_end =
            fields.has("transfer-encoding") && !fields.lists("transfer-encoding", "chunked");
        Self {
            closes: has_no_end || fields.lists("connection", "close"),
            head: Head {
                start: format!("HTTP/1.1 {status}"),
                fields,
            },
            body,
        }
    }

    /// An answer to what is no request of a test.
    pub(crate) fn beside(status: &str, media_type: &str, body: Vec<u8>) -> Self {
        let mut fields = Fields::default();
        fields.push("Content-Type", media_type);
        fields.push("Content-Length", body.len().to_string());
        Self::new(status, fields, body)
    }
}
