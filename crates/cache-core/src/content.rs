//! Content of requests in keys (RFC 10008).

use std::borrow::Cow;
use std::sync::Arc;

use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

/// The requests whose content is in their key, and how different content may mean the same:
/// [`Policy::key_content`](crate::Policy::key_content).
///
/// ```
/// use cache_core::{ContentKey, Policy};
/// use http::Method;
///
/// let policy = Policy::private()
///     .key_content(ContentKey::query().method(Method::POST).normalise_forms());
/// # let _ = policy;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ContentKey {
    methods: Vec<Method>,
    #[cfg(feature = "json")]
    normalises_json: bool,
    normalises_forms: bool,
    ignored: Arc<[Box<str>]>,
}

impl ContentKey {
    /// Requests with the method QUERY (RFC 10008), and their content byte by byte.
    pub fn query() -> Self {
        Self {
            methods: vec![query_method()],
            #[cfg(feature = "json")]
            normalises_json: false,
            normalises_forms: false,
            ignored: Arc::default(),
        }
    }

    /// Requests with this method, too. A POST that is cached does not invalidate anything, and is sent
    /// once for all who ask the same: it is for those that change nothing.
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Content of a JSON type counts without white space, and objects without the order of their
    /// members. Numbers and text count as they are written, and the order in arrays does. What is no
    /// JSON, or has a member twice, counts byte by byte.
    #[cfg(feature = "json")]
    pub fn normalise_json(mut self) -> Self {
        self.normalises_json = true;
        self
    }

    /// Forms (`application/x-www-form-urlencoded`) count without the order of their fields; of several
    /// with one name, it counts.
    pub fn normalise_forms(mut self) -> Self {
        self.normalises_forms = true;
        self
    }

    /// Members of normalised JSON that do not count, as JSON pointers (RFC 6901): `/id`, `/meta/time`;
    /// and fields of normalised forms, `/id`. Items of arrays cannot be named.
    pub fn ignore(mut self, pointers: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.ignored = pointers
            .into_iter()
            .map(|pointer| pointer.as_ref().into())
            .collect();
        self
    }

    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// The name of the form that content is brought into, and the content in it.
    pub(crate) fn normalise<'a>(
        &self,
        headers: &HeaderMap,
        content: &'a [u8],
    ) -> (&'static [u8], Cow<'a, [u8]>) {
        let raw = (&b"raw"[..], Cow::Borrowed(content));
        if headers.contains_key(CONTENT_ENCODING) {
            return raw;
        }
        let media_type = media_type(headers);
        if self.normalises_forms && media_type == b"application/x-www-form-urlencoded" {
            return (b"form", Cow::Owned(self.form(content)));
        }
        #[cfg(feature = "json")]
        if self.normalises_json
            && (media_type == b"application/json" || media_type.ends_with(b"+json"))
        {
            if let Some(json) = json::normalise(content, &self.ignored) {
                return (b"json", Cow::Owned(json));
            }
        }
        raw
    }

    fn form(&self, content: &[u8]) -> Vec<u8> {
        let name = |field: &'_ [u8]| field.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        let is_ignored = |field: &[u8]| {
            let name = name(field).unwrap_or_default();
            let pointers = self.ignored.iter();
            pointers
                .filter_map(|pointer| pointer.strip_prefix('/'))
                .any(|ignored| ignored.as_bytes() == name)
        };
        let mut fields: Vec<&[u8]> = content.split(|byte| *byte == b'&').collect();
        fields.retain(|field| !is_ignored(field));
        fields.sort_by_key(|field| name(field));
        fields.join(&b'&')
    }
}

fn query_method() -> Method {
    Method::from_bytes(b"QUERY").unwrap_or_default()
}

fn media_type(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => {
            let essence = line.as_bytes().split(|byte| *byte == b';').next();
            essence
                .unwrap_or_default()
                .trim_ascii()
                .to_ascii_lowercase()
        }
        _ => Vec::new(),
    }
}

#[cfg(feature = "json")]
mod json {
    use std::collections::BTreeMap;
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
    use serde_json::value::RawValue;

