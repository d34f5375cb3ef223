//! Messages that can be read: sections between empty lines, a first line and fields in each.

use std::str;

use cache_core::CacheMode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

/// The sections of an input.
pub fn sections(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.windows(2).position(|pair| pair == b"\n\n");
        rest = end.map(|end| &text[end + 2..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

/// `GET http://a.test/ reload`, and fields below; `None`: that is no request.
#[must_use]
pub fn request(section: &[u8]) -> Option<Request<()>> {
    let (first, fields) = split(section);
    let mut words = first.split(|byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = str::from_utf8(words.next()?).ok()?.parse().ok()?;
    request.extensions_mut().insert(match words.next() {
        Some(b"no-store") => CacheMode::NoStore,
        Some(b"reload") => CacheMode::Reload,
        Some(b"no-cache") => CacheMode::NoCache,
        Some(b"force-cache") => CacheMode::ForceCache,
        Some(b"only-if-cached") => CacheMode::OnlyIfCached,
        Some(b"read-only") => CacheMode::ReadOnly,
        _ => CacheMode::Default,
    });
    *request.headers_mut() = headers(fields);
    Some(request)
}

/// `200`, and fields below; `None`: that is no response.
#[must_use]
pub fn response(section: &[u8]) -> Option<Response<()>> {
    let (first, fields) = split(section);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(first).ok()?;
    *response.headers_mut() = headers(fields);
    Some(response)
}

/// `name: value` in each line; what is no field is left out.
#[must_use]
pub fn headers(lines: &[u8]) -> HeaderMap {
    let field = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        Some((name, value))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.split(|byte| *byte == b'\n').filter_map(field) {
        headers.append(name, value);
    }
    headers
}

fn split(section: &[u8]) -> (&[u8], &[u8]) {
    match section.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&section[..end], &section[end + 1..]),
        None => (section, &[]),
    }
}
