//! What is written, for people and for programs.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// How to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) is_json: bool,
}

impl Output {
    /// A value for programs, or what `text` makes for people.
    pub(crate) fn say(self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let mut line = match self.is_json {
            true => value.to_string(),
            false => text(),
        };
        line.push('\n');
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

/// Columns, each as wide as it has to be; where all is numbers, they stand to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let is_number = |cell: &String| cell.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<bool> = (0..head.len())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).all(is_number))
        .collect();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for (number, row) in std::iter::once(&head).chain(rows).enumerate() {
        if number > 0 {
            text.push('\n');
        }
        let mut line = String::new();
        for ((width, cell), is_number) in widths.iter().zip(row).zip(&numbers) {
            let _ = match is_number {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
    }
    text
}

/// Text that may hold anything, without what would change a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let is_shown = letter == '\n' || letter == '\t' || !letter.is_control();
            let (shown, escaped) = match is_shown {
                true => (Some(letter), None),
                false => (None, Some(letter.escape_default())),
            };
            shown.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// A time, in whole seconds.
pub(crate) fn duration(duration: Duration) -> String {
    exact(Duration::from_secs(duration.as_secs()))
}

/// A time with its parts of a second. One that is meant to be for ever is not written out.
pub(crate) fn exact(duration: Duration) -> String {
    match duration <= LONGEST {
        true => humantime::format_duration(duration).to_string(),
        false => "over 1000 years".to_owned(),
    }
}

/// A thousand years, as humantime has them.
const LONGEST: Duration = Duration::from_secs(1000 * 31_557_600);

pub(crate) fn time(at: SystemTime) -> String {
    match has_date(at) {
        true => humantime::format_rfc3339_seconds(at).to_string(),
        false => "after the year 9999".to_owned(),
    }
}

/// Whether a time can be written as a date.
pub(crate) fn has_date(at: SystemTime) -> bool {
    at <= SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        (whole, rest, unit) = (whole / 1024, whole % 1024, unit + 1);
    }
    match unit {
        0 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{whole}.{} {}", rest * 10 / 1024, UNITS[unit]),
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_it_has_to_be() {
        let rows = [
            vec!["http://a.test/".to_owned(), "5".to_owned()],
            vec!["b".to_owned(), "100".to_owned()],
        ];
        assert_eq!(
            table(&["url", "bytes"], &rows),
            "url             bytes\nhttp://a.test/      5\nb                 100"
        );
    }

    #[test]
    fn what_would_change_a_terminal_is_escaped() {
        assert_eq!(plain("a\u{1b}[2Jb\r\n\tü"), "a\\u{1b}[2Jb\\r\n\tü");
    }

    #[test]
    fn bytes_and_times_are_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(16 << 20), "16.0 MiB");
        assert_eq!(duration(Duration::from_millis(90_900)), "1m 30s");
        assert_eq!(duration(Duration::from_millis(900)), "0s");
        assert_eq!(exact(Duration::from_millis(1900)), "1s 900ms");
        assert_eq!(duration(LONGEST), "1000years");
        assert_eq!(duration(Duration::MAX), "over 1000 years");
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(time(late), "after the year 9999");
        assert_eq!(time(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
