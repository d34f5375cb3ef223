//! What the rules of a policy match hosts, paths and content types by.

use std::fmt;
use std::ops::RangeInclusive;

/// A pattern for text with segments between slashes: `*` is any run of characters in one segment,
/// `**` any run in any number of them, `?` one character of a segment. It matches the whole text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Glob {
    text: Box<str>,
    tokens: Box<[Token]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Any,
    AnyDeep,
}

impl Glob {
    /// A pattern for a path, from the slash that it begins with.
    pub(super) fn path(pattern: &str) -> Result<Self, String> {
        if !pattern.starts_with('/') && !pattern.starts_with('*') {
            return Err(format!(
                "the path {pattern:?} does not begin with a slash; write \"/{pattern}\", and the host apart"
            ));
        }
        if pattern.contains('#') {
            return Err(format!(
                "the path {pattern:?} has more than a path; nothing is sent of what comes behind `#`"
            ));
        }
        Self::new("path", pattern, pattern)
    }

    /// A pattern for a media type, without parameters.
    pub(super) fn content_type(pattern: &str) -> Result<Self, String> {
        let is_type = pattern.split('/').count() == 2 && !pattern.contains([';', ' ', ',']);
        if !is_type {
            return Err(format!(
                "the content type {pattern:?} is none; write \"text/html\", \"image/*\" or \"application/*+json\""
            ));
        }
        Self::new("content type", pattern, &pattern.to_ascii_lowercase())
    }

    fn new(what: &str, text: &str, pattern: &str) -> Result<Self, String> {
        if let Some(found) = pattern.chars().find(|found| "[]{}\\".contains(*found)) {
            return Err(format!(
                "the {what} {text:?} has {found:?}, which is no wildcard here; write `*`, `**` or `?`, or use a regular expression"
            ));
        }
        if !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "the {what} {text:?} has a character that no URI has; write it percent-encoded"
            ));
        }
        let mut normalised = Vec::with_capacity(pattern.len());
        crate::key::normalise_escapes(pattern.as_bytes(), &mut normalised);
        let mut tokens = Vec::with_capacity(normalised.len());
        for byte in normalised {
            let token = match (byte, tokens.last()) {
                (b'*', Some(Token::AnyDeep)) => continue,
                (b'*', Some(Token::Any)) => {
                    tokens.pop();
                    Token::AnyDeep
                }
                (b'*', _) => Token::Any,
                (b'?', _) => Token::One,
                (byte, _) => Token::Byte(byte),
            };
            tokens.push(token);
        }
        if tokens.len() > LONGEST {
            return Err(format!(
                "the {what} {text:?} is longer than {LONGEST} characters; write the beginning and `**`"
            ));
        }
        Ok(Self {
            text: text.into(),
            tokens: tokens.into(),
        })
    }

    /// Whether all of `text` matches, in time linear in its length.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        // A bit for each token that may come next.
        let mut next = self.with_skipped(1);
        for byte in text {
            let (mut left, mut after) = (next, 0);
            while left != 0 {
                let at = left.trailing_zeros() as usize;
                left &= left - 1;
                after |= match self.tokens.get(at) {
                    Some(Token::Byte(wanted)) if wanted == byte => 2 << at,
                    Some(Token::One) if *byte != b'/' => 2 << at,
                    Some(Token::Any) if *byte != b'/' => 1 << at,
                    Some(Token::AnyDeep) => 1 << at,
                    _ => 0,
                };
            }
            next = self.with_skipped(after);
            if next == 0 {
                return false;
            }
        }
        next & 1 << self.tokens.len() != 0
    }

    /// What may come next, where `*` may stand for nothing.
    fn with_skipped(&self, mut next: u128) -> u128 {
        for (at, token) in self.tokens.iter().enumerate() {
            if matches!(token, Token::Any | Token::AnyDeep) && next & 1 << at != 0 {
                next |= 2 << at;
            }
        }
        next
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A bit of a `u128` for each token, and one for the end.
const LONGEST: usize = 126;

/// `a.test`, `*.a.test` for all below it, or `*`; with a port where only that one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPattern {
    /// With its leading dot, where there is a wildcard before it.
    name: Box<str>,
    port: Option<u16>,
}

impl HostPattern {
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let wrong = |advice: &str| Err(format!("the host {pattern:?} {advice}"));
        if pattern.contains('/') {
            return wrong(
                "has more than a host; write \"a.example\" or \"*.a.example\", and the path apart",
            );
        }
        let lower = pattern.to_ascii_lowercase();
        let (name, port) = match lower.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => match port.parse() {
                Ok(port) => (name, Some(port)),
                Err(_) => return wrong("has a port that is no number from 0 to 65535"),
            },
            _ => (&*lower, None),
        };
        let plain = name.strip_prefix('*').unwrap_or(name);
        let has_dot = name == "*" || !name.starts_with('*') || plain.starts_with('.');
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~[]:%".contains(&byte);
        if name.is_empty() || !has_dot || plain == "." || !plain.bytes().all(is_host) {
            return wrong(
                "is none; write \"a.example\", or \"*.a.example\" for all below it, or \"*\"",
            );
        }
        Ok(Self {
            name: plain.into(),
            port,
        })
    }

    /// `host` without its port.
    pub(super) fn matches(&self, host: &str, port: Option<u16>) -> bool {
        let is_port = self.port.is_none() || self.port == port;
        is_port
            && match &*self.name {
                "" => true,
                // All below it, and not itself.
                suffix if suffix.starts_with('.') => host
                    .len()
                    .checked_sub(suffix.len())
                    .filter(|start| *start > 0)
                    .and_then(|start| host.get(start..))
                    .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
                name => host.eq_ignore_ascii_case(name),
            }
    }
}

