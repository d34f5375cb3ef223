//! `Cache-Control` of requests and responses (RFC 9111 §5.2, RFC 5861, RFC 8246).
//!
//! A directive that is repeated counts in its most restrictive form, and a malformed one keeps the
//! part of its meaning that restricts: a broken `private=` is `private`, a broken `max-age` is zero.

use http::header::{CACHE_CONTROL, HeaderMap, HeaderName, PRAGMA};

use super::age::DeltaSeconds;
use super::list;
use super::structured::{self, Value};

/// The directives of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseDirectives {
    /// They come from a targeted field, beside which `Expires` does not count (RFC 9213 §2.2).
    pub(crate) is_targeted: bool,
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    /// Something lets a shared cache store the response to a request with credentials
    /// (RFC 9111 §3.5); the directives that do are prohibitions in other respects.
    pub(crate) permits_sharing: bool,
    pub(crate) must_understand: bool,
    pub(crate) immutable: bool,
    /// The fields that a qualified `no-cache` names.
    pub(crate) no_cache_fields: Vec<HeaderName>,
    /// The fields that a qualified `private` names.
    pub(crate) private_fields: Vec<HeaderName>,
    pub(crate) max_age: Option<DeltaSeconds>,
    pub(crate) s_maxage: Option<DeltaSeconds>,
    pub(crate) stale_while_revalidate: Option<DeltaSeconds>,
    pub(crate) stale_if_error: Option<DeltaSeconds>,
}

impl ResponseDirectives {
    /// Reads the first of the `targets` that is present and valid (RFC 9213 §2.2), and where none
    /// is, `Cache-Control`.
    pub(crate) fn read(headers: &HeaderMap, targets: &[HeaderName]) -> Self {
        targets
            .iter()
            .find_map(|target| Self::read_targeted(headers, target))
            .unwrap_or_else(|| Self::read_cache_control(headers))
    }

    /// Reads a targeted field: a dictionary, in which every known directive has a value of its own
    /// type, or there is none.
    fn read_targeted(headers: &HeaderMap, target: &HeaderName) -> Option<Self> {
        let lines: Vec<&[u8]> = headers
            .get_all(target)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect();
        let members = structured::dictionary(&lines.join(&b", "[..]))?;
        if members.is_empty() {
            return None;
        }
        let mut directives = Self {
            is_targeted: true,
            ..Self::default()
        };
        for (name, value) in &members {
            let directive = |argument| Directive {
                name,
                argument,
                is_suspect: false,
            };
            let digits = match value {
                Value::Integer(number) => number.to_string(),
                _ => String::new(),
            };
            let known = directive(Argument::Absent).name();
            let argument = match (known.takes(), value) {
                (Takes::Seconds, Value::Integer(0..)) => Argument::Token(digits.as_bytes()),
                (Takes::Nothing | Takes::Fields, Value::Boolean(true)) => Argument::Absent,
                (Takes::Fields, Value::Text(fields)) => Argument::Quoted(fields),
                (Takes::Nothing | Takes::Fields, Value::Boolean(false)) | (Takes::Anything, _) => {
                    continue;
                }
                _ => return None,
            };
            directives.add(&directive(argument));
        }
        Some(directives)
    }

    fn read_cache_control(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for directive in directives_of(headers) {
            directives.add(&directive);
        }
        directives
    }

    fn add(&mut self, directive: &Directive<'_>) {
        let argument = directive.argument;
        let name = directive.name();
        let permits = matches!(name, Name::Public | Name::MustRevalidate | Name::SMaxage);
        self.permits_sharing |= permits && !directive.is_suspect;
        match name {
            Name::NoStore => self.no_store = true,
            Name::NoCache => qualify(&mut self.no_cache, &mut self.no_cache_fields, argument),
            Name::Private => qualify(&mut self.private, &mut self.private_fields, argument),
            Name::MustRevalidate => self.must_revalidate = true,
            Name::ProxyRevalidate => self.proxy_revalidate = true,
            Name::MaxAge => restrict(&mut self.max_age, directive.lifetime()),
            Name::SMaxage => restrict(&mut self.s_maxage, directive.lifetime()),
            // What permits is believed only where it is well formed.
            _ if directive.is_suspect => {}
            Name::Public => self.public = true,
            Name::MustUnderstand => self.must_understand = true,
            Name::Immutable => self.immutable = true,
            Name::StaleWhileRevalidate => {
                restrict(&mut self.stale_while_revalidate, directive.lifetime());
            }
            Name::StaleIfError => restrict(&mut self.stale_if_error, directive.lifetime()),
            Name::OnlyIfCached | Name::MaxStale | Name::MinFresh | Name::Unknown => {}
        }
    }
}

