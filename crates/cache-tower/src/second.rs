//! A second request like one that is sent, for the rest of a body that the store loses.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::{Empty, Full};

/// How to make request bodies without content, of the types that are known. Where a request has none, one
/// is as good as another.
#[derive(Clone)]
pub(crate) struct EmptyBodies(Vec<Arc<dyn Any + Send + Sync>>);

impl EmptyBodies {
    pub(crate) fn add<B: 'static>(&mut self, make: fn() -> B) {
        self.0.push(Arc::new(make));
    }

    /// The same request, where it has no content and it is known how to make its body.
    pub(crate) fn second<B: Body + 'static>(&self, request: &Request<B>) -> Option<Request<B>> {
        if !request.body().is_end_stream() {
            return None;
        }
        let mut known = self.0.iter().rev();
        let make = known.find_map(|make| make.downcast_ref::<fn() -> B>())?;
        let mut second = Request::new(make());
        *second.method_mut() = request.method().clone();
        *second.uri_mut() = request.uri().clone();
        *second.version_mut() = request.version();
        *second.headers_mut() = request.headers().clone();
        *second.extensions_mut() = request.extensions().clone();
        Some(second)
    }
}

impl Default for EmptyBodies {
    fn default() -> Self {
        let mut bodies = Self(Vec::new());
        bodies.add::<String>(String::new);
        bodies.add::<Empty<Bytes>>(Empty::new);
        bodies.add::<Full<Bytes>>(Full::default);
        bodies
    }
}

impl fmt::Debug for EmptyBodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmptyBodies").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Other = http_body_util::Either<Empty<Bytes>, Full<Bytes>>;

    fn other() -> Other {
        Other::Left(Empty::new())
    }

    #[test]
    fn a_second_request_is_made_where_its_body_is_known() {
        let mut request = Request::get("http://origin.test/a").body(other());
        let request = request.as_mut().expect("a request");
        request.extensions_mut().insert(1_u8);
        let mut bodies = EmptyBodies::default();
        assert!(bodies.second(request).is_none());
        bodies.add(other);
        let second = bodies.second(request).expect("it is known now");
        assert_eq!(second.uri(), request.uri());
        assert_eq!(second.extensions().get::<u8>(), Some(&1));
        let usual = Request::new(Full::<Bytes>::default());
        assert!(bodies.second(&usual).is_some());
        let with_content = Request::new(Full::<Bytes>::from("content"));
        assert!(bodies.second(&with_content).is_none());
    }
}
