//! Values of header fields as the cases give them: text, or an integer that may become a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldValue {
    Text(String),
    Integer(i64),
}

/// In these, an integer is a number of seconds from now.
const DATES: [&str; 5] = [
    "date",
    "expires",
    "last-modified",
    "if-modified-since",
    "if-unmodified-since",
];

/// What is needed to write an integer as a date.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// Milliseconds since 1970, if they are known.
    pub(crate) now: Option<i64>,
    /// The fields with dates in the form of RFC 850, in lower case.
    pub(crate) rfc850: &'a [String],
}

impl FieldValue {
    /// The text that goes into a field of this name.
    pub(crate) fn text(&self, name: &str, moment: Moment<'_>) -> String {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(seconds) if DATES.contains(&&*name) => match moment.now {
                Some(now) if moment.rfc850.contains(&name) => rfc850(&imf(now, *seconds)),
                Some(now) => imf(now, *seconds),
                None => "no date".to_owned(),
            },
            Self::Integer(integer) => integer.to_string(),
        }
    }
}

/// Such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf(now: i64, seconds: i64) -> String {
    let time = now.div_euclid(1000).saturating_add(seconds).max(0);
    httpdate::fmt_http_date(at(time.unsigned_abs()))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The same as `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(imf: &str) -> String {
    let parts: Vec<_> = imf
        .split([' ', ','])
        .filter(|part| !part.is_empty())
        .collect();
    let [weekday, day, month, year, time, zone] = parts[..] else {
        unreachable!("a date has six parts");
    };
    let weekday = match weekday {
        "Tue" => "Tuesday".to_owned(),
        "Wed" => "Wednesday".to_owned(),
        "Thu" => "Thursday".to_owned(),
        "Sat" => "Saturday".to_owned(),
        short => format!("{short}day"),
    };
    format!("{weekday}, {day}-{month}-{} {time} {zone}", &year[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 784_111_777_900;

    fn text(value: FieldValue, name: &str, rfc850: &[String]) -> String {
        let now = Some(NOW);
        value.text(name, Moment { now, rfc850 })
    }

    #[test]
    fn an_integer_in_a_date_field_is_a_date_cut_down_to_seconds() {
        let date = text(FieldValue::Integer(0), "Expires", &[]);
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
        let date = text(FieldValue::Integer(-86400), "Date", &["date".to_owned()]);
        assert_eq!(date, "Saturday, 05-Nov-94 08:49:37 GMT");
    }

    #[test]
    fn other_values_are_sent_as_they_are() {
        assert_eq!(text(FieldValue::Integer(10), "Age", &[]), "10");
        assert_eq!(text(FieldValue::Text("0".to_owned()), "Expires", &[]), "0");
    }
}
