//! The port of management: what a store offers to those who look after it.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use crate::backend::{Answer, BackendError, Entry, Token};
use crate::key::PrimaryKey;
use crate::stored::StoredHead;

/// A store that can be gone through, from one end to the other.
///
/// None of this is on the way of a request. Any future may be dropped at any await point; what was
/// done until then stays done.
pub trait Manage: fmt::Debug + Send + Sync + 'static {
    /// Goes through all that is stored, in no order. Nothing is read before a batch is asked for.
    ///
    /// What is there from beginning to end is seen; what is stored or removed meanwhile may or may
    /// not be, and a response can be seen twice. What no lookup could find is not seen.
    fn walk(&self) -> Box<dyn Walk>;

    /// A listed response with its body, as a lookup would find it, if it is still the one that was
    /// listed.
    fn open<'a>(&'a self, listed: &'a Listed) -> Answer<'a, Result<Option<Entry>, BackendError>>;

    /// Removes those of the listed responses that are still the ones that were listed; how many
    /// those were.
    fn remove_listed<'a>(&'a self, listed: &'a [Listed]) -> Answer<'a, Result<u64, BackendError>>;

    /// Removes everything, and tells from time to time how far it has come. What is stored meanwhile
    /// may stay.
    fn clear<'a>(
        &'a self,
        on_progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Answer<'a, Result<Progress, BackendError>>;
}

/// A way through a store.
pub trait Walk: fmt::Debug + Send + 'static {
    /// The next batch, which can be empty; `None`: it is at its end, and stays there.
    fn next_batch(&mut self) -> Answer<'_, Result<Option<Batch>, BackendError>>;
}

/// Some of what is stored.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Batch {
    /// The stored responses.
    pub listed: Vec<Listed>,
    /// How many values were met that cannot be read: to a lookup they are not there.
    pub unreadable: u64,
}

impl Batch {
    /// A batch of these.
    #[must_use]
    pub fn new(listed: Vec<Listed>, unreadable: u64) -> Self {
        Self { listed, unreadable }
    }
}

/// A stored response, without its body.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "backends make it")]
pub struct Listed {
    /// Its head.
    pub head: Arc<StoredHead>,
    /// How long its body is, in bytes.
    pub body_length: u64,
    /// About how many bytes it takes in the store, head and body.
    pub bytes: u64,
    /// The trailer fields behind its body.
    pub trailers: Option<HeaderMap>,
    /// Its identity.
    pub token: Token,
}

impl Listed {
    /// The key that it is stored under.
    #[must_use]
    pub fn key(&self) -> &PrimaryKey {
        self.head.key()
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Trailers can hold secrets, as all fields can.
        f.debug_struct("Listed")
            .field("head", &self.head)
            .field("body_length", &self.body_length)
            .field("bytes", &self.bytes)
            .field("has_trailers", &self.trailers.is_some())
            .field("token", &self.token)
            .finish()
    }
}

/// How far a long operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "backends make it")]
pub struct Progress {
    /// How many stored responses were met so far; where a store is cleared, how many of its keys.
    pub seen: u64,
    /// To how many of them something was done.
    pub done: u64,
}
