//! The origin is asked.

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    CACHE_CONTROL, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{Method, StatusCode};

use super::ResponseHead;
use super::reuse::{Answering, Found, Reuse};
use crate::backend::{Entry, Source, Token};
use crate::key::PrimaryKey;
use crate::mode::CacheMode;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::conditional::Validators;
use crate::rules::freshening::{Freshened, describes, freshen};
use crate::rules::reuse::{Failure, is_error, stand_in};
use crate::rules::storing::{Asked, Received, store};
use crate::stored::StoredHead;

/// A request that goes to the origin, with the stored response it may validate, if there is one.
///
/// What is large in it is in boxes: a hit moves it about, though it has none.
#[derive(Debug)]
pub struct Forward {
    asked: Box<Asked>,
    stored: Option<Box<Entry>>,
    validators: Option<Box<Validators>>,
    reason: Reason,
    /// The caller has its answer already.
    is_for_nobody: bool,
    rejected: Option<Box<Entry>>,
}

/// What may follow the response of the origin.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the engine has to handle every state"
)]
pub enum AfterForward {
    /// The response passes, and is stored under this head when its body is complete; in the place of this
    /// stored response, which is to be removed where the body turns out to be one that is not stored.
    Store(StoredHead, Option<Box<Entry>>),
    /// The stored response answers.
    Reuse(Reuse<'static>, Upkeep),
    /// The response passes, and is not stored.
    Pass(Reason, Upkeep),
}

/// What is to be done to the store before the answer is given.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the engine has to handle every state"
)]
pub enum Upkeep {
    /// Nothing.
    Nothing,
    /// Replace the head of this stored response.
    Freshen(Entry, Arc<StoredHead>),
    /// Remove this stored response.
    Remove(Entry),
}

impl Forward {
    pub(super) fn new(
        asked: Asked,
        stored: Option<Entry>,
        validators: Option<Validators>,
        reason: Reason,
    ) -> Self {
        Self {
            asked: Box::new(asked),
            stored: stored.map(Box::new),
            validators: validators.map(Box::new),
            reason,
            is_for_nobody: false,
            rejected: None,
        }
    }

    pub(super) fn without_rejected(self, rejected: Option<Entry>) -> Self {
        Self {
            rejected: rejected.map(Box::new),
            ..self
        }
    }

    /// What was found and rejected by a filter, and is to be removed before the origin is asked.
    #[must_use]
    pub fn take_rejected(&mut self) -> Option<Entry> {
        self.rejected.take().map(|entry| *entry)
    }

    /// The same in the background, where nobody waits for a part or has a precondition.
    pub(super) fn for_nobody(self) -> Self {
        Self {
            is_for_nobody: true,
            ..self
        }
    }

