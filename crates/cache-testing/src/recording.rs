//! `Recording`.

use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request;
use http::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use crate::replay::Replay;

/// Exchanges that were recorded; clones are the same recording.
///
/// In a file it is JSON, an exchange a line, in the order in which they ended. The values of fields and of
/// parameters of the query that commonly hold secrets are recorded as `[redacted]`, so that a file can be
/// put beside the tests; look at bodies before you do.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl Recording {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a recording from a file.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is no recording.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let error = |cause: Box<dyn StdError + Send + Sync>| RecordingError {
            path: path.display().to_string(),
            cause,
        };
        let text = fs::read_to_string(path).map_err(|cause| error(cause.into()))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let exchanges = lines.map(|line| {
            let exchange: Exchange = serde_json::from_str(line)?;
            exchange.check()?;
            Ok(exchange)
        });
        let exchanges: Result<Vec<_>, _> = exchanges.collect();
        Ok(Self {
            exchanges: Arc::new(Mutex::new(exchanges.map_err(error)?)),
        })
    }

    /// Writes what was recorded so far into a file, in the place of what is there.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), RecordingError> {
        let path = path.as_ref();
        let error = |cause: Box<dyn StdError + Send + Sync>| RecordingError {
            path: path.display().to_string(),
            cause,
        };
        let mut text = String::new();
        for exchange in &*self.lock() {
            let line = serde_json::to_string(exchange).map_err(|cause| error(cause.into()))?;
            text.push_str(&line);
            text.push('\n');
        }
        fs::write(path, text).map_err(|cause| error(cause.into()))
    }

    /// A service that answers as was recorded.
    #[must_use]
    pub fn replay(&self) -> Replay {
        Replay::new(self.lock().clone())
    }

    /// How many exchanges were recorded so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was recorded so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn add(&self, exchange: Exchange) {
        self.lock().push(exchange);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Exchange>> {
        self.exchanges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) request_fields: Vec<(String, String)>,
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    Response(Answered),
    /// There was no response; this is what the error said.
    Error(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// A body that is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trailers: Vec<(String, String)>,
    /// The body broke off where it ends here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) breaks_off: bool,
}

impl Exchange {
    pub(crate) fn asked(request: &request::Parts, ending: Ending) -> Self {
        Self {
            method: request.method.to_string(),
            uri: redacted(&request.uri),
            request_fields: fields(&request.headers),
            ending,
        }
    }

    /// Whether it is of such a request.
    pub(crate) fn is_of(&self, method: &Method, uri: &Uri) -> bool {
        self.method == method.as_str() && self.uri == redacted(uri)
    }

    fn check(&self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        if let Ending::Response(answered) = &self.ending {
            StatusCode::from_u16(answered.status)?;
            header_map(&answered.fields)?;
            header_map(&answered.trailers)?;
            answered.body()?;
        }
        Ok(())
    }
}

impl Answered {
    pub(crate) fn with_body(mut self, body: &[u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => self.text = Some(text.to_owned()),
            Err(_) => self.base64 = Some(STANDARD.encode(body)),
        }
        self
    }

    pub(crate) fn body(&self) -> Result<Bytes, base64::DecodeError> {
        match (&self.text, &self.base64) {
            (Some(text), _) => Ok(Bytes::from(text.clone())),
            (None, Some(encoded)) => STANDARD.decode(encoded).map(Bytes::from),
            (None, None) => Ok(Bytes::new()),
        }
    }
}

/// The lines of a header section, without what is secret.
pub(crate) fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = match value.is_sensitive() || is_secret(name.as_str()) {
            true => REDACTED.to_owned(),
            false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        (name.as_str().to_owned(), value)
    };
    headers.iter().map(line).collect()
}

pub(crate) fn header_map(lines: &[(String, String)]) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}

/// A URI with its secrets taken out.
pub(crate) fn redacted(uri: &Uri) -> String {
    let text = uri.to_string();
    let text = match (uri.authority(), text.split_once("://")) {
        (Some(authority), Some((scheme, rest))) => {
            let host = authority
                .as_str()
                .rsplit_once('@')
                .map_or("", |(_, host)| host);
            match host {
                "" => text.clone(),
                host => format!("{scheme}://{host}{}", &rest[authority.as_str().len()..]),
            }
        }
        _ => text.clone(),
    };
    let Some((path, query)) = text.split_once('?') else {
        return text;
    };
    let parameters = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={REDACTED}"),
            _ => parameter.to_owned(),
        });
    format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// Whether a field or a parameter of this name commonly holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    [
        "auth",
        "cookie",
        "token",
        "secret",
        "password",
        "api-key",
        "apikey",
        "signature",
    ]
    .iter()
    .any(|part| name.contains(part))
        || matches!(&*name, "key" | "sig" | "session")
}

const REDACTED: &str = "[redacted]";

/// A recording could not be read or written.
#[derive(Debug)]
pub struct RecordingError {
    path: String,
    cause: Box<dyn StdError + Send + Sync>,
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the recording {} cannot be used", self.path)
    }
}

impl StdError for RecordingError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.cause)
    }
}
