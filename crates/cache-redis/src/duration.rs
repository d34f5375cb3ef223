//! Durations in configuration: `"500ms"`, `"2s"`, `"5min"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        serde::de::Error::custom(format_args!(
            "{text:?} is no duration ({error}); write a number and its unit, like \"500ms\" or \"2s\""
        ))
    })
}