/// The directives of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestDirectives {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<DeltaSeconds>,
    pub(crate) min_fresh: Option<DeltaSeconds>,
    /// `max-stale` without a number is the longest time there is.
    pub(crate) max_stale: Option<DeltaSeconds>,
    pub(crate) stale_if_error: Option<DeltaSeconds>,
}

impl RequestDirectives {
    /// Reads `Cache-Control`, and `Pragma` where there is none (RFC 9111 §5.4).
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        if headers.contains_key(CACHE_CONTROL) {
            for directive in directives_of(headers) {
                directives.add(&directive);
            }
            // Nothing is younger than that, so it asks for validation.
            let asks = directives.max_age == Some(DeltaSeconds::ZERO);
            directives.no_cache |= asks && directives.max_stale.is_none();
        } else {
            directives.no_cache = headers
                .get_all(PRAGMA)
                .iter()
                .flat_map(|line| list::members(line.as_bytes()))
                .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }

    fn add(&mut self, directive: &Directive<'_>) {
        match directive.name() {
            Name::NoStore => self.no_store = true,
            Name::NoCache => self.no_cache = true,
            Name::OnlyIfCached => self.only_if_cached = true,
            Name::MaxAge => restrict(&mut self.max_age, directive.lifetime()),
            Name::MinFresh => {
                let wanted = directive.delta_seconds().unwrap_or(DeltaSeconds::MAX);
                self.min_fresh = self.min_fresh.max(Some(wanted));
            }
            _ if directive.is_suspect => {}
            Name::MaxStale => {
                let bound = match directive.argument {
                    Argument::Absent => DeltaSeconds::MAX,
                    _ => directive.lifetime(),
                };
                restrict(&mut self.max_stale, bound);
            }
            Name::StaleIfError => restrict(&mut self.stale_if_error, directive.lifetime()),
            _ => {}
        }
    }
}

/// The directives that matter to a cache; what is not here is an extension and is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Immutable,
    MaxAge,
    MaxStale,
    MinFresh,
    MustRevalidate,
    MustUnderstand,
    NoCache,
    NoStore,
    OnlyIfCached,
    Private,
    ProxyRevalidate,
    Public,
    SMaxage,
    StaleIfError,
    StaleWhileRevalidate,
    Unknown,
}

/// What a directive takes as its argument in a targeted field.
enum Takes {
    Nothing,
    Seconds,
    Fields,
    /// It is not known, or not for responses.
    Anything,
}

impl Name {
    fn takes(self) -> Takes {
        match self {
            Self::MaxAge | Self::SMaxage | Self::StaleIfError | Self::StaleWhileRevalidate => {
                Takes::Seconds
            }
            Self::NoCache | Self::Private => Takes::Fields,
            Self::Immutable
            | Self::MustRevalidate
            | Self::MustUnderstand
            | Self::NoStore
            | Self::ProxyRevalidate
            | Self::Public => Takes::Nothing,
            Self::MaxStale | Self::MinFresh | Self::OnlyIfCached | Self::Unknown => Takes::Anything,
        }
    }
}

const NAMES: [(&[u8], Name); 15] = [
    (b"max-age", Name::MaxAge),
    (b"no-cache", Name::NoCache),
    (b"no-store", Name::NoStore),
    (b"public", Name::Public),
    (b"private", Name::Private),
    (b"must-revalidate", Name::MustRevalidate),
    (b"s-maxage", Name::SMaxage),
    (b"stale-while-revalidate", Name::StaleWhileRevalidate),
    (b"stale-if-error", Name::StaleIfError),
    (b"immutable", Name::Immutable),
    (b"proxy-revalidate", Name::ProxyRevalidate),
    (b"must-understand", Name::MustUnderstand),
    (b"only-if-cached", Name::OnlyIfCached),
    (b"max-stale", Name::MaxStale),
    (b"min-fresh", Name::MinFresh),
];