    /// JSON without white space and with members in order; `None`: it cannot be told what it means.
    pub(super) fn normalise(content: &[u8], ignored: &[Box<str>]) -> Option<Vec<u8>> {
        let value: &RawValue = serde_json::from_slice(content).ok()?;
        let mut normalised = Vec::with_capacity(content.len());
        write(value, DEEPEST, &mut String::new(), ignored, &mut normalised)?;
        Some(normalised)
    }

    /// Values within one another, at most.
    const DEEPEST: usize = 128;

    fn write(
        value: &RawValue,
        deepest: usize,
        pointer: &mut String,
        ignored: &[Box<str>],
        normalised: &mut Vec<u8>,
    ) -> Option<()> {
        let text = value.get();
        let deepest = deepest.checked_sub(1)?;
        match text.as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                normalised.push(b'{');
                let mut is_first = true;
                for (name, value) in members {
                    let end = pointer.len();
                    pointer.push('/');
                    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                    if !ignored.iter().any(|ignored| **ignored == **pointer) {
                        if !is_first {
                            normalised.push(b',');
                        }
                        is_first = false;
                        normalised.extend_from_slice(serde_json::to_string(&name).ok()?.as_bytes());
                        normalised.push(b':');
                        write(value, deepest, pointer, ignored, normalised)?;
                    }
                    pointer.truncate(end);
                }
                normalised.push(b'}');
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                normalised.push(b'[');
                for (index, item) in items.into_iter().enumerate() {
                    if index > 0 {
                        normalised.push(b',');
                    }
                    let end = pointer.len();
                    // No pointer names what is in an array.
                    pointer.push_str("/~");
                    write(item, deepest, pointer, ignored, normalised)?;
                    pointer.truncate(end);
                }
                normalised.push(b']');
            }
            _ => normalised.extend_from_slice(text.as_bytes()),
        }
        Some(())
    }

    /// The members of an object, none of them twice.
    struct Members<'a>(BTreeMap<String, &'a RawValue>);

    impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct MembersVisitor;

            impl<'de> Visitor<'de> for MembersVisitor {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = BTreeMap::new();
                    while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                        if members.insert(name, value).is_some() {
                            return Err(A::Error::custom("a member is there twice"));
                        }
                    }
                    Ok(Members(members))
                }
            }

            deserializer.deserialize_map(MembersVisitor)
        }
    }

    #[cfg(test)]
    mod tests {
        #[track_caller]
        fn check(content: &str, expected: Option<&str>) {
            let found = super::normalise(content.as_bytes(), &["/skip".into(), "/a/x".into()]);
            let found = found.map(|found| String::from_utf8(found).expect("text"));
            assert_eq!(found.as_deref(), expected, "{content}");
        }

        #[test]
        fn white_space_and_the_order_of_members_do_not_count() {
            check(
                r#" { "b" : [ 1, {"d":2 , "c":3} ], "a": "x y" } "#,
                Some(r#"{"a":"x y","b":[1,{"c":3,"d":2}]}"#),
            );
        }

        #[test]
        fn numbers_text_and_the_order_in_arrays_count_as_they_are_written() {
            check("[2, 1]", Some("[2,1]"));
            check("1.0", Some("1.0"));
            check(
                "123456789012345678901234567890",
                Some("123456789012345678901234567890"),
            );
            check(r#""\u0041""#, Some(r#""\u0041""#));
        }

        #[test]
        fn members_that_are_ignored_do_not_count_where_they_are_named() {
            check(
                r#"{"skip": 1, "a": {"x": 1, "y": 2}, "b": {"skip": 3}, "c": [{"skip": 1}]}"#,
                Some(r#"{"a":{"y":2},"b":{"skip":3},"c":[{"skip":1}]}"#),
            );
        }

        #[test]
        fn what_cannot_be_told_is_not_normalised() {
            check(r#"{"a": 1, "a": 2}"#, None);
            check(r#"{"a": 1, "\u0061": 2}"#, None);
            check("{", None);
            check("", None);
            for depth in [500, 100_000] {
                let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
                check(&deep, None);
                check(&deep[..depth], None);
            }
        }
    }
}
