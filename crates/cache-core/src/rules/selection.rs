//! Which stored responses match a request (RFC 9111 §4.1).

use std::cell::RefCell;
use std::thread::LocalKey;

use http::header::{self, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderMap};

use crate::backend::Entry;
use crate::header::range::{ByteRange, Part};
use crate::header::vary::{Vary, with_normalised};
use crate::key::{Digest, PrimaryKey, Secret};
use crate::policy::{Policy, Terms};
use crate::reason::Reason;
use crate::rules::conditional;
use crate::stored::{SelectingField, StoredHead};
use http::header::HeaderName;

/// The fields that a response was selected by, with the values they have in `request`.
pub(crate) fn selecting(
    terms: &Terms<'_>,
    request: &HeaderMap,
    response: &HeaderMap,
) -> Result<Vec<SelectingField>, Reason> {
    let Vary::Fields(mut names) = Vary::read(response) else {
        return Err(Reason::VaryStar);
    };
    names.retain(|name| !terms.ignored_vary.contains(name));
    let mut selecting = Vec::with_capacity(names.len() + terms.vary_on.len());
    let names = names.into_iter().chain(terms.vary_on.iter().cloned());
    select_by(terms.policy, request, names, &mut selecting);
    if selecting.len() > MAX_FIELDS {
        return Err(Reason::VaryTooLong);
    }
    Ok(selecting)
}

/// Adds fields that a response was selected by though it does not say so.
pub(crate) fn select_by(
    policy: &Policy,
    request: &HeaderMap,
    names: impl IntoIterator<Item = HeaderName>,
    selecting: &mut Vec<SelectingField>,
) {
    for name in names {
        if !selecting.iter().any(|field| field.name == name) {
            selecting.push(SelectingField {
                value: digest(policy, request, &name),
                name,
            });
        }
    }
}

/// Tells which stored responses match a request.
pub(crate) struct Selector<'a> {
    policy: &'a Policy,
    key: &'a PrimaryKey,
    request: &'a HeaderMap,
    /// What of the content is asked for, where it is not the whole.
    range: Option<ByteRange>,
    /// There is one response to look at, so that no digest is needed twice.
    selects_once: bool,
    /// The digests of the fields that were needed so far.
    digests: Vec<SelectingField>,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(
        policy: &'a Policy,
        key: &'a PrimaryKey,
        request: &'a HeaderMap,
        range: Option<ByteRange>,
        responses: usize,
    ) -> Self {
        Self {
            selects_once: responses == 1,
            policy,
            key,
            request,
            range,
            digests: Vec::new(),
        }
    }

    /// Whether a stored response is for the same key, and was selected by the values that the
    /// request has.
    #[inline]
    pub(crate) fn selects(&mut self, head: &StoredHead) -> bool {
        // The key last: it is the same nearly always, and longer.
        head.selecting
            .iter()
            .all(|field| self.value(&field.name) == field.value)
            && head.key == *self.key
    }

    /// Whether a stored response is whole, as far as its head can tell, or has the part that is
    /// asked for.
    pub(crate) fn has_content(&self, entry: &Entry) -> bool {
        let (head, length) = (&*entry.head, entry.body.len());
        head.content_length
            .is_none_or(|announced| announced == length)
            && head
                .part
                .as_ref()
                .is_none_or(|part| self.wants(head, part, length))
    }

    /// Whether a stored part, of which `length` bytes are there, has all that the request asks for.
    fn wants(&self, head: &StoredHead, part: &Part, length: u64) -> bool {
        let range = self.range.and_then(|range| range.of(part.length));
        range.is_some_and(|range| part.len() == length && part.contains(&range))
            && conditional::is_range_wanted(self.request, head)
    }

    fn value(&mut self, name: &HeaderName) -> Option<Digest> {
        if self.selects_once {
            return digest(self.policy, self.request, name);
        }
        if let Some(known) = self.digests.iter().find(|known| known.name == *name) {
            return known.value;
        }
        let value = digest(self.policy, self.request, name);
        self.digests.push(SelectingField {
            name: name.clone(),
            value,
        });
        value
    }
}

/// The keyed digest of a field's value, so that the value itself is nowhere at rest.
#[inline]
pub(crate) fn digest(policy: &Policy, request: &HeaderMap, name: &HeaderName) -> Option<Digest> {
    let mut lines = request.get_all(name).iter();
    let line = lines.next()?.as_bytes();
    match Last::of(name) {
        Some(last) if line.len() <= LAST_BYTES && lines.next().is_none() => last.with(|last| {
            let mut last = last.borrow_mut();
            if !last.is_of(&policy.secret, line) {
                last.set(&policy.secret, line, digest_anew(policy, request, name)?);
            }
            Some(last.digest)
        }),
        _ => digest_anew(policy, request, name),
    }
}