/// One directive as written.
#[derive(Debug, Clone, Copy)]
struct Directive<'a> {
    name: &'a [u8],
    argument: Argument<'a>,
    /// It stands behind a quote that is never closed, so it may have been meant as text.
    is_suspect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument<'a> {
    Absent,
    Token(&'a [u8]),
    Quoted(&'a [u8]),
    /// White space around the `=`, text after a closing quote, or a quote that is never closed.
    Malformed,
}

impl Directive<'_> {
    fn name(&self) -> Name {
        NAMES
            .iter()
            .find(|(name, _)| self.name.eq_ignore_ascii_case(name))
            .map_or(Name::Unknown, |(_, name)| *name)
    }

    /// The argument as delta-seconds, in the token or the quoted form (RFC 9111 §5.2).
    fn delta_seconds(&self) -> Option<DeltaSeconds> {
        match self.argument {
            Argument::Token(digits) | Argument::Quoted(digits) => DeltaSeconds::parse(digits),
            Argument::Absent | Argument::Malformed => None,
        }
    }

    /// The same, where an invalid time is no time at all (RFC 9111 §4.2.1).
    fn lifetime(&self) -> DeltaSeconds {
        match self.delta_seconds() {
            Some(seconds) if !self.is_suspect => seconds,
            _ => DeltaSeconds::ZERO,
        }
    }
}

/// Keeps the shorter of two times.
fn restrict(kept: &mut Option<DeltaSeconds>, new: DeltaSeconds) {
    *kept = Some(kept.map_or(new, |kept| kept.min(new)));
}

/// Applies `no-cache` or `private`: the form without field names wins over any other, and an
/// argument that does not name fields properly counts as none.
fn qualify(unqualified: &mut bool, fields: &mut Vec<HeaderName>, argument: Argument<'_>) {
    let names = match argument {
        Argument::Token(names) | Argument::Quoted(names) => names,
        Argument::Absent | Argument::Malformed => b"",
    };
    let parsed: Result<Vec<_>, _> = list::members(names).map(HeaderName::from_bytes).collect();
    match parsed {
        Ok(names) if !names.is_empty() => fields.extend(names),
        _ => *unqualified = true,
    }
}

fn directives_of(headers: &HeaderMap) -> impl Iterator<Item = Directive<'_>> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|line| Directives {
            rest: line.as_bytes(),
            is_suspect: false,
        })
}

/// Iterator over the directives of one line.
struct Directives<'a> {
    rest: &'a [u8],
    is_suspect: bool,
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        while !self.rest.is_empty() {
            let end = self
                .rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'='))
                .unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            let is_suspect = self.is_suspect;
            let argument = match rest {
                [b'=', argument @ ..] => {
                    let argument = self.argument(argument);
                    if name.last().is_some_and(u8::is_ascii_whitespace) {
                        Argument::Malformed
                    } else {
                        argument
                    }
                }
                _ => {
                    self.rest = rest.get(1..).unwrap_or_default();
                    Argument::Absent
                }
            };
            let name = name.trim_ascii();
            if !name.is_empty() {
                return Some(Directive {
                    name,
                    argument,
                    is_suspect,
                });
            }
        }
        None
    }
}

