//! The rest of a body whose beginning was sent (RFC 9110 §14, §13.1.5).

use std::ops::Range;

use http::StatusCode;
use http::header::{
    ETAG, HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};

use super::ResponseHead;
use crate::header::entity_tag::EntityTag;
use crate::header::range::Part;
use crate::rules::storing::content_length;

/// What it takes to get from the origin the rest of a body that was lost on its way: the strong
/// entity tag of what was sent, so that nothing else is sent behind it.
#[derive(Debug, Clone)]
pub struct Continuation {
    pub(super) etag: HeaderValue,
    /// What is sent of the content.
    pub(super) bytes: Range<u64>,
    /// The length of the content.
    pub(super) length: u64,
}

impl Continuation {
    pub(super) fn of(etag: &HeaderValue, bytes: Range<u64>, length: u64) -> Option<Self> {
        EntityTag::parse(etag.as_bytes()).is_strong().then(|| Self {
            etag: etag.clone(),
            bytes,
            length,
        })
    }

    /// How many bytes there are after the first `given`.
    #[must_use]
    pub fn left(&self, given: u64) -> u64 {
        (self.bytes.end - self.bytes.start).saturating_sub(given)
    }

    /// Changes the fields of a request into those that ask for all but the first `given` bytes.
    pub fn prepare(&self, given: u64, headers: &mut HeaderMap) {
        for name in [
            IF_MATCH,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
            IF_UNMODIFIED_SINCE,
        ] {
            headers.remove(name);
        }
        let first = self.bytes.start.saturating_add(given);
        let last = self.bytes.end.saturating_sub(1);
        if let Ok(range) = HeaderValue::try_from(format!("bytes={first}-{last}")) {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, self.etag.clone());
        }
    }

    /// Which bytes of the response's body are those that come after the first `given`; `None`: the
    /// response is of something else.
    #[must_use]
    pub fn accept(&self, given: u64, response: ResponseHead<'_>) -> Option<Range<u64>> {
        let wanted = self.bytes.start.checked_add(given)?..self.bytes.end;
        let mut tags = response.headers.get_all(ETAG).iter();
        let (Some(tag), None) = (tags.next(), tags.next()) else {
            return None;
        };
        let is_same = EntityTag::parse(tag.as_bytes())
            .strongly_matches(EntityTag::parse(self.etag.as_bytes()));
        if !is_same || wanted.is_empty() {
            return None;
        }
        match response.status {
            StatusCode::OK => content_length(response.headers)
                .is_none_or(|length| length == self.length)
                .then_some(wanted),
            StatusCode::PARTIAL_CONTENT => {
                let part = Part::read(response.headers)?;
                let is_in = part.length == self.length && part.contains(&wanted);
                is_in.then(|| wanted.start - part.bytes.start..wanted.end - part.bytes.start)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn continuation() -> Continuation {
        Continuation::of(&HeaderValue::from_static("\"one\""), 10..100, 200).expect("a strong tag")
    }

    fn accepted(status: u16, fields: &[(&'static str, &'static str)]) -> Option<Range<u64>> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in fields {
            response
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        continuation().accept(30, ResponseHead::from(&response))
    }

    #[test]
    fn the_rest_is_asked_for_under_the_condition_that_it_is_the_rest_of_the_same() {
        let mut headers = HeaderMap::new();
        headers.insert("if-none-match", HeaderValue::from_static("\"old\""));
        headers.insert("accept", HeaderValue::from_static("text/plain"));
        continuation().prepare(30, &mut headers);
        assert_eq!(headers["range"], "bytes=40-99");
        assert_eq!(headers["if-range"], "\"one\"");
        assert_eq!(headers["accept"], "text/plain");
        assert!(!headers.contains_key("if-none-match"));
        assert_eq!(continuation().left(30), 60);
    }

    #[test]
    fn what_is_the_rest_is_accepted() {
        let tag = ("etag", "\"one\"");
        let exact = [tag, ("content-range", "bytes 40-99/200")];
        assert_eq!(accepted(206, &exact), Some(0..60));
        let more = [tag, ("content-range", "bytes 30-199/200")];
        assert_eq!(accepted(206, &more), Some(10..70));
        assert_eq!(accepted(200, &[tag]), Some(40..100));
        assert_eq!(
            accepted(200, &[tag, ("content-length", "200")]),
            Some(40..100)
        );
    }

    #[test]
    fn what_is_the_rest_of_something_else_is_not() {
        let tag = ("etag", "\"one\"");
        for (status, fields) in [
            (206, &[("content-range", "bytes 40-99/200")][..]),
            (
                206,
                &[("etag", "\"two\""), ("content-range", "bytes 40-99/200")],
            ),
            (
                206,
                &[("etag", "W/\"one\""), ("content-range", "bytes 40-99/200")],
            ),
            (206, &[tag, ("content-range", "bytes 40-98/200")]),
            (206, &[tag, ("content-range", "bytes 41-99/200")]),
            (206, &[tag, ("content-range", "bytes 40-99/201")]),
            (206, &[tag, ("content-range", "bytes 40-99/*")]),
            (206, &[tag]),
            (200, &[tag, ("content-length", "201")]),
            (200, &[("etag", "\"two\"")]),
            (416, &[tag]),
            (304, &[tag]),
            (500, &[tag]),
        ] {
            assert_eq!(accepted(status, fields), None, "{status} {fields:?}");
        }
    }

    #[test]
    fn nothing_continues_what_has_a_weak_tag() {
        assert!(Continuation::of(&HeaderValue::from_static("W/\"one\""), 0..1, 1).is_none());
    }
}
