//! `ContentLayer`: requests whose content is in their key.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use cache_core::{BoxFuture, ContentKey, Policy, RequestContent};
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Reads the content of requests before the cache sees them, for
/// [`Policy::key_content`](cache_core::Policy::key_content): it goes outside of the cache, and the
/// service inside gets a [`ContentBody`] that gives the content again.
///
/// ```
/// use cache_tower::{CacheLayer, ContentKey, ContentLayer, MemoryBackend, Policy};
/// use http::Method;
/// use tower_layer::Layer;
/// # let client = ();
///
/// let content = ContentKey::query().method(Method::POST).normalise_forms();
/// let policy = Policy::private().key_content(content.clone());
/// let cache = CacheLayer::new(MemoryBackend::default()).policy(policy);
/// let client = ContentLayer::new(content).layer(cache.layer(client));
/// # let _ = client;
/// ```
///
/// Content that is longer than the limit, breaks off, or has trailers is passed on as it comes, and the
/// request is treated as one whose content is not in the key.
#[derive(Debug, Clone)]
pub struct ContentLayer {
    policy: Policy,
    limit: u64,
}

impl ContentLayer {
    /// For the requests that `content` takes.
    #[must_use]
    pub fn new(content: ContentKey) -> Self {
        Self {
            policy: Policy::private().key_content(content),
            limit: 1 << 20,
        }
    }

    /// The longest content that is read, in bytes. Default: 1 MiB.
    #[must_use]
    pub fn limit(self, bytes: u64) -> Self {
        Self {
            limit: bytes,
            ..self
        }
    }
}

impl<S> Layer<S> for ContentLayer {
    type Service = WithContent<S>;

    fn layer(&self, inner: S) -> WithContent<S> {
        WithContent {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of a [`ContentLayer`].
#[derive(Debug, Clone)]
pub struct WithContent<S> {
    inner: S,
    layer: ContentLayer,
}

impl<S, B> Service<Request<B>> for WithContent<S>
where
    S: Service<Request<ContentBody<B>>> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WithContentFuture<S::Future, S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_read = self.layer.policy.keys_content_of(request.method())
            && request.body().size_hint().lower() <= self.layer.limit;
        if !is_read {
            return WithContentFuture {
                state: State::Passing {
                    answer: self.inner.call(request.map(ContentBody::untouched)),
                },
            };
        }
        // The one that is ready is called; a clone need not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let limit = self.layer.limit;
        let answer = async move {
            let (mut parts, body) = request.into_parts();
            let (body, content) = read(body, limit).await;
            if let Some(content) = content {
                parts.extensions.insert(RequestContent::new(content));
            }
            inner.call(Request::from_parts(parts, body)).await
        };
        WithContentFuture {
            state: State::Reading {
                answer: Box::pin(answer),
            },
        }
    }
}

/// Reads a body; its content, where that is all.
async fn read<B: Body>(body: B, limit: u64) -> (ContentBody<B>, Option<Bytes>) {
    let mut body = Box::pin(body);
    let mut chunks = VecDeque::new();
    let mut length = 0_u64;
    loop {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(Err(error)) => {
                return (ContentBody::begun(chunks, Some(Err(error)), None), None);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => {
                    let chunk = data.copy_to_bytes(data.remaining());
                    length = length.saturating_add(chunk.len() as u64);
                    if !chunk.is_empty() {
                        chunks.push_back(chunk);
                    }
                    if length > limit {
                        return (ContentBody::begun(chunks, None, Some(body)), None);
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().ok().map(Ok);
                    return (ContentBody::begun(chunks, trailers, None), None);
                }
            },
        }
    }
    let mut content = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in chunks {
        content.extend_from_slice(&chunk);
    }
    let content = content.freeze();
    let chunks = match content.is_empty() {
        true => VecDeque::new(),
        false => VecDeque::from([content.clone()]),
    };
    (ContentBody::begun(chunks, None, None), Some(content))
}

pin_project! {
    /// A request body that was read, or its beginning was; it gives the same again.
    pub struct ContentBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body> {
        Untouched { #[pin] body: B },
        Begun {
            chunks: VecDeque<Bytes>,
            end: Option<Result<HeaderMap, B::Error>>,
            rest: Option<Pin<Box<B>>>,
        },
    }
}

impl<B: Body> ContentBody<B> {
    /// The body itself, if nothing was read of it.
    ///
    /// # Errors
    ///
    /// This body, where it was read.
    #[expect(clippy::result_large_err, reason = "it is no error, and taken at once")]
    pub fn into_inner(self) -> Result<B, Self> {
        match self.kind {
            Kind::Untouched { body } => Ok(body),
            kind => Err(Self { kind }),
        }
    }

    fn untouched(body: B) -> Self {
        Self {
            kind: Kind::Untouched { body },
        }
    }

    fn begun(
        chunks: VecDeque<Bytes>,
        end: Option<Result<HeaderMap, B::Error>>,
        rest: Option<Pin<Box<B>>>,
    ) -> Self {
        Self {
            kind: Kind::Begun { chunks, end, rest },
        }
    }
}

impl<B: Body> Body for ContentBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let bytes = |frame: Frame<B::Data>| {
            frame.map_data(|mut data: B::Data| data.copy_to_bytes(data.remaining()))
        };
        let frame = match self.project().kind.project() {
            KindProjection::Untouched { body } => ready!(body.poll_frame(cx)),
            KindProjection::Begun { chunks, end, rest } => {
                if let Some(chunk) = chunks.pop_front() {
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                if let Some(end) = end.take() {
                    return Poll::Ready(Some(end.map(Frame::trailers)));
                }
                match rest {
                    Some(rest) => ready!(rest.as_mut().poll_frame(cx)),
                    None => None,
                }
            }
        };
        Poll::Ready(frame.map(|frame| frame.map(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Untouched { body } => body.is_end_stream(),
            Kind::Begun { chunks, end, rest } => {
                chunks.is_empty()
                    && end.is_none()
                    && rest.as_ref().is_none_or(|rest| rest.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Untouched { body } => body.size_hint(),
            // It breaks off.
            Kind::Begun {
                end: Some(Err(_)), ..
            } => SizeHint::default(),
            Kind::Begun { chunks, rest, .. } => {
                let ahead = chunks.iter().map(|chunk| chunk.len() as u64).sum();
                let rest = match rest {
                    Some(rest) => rest.size_hint(),
                    None => SizeHint::with_exact(0),
                };
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(ahead));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
                    hint.set_upper(upper);
                }
                hint
            }
        }
    }
}

impl<B: Body> fmt::Debug for ContentBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Untouched { .. } => "ContentBody(untouched)",
            Kind::Begun { .. } => "ContentBody(read)",
        })
    }
}

pin_project! {
    /// The future of a call to [`WithContent`]. Dropping it gives the request up.
    pub struct WithContentFuture<F, R, E> {
        #[pin]
        state: State<F, R, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, R, E> {
        Passing { #[pin] answer: F },
        Reading { answer: BoxFuture<'static, Result<R, E>> },
    }
}

impl<F, R, E> Future for WithContentFuture<F, R, E>
where
    F: Future<Output = Result<R, E>>,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passing { answer } => answer.poll(cx),
            StateProjection::Reading { answer } => pin!(answer).poll(cx),
        }
    }
}

impl<F, R, E> fmt::Debug for WithContentFuture<F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithContentFuture").finish_non_exhaustive()
    }
}
