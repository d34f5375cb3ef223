//! `Vary` (RFC 9110 §12.5.5) and the values that it selects by (RFC 9111 §4.1).

use http::header::{HeaderMap, HeaderName, VARY};

use super::list;

/// The request fields that a response was selected by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Vary {
    /// Something other than request fields counted, too: `*`, or a member that is no field name.
    Any,
    /// These fields, sorted and without repetitions.
    Fields(Vec<HeaderName>),
}

impl Vary {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for line in headers.get_all(VARY) {
            for member in list::members(line.as_bytes()) {
                // `*` is a valid token, so it has to be told apart from a name.
                match HeaderName::from_bytes(member) {
                    Ok(name) if member != b"*" => names.push(name),
                    _ => return Self::Any,
                }
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self::Fields(names)
    }
}

/// What `then` makes of the value of a request field in the one form that all values of the same
/// meaning share; `None` where the field is absent.
///
/// Lines are joined, and for what is known to be a list, or may be one, white space around commas
/// goes. Where a field's own syntax says more, so does the form: case and order of equal weights in
/// `Accept-*`, order of the pairs of `Cookie`.
pub(crate) fn with_normalised<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    then: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes().trim_ascii());
    let first = lines.next()?;
    let syntax = Syntax::of(name);
    let mut value = match lines.next() {
        None => {
            let mut buffer = [0; SHORT_BYTES];
            match syntax.normalise_short(first, &mut buffer) {
                Some(normalised) => return Some(then(normalised)),
                None => first.to_vec(),
            }
        }
        Some(second) => [first, second].join(syntax.separator()),
    };
    for line in lines {
        value.extend_from_slice(syntax.separator());
        value.extend_from_slice(line);
    }
    Some(then(&syntax.normalise(&value)))
}

/// What is known of a field's syntax.
#[derive(Debug, Clone, Copy)]
enum Syntax {
    /// Not a list; a comma in it is a character like others.
    Singleton,
    /// A list, or a field that nothing is known of, which any recipient on the way may have joined
    /// from several lines with white space of its own choice (RFC 9110 §5.3).
    List,
    /// A list of alternatives with weights (RFC 9110 §12.4.2), names in any case.
    Weighted,
    /// Pairs, in HTTP/2 on lines of their own (RFC 9113 §8.2.3).
    Cookie,
}

impl Syntax {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            "accept-charset" | "accept-encoding" | "accept-language" => Self::Weighted,
            "cookie" => Self::Cookie,
            "authorization"
            | "date"
            | "expires"
            | "from"
            | "host"
            | "if-modified-since"
            | "if-range"
            | "if-unmodified-since"
            | "last-modified"
            | "max-forwards"
            | "origin"
            | "proxy-authorization"
            | "range"
            | "referer"
            | "retry-after"
            | "server"
            | "user-agent" => Self::Singleton,
            _ => Self::List,
        }
    }

    fn separator(self) -> &'static [u8] {
        match self {
            Self::Cookie => b";",
            _ => b",",
        }
    }

    fn normalise(self, value: &[u8]) -> Vec<u8> {
        match self {
            Self::Singleton => value.to_vec(),
            Self::List => join(list::elements(value), b","),
            Self::Weighted => normalise_weighted(value),
            Self::Cookie => normalise_cookie(value),
        }
    }

    /// The same without an allocation, for what nearly every request has; `None`: it is none of that.
    fn normalise_short<'a>(
        self,
        value: &'a [u8],
        buffer: &'a mut [u8; SHORT_BYTES],
    ) -> Option<&'a [u8]> {
        match self {
            Self::Singleton => Some(value),
            Self::List => (!value.contains(&b',')).then_some(value),
            Self::Weighted => normalise_unweighted(value, buffer),
            Self::Cookie => None,
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(part);
    }
    joined
}

/// Lower case, no white space, the heaviest first and equal weights in alphabetical order.
fn normalise_weighted(value: &[u8]) -> Vec<u8> {
    let mut alternatives: Vec<(u16, Vec<u8>)> = list::members(value).map(alternative).collect();
    alternatives.sort_unstable_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
    join(alternatives.iter().map(|(_, text)| text.as_slice()), b",")
}

