//! A request that somebody watches: by a listener, a span, or its own wish for its key.

use std::error::Error;
use std::sync::Arc;

use cache_core::{CacheInfo, CacheOptions, Digest, PrimaryKey, RequestHead};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tracing::field::Empty;
use tracing::{Instrument, Level, Span, debug_span, span_enabled};

use crate::engine::{self, Engine};
use crate::event::Event;
use crate::future::ResponseFuture;

/// What is to be said when the request is answered.
struct Watch {
    engine: Arc<Engine>,
    key: Option<Digest>,
    span: Span,
}

/// Whether somebody watches a request.
pub(crate) fn is_watched<B>(engine: &Engine, request: &Request<B>) -> bool {
    is_heard(engine) || wants_key(request)
}

/// Whether somebody hears what becomes of all requests.
pub(crate) fn is_heard(engine: &Engine) -> bool {
    engine.listeners.is_some() || span_enabled!(Level::DEBUG)
}

fn wants_key<B>(request: &Request<B>) -> bool {
    !request.extensions().is_empty()
        && CacheOptions::of(request.extensions()).is_some_and(CacheOptions::reports_key)
}

/// Handles a request that somebody watches.
pub(crate) fn call<S, ReqBody, ResBody>(
    engine: &Arc<Engine>,
    inner: &S,
    request: Request<ReqBody>,
) -> ResponseFuture<ResBody, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let key = match wants_key(&request) {
        true => PrimaryKey::of(&engine.policy, &RequestHead::from(&request)),
        false => None,
    };
    let span = debug_span!(
        "http_cache",
        method = %request.method(),
        outcome = Empty,
        reason = Empty,
    );
    let watch = Watch {
        engine: engine.clone(),
        key: key.map(|key| key.digest()),
        span: span.clone(),
    };
    match span
        .in_scope(|| engine::call(engine, inner, request))
        .into_answer()
    {
        Ok(mut response) => {
            watch.see(&mut response);
            ResponseFuture::answered(response)
        }
        Err(waiting) => {
            let watched = async move {
                let mut answer = waiting.await;
                match &mut answer {
                    Ok(response) => watch.see(response),
                    Err(_) => watch.engine.listeners.tell(&Event::Failed),
                }
                answer
            };
            ResponseFuture::waiting(watched.instrument(span))
        }
    }
}

impl Watch {
    fn see<B>(&self, response: &mut Response<B>) {
        let status = response.status();
        let extensions = response.extensions_mut();
        let Some(info) = extensions.get_mut::<CacheInfo>() else {
            return;
        };
        info.key = self.key;
        self.span.record("outcome", info.outcome.as_str());
        self.span.record("reason", info.reason.explain());
        let info = &*info;
        let answered = Event::Answered { info, status };
        self.engine.listeners.tell(&answered);
        if !self.engine.has_info {
            extensions.remove::<CacheInfo>();
        }
    }
}
