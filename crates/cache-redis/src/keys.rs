//! The names of keys.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cache_core::{Digest, Token};
use serde::{Deserialize, Deserializer};

use crate::format::Selector;

/// What the names of all keys begin with, and a colon behind it: `http-cache` where nothing else is
/// said.
///
/// It keeps applications that share a server apart. Letters, digits and `-`, `_`, `.`, `:` and `/`
/// can be in it, up to 64 bytes: nothing that means something in a pattern of `SCAN`, or in a
/// cluster's hash tag.
///
/// ```
/// use cache_redis::Namespace;
///
/// let namespace: Namespace = "catalogue:v2".parse()?;
/// assert_eq!(namespace.as_str(), "catalogue:v2");
/// assert!("every*thing".parse::<Namespace>().is_err());
/// # Ok::<(), cache_redis::InvalidNamespace>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of the responses whose primary key has this digest.
    pub(crate) fn keys(&self, digest: &Digest) -> Keys {
        Keys {
            primary: self.primary_of(digest),
        }
    }

    /// Where the only response of a resource stands, or the rule.
    pub(crate) fn primary_of(&self, digest: &Digest) -> String {
        let mut primary = String::with_capacity(self.0.len() + 3 + 2 * size_of::<Digest>());
        primary.push_str(&self.0);
        // A hash tag: what belongs to one resource is in one slot of a cluster.
        primary.push_str(":{");
        push_hex(&mut primary, digest);
        primary.push('}');
        primary
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Arc::from("http-cache"))
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_plain) {
            return Err(InvalidNamespace(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is no [`Namespace`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidNamespace(String);

impl fmt::Display for InvalidNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no namespace; write 1 to 64 letters, digits, or any of - _ . : /",
            self.0
        )
    }
}

impl StdError for InvalidNamespace {}

/// The names of the keys of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) primary: String,
}

impl Keys {
    /// Of a response that is one of several.
    pub(crate) fn variant(&self, selector: &Selector, variant: &Digest) -> String {
        let mut key = self.with_suffix(if selector.is_part { ":p:" } else { ":v:" });
        if selector.names.is_empty() {
            key.push_str("any");
        } else {
            push_hex(&mut key, variant);
        }
        key
    }

    /// Of a body that does not stand behind its head.
    pub(crate) fn body(&self, token: Token) -> String {
        let mut key = self.with_suffix(":b:");
        push_hex(&mut key, &token.0.to_be_bytes());
        key
    }

    /// Of the lease on asking the origin.
    pub(crate) fn lease(&self) -> String {
        self.with_suffix(":l")
    }

    fn with_suffix(&self, suffix: &str) -> String {
        let mut key = String::with_capacity(self.primary.len() + 35);
        key.push_str(&self.primary);
        key.push_str(suffix);
        key
    }
}

fn push_hex(text: &mut String, bytes: &[u8; 16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text.push_str(std::str::from_utf8(&hex).unwrap_or_default());
}