fn digest_anew(policy: &Policy, request: &HeaderMap, name: &HeaderName) -> Option<Digest> {
    with_normalised(request, name, |value| {
        let mut digest = policy.secret.digest(b"vary");
        digest.field(name.as_str().as_bytes());
        digest.field(value);
        digest.finish()
    })
}

/// The last value of a field of content negotiation that this thread digested: most requests of a process
/// say the same in it, and to compare takes a tenth of the time. None of these holds a secret.
struct Last {
    secret: Secret,
    line: [u8; LAST_BYTES],
    /// `None`: there is none yet.
    length: Option<usize>,
    digest: Digest,
}

/// As long as the longest that browsers send in `Accept-Encoding` and most in `Accept-Language`.
const LAST_BYTES: usize = 48;

impl Last {
    const NONE: Self = Self {
        secret: Secret::none(),
        line: [0; LAST_BYTES],
        length: None,
        digest: [0; 16],
    };

    fn of(name: &HeaderName) -> Option<&'static LocalKey<RefCell<Self>>> {
        thread_local! {
            static ACCEPT: RefCell<Last> = const { RefCell::new(Last::NONE) };
            static ENCODING: RefCell<Last> = const { RefCell::new(Last::NONE) };
            static LANGUAGE: RefCell<Last> = const { RefCell::new(Last::NONE) };
        }
        match *name {
            ACCEPT_ENCODING => Some(&ENCODING),
            header::ACCEPT => Some(&ACCEPT),
            ACCEPT_LANGUAGE => Some(&LANGUAGE),
            _ => None,
        }
    }

    fn is_of(&self, secret: &Secret, line: &[u8]) -> bool {
        self.length == Some(line.len())
            && self.line[..line.len()] == *line
            && self.secret.is_same(secret)
    }

    fn set(&mut self, secret: &Secret, line: &[u8], digest: Digest) {
        self.secret = *secret;
        self.line[..line.len()].copy_from_slice(line);
        self.length = Some(line.len());
        self.digest = digest;
    }
}

/// One digest over names and values: what tells variants of one key apart.
pub(crate) fn variant<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, Option<Digest>)>,
) -> Digest {
    let mut digest = Secret::none().digest(b"variant");
    for (name, value) in fields {
        digest.field(name.as_str().as_bytes());
        digest.field(value.as_ref().map_or(&[], |value| value));
    }
    digest.finish()
}

/// More fields than this are not worth telling apart.
const MAX_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_was_digested_last_is_of_the_same_secret_field_and_value() {
        let values = ["gzip", "gzip, br", "", "gzip", &"x".repeat(LAST_BYTES + 1)];
        let names = [ACCEPT_ENCODING, header::ACCEPT, ACCEPT_LANGUAGE];
        for round in 0..2 {
            for value in values {
                for name in &names {
                    for secret in [Secret::none(), Secret::new(b"s")] {
                        let policy = Policy::private().secret(secret);
                        let mut request = HeaderMap::new();
                        request.insert(name, HeaderValue::from_str(value).expect("a value"));
                        let anew = digest_anew(&policy, &request, name);
                        assert_eq!(digest(&policy, &request, name), anew, "{round}");
                        assert_eq!(digest(&policy, &request, name), anew, "again");
                        request.append(name, HeaderValue::from_static("br"));
                        let anew = digest_anew(&policy, &request, name);
                        assert_eq!(digest(&policy, &request, name), anew, "two lines");
                    }
                }
            }
        }
    }

    #[test]
    fn the_digests_of_selecting_fields_are_those_that_stores_already_have() {
        let policy = Policy::private().secret(Secret::new(b"s"));
        let long = "x, Y;q=0.5, ".repeat(200);
        for (name, value, expected) in [
            (
                "accept-encoding",
                "gzip, br",
                "0cf5c14afc377e44a36e9e7f7c238231",
            ),
            ("accept-encoding", "", "a29d46cf6e32a6c9bd3694822acbcde7"),
            (
                "accept-language",
                "de;q=0.7, en-GB",
                "b65f3cba52bb899da104268f9c466ecf",
            ),
            ("accept-language", &long, "386a51a2a2a12a729d1d2e49e42f0f52"),
            ("cookie", "b=2; a=1", "1550a8c2ecec188fe3f6f74d9cff8cc3"),
            ("user-agent", "a (b, c)", "9a9105b8835712ce28aa2c80f665f22d"),
            ("x-list", "b , a,,", "2d2283f144cdcd423a5cb67ae8435761"),
        ] {
            let name = HeaderName::from_static(name);
            let mut headers = HeaderMap::new();
            headers.insert(&name, HeaderValue::from_str(value).expect("a field value"));
            let found = digest(&policy, &headers, &name).expect("a digest");
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{name}: {value}");
        }
        assert_eq!(digest(&policy, &HeaderMap::new(), &header::ACCEPT), None);
        let fields = [(&header::ACCEPT, Some([7; 16])), (&header::COOKIE, None)];
        let found: String = variant(fields.into_iter())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(found, "91451fd04ccac0bca29a46486becca7a");
    }
}
