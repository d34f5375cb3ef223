//! Comma-separated lists (RFC 9110 §5.6.1).

/// The members of a list field line, without surrounding white space; empty members are skipped
/// and a comma inside a quoted string does not separate.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    elements(line).filter(|member| !member.is_empty())
}

/// The same with the empty members.
pub(crate) fn elements(line: &[u8]) -> Elements<'_> {
    Elements {
        rest: Some(line),
        has_open_quote: false,
    }
}

/// Iterator over the elements of one field line.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a [u8]>,
    /// A quote was seen that is never closed; looking for its end once is enough.
    has_open_quote: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = self.end_of_element(rest);
        self.rest = rest.get(end + 1..);
        Some(rest[..end].trim_ascii())
    }
}

impl Elements<'_> {
    /// The index of the comma that ends the first element, or the length.
    fn end_of_element(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b',' => return at,
                b'"' if !self.has_open_quote => match closing_quote(bytes, at) {
                    Some(close) => at = close + 1,
                    None => self.has_open_quote = true,
                },
                _ => at += 1,
            }
        }
        bytes.len()
    }
}

/// The index of the quote that closes the string opened at `open`, if it is closed at all.
pub(crate) fn closing_quote(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let found: Vec<_> = members(line.as_bytes()).collect();
        let expected: Vec<_> = expected.iter().map(|member| member.as_bytes()).collect();
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn members_are_trimmed_and_empty_ones_skipped() {
        check("a, b ,,\tc,", &["a", "b", "c"]);
        check("", &[]);
        check(" , ,", &[]);
    }

    #[test]
    fn a_comma_in_a_quoted_string_does_not_separate() {
        check(r#"a="x, y", b"#, &[r#"a="x, y""#, "b"]);
        check(r#""x\", y", b"#, &[r#""x\", y""#, "b"]);
    }

    #[test]
    fn the_elements_of_a_list_are_all_of_it() {
        let found: Vec<_> = elements(b"a,, b ,").collect();
        assert_eq!(found, [&b"a"[..], b"", b"b", b""]);
        assert_eq!(elements(b"").count(), 1);
    }

    #[test]
    fn quotes_that_are_never_closed_cost_no_more_than_others() {
        // Quadratic, this would take minutes.
        let hostile = "\"\\".repeat(1 << 20);
        assert_eq!(members(hostile.as_bytes()).count(), 1);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_ordinary_character() {
        check(r#"a="x, b"#, &[r#"a="x"#, "b"]);
        check(r#"a="x\"#, &[r#"a="x\"#]);
    }
}