impl<'a> Directives<'a> {
    /// Reads the argument that starts at `bytes` and moves on to the next directive.
    fn argument(&mut self, bytes: &'a [u8]) -> Argument<'a> {
        let quoted = match bytes {
            [b'"', ..] if !self.is_suspect => list::closing_quote(bytes, 0),
            _ => None,
        };
        let after = quoted.map_or(0, |close| close + 1);
        let end = bytes[after..]
            .iter()
            .position(|byte| *byte == b',')
            .map_or(bytes.len(), |comma| after + comma);
        self.rest = bytes.get(end + 1..).unwrap_or_default();
        let value = bytes[..end].trim_ascii_end();
        match (quoted, value) {
            (Some(close), _) if close + 1 == value.len() => Argument::Quoted(&value[1..close]),
            (Some(_), _) => Argument::Malformed,
            (None, [b'"', ..]) => {
                self.is_suspect = true;
                Argument::Malformed
            }
            (None, [first, ..]) if first.is_ascii_whitespace() => Argument::Malformed,
            (None, _) => Argument::Token(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                CACHE_CONTROL,
                HeaderValue::from_str(line).expect("a field value"),
            );
        }
        headers
    }

    fn response(line: &str) -> ResponseDirectives {
        ResponseDirectives::read(&headers(&[line]), &[])
    }

    fn request(line: &str) -> RequestDirectives {
        RequestDirectives::read(&headers(&[line]))
    }

    fn seconds(seconds: u32) -> Option<DeltaSeconds> {
        DeltaSeconds::parse(seconds.to_string().as_bytes())
    }

    #[test]
    fn names_are_read_in_any_case_and_over_several_lines() {
        let all = ResponseDirectives::read_cache_control(&headers(&[
            "No-Store,MUST-REVALIDATE , proxy-Revalidate",
            "Public, Must-Understand,immutable, PRIVATE",
            "no-CACHE, Max-Age=1, S-MaxAge=2, stale-while-revalidate=3, Stale-If-Error=4",
        ]));
        let expected = ResponseDirectives {
            is_targeted: false,
            no_store: true,
            no_cache: true,
            private: true,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            permits_sharing: true,
            must_understand: true,
            immutable: true,
            no_cache_fields: vec![],
            private_fields: vec![],
            max_age: seconds(1),
            s_maxage: seconds(2),
            stale_while_revalidate: seconds(3),
            stale_if_error: seconds(4),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn numbers_are_read_as_tokens_and_as_quoted_strings() {
        assert_eq!(response("max-age=3600").max_age, seconds(3600));
        assert_eq!(response("max-age=\"3600\"").max_age, seconds(3600));
        assert_eq!(response("max-age=003600").max_age, seconds(3600));
        assert_eq!(
            response("max-age=99999999999").max_age,
            Some(DeltaSeconds::MAX)
        );
    }

    #[test]
    fn an_invalid_number_is_no_lifetime() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age='1'",
            "max-age=1.5",
            "max-age=a1",
            "max-age=1a",
            "max-age= 1",
            "max-age =1",
            "max-age=\"1",
            "max-age=\"1\"x",
        ] {
            assert_eq!(response(line).max_age, seconds(0), "{line}");
        }
    }

    #[test]
    fn the_most_restrictive_of_duplicates_counts() {
        assert_eq!(response("max-age=1, max-age=1800").max_age, seconds(1));
        assert_eq!(response("max-age=1800, max-age=1").max_age, seconds(1));
        assert_eq!(response("max-age=1800, max-age=x").max_age, seconds(0));
        assert_eq!(request("min-fresh=1, min-fresh=5").min_fresh, seconds(5));
        assert_eq!(request("max-stale, max-stale=5").max_stale, seconds(5));
        assert_eq!(request("max-age=9, max-age=5").max_age, seconds(5));
    }

    #[test]
    fn text_inside_quotes_is_no_directive() {
        let read = response(r#"ext="max-age=3600, no-store", max-age=1"#);
        assert_eq!(read.max_age, seconds(1));
        assert!(!read.no_store);
        assert!(!response(r#"ext="\", no-store", max-age=1"#).no_store);
    }

    #[test]
    fn behind_a_quote_that_is_never_closed_only_prohibitions_count() {
        let read = response(r#"max-age=60, ext="public, no-store, max-age=3600, stale-if-error=9"#);
        assert!(read.no_store);
        assert!(!read.public);
        assert_eq!(read.max_age, seconds(0));
        assert_eq!(read.stale_if_error, None);
    }

    #[test]
    fn qualified_forms_name_fields() {
        let read = response(r#"no-cache="a, B", private=c"#);
        assert!(!read.no_cache && !read.private);
        assert_eq!(read.no_cache_fields, ["a", "b"]);
        assert_eq!(read.private_fields, ["c"]);
    }

    #[test]
    fn an_unqualified_or_malformed_form_wins_over_a_qualified_one() {
        for line in [
            r#"private, private="a""#,
            r#"private="a", private"#,
            r#"private="""#,
            "private=",
            r#"private="a"#,
            r#"private="a b""#,
            r#"private=" , ""#,
            "private =\"a\"",
        ] {
            assert!(response(line).private, "{line}");
        }
    }

    #[test]
    fn a_prohibition_with_an_argument_is_still_a_prohibition() {
        assert!(response("no-store=1").no_store);
        assert!(response("no-store =\"x").no_store);
        assert!(response("must-revalidate=\"\"").must_revalidate);
    }

    #[test]
    fn request_directives_are_read() {
        let read = request(
            "no-store, NO-cache, only-if-cached, max-age=1, min-fresh=2, max-stale=3, stale-if-error=4",
        );
        let expected = RequestDirectives {
            no_store: true,
            no_cache: true,
            only_if_cached: true,
            max_age: seconds(1),
            min_fresh: seconds(2),
            max_stale: seconds(3),
            stale_if_error: seconds(4),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn invalid_request_directives_are_read_restrictively() {
        assert_eq!(request("max-stale").max_stale, Some(DeltaSeconds::MAX));
        assert_eq!(request("max-stale=x").max_stale, seconds(0));
        assert_eq!(request("min-fresh=x").min_fresh, Some(DeltaSeconds::MAX));
        assert_eq!(request("max-age=x").max_age, seconds(0));
    }

    fn targeted(fields: &[(&'static str, &'static str)]) -> ResponseDirectives {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let targets = ["first-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
        ResponseDirectives::read(&headers, &targets)
    }

    #[test]
    fn a_targeted_field_takes_the_place_of_cache_control() {
        let read = targeted(&[
            ("cdn-cache-control", "max-age=60, foo=1.5"),
            ("cache-control", "no-store, max-age=1"),
        ]);
        assert!(read.is_targeted && !read.no_store);
        assert_eq!(read.max_age, seconds(60));
        let read = targeted(&[
            ("cdn-cache-control", "no-store"),
            ("cdn-cache-control", "private=\"a, b\", no-cache=?0"),
        ]);
        assert!(read.no_store && !read.private && !read.no_cache);
        assert_eq!(read.private_fields, ["a", "b"]);
    }

    #[test]
    fn the_first_target_that_is_valid_counts() {
        let cdn = ("cdn-cache-control", "max-age=2");
        assert_eq!(
            targeted(&[("first-cache-control", "max-age=1"), cdn]).max_age,
            seconds(1)
        );
        for invalid in [
            "",
            "max-age=\"1\"",
            "max-age =1",
            "max-age=-1",
            "no-store=1",
            "private=1",
            "a,,b",
        ] {
            assert_eq!(
                targeted(&[("first-cache-control", invalid), cdn]).max_age,
                seconds(2),
                "{invalid}"
            );
        }
    }

    #[test]
    fn without_a_valid_target_cache_control_counts() {
        let read = targeted(&[
            ("cdn-cache-control", "max-age=\"60\""),
            ("cache-control", "no-store"),
        ]);
        assert!(read.no_store && !read.is_targeted);
        assert_eq!(read.max_age, None);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut pragma = HeaderMap::new();
        pragma.insert(PRAGMA, HeaderValue::from_static("foo, No-Cache"));
        assert!(RequestDirectives::read(&pragma).no_cache);
        pragma.insert(CACHE_CONTROL, HeaderValue::from_static("something-else"));
        assert!(!RequestDirectives::read(&pragma).no_cache);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_directive() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"\xff\xfe, no-store, \x80=\"\xff").expect("a value");
        headers.insert(CACHE_CONTROL, value);
        assert!(ResponseDirectives::read(&headers, &[]).no_store);
    }
}
