//! Entity tags (RFC 9110 §8.8.3).

use http::header::{HeaderMap, HeaderName};

/// An entity tag as received, compared byte by byte.
///
/// A malformed one is kept as it is: equal bytes are the only thing that it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    is_weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    pub(crate) fn parse(value: &'a [u8]) -> Self {
        match value.strip_prefix(b"W/") {
            Some(opaque) if opaque.first() == Some(&b'"') => Self {
                is_weak: true,
                opaque,
            },
            _ => Self {
                is_weak: false,
                opaque: value,
            },
        }
    }

    pub(crate) fn is_strong(self) -> bool {
        let quoted = self.opaque.len() >= 2
            && self.opaque.starts_with(b"\"")
            && self.opaque.ends_with(b"\"");
        !self.is_weak && quoted
    }

    /// Strong comparison (RFC 9110 §8.8.3.2).
    pub(crate) fn strongly_matches(self, other: Self) -> bool {
        self.is_strong() && other.is_strong() && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2).
    pub(crate) fn weakly_matches(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// The tags of a list field (`If-None-Match`), over all its lines.
pub(crate) fn tags<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = EntityTag<'a>> {
    headers.get_all(name).iter().flat_map(|line| Tags {
        rest: line.as_bytes(),
    })
}

/// Splits at commas, but not inside the quotes of a tag, in which a backslash escapes nothing.
struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = EntityTag<'a>;

    fn next(&mut self) -> Option<EntityTag<'a>> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest {
                [] => return None,
                [b',', rest @ ..] => self.rest = rest,
                _ => break,
            }
        }
        let mut inside = false;
        let end = self
            .rest
            .iter()
            .position(|byte| {
                inside ^= *byte == b'"';
                *byte == b',' && !inside
            })
            .unwrap_or(self.rest.len());
        let (tag, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(EntityTag::parse(tag.trim_ascii_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderValue, IF_NONE_MATCH};

    fn tag(text: &str) -> EntityTag<'_> {
        EntityTag::parse(text.as_bytes())
    }

    #[test]
    fn the_comparisons_are_those_of_the_rfc() {
        // The table of RFC 9110 §8.8.3.2.
        for (one, other, strong, weak) in [
            (r#"W/"1""#, r#"W/"1""#, false, true),
            (r#"W/"1""#, r#"W/"2""#, false, false),
            (r#"W/"1""#, r#""1""#, false, true),
            (r#""1""#, r#""1""#, true, true),
        ] {
            assert_eq!(
                tag(one).strongly_matches(tag(other)),
                strong,
                "{one} {other}"
            );
            assert_eq!(tag(one).weakly_matches(tag(other)), weak, "{one} {other}");
        }
    }

    #[test]
    fn a_malformed_tag_equals_only_its_own_bytes() {
        assert!(tag("abc").weakly_matches(tag("abc")));
        assert!(!tag("abc").weakly_matches(tag(r#""abc""#)));
        assert!(!tag("abc").is_strong());
        assert!(!tag(r#"W"abc""#).weakly_matches(tag(r#""abc""#)));
    }

    #[test]
    fn a_list_splits_at_commas_outside_of_quotes() {
        let mut headers = HeaderMap::new();
        headers.append(
            IF_NONE_MATCH,
            HeaderValue::from_static(r#""a,b" , W/"c",, bare"#),
        );
        headers.append(IF_NONE_MATCH, HeaderValue::from_static(r#""d\""#));
        let found: Vec<_> = tags(&headers, &IF_NONE_MATCH).collect();
        assert_eq!(
            found,
            [
                tag(r#""a,b""#),
                tag(r#"W/"c""#),
                tag("bare"),
                tag(r#""d\""#)
            ]
        );
    }
}
