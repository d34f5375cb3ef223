//! Reading a key: the URL of what it is the key of.

use crate::key::{NO_ESCAPE, PrimaryKey};

impl PrimaryKey {
    /// The URL of the resource, in the form that the key has it; in the place of values that hold
    /// secrets stands `[redacted]`. `None`: the key is none of this version's.
    ///
    /// It is for people and for filters. Different keys can have one URL.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let [scheme, authority, path, query] = self.resource()?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let mut url = String::with_capacity(self.as_bytes().len() + 8);
        if !scheme.is_empty() {
            url.push_str(text(scheme)?);
            url.push(':');
        }
        url.push_str("//");
        url.push_str(text(authority)?);
        url.push_str(text(path)?);
        push_query(&mut url, query)?;
        Some(without_marks(&url))
    }

    /// Whether both are keys of one URL, whoever asked for it.
    #[must_use]
    pub fn has_url_of(&self, other: &Self) -> bool {
        let resource = self.resource();
        resource.is_some() && resource == other.resource()
    }

    /// Whether the responses under this key are for some requests only, by their credentials, say.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.fields()
            .nth(PARTITION)
            .is_some_and(|partition| !partition.is_empty())
    }

    /// Scheme, authority, path and query.
    fn resource(&self) -> Option<[&[u8]; 4]> {
        let mut fields = self.fields().skip(1);
        let resource = [
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        ];
        Some(resource)
    }

    /// The fields, up to what is none.
    fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (field, after) = after.split_at_checked(length)?;
            rest = after;
            Some(field)
        })
    }
}

/// A zero byte, which no query has, and a digest stand for a value that holds a secret.
fn push_query(url: &mut String, query: &[u8]) -> Option<()> {
    let mut rest = query;
    while let Some(at) = rest.iter().position(|byte| *byte == 0) {
        url.push_str(std::str::from_utf8(&rest[..at]).ok()?);
        url.push_str("[redacted]");
        rest = rest.get(at + 1 + DIGEST..)?;
    }
    url.push_str(std::str::from_utf8(rest).ok()?);
    Some(())
}

/// The same as a URL that has this key: behind a `%` that begins no escape, a hexadecimal digit is escaped.
fn without_marks(marked: &str) -> String {
    let mut parts = marked.split(char::from(NO_ESCAPE));
    let mut url = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digit = part.bytes().next().filter(u8::is_ascii_hexdigit);
        match digit {
            Some(digit) => url.push_str(&format!("%{digit:02X}{}", &part[1..])),
            None => url.push_str(part),
        }
    }
    url
}

/// Where the partition is among the fields.
const PARTITION: usize = 7;

const DIGEST: usize = size_of::<crate::key::Digest>();

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::policy::Policy;
    use crate::request::{Fields, RequestHead};

    fn key(uri: &str, fields: &[(&str, &str)]) -> PrimaryKey {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let head = RequestHead::from(&request);
        let fields = Fields::of(head.headers);
        PrimaryKey::derive(&Policy::private(), &head, fields).expect("a key")
    }

    #[test]
    fn a_key_tells_its_url() {
        for (uri, url) in [
            ("http://a.test", "http://a.test/"),
            ("HTTPS://A.test:443/x?y=1&z", "https://a.test/x?y=1&z"),
            ("http://a.test:8080/%7e?", "http://a.test:8080/~?"),
            ("http://user:secret@a.test/", "http://a.test/"),
        ] {
            assert_eq!(key(uri, &[]).url().as_deref(), Some(url));
        }
        let relative = key("/x", &[("host", "a.test")]);
        assert_eq!(relative.url().as_deref(), Some("//a.test/x"));
    }

    #[test]
    fn a_secret_in_the_query_is_not_in_the_url() {
        for value in ["s3cret", "", "%00"] {
            let key = key(
                &format!("http://a.test/?a=1&token={value}&b=2&api_key=x"),
                &[],
            );
            assert_eq!(
                key.url().as_deref(),
                Some("http://a.test/?a=1&token=[redacted]&b=2&api_key=[redacted]")
            );
        }
    }

    #[test]
    fn partitions_of_one_url_are_told_apart_but_have_one_url() {
        let (nobody, somebody) = (
            key("http://a.test/", &[]),
            key("http://a.test/", &[("authorization", "Bearer x")]),
        );
        assert!(!nobody.is_partitioned());
        assert!(somebody.is_partitioned());
        assert!(nobody.has_url_of(&somebody));
        assert!(!nobody.has_url_of(&key("http://a.test/?", &[])));
        let (one, other) = (
            key("http://a.test/?token=1", &[]),
            key("http://a.test/?token=2", &[]),
        );
        assert!(!one.has_url_of(&other));
    }

    #[test]
    fn what_is_no_key_has_no_url() {
        for bytes in [&b""[..], b"GET http://a.test/", &[0; 12], &[255; 40]] {
            let key = PrimaryKey::from_bytes(bytes);
            assert_eq!(key.url(), None);
            assert!(!key.has_url_of(&key));
            assert!(!key.is_partitioned());
        }
    }
}
