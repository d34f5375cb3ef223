//! Which stored responses an unsafe request makes invalid (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, HOST, HeaderMap, HeaderValue, LOCATION};
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode, Uri};

use crate::request::RequestHead;

/// Whether a method is known not to change anything (RFC 9110 §9.2.1, and the registry that it
/// sets up). One that is not known may.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" | "PROPFIND" | "REPORT" | "SEARCH"
    )
}

/// The URIs that a response to an unsafe request makes invalid: the target, and where the response
/// names others of the same origin, those.
pub(crate) fn invalidated(
    request: &RequestHead<'_>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Vec<Uri> {
    if !status.is_success() && !status.is_redirection() {
        return Vec::new();
    }
    let named = [LOCATION, CONTENT_LOCATION]
        .into_iter()
        .filter_map(|name| named_by(request, headers.get(name)?));
    let mut uris = vec![request.uri.clone()];
    for uri in named {
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

/// Whether `Content-Location` names the target itself, so that the content of the response is what
/// a GET would get (RFC 9110 §9.3.3).
pub(crate) fn describes_target(request: &RequestHead<'_>, headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_LOCATION).iter();
    match (lines.next(), lines.next()) {
        (Some(reference), None) => named_by(request, reference).as_ref() == Some(request.uri),
        _ => false,
    }
}

/// What a reference names, if it is of the same origin as the target; in the form of the target.
fn named_by(request: &RequestHead<'_>, reference: &HeaderValue) -> Option<Uri> {
    let target = request.uri;
    let uri = resolve(target, reference.to_str().ok()?)?;
    match (uri.authority(), target.authority()) {
        (None, _) => Some(uri),
        (Some(_), Some(authority)) if is_same_origin(&uri, target) => {
            // With the user information of the target, which is in keys.
            let mut parts = uri.into_parts();
            parts.authority = Some(authority.clone());
            Uri::from_parts(parts).ok()
        }
        (Some(_), Some(_)) => None,
        // A server knows its own name from `Host` only, and its scheme not at all.
        (Some(authority), None) => {
            let host = Authority::try_from(request.headers.get(HOST)?.as_bytes()).ok()?;
            let is_same = authority.host().eq_ignore_ascii_case(host.host())
                && authority.port_u16() == host.port_u16();
            Uri::try_from(uri.path_and_query()?.as_str())
                .ok()
                .filter(|_| is_same)
        }
    }
}

/// Resolves a reference against the target (RFC 3986 §5.2); what cannot be resolved is nothing.
fn resolve(target: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next().unwrap_or_default();
    let of = |uri: Uri, text: &str| {
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(remove_dot_segments(text)).ok()?);
        Uri::from_parts(parts).ok()
    };
    let path_and_query = |text: &str| of(target.clone(), text);
    let absolute = |text: &str| {
        let uri = Uri::try_from(text)
            .ok()
            .filter(|uri| uri.scheme().is_some())?;
        let text = uri.path_and_query()?.to_string();
        of(uri, &text)
    };
    if let Some(network_path) = reference.strip_prefix("//") {
        return absolute(&format!("{}://{network_path}", target.scheme_str()?));
    }
    if reference.is_empty() {
        return Some(target.clone());
    }
    if reference.starts_with('/') {
        return path_and_query(reference);
    }
    if let Some(query) = reference.strip_prefix('?') {
        return path_and_query(&format!("{}?{query}", target.path()));
    }
    let first = reference.split(['/', '?']).next().unwrap_or_default();
    if first.contains(':') {
        return absolute(reference);
    }
    let (directory, _) = target.path().rsplit_once('/')?;
    path_and_query(&format!("{directory}/{reference}"))
}

/// Removes `.` and `..` from the path of a reference (RFC 3986 §5.2.4).
fn remove_dot_segments(reference: &str) -> String {
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let mut segments = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    let path = segments.join("/");
    match query {
        Some(query) => format!("/{path}?{query}"),
        None => format!("/{path}"),
    }
}

/// Same scheme, host and port (RFC 9110 §4.3.1).
fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let scheme = |uri: &Uri| uri.scheme_str().map(str::to_ascii_lowercase);
    let default = match scheme(other).as_deref() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let origin = |uri: &Uri| {
        let host = uri.host().map(str::to_ascii_lowercase);
        let port = uri.authority().and_then(Authority::port_u16).or(default);
        (host, port)
    };
    scheme(one) == scheme(other) && origin(one) == origin(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const TARGET: &str = "http://a.test/dir/page?q";

    #[track_caller]
    fn check(reference: &str, expected: Option<&str>) {
        let target: Uri = TARGET.parse().expect("a URI");
        let expected = expected.map(|uri| uri.parse::<Uri>().expect("a URI"));
        assert_eq!(resolve(&target, reference), expected, "{reference:?}");
    }

    #[test]
    fn references_are_resolved_against_the_target() {
        check("", Some(TARGET));
        check("#part", Some(TARGET));
        check("other", Some("http://a.test/dir/other"));
        check("?r", Some("http://a.test/dir/page?r"));
        check("/x?y#z", Some("http://a.test/x?y"));
        check("../x/./y/..", Some("http://a.test/x/"));
        check("../../../x", Some("http://a.test/x"));
        check("//b.test/x", Some("http://b.test/x"));
        check("https://b.test/x", Some("https://b.test/x"));
        check("mailto:someone", None);
    }

    fn invalidated_by(status: u16, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let request = Request::post(TARGET).body(()).expect("a request");
        invalidated_by_request(&request, status, fields)
    }

    fn invalidated_by_request(
        request: &Request<()>,
        status: u16,
        fields: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).expect("a status code");
        let uris = invalidated(&RequestHead::from(request), status, &headers);
        uris.iter().map(Uri::to_string).collect()
    }

    #[test]
    fn a_server_tells_its_own_locations_by_the_host_field() {
        let request = Request::post("/dir/page")
            .header("host", "a.test")
            .body(())
            .expect("a request");
        let location = |uri| invalidated_by_request(&request, 201, &[("location", uri)]);
        assert_eq!(location("new"), ["/dir/page", "/dir/new"]);
        assert_eq!(location("https://A.test/new"), ["/dir/page", "/new"]);
        assert_eq!(location("https://b.test/new"), ["/dir/page"]);
        assert_eq!(location("https://a.test:81/new"), ["/dir/page"]);
    }

    #[test]
    fn success_and_redirection_invalidate_the_target_and_errors_do_not() {
        for status in [200, 201, 204, 301, 302, 303] {
            assert_eq!(invalidated_by(status, &[]), [TARGET], "{status}");
        }
        for status in [400, 404, 409, 500, 503] {
            assert_eq!(invalidated_by(status, &[]), [""; 0], "{status}");
        }
    }

    #[test]
    fn locations_of_the_same_origin_are_invalidated_and_others_are_not() {
        let same = [
            ("location", "/new"),
            ("content-location", "http://A.test:80/dir/x"),
        ];
        let expected = [TARGET, "http://a.test/new", "http://a.test/dir/x"];
        assert_eq!(invalidated_by(201, &same), expected);
        for other in [
            "https://a.test/x",
            "http://b.test/x",
            "http://a.test:81/x",
            "//b.test/x",
        ] {
            assert_eq!(
                invalidated_by(201, &[("location", other)]),
                [TARGET],
                "{other}"
            );
        }
    }

    #[test]
    fn unknown_methods_are_not_safe() {
        assert!(is_safe(&Method::GET));
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get"] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert!(!is_safe(&method), "{method}");
        }
    }
}
