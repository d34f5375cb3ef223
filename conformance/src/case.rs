//! The cases.

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::field_value::{FieldValue, Moment};

#[derive(Debug, Deserialize)]
struct Suite {
    tests: Vec<TestData>,
}

#[derive(Debug, Deserialize)]
struct TestData {
    id: String,
    name: String,
    #[serde(default)]
    kind: Kind,
    requests: Vec<Map<String, Value>>,
    #[serde(default)]
    depends_on: Vec<String>,
}

/// A list of requests to one URI, with what the origin answers, and what is expected of the cache.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) steps: Vec<Step>,
    /// The steps as they are sent to the origin.
    pub(crate) script: Value,
    /// The tests without which the result of this one says nothing.
    pub(crate) depends_on: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The specification demands it.
    #[default]
    Required,
    /// A good cache does it.
    Optimal,
    /// A question, both answers to which are allowed.
    Check,
}

/// A request, its answer, and what is expected.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    pub(crate) request_method: Option<String>,
    pub(crate) request_headers: Vec<(String, FieldValue)>,
    pub(crate) request_body: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) query_arg: Option<String>,
    pub(crate) magic_ims: bool,
    pub(crate) rfc850date: Vec<String>,
    pub(crate) pause_after: bool,

    pub(crate) response_status: Option<(u16, String)>,
    pub(crate) response_headers: Vec<Line>,
    pub(crate) response_body: Option<String>,
    pub(crate) response_pause: u64,
    pub(crate) interim_responses: Vec<Interim>,
    pub(crate) disconnect: bool,
    pub(crate) magic_locations: bool,

    pub(crate) expected_type: Option<ExpectedType>,
    #[serde(deserialize_with = "present")]
    pub(crate) expected_status: Option<Option<u16>>,
    pub(crate) expected_response_headers: Vec<ExpectedField>,
    pub(crate) expected_response_headers_missing: Vec<NameOrPair>,
    #[serde(deserialize_with = "present")]
    pub(crate) expected_response_text: Option<Option<String>>,
    pub(crate) check_body: Option<bool>,
    pub(crate) expected_interim_responses: Option<Vec<Interim>>,
    pub(crate) expected_method: Option<String>,
    pub(crate) expected_request_headers: Vec<NameOrPair>,
    pub(crate) expected_request_headers_missing: Vec<NameOrPair>,
    pub(crate) setup: bool,
    pub(crate) setup_tests: Vec<String>,
}

/// A line of the origin's header section, and whether the client has to get it unchanged.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "LineData")]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) value: FieldValue,
    pub(crate) is_checked: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LineData {
    Checked(String, FieldValue),
    Either(String, FieldValue, bool),
}

impl From<LineData> for Line {
    fn from(data: LineData) -> Self {
        let (name, value, is_checked) = match data {
            LineData::Checked(name, value) => (name, value, true),
            LineData::Either(name, value, is_checked) => (name, value, is_checked),
        };
        Self {
            name,
            value,
            is_checked,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(from = "InterimData")]
pub(crate) struct Interim {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum InterimData {
    Bare((u16,)),
    WithFields(u16, Vec<(String, String)>),
}

impl From<InterimData> for Interim {
    fn from(data: InterimData) -> Self {
        let (status, fields) = match data {
            InterimData::Bare((status,)) => (status, Vec::new()),
            InterimData::WithFields(status, fields) => (status, fields),
        };
        Self { status, fields }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExpectedType {
    Cached,
    NotCached,
    EtagValidated,
    LmValidated,
}

impl ExpectedType {
    pub(crate) fn is_validated(self) -> bool {
        matches!(self, Self::EtagValidated | Self::LmValidated)
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ExpectedField {
    /// It is there.
    Present(String),
    /// It has this value.
    Equal(String, FieldValue),
    /// `>`: its number is greater than this one. `=`: it equals this other field.
    Compared(String, String, FieldValue),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NameOrPair {
    Name(String),
    Pair(String, FieldValue),
}

impl Step {
    pub(crate) fn method(&self) -> &str {
        self.request_method.as_deref().unwrap_or("GET")
    }

    /// What integers in date fields count from.
    pub(crate) fn moment(&self, now: Option<i64>) -> Moment<'_> {
        Moment {
            now,
            rfc850: &self.rfc850date,
        }
    }

    /// The value of a field, resolved: a date, a location under `base`, or what it says.
    pub(crate) fn resolve(
        &self,
        name: &str,
        value: &FieldValue,
        now: Option<i64>,
        base: &str,
    ) -> String {
        let text = value.text(name, self.moment(now));
        let is_location = ["location", "content-location"]
            .iter()
            .any(|location| name.eq_ignore_ascii_case(location));
        match &*text {
            _ if !(self.magic_locations && is_location) => text,
            "" => base.to_owned(),
            path => format!("{base}/{path}"),
        }
    }
}

/// A member that is there, even as `null`.
fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// All tests of a file.
pub(crate) fn load(path: &Path) -> Result<Vec<Test>, Box<dyn Error + Send + Sync>> {
    let json = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let suites: Vec<Suite> = serde_json::from_slice(&json)?;
    suites
        .into_iter()
        .flat_map(|suite| suite.tests)
        .map(Test::try_from)
        .collect()
}

impl TryFrom<TestData> for Test {
    type Error = Box<dyn Error + Send + Sync>;

    fn try_from(data: TestData) -> Result<Self, Self::Error> {
        let mut requests = data.requests;
        for request in &mut requests {
            request.insert("id".to_owned(), Value::from(&*data.id));
            request.insert("name".to_owned(), Value::from(&*data.name));
        }
        let script = Value::from_iter(requests);
        let steps = Vec::deserialize(&script)
            .map_err(|error| format!("the requests of {}: {error}", data.id))?;
        Ok(Self {
            id: data.id,
            name: data.name,
            kind: data.kind,
            steps,
            script,
            depends_on: data.depends_on,
        })
    }
}

/// The tests with this text in their id, and those that these stand on.
pub(crate) fn matching(tests: Vec<Test>, text: Option<&str>) -> Vec<Test> {
    let Some(text) = text else {
        return tests;
    };
    let mut wanted: Vec<&str> = tests
        .iter()
        .map(|test| &*test.id)
        .filter(|id| id.contains(text))
        .collect();
    let mut found = HashSet::new();
    while let Some(id) = wanted.pop() {
        if found.insert(id.to_owned()) {
            let dependencies = tests.iter().filter(|test| test.id == id);
            wanted.extend(dependencies.flat_map(|test| test.depends_on.iter().map(|id| &**id)));
        }
    }
    tests
        .into_iter()
        .filter(|test| found.contains(&test.id))
        .collect()
}
