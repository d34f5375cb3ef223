//! What the origin remembers of a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fields::Fields;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) request_num: Option<i64>,
    pub(crate) request_method: String,
    /// By name in lower case.
    pub(crate) request_headers: BTreeMap<String, String>,
    /// The fields of the answer that the client has to get unchanged, with the lines of each.
    pub(crate) response_headers: Vec<(String, Vec<String>)>,
}

/// Fields that have one value; of several lines, the first counts.
const SINGLE: [&str; 14] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "user-agent",
];

/// The fields of a request as a record has them.
pub(crate) fn request_headers(fields: &Fields) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, _) in fields.iter() {
        let name = name.to_ascii_lowercase();
        let value = if SINGLE.contains(&&*name) {
            fields.lines(&name).next().map(str::to_owned)
        } else {
            fields.get(&name)
        };
        headers.insert(name, value.unwrap_or_default());
    }
    headers
}