/// The same for a few alternatives, none of which has a weight or a quote.
fn normalise_unweighted<'a>(
    value: &[u8],
    normalised: &'a mut [u8; SHORT_BYTES],
) -> Option<&'a [u8]> {
    // Each alternative has a comma behind it in the end.
    if value.len() >= SHORT_BYTES {
        return None;
    }
    let mut text = [0; SHORT_BYTES];
    let mut alternatives = [(0, 0); SHORT_ALTERNATIVES];
    let (mut count, mut start, mut end) = (0, 0, 0);
    for byte in value.iter().chain(b",") {
        match byte {
            b';' | b'"' => return None,
            b',' if start < end => {
                *alternatives.get_mut(count)? = (start, end);
                count += 1;
                start = end;
            }
            b',' => {}
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                text[end] = byte.to_ascii_lowercase();
                end += 1;
            }
        }
    }
    let text_of = |(start, end): (usize, usize)| &text[start..end];
    let alternatives = &mut alternatives[..count];
    alternatives.sort_unstable_by(|one, other| text_of(*one).cmp(text_of(*other)));
    let mut length = 0;
    for alternative in alternatives {
        let text = text_of(*alternative);
        normalised[length..][..text.len()].copy_from_slice(text);
        length += text.len();
        normalised[length] = b',';
        length += 1;
    }
    Some(&normalised[..length.saturating_sub(1)])
}

/// The weight of an alternative in thousandths, and its text with the weight in one form.
///
/// One whose weight cannot be read keeps it as text, so it is equal only to itself.
fn alternative(member: &[u8]) -> (u16, Vec<u8>) {
    let mut text: Vec<u8> = member
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(u8::to_ascii_lowercase)
        .collect();
    let Some(at) = text.windows(3).position(|window| window == b";q=") else {
        return (1000, text);
    };
    let Some(weight) = weight(&text[at + 3..]) else {
        return (0, text);
    };
    text.truncate(at);
    if weight < 1000 {
        text.extend_from_slice(b";q=");
        text.extend_from_slice(weight.to_string().as_bytes());
    }
    (weight, text)
}

