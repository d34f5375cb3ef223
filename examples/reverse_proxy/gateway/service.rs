//! What becomes of a request.

use std::time::Duration;

use cache_core::strip_hop_by_hop;
use cache_tower::{CacheBody, CacheLayer};
use http::header::{HOST, HeaderValue, VIA};
use http::{Request, Response, Version};
use http_body::Body;
use tower::{BoxError, Service, ServiceBuilder};

use super::origin::Origin;

/// How long the origin may take until it begins to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway as a service: `client` asks the origin, `cache` stands before it.
pub(crate) fn service<C, ReqBody, ResBody>(
    origin: Origin,
    cache: CacheLayer,
    client: C,
) -> impl Service<
    Request<ReqBody>,
    Response = Response<CacheBody<ResBody>>,
    Error = BoxError,
    Future: Send,
> + Clone
+ Send
where
    C: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send,
    ReqBody: Body + Send + 'static,
    ResBody: Body<Error: Into<BoxError>> + Send + 'static,
{
    ServiceBuilder::new()
        .map_request(move |request| inbound(request, &origin))
        .layer(cache)
        // The cache sees responses as they may be stored, and failures as such: it may have a stale
        // response for them.
        .map_response(outbound)
        .timeout(PATIENCE)
        .service(client)
}

/// The request as the cache and the origin get it.
fn inbound<B>(mut request: Request<B>, origin: &Origin) -> Request<B> {
    *request.uri_mut() = origin.uri(request.uri());
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // The client writes the origin's own. The key of the cache is the URI, so whoever names another
    // host must not get another response.
    headers.remove(HOST);
    headers.append(VIA, HeaderValue::from_static("1.1 gateway"));
    request
}

/// The response as the cache gets it.
fn outbound<B>(mut response: Response<B>) -> Response<B> {
    strip_hop_by_hop(response.headers_mut());
    response
}