    /// Why the origin is asked.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrimaryKey {
        &self.asked.key
    }

    /// Whether others that ask for the same may have the same response: nothing in the request is
    /// about itself, as a range, a precondition or the wish for validation.
    #[must_use]
    pub fn can_be_shared(&self) -> bool {
        let asked = &*self.asked;
        let is_now = asked
            .directives
            .max_age
            .is_some_and(|age| age.duration().is_zero());
        asked.method == Method::GET
            && !asked.directives.no_cache
            && !is_now
            && matches!(asked.mode, CacheMode::Default | CacheMode::ForceCache)
            && !asked.read_only
            && matches!(
                self.reason,
                Reason::UriMiss
                    | Reason::VaryMiss
                    | Reason::PartialMiss
                    | Reason::Stale
                    | Reason::BackendUnavailable
            )
            && ![RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE]
                .iter()
                .any(|name| asked.headers.contains_key(name))
    }

    /// The identity of the stored response that may be validated, if there is one.
    #[must_use]
    pub fn stored_token(&self) -> Option<Token> {
        self.stored.as_ref().map(|entry| entry.token)
    }

    /// Whether the answer to the caller may be a stored response whose body is still in the store.
    #[must_use]
    pub fn may_answer_remotely(&self) -> bool {
        let stored = self.stored.as_ref();
        !self.is_for_nobody
            && stored.is_some_and(|entry| matches!(entry.body.source(), Source::Remote(_)))
    }

    /// Changes the fields of the request into those to send: our validators in the place of the
    /// caller's preconditions (RFC 9111 §4.3.1), and for a mode that asks caches to step aside,
    /// the directive that asks those on the way, too. It is sent now (§4.2.3: `request_time`).
    pub fn prepare(&mut self, headers: &mut HeaderMap, now: SystemTime) {
        self.asked.asked_at = now;
        if self.is_for_nobody {
            for name in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
                headers.remove(name);
            }
        }
        if let Some(validators) = &self.validators {
            validators.precondition(headers);
        }
        let directive = match self.asked.mode {
            CacheMode::Reload => HeaderValue::from_static("no-cache"),
            CacheMode::NoCache => HeaderValue::from_static("max-age=0"),
            _ => return,
        };
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, directive);
        }
    }

    /// The stored response that may answer in the place of an origin that failed so a moment ago, and
    /// is not asked again so soon (RFC 9111 §4.2.4, RFC 5861 §4).
    #[must_use]
    pub fn without_asking(&self, failure: Failure, now: SystemTime) -> Option<Reuse<'static>> {
        self.stand_in(failure, now)
    }

    /// Judges the response of the origin (RFC 9111 §3 and §4.3.3).
    #[must_use]
    pub fn next(
        self,
        policy: &Policy,
        response: ResponseHead<'_>,
        now: SystemTime,
    ) -> AfterForward {
        let received = Received {
            status: response.status,
            version: response.version,
            headers: response.headers,
            received_at: now,
        };
        if let (Some(validators), StatusCode::NOT_MODIFIED) = (&self.validators, received.status) {
            return if validators.are_answered_by(received.headers) {
                self.freshened(policy, &received)
            } else {
                self.answered_for_another()
            };
        }
        if is_error(received.status) {
            if let Some(reuse) = self.stand_in(Failure::ErrorResponse, now) {
                return AfterForward::Reuse(reuse, Upkeep::Nothing);
            }
            if self.reason == Reason::EarlyRefresh {
                // What is stored is fresh still, and no error takes its place.
                return AfterForward::Pass(Reason::EarlyRefresh, Upkeep::Nothing);
            }
        }
        if self.asked.method == Method::HEAD {
            return self.described(policy, &received);
        }
        match store(policy, &self.asked, &received) {
            Ok(head) => AfterForward::Store(head, self.superseded(received.status)),
            Err(reason) => AfterForward::Pass(reason, self.without_superseded(received.status)),
        }
    }

    /// The stored response that may stand in, now that no response came.
    #[must_use]
    pub fn next_without_response(self, now: SystemTime) -> Option<Reuse<'static>> {
        self.stand_in(Failure::Disconnected, now)
    }

    /// A response without content that is for us: 304 (RFC 9111 §4.3.4), or the one to HEAD.
    fn freshened(self, policy: &Policy, received: &Received<'_>) -> AfterForward {
        let Some(stored) = self.stored else {
            return AfterForward::Pass(Reason::CallerPrecondition, Upkeep::Nothing);
        };
        let Freshened { mut answer, kept } = freshen(policy, &self.asked, &stored.head, received);
        let upkeep = match kept {
            Ok(head) => Upkeep::Freshen(Entry::clone(&stored), Arc::new(head)),
            Err(reason) if reason.is_about_request() => Upkeep::Nothing,
            Err(_) => Upkeep::Remove(Entry::clone(&stored)),
        };
        if received.status != StatusCode::NOT_MODIFIED {
            // A response to HEAD validates nothing: what only the stored one says stays with it.
            for name in &stored.head.freshness.no_cache_fields {
                if !received.headers.contains_key(name) {
                    answer.headers.remove(name);
                }
            }
        }
        let entry = Entry {
            head: Arc::new(answer),
            ..*stored
        };
        let is_head = self.asked.method == Method::HEAD;
        let answering = Answering::of(is_head, &self.asked.headers, &entry);
        let reuse = Reuse {
            entry: Found::Alone(entry),
            reason: Reason::Validated,
            is_validated: true,
            answering,
        };
        AfterForward::Reuse(reuse, upkeep)
    }

    /// 304 to our validator, but labelled with another one: the origin contradicts itself. The
    /// caller gets what the origin was asked about, unchanged, and nobody gets it again.
    fn answered_for_another(self) -> AfterForward {
        let Some(stored) = self.stored else {
            return AfterForward::Pass(Reason::ForeignNotModified, Upkeep::Nothing);
        };
        let is_head = self.asked.method == Method::HEAD;
        let answering = Answering::of(is_head, &self.asked.headers, &stored);
        let upkeep = match self.asked.read_only {
            true => Upkeep::Nothing,
            false => Upkeep::Remove(Entry::clone(&stored)),
        };
        let reason = Reason::ForeignNotModified;
        let reuse = Reuse {
            entry: Found::Alone(*stored),
            reason,
            is_validated: true,
            answering,
        };
        AfterForward::Reuse(reuse, upkeep)
    }

    /// The response to HEAD: it freshens the stored response to GET, whose head is then the answer,
    /// or shows that it is no longer the current one (RFC 9111 §4.3.5).
    fn described(self, policy: &Policy, received: &Received<'_>) -> AfterForward {
        let is_described = self.stored.as_ref().is_some_and(|stored| {
            received.status == stored.head.status
                && describes(received.headers, &stored.head, stored.body.len())
        });
        if is_described {
            return self.freshened(policy, received);
        }
        AfterForward::Pass(Reason::Method, self.without_superseded(received.status))
    }

    fn stand_in(&self, failure: Failure, now: SystemTime) -> Option<Reuse<'static>> {
        let entry = self.stored.as_deref()?;
        let asked = &*self.asked;
        let reason = stand_in(&asked.directives, asked.mode, &entry.head, failure, now)?;
        let answering = Answering::of(asked.method == Method::HEAD, &asked.headers, entry);
        Some(Reuse {
            entry: Found::Alone(entry.clone()),
            reason,
            is_validated: false,
            answering,
        })
    }

    fn without_superseded(self, status: StatusCode) -> Upkeep {
        let superseded = self.superseded(status);
        superseded.map_or(Upkeep::Nothing, |stored| Upkeep::Remove(*stored))
    }

    /// The stored response, which is not current any more even where the new one is not stored, unless
    /// that speaks of this one exchange only.
    fn superseded(self, status: StatusCode) -> Option<Box<Entry>> {
        let stored = self.stored?;
        (speaks_of_resource(status) && !self.asked.read_only).then_some(stored)
    }
}

/// Whether a response with this status says what has become of the resource.
fn speaks_of_resource(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::PARTIAL_CONTENT
        || status.is_redirection() && status != StatusCode::NOT_MODIFIED
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}
