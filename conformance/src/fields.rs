//! `Fields`.

/// Header fields, line by line; each character is a byte (Latin-1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    lines: Vec<(String, String)>,
}

impl Fields {
    /// Adds a line.
    pub(crate) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.lines.push((name.to_owned(), value.into()));
    }

    /// Adds to the line of this name, if there is one, and else a line.
    pub(crate) fn join(&mut self, name: &str, value: &str) {
        let line = self
            .lines
            .iter_mut()
            .find(|(other, _)| other.eq_ignore_ascii_case(name));
        match line {
            Some((_, line)) => *line = format!("{line}, {value}"),
            None => self.push(name, value),
        }
    }

    /// Adds a line where there is none of this name.
    pub(crate) fn push_missing(&mut self, name: &str, value: impl Into<String>) {
        if !self.has(name) {
            self.push(name, value);
        }
    }

    /// All lines.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The lines of this name.
    pub(crate) fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lines(name).next().is_some()
    }

    /// The value: the lines of this name as a list.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self.lines(name).collect();
        (!lines.is_empty()).then(|| lines.join(", ").trim().to_owned())
    }

    /// The integer that the value starts with.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        let (sign, digits) = match value.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, &*value),
        };
        let end = digits
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(digits.len());
        digits[..end].parse().ok().map(|number: i64| sign * number)
    }

    /// Whether a member of the list is this token.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.lines(name)
            .flat_map(|line| line.split(','))
            .any(|member| member.trim().eq_ignore_ascii_case(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_joined_and_an_empty_one_counts() {
        let mut fields = Fields::default();
        fields.push("Vary", "");
        fields.push("vary", "*");
        assert_eq!(fields.get("VARY").as_deref(), Some(", *"));
        assert_eq!(fields.get("age"), None);
    }

    #[test]
    fn a_number_is_what_the_value_starts_with() {
        let mut fields = Fields::default();
        fields.push("age", "12, 3");
        fields.push("a", "-1");
        fields.push("b", "NaN");
        assert_eq!(fields.number("Age"), Some(12));
        assert_eq!(fields.number("A"), Some(-1));
        assert_eq!(fields.number("B"), None);
    }
}
