//! Dictionaries of structured fields (RFC 9651 §3.2), as far as directives need them.
//!
//! A dictionary is parsed whole: where anything in it is malformed, there is no dictionary
//! (RFC 9651 §4.2).

/// The value of a member; of those that no directive has, only that they are well formed counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i64),
    /// A string, or a token.
    Text(Vec<u8>),
    /// A decimal, byte sequence, date, display string or inner list.
    Other,
}

/// The members of a dictionary in their order, of repeated keys the last; parameters are checked
/// and dropped.
pub(crate) fn dictionary(input: &[u8]) -> Option<Vec<(Vec<u8>, Value)>> {
    let mut parser = Parser {
        rest: input.trim_ascii(),
    };
    let mut members: Vec<(Vec<u8>, Value)> = Vec::new();
    while !parser.rest.is_empty() {
        let key = parser.key()?.to_vec();
        let value = if parser.eat(b'=') {
            parser.member()?
        } else {
            Value::Boolean(true)
        };
        parser.parameters()?;
        members.retain(|(known, _)| *known != key);
        members.push((key, value));
        parser.skip_white_space();
        if parser.rest.is_empty() {
            break;
        }
        if !parser.eat(b',') {
            return None;
        }
        parser.skip_white_space();
        if parser.rest.is_empty() {
            return None;
        }
    }
    Some(members)
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The longest prefix of such bytes.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self
            .rest
            .iter()
            .position(|byte| !wanted(*byte))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_white_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        if !matches!(self.rest.first()?, b'a'..=b'z' | b'*') {
            return None;
        }
        Some(self.take_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        ))
    }

    fn member(&mut self) -> Option<Value> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.take_while(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest.first()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.take_while(|byte| byte == b' ');
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<Value> {
        match self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Value::Text),
            b'?' => {
                self.eat(b'?');
                let value = self.eat(b'1');
                (value || self.eat(b'0')).then_some(Value::Boolean(value))
            }
            b':' => {
                self.eat(b':');
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.eat(b':').then_some(Value::Other)
            }
            b'@' => {
                self.eat(b'@');
                match self.number()? {
                    Value::Integer(_) => Some(Value::Other),
                    _ => None,
                }
            }
            b'%' => {
                self.eat(b'%');
                self.string().map(|_| Value::Other)
            }
            first if first.is_ascii_alphabetic() || *first == b'*' => {
                let is_token =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
                Some(Value::Text(self.take_while(is_token).to_vec()))
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let is_negative = self.eat(b'-');
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            let is_valid = (1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len());
            return is_valid.then_some(Value::Other);
        }
        if digits.len() > 15 {
            return None;
        }
        let number: i64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Value::Integer(if is_negative { -number } else { number }))
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        if !self.eat(b'"') {
            return None;
        }
        let mut text = Vec::new();
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(text);
                }
                [b'\\', escaped @ (b'"' | b'\\'), rest @ ..] => {
                    text.push(*escaped);
                    self.rest = rest;
                }
                [byte @ (b' '..=b'[' | b']'..=b'~'), rest @ ..] => {
                    text.push(*byte);
                    self.rest = rest;
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(input: &str, expected: &[(&str, Value)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.clone()))
            .collect();
        assert_eq!(dictionary(input.as_bytes()), Some(expected), "{input:?}");
    }

    #[test]
    fn members_are_read() {
        check("", &[]);
        check("max-age=60", &[("max-age", Value::Integer(60))]);
        check(
            "a, b=?0 ,\tc=\"x\\\"y\";p=1;q, d=tok/en, e=-5",
            &[
                ("a", Value::Boolean(true)),
                ("b", Value::Boolean(false)),
                ("c", text("x\"y")),
                ("d", text("tok/en")),
                ("e", Value::Integer(-5)),
            ],
        );
        check(
            "a=1.5, b=:aGk=:, c=(1 \"x\";y), d=@1, e=%\"x\"",
            &["a", "b", "c", "d", "e"].map(|key| (key, Value::Other)),
        );
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        check(
            "a=1, b, a=2",
            &[("b", Value::Boolean(true)), ("a", Value::Integer(2))],
        );
    }

    #[test]
    fn anything_malformed_is_no_dictionary() {
        for input in [
            "max-age =60",
            "max-age= 60",
            "Max-Age=60",
            "a,",
            "a,,b",
            ",a",
            "a b",
            "a=",
            "a=\"x",
            "a=1.",
            "a=1.2345",
            "a=1234567890123456",
            "a=?2",
            "a=(1",
            "a=(1,2)",
            "a;",
            "a=;b",
            "\u{fc}",
            "a=\"\u{fc}\"",
            "a=:x",
        ] {
            assert_eq!(dictionary(input.as_bytes()), None, "{input:?}");
        }
    }
}
