//! Comma-separated lists (RFC 9110 §5.6.1).

/// The members of a list field line, without surrounding white space; empty members are skipped
/// and a comma inside a quoted string does not separate.
pub(crate) fn members(line: &[u8]) -> Members<'_> {
    Members { rest: line }
}

/// Iterator over the members of one field line.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = end_of_member(self.rest);
            let member = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// The index of the comma that ends the first member, or the length.
fn end_of_member(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b',' => return at,
            b'"' => at = closing_quote(bytes, at).unwrap_or(at) + 1,
            _ => at += 1,
        }
    }
    bytes.len()
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
    fn a_quote_that_is_never_closed_is_an_ordinary_character() {
        check(r#"a="x, b"#, &[r#"a="x"#, "b"]);
        check(r#"a="x\"#, &[r#"a="x\"#]);
    }
}
