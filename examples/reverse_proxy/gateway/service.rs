//! What becomes of a request.

use std::mem;
use std::time::Duration;

use cache_core::strip_hop_by_hop;
use http::header::{HOST, HeaderValue, VIA};
use http::{Request, Response, Version};
use tower::{BoxError, Service, ServiceBuilder};

use super::interim::Turn;
use super::origin::Origin;

/// How long the origin may take until it begins to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is before the cache: `inner` gets requests for the origin.
pub(crate) fn client_side<S, ReqBody, Response>(
    origin: Origin,
    inner: S,
) -> impl Service<Request<ReqBody>, Response = Response, Error = S::Error, Future: Send> + Clone + Send
where
    S: Service<Request<ReqBody>, Response = Response, Future: Send> + Clone + Send,
{
    ServiceBuilder::new()
        .map_request(move |request| inbound(request, &origin))
        .service(inner)
}

/// What is behind the cache, which has to see responses as they may be stored, and failures as
/// such: it may have a stale response for them.
pub(crate) fn origin_side<C, ReqBody, ResBody>(
    client: C,
    turn: Turn,
) -> impl Service<Request<ReqBody>, Response = Response<ResBody>, Error = BoxError, Future: Send>
+ Clone
+ Send
where
    C: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send,
    C::Error: Into<BoxError>,
    C::Future: Send,
{
    ServiceBuilder::new()
        .map_request(move |mut request: Request<ReqBody>| {
            turn.pass_on(&mut request);
            let via = HeaderValue::from_static("1.1 gateway");
            request.headers_mut().append(VIA, via);
            request
        })
        .map_response(outbound)
        .timeout(PATIENCE)
        .service(client)
}

/// The request as the cache gets it.
fn inbound<B>(mut request: Request<B>, origin: &Origin) -> Request<B> {
    let target = mem::take(request.uri_mut());
    *request.uri_mut() = origin.uri(target);
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // The client writes the origin's own. The key of the cache is the URI, so whoever names another
    // host must not get another response.
    headers.remove(HOST);
    request
}

/// The response as the cache gets it.
fn outbound<B>(mut response: Response<B>) -> Response<B> {
    strip_hop_by_hop(response.headers_mut());
    response
}