/// `0`, `0.5`, `1.000` in thousandths.
fn weight(digits: &[u8]) -> Option<u16> {
    let (whole, fraction) = match digits {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let thousandths = (0..3).try_fold(0_u16, |sum, place| match fraction.get(place) {
        Some(digit) if digit.is_ascii_digit() => Some(sum * 10 + u16::from(digit - b'0')),
        Some(_) => None,
        None => Some(sum * 10),
    })?;
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// The pairs in the order of their names; pairs of one name stay in theirs.
fn normalise_cookie(value: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<&[u8]> = value
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
        .collect();
    pairs.sort_by_key(|pair| pair.split(|byte| *byte == b'=').next());
    join(pairs.into_iter(), b";")
}

/// `gzip, deflate, br, zstd` and what is about as long.
const SHORT_BYTES: usize = 64;
const SHORT_ALTERNATIVES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn normalise(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
        with_normalised(headers, name, <[u8]>::to_vec)
    }

    fn field(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).expect("a field value"));
        }
        headers
    }

    #[track_caller]
    fn vary(lines: &[&str]) -> Option<Vec<String>> {
        match Vary::read(&field("vary", lines)) {
            Vary::Any => None,
            Vary::Fields(names) => Some(names.iter().map(ToString::to_string).collect()),
        }
    }

    #[track_caller]
    fn same(name: &'static str, one: &[&str], other: &[&str]) {
        let key = HeaderName::from_static(name);
        let (one, other) = (field(name, one), field(name, other));
        assert_eq!(
            normalise(&one, &key),
            normalise(&other, &key),
            "{one:?} {other:?}"
        );
    }

    #[track_caller]
    fn different(name: &'static str, one: &[&str], other: &[&str]) {
        let key = HeaderName::from_static(name);
        let (one, other) = (field(name, one), field(name, other));
        assert_ne!(
            normalise(&one, &key),
            normalise(&other, &key),
            "{one:?} {other:?}"
        );
    }

    #[test]
    fn names_are_collected_over_lines_sorted_and_without_repetition() {
        assert_eq!(vary(&["B, a", "A,,c"]).expect("names"), ["a", "b", "c"]);
        assert_eq!(vary(&[""]).expect("no names"), [""; 0]);
        assert_eq!(vary(&[]).expect("no names"), [""; 0]);
    }

    #[test]
    fn a_star_anywhere_is_a_star() {
        for lines in [&["*"][..], &["*, *"], &["*", "*"], &["", "*"], &["foo, *"]] {
            assert_eq!(vary(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_field_name_is_read_as_a_star() {
        assert_eq!(vary(&["foo bar"]), None);
        assert_eq!(vary(&["\"foo\""]), None);
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        different("foo", &[], &[""]);
    }

    #[test]
    fn all_lines_of_a_field_count_and_equal_one_joined_line() {
        same("foo", &["1", "2"], &["1, 2"]);
        different("foo", &["1", "2"], &["1"]);
        different("foo", &["1", "2"], &["2", "1"]);
        different("cookie", &["s=1", "user=alice"], &["s=1", "user=bob"]);
    }

    #[test]
    fn white_space_around_commas_counts_only_in_singletons() {
        same("foo", &["1,2"], &[" 1, 2 "]);
        different("foo", &["1,2"], &["12"]);
        different("foo", &[",bob"], &["bob"]);
        different("foo", &["", "bob"], &["bob"]);
        different("foo", &["\"1,2\""], &["\"1, 2\""]);
        different("user-agent", &["a (b,c)"], &["a (b, c)"]);
    }

    #[test]
    fn languages_compare_without_case_space_and_order_of_equal_weights() {
        same("accept-language", &["en, de"], &["de, en"]);
        same("accept-language", &["en, de"], &["eN, De"]);
        same("accept-language", &["en, de"], &[" en ,   de"]);
        same("accept-language", &["en;q=0.5, de"], &["de, en ; q=0.500"]);
        same("accept-language", &["en;q=1.0"], &["en"]);
        different("accept-language", &["en, de;q=0.5"], &["de, en;q=0.5"]);
        different("accept-language", &["en"], &["en, de;q=0"]);
        different("accept-language", &["en;q=0.5"], &["en;q=0.51"]);
        different("accept-language", &["en;q=x"], &["en;q=0"]);
    }

    #[test]
    fn cookies_compare_pair_by_pair() {
        same("cookie", &["a=1; b=2"], &["b=2;a=1"]);
        same("cookie", &["a=1; b=2"], &["a=1", "b=2"]);
        different("cookie", &["a=1; a=2"], &["a=2; a=1"]);
        different("cookie", &["a=1"], &["A=1"]);
    }

    #[test]
    fn short_values_have_their_form_without_an_allocation() {
        for (syntax, value, expected) in [
            (
                Syntax::Weighted,
                "gzip, deflate, br, zstd",
                Some("br,deflate,gzip,zstd"),
            ),
            (Syntax::Weighted, ", B ,,a\tc,", Some("ac,b")),
            (Syntax::Weighted, "", Some("")),
            (Syntax::Weighted, "gzip;q=1", None),
            (Syntax::Weighted, "\"gzip\"", None),
            (Syntax::List, "a b", Some("a b")),
            (Syntax::List, "a, b", None),
            (Syntax::Singleton, "a, b", Some("a, b")),
            (Syntax::Cookie, "a=1", None),
        ] {
            let mut buffer = [0; SHORT_BYTES];
            let found = syntax.normalise_short(value.as_bytes(), &mut buffer);
            assert_eq!(found, expected.map(str::as_bytes), "{syntax:?} {value:?}");
        }
    }

    proptest! {
        #[test]
        fn a_short_value_has_the_same_form_either_way(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                proptest::collection::vec(proptest::sample::select(&b"aBc,, \t-"[..]), 0..80),
                proptest::collection::vec(proptest::sample::select(&b"aB,; q=01.\"\\"[..]), 0..20),
            ],
        ) {
            let value = value.trim_ascii();
            for syntax in [Syntax::Singleton, Syntax::List, Syntax::Weighted, Syntax::Cookie] {
                let mut buffer = [0; SHORT_BYTES];
                if let Some(short) = syntax.normalise_short(value, &mut buffer) {
                    prop_assert_eq!(short, syntax.normalise(value), "{:?}", syntax);
                }
            }
        }
    }
}