/// `404`, `4xx` or `500-599`.
#[cfg(any(test, feature = "serde"))]
pub(super) fn status_codes(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || {
        format!("the status {text:?} is none; write a code such as 404, \"4xx\", or \"500-599\"")
    };
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().map_err(|_| wrong())?;
        return status_range(
            class.saturating_mul(100)..=class.saturating_mul(100).saturating_add(99),
        );
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    status_range(code(first)?..=code(last)?)
}

/// The same codes, if they are any.
pub(super) fn status_range(codes: RangeInclusive<u16>) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = (*codes.start(), *codes.end());
    if first > last || !(100..=999).contains(&first) || last > 999 {
        return Err(format!(
            "the status {first} to {last} is none; write codes from 100 to 999, the lower one first"
        ));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn path(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::path(pattern).expect("a pattern");
        for text in yes {
            assert!(glob.matches(text.as_bytes()), "{pattern} {text}");
        }
        for text in no {
            assert!(!glob.matches(text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_stars_do_not() {
        path("/a", &["/a"], &["/a/", "/", "/ab", "/A"]);
        path("/a/*", &["/a/", "/a/b"], &["/a", "/a/b/c", "/b/a"]);
        path("/a/**", &["/a/", "/a/b", "/a/b/c"], &["/a", "/ab"]);
        path(
            "/*/x/**/y",
            &["/a/x/b/y", "/a/x/b/x/y", "/a/x/b/y/y"],
            &["/a/b/x/c/y", "/a/x/b/y/z"],
        );
        path("**.css", &["/a.css", "/a/b.css"], &["/a.csss"]);
        path("/a?c", &["/abc"], &["/a/c", "/ac"]);
        path("/*a*b", &["/ab", "/xaxb", "/aab"], &["/ba", "/a/b"]);
        path("/****", &["/", "/a/b"], &[]);
    }

    #[test]
    fn escapes_are_compared_in_one_form() {
        path("/%7euser", &["/~user"], &["/%7euser"]);
    }

    #[test]
    fn long_texts_take_no_longer_than_they_are() {
        let text = format!("/{}", "a/".repeat(20_000));
        path(&format!("/{}b", "**a*".repeat(30)), &[], &[&text]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_advice() {
        for wrong in ["a", "/[a]", "/{a,b}", "/a b", "/\u{fc}", "/a#b", ""] {
            let problem = Glob::path(wrong).expect_err("no pattern");
            assert!(
                problem.contains("write") || problem.contains('#'),
                "{problem}"
            );
        }
        let long = format!("/{}", "a".repeat(200));
        assert!(Glob::path(&long).is_err());
        for wrong in ["text", "text/html; charset=utf-8", "a/b/c", "a, b/c"] {
            assert!(Glob::content_type(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "*a.test",
            "http://a.test",
            "a.test:x",
            "a b",
            "*.",
            "a*b",
        ] {
            assert!(HostPattern::new(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "99", "4x", "xx", "500-400", "1000", "65535xx"] {
            assert!(status_codes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_match_exactly_or_below_and_by_port_where_one_is_named() {
        #[track_caller]
        fn check(pattern: &str, host: &str, port: Option<u16>, expected: bool) {
            let pattern = HostPattern::new(pattern).expect("a host");
            assert_eq!(pattern.matches(host, port), expected, "{pattern:?} {host}");
        }
        check("a.test", "A.TEST", None, true);
        check("a.test", "b.a.test", None, false);
        check("*.a.test", "b.a.test", Some(80), true);
        check("*.a.test", "c.b.a.test", None, true);
        check("*.a.test", "a.test", None, false);
        check("*.a.test", "ba.test", None, false);
        check("*.a.test", "\u{fc}\u{fc}.test", None, false);
        check("*", "a.test", None, true);
        check("a.test:8080", "a.test", Some(8080), true);
        check("a.test:8080", "a.test", None, false);
        check("[::1]", "[::1]", None, true);
        check("[::1]:80", "[::1]", Some(80), true);
    }

    #[test]
    fn status_codes_are_one_or_a_class_or_from_one_to_another() {
        assert_eq!(status_codes("404"), Ok(404..=404));
        assert_eq!(status_codes("4xx"), Ok(400..=499));
        assert_eq!(status_codes("500 - 599"), Ok(500..=599));
    }
}
