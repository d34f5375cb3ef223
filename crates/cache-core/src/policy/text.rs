//! Values that configuration has as text.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::{HeaderName, Method};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};

use crate::policy::{Retention, Ttl};

/// A value that configuration has as text.
pub(super) trait Text: Sized {
    /// What to write.
    const EXPECTED: &'static str;

    fn read(text: &str) -> Option<Self>;

    fn write(&self) -> String;
}

impl Text for Duration {
    const EXPECTED: &'static str =
        "a duration with its unit, such as \"500ms\", \"2s\" or \"5min\"";

    fn read(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }

    fn write(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Text for Ttl {
    const EXPECTED: &'static str =
        "a duration such as \"10min\", a time such as \"2030-01-31T12:00:00Z\", or \"never\"";

    fn read(text: &str) -> Option<Self> {
        if text == "never" {
            return Some(Self::Never);
        }
        let after = Duration::read(text).map(Self::After);
        after.or_else(|| humantime::parse_rfc3339(text).ok().map(Self::At))
    }

    fn write(&self) -> String {
        match self {
            Self::After(time) => time.write(),
            Self::At(time) => humantime::format_rfc3339(*time).to_string(),
            Self::Never => "never".into(),
        }
    }
}

impl Text for Retention {
    const EXPECTED: &'static str = "the grace, such as \"1h\", or \"forever\"";

    fn read(text: &str) -> Option<Self> {
        match text {
            "forever" => Some(Self::Forever),
            grace => Duration::read(grace).map(Self::Grace),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Grace(grace) => grace.write(),
            Self::Forever => "forever".into(),
        }
    }
}

impl Text for Method {
    const EXPECTED: &'static str = "a method, such as \"GET\"";

    fn read(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes()).ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl Text for HeaderName {
    const EXPECTED: &'static str = "the name of a field, such as \"accept-language\"";

    fn read(text: &str) -> Option<Self> {
        Self::from_bytes(text.as_bytes()).ok()
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// Any text.
impl Text for String {
    const EXPECTED: &'static str = "text";

    fn read(text: &str) -> Option<Self> {
        Some(text.into())
    }

    fn write(&self) -> String {
        self.clone()
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text)
            .ok_or_else(|| E::custom(format_args!("{text:?} is not right; write {}", T::EXPECTED)))
    }
}

/// For a field that may be left out.
pub(super) mod optional {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: Text>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        deserializer
            .deserialize_str(TextVisitor(PhantomData))
            .map(Some)
    }

    pub(in super::super) fn serialize<S: Serializer, T: Text>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&value.write()),
            None => serializer.serialize_none(),
        }
    }
}

/// For a field that has one value or a list of them.
pub(super) mod list {
    use super::*;

    struct ListVisitor<T>(PhantomData<T>);

    impl<'de, T: Text> Visitor<'de> for ListVisitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}, or a list of them", T::EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            TextVisitor(PhantomData)
                .visit_str(text)
                .map(|one| vec![one])
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Vec<T>, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Vec<T>, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(Scalar(text)) = list.next_element()? {
                all.push(TextVisitor(PhantomData).visit_str(&text)?);
            }
            Ok(all)
        }
    }

    /// Text, or a number as text: of a list of status codes, say.
    struct Scalar(String);

    impl<'de> de::Deserialize<'de> for Scalar {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct ScalarVisitor;

            impl Visitor<'_> for ScalarVisitor {
                type Value = Scalar;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("text or a number")
                }

                fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                    Ok(Scalar(text.into()))
                }

                fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
                    Ok(Scalar(number.to_string()))
                }

                fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
                    Ok(Scalar(number.to_string()))
                }
            }

            deserializer.deserialize_any(ScalarVisitor)
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: Text>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }

    pub(in super::super) fn serialize<S: Serializer, T: Text>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(values.len()))?;
        for value in values {
            list.serialize_element(&value.write())?;
        }
        list.end()
    }
}
