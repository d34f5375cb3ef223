//! Storing a response that no request brought.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use cache_core::{
    AfterForward, AfterLookup, BackendError, Begin, Candidates, Reason, RequestHead, ResponseHead,
    content_length,
};
use http::{Request, Response};
use http_body::Body;

use super::copy::{publish, write};
use super::handle::CacheHandle;
use crate::body::BoxError;

impl CacheHandle {
    /// Stores a response to a request, as if the origin had given it now: judged by the policy, and by
    /// what request and response say.
    ///
    /// # Errors
    ///
    /// Where it may not be stored, its body breaks off, or the store does not take it. Then what was
    /// stored before is still there. Dropping the future stores nothing.
    pub async fn put<B, R>(
        &self,
        request: &Request<B>,
        response: Response<R>,
    ) -> Result<(), PutError>
    where
        R: Body<Error: Into<BoxError>>,
    {
        let asked = RequestHead::from(request);
        self.put_by(asked, response, None).await
    }

    /// The same, but fresh for `ttl`, whatever the response says, as by
    /// [`Policy::override_ttl`](crate::Policy::override_ttl).
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put).
    pub async fn put_for<B, R>(
        &self,
        request: &Request<B>,
        response: Response<R>,
        ttl: Duration,
    ) -> Result<(), PutError>
    where
        R: Body<Error: Into<BoxError>>,
    {
        let mut asked = RequestHead::from(request);
        let options = asked.options.cloned().unwrap_or_default();
        let options = options.override_ttl(ttl);
        asked.options = Some(&options);
        self.put_by(asked, response, Some(ttl)).await
    }

    async fn put_by<R>(
        &self,
        asked: RequestHead<'_>,
        response: Response<R>,
        ttl: Option<Duration>,
    ) -> Result<(), PutError>
    where
        R: Body<Error: Into<BoxError>>,
    {
        let engine = &self.engine();
        let (policy, time) = (&engine.policy, engine.backend_timeout);
        let now = engine.clock.now();
        let forward = match Begin::new(policy, &asked, now) {
            Begin::Lookup(lookup) => {
                match lookup.next(policy, &asked, Candidates::default(), now) {
                    AfterLookup::Forward(forward) => forward,
                    AfterLookup::Unsatisfiable(reason) => return Err(PutError::Refused(reason)),
                    _ => return Err(PutError::Refused(Reason::Method)),
                }
            }
            Begin::Forward(forward) => forward,
            Begin::Bypass(reason) | Begin::Unsatisfiable(reason) => {
                return Err(PutError::Refused(reason));
            }
            Begin::Unsafe(_) => return Err(PutError::Refused(Reason::Method)),
        };
        let head = match forward.next(policy, ResponseHead::from(&response), now) {
            AfterForward::Store(head, _) => head,
            AfterForward::Pass(reason, _) => return Err(PutError::Refused(reason)),
            AfterForward::Reuse(..) => return Err(PutError::Refused(Reason::CallerPrecondition)),
        };
        let head = match ttl {
            Some(ttl) => head.fresh_for(ttl, now),
            None => head,
        };
        let (parts, body) = response.into_parts();
        let expected = content_length(&parts.headers);
        let mut writer = engine.backend.writer(head);
        let mut body = pin!(body);
        let mut length = 0;
        let mut trailers = None;
        // What a filter of the policy has to see.
        let mut shown = BytesMut::new();
        let limit = policy.body_filter_limit();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            match frame
                .map_err(|error| PutError::Body(error.into()))?
                .into_data()
            {
                Ok(mut data) => {
                    let piece = data.copy_to_bytes(data.remaining());
                    length += piece.len() as u64;
                    if length > limit.unwrap_or(u64::MAX).min(policy.body_limit()) {
                        return Err(PutError::Refused(Reason::BodyTooLarge));
                    }
                    if limit.is_some() {
                        shown.extend_from_slice(&piece);
                    }
                    let taken = write(&mut *writer, piece, time).await;
                    if !taken.map_err(PutError::Store)? {
                        return Err(PutError::Declined);
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        if let Some(expected) = expected.filter(|expected| *expected != length) {
            let problem = format!("the body has {length} bytes of {expected}");
            return Err(PutError::Body(problem.into()));
        }
        let response = ResponseHead::new(parts.status, parts.version, &parts.headers);
        if !policy.permits_body(response, &shown) {
            return Err(PutError::Filtered);
        }
        let trailers =
            trailers.and_then(|trailers| policy.stored_trailers(&parts.headers, &trailers));
        let taken = publish(writer, trailers, time).await;
        if taken.map_err(PutError::Store)? {
            Ok(())
        } else {
            Err(PutError::Declined)
        }
    }
}

/// Why a response was not put into the store.
#[derive(Debug)]
#[non_exhaustive]
pub enum PutError {
    /// It may not be stored.
    Refused(Reason),
    /// A filter of the policy refuses its body.
    Filtered,
    /// The store does not take it: it is too large, or what is there is newer.
    Declined,
    /// Its body broke off, or is not as long as it said.
    Body(BoxError),
    /// The store failed.
    Store(BackendError),
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "it may not be stored: {}", reason.explain()),
            Self::Filtered => f.write_str("a filter of the policy refuses its body"),
            Self::Declined => f.write_str("the store does not take it"),
            Self::Body(_) => f.write_str("its body is not whole"),
            Self::Store(_) => f.write_str("the store failed"),
        }
    }
}

impl StdError for PutError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::Store(error) => Some(error),
            Self::Refused(_) | Self::Filtered | Self::Declined => None,
        }
    }
}
