//! The cache key (RFC 9111 §2) and the digests that stand for what must not be readable at rest.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName,
    PROXY_AUTHORIZATION, USER_AGENT,
};
use http::uri::Authority;

use crate::keying;
use crate::options::CacheOptions;
use crate::policy::Policy;
use crate::request::{Fields, RequestHead};

/// The key of a resource: everything but what `Vary` adds.
///
/// It is a preimage, not a digest: length-framed fields, so no two different resources have the
/// same bytes. Backends that want a short key take [`digest`](Self::digest) and compare the bytes
/// on reading. Credentials are in it as keyed digests only.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrimaryKey {
    bytes: Box<[u8]>,
}

/// A digest of 128 bits that cannot be steered.
pub type Digest = [u8; 16];

impl PrimaryKey {
    /// The key of a request, if it has one.
    #[must_use]
    pub fn of(policy: &Policy, request: &RequestHead<'_>) -> Option<Self> {
        Self::derive(policy, request, Fields::of(request.headers))
    }

    /// The key of what `request` asks for, if its target can be told for sure.
    pub(crate) fn derive(
        policy: &Policy,
        request: &RequestHead<'_>,
        fields: Fields,
    ) -> Option<Self> {
        match (&policy.keying, request.options) {
            (None, None) => Self::derive_plain(policy, request, fields),
            _ => keying::derive(policy, request, fields),
        }
    }

    /// The same key with more fields: each a name for what it is, and a keyed digest.
    pub(crate) fn with_all(
        self,
        policy: &Policy,
        name: &[u8],
        all: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Self {
        all.into_iter().fold(self, |key, material| {
            let mut digest = policy.secret.digest(name);
            digest.field(material.as_ref());
            key.with_digest(name, digest.finish())
        })
    }

    pub(crate) fn with_digest(self, name: &[u8], digest: Digest) -> Self {
        let mut key = Framed {
            bytes: self.bytes.into(),
        };
        key.field(name);
        key.field(&digest);
        Self {
            bytes: key.bytes.into(),
        }
    }

    /// The key that is made where nothing else is said.
    pub(crate) fn derive_plain(
        policy: &Policy,
        request: &RequestHead<'_>,
        fields: Fields,
    ) -> Option<Self> {
        let host = if fields.host {
            Some(host(request.headers)?)
        } else {
            None
        };
        let named: Authority;
        let target = match (request.uri.authority(), host) {
            (Some(authority), _) => Target::of(authority)?,
            (None, Some(host)) => match Target::plain(host) {
                Some(target) => target,
                None => {
                    named = Authority::try_from(host).ok()?;
                    // User information has no business in `Host`.
                    Target::parsed(&named).filter(|target| target.user.is_none())?
                }
            },
            (None, None) => return None,
        };
        // A client may name another host than the one it connects to; the origin believes `Host`.
        let other_host = host
            .filter(|host| request.uri.authority().is_some() && !target.is_named_by(host))
            .unwrap_or_default();
        let user = user_information(policy, &target);
        let partition = policy.partition.of(policy, request, fields);
        let mut key = Framed::with_room_for(request.uri, &target, partition);
        let default_port = key.scheme(policy, request.uri);
        key.target(&target, default_port);
        key.path(request.uri);
        key.query(policy, request.uri);
        match (other_host, user, partition) {
            (b"", None, None) => key.bytes.extend_from_slice(&[0; 3 * FRAME]),
            _ => {
                key.lower(other_host);
                key.digest(user);
                key.digest(partition);
            }
        }
        Some(Self {
            bytes: key.bytes.into(),
        })
    }

    /// The keys of a URI of the same origin that a request can change: in its own partition, and
    /// in that of the requests without credentials.
    pub(crate) fn derive_changed(
        policy: &Policy,
        request: &RequestHead<'_>,
        uri: &Uri,
    ) -> impl Iterator<Item = Self> + use<> {
        let request = RequestHead { uri, ..*request };
        let fields = Fields::of(request.headers);
        let own = Self::derive(policy, &request, fields);
        let options = request.options.map(|options| CacheOptions {
            partition: None,
            ..options.clone()
        });
        let request = RequestHead {
            options: options.as_ref(),
            ..request
        };
        let unpartitioned = Policy {
            partition: Partition::None,
            ..policy.clone()
        };
        let common =
            Self::derive(&unpartitioned, &request, fields).filter(|key| Some(key) != own.as_ref());
        own.into_iter().chain(common)
    }

    /// A key from the bytes of [`as_bytes`](Self::as_bytes).
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
        }
    }

    /// The preimage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A digest of the preimage: BLAKE3, 128 bits.
    #[must_use]
    pub fn digest(&self) -> Digest {
        truncate(&blake3::hash(&self.bytes))
    }
}

impl fmt::Debug for PrimaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path can hold secrets, so not even this shows it.
        write!(f, "PrimaryKey(")?;
        for byte in self.digest() {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ")")
    }
}

/// What keeps requests for one URI apart, so that they never share a stored response.
#[derive(Clone)]
#[non_exhaustive]
pub enum Partition {
    /// Nothing but the URI and `Vary`.
    None,
    /// The credentials of the request: `Authorization`, `Proxy-Authorization`, `Cookie`, and the fields that commonly carry an API key
    /// (`X-API-Key`, `X-API-Token`, `X-Auth-Token`, `X-Access-Token`).
    Credentials,
    /// What this function finds in a request, or nothing.
    By(PartitionFn),
}

/// A function that finds the partition of a request: the same bytes, the same partition.
pub type PartitionFn = Arc<dyn Fn(&RequestHead<'_>) -> Option<Vec<u8>> + Send + Sync>;

impl Partition {
    /// A partition by whatever `find` returns, the tenant of a request, say. It must not panic.
    pub fn by(find: impl Fn(&RequestHead<'_>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::By(Arc::new(find))
    }

    /// The digest that stands in the key, if the request is in a partition.
    fn of(&self, policy: &Policy, request: &RequestHead<'_>, fields: Fields) -> Option<Digest> {
        let named = |found: &[u8]| {
            let mut digest = policy.secret.digest(b"partition");
            digest.field(found);
            digest.finish()
        };
        if let Some(own) = request
            .options
            .and_then(|options| options.partition.as_ref())
        {
            return Some(named(own));
        }
        match self {
            Self::None => None,
            Self::By(find) => find(request).map(|found| named(&found)),
            Self::Credentials => fields
                .credentials
                .then(|| credentials(policy, request.headers)),
        }
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Credentials => "Credentials",
            Self::By(_) => "By(..)",
        })
    }
}

/// The digest of the user information in the target, if there is any. A client may make
/// `Authorization` of it behind the cache, so it counts in a shared cache, too.
fn user_information(policy: &Policy, target: &Target<'_>) -> Option<Digest> {
    target.user.map(|user| {
        let mut digest = policy.secret.digest(b"user information");
        digest.field(user);
        digest.finish()
    })
}

/// The digest of all credentials, of which there are some.
fn credentials(policy: &Policy, headers: &HeaderMap) -> Digest {
    let mut found: Vec<(&str, &[u8])> = headers
        .iter()
        .filter(|(name, _)| is_credential(name) || policy.holds_credentials(name))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    found.sort_by_key(|(name, _)| *name);
    let mut digest = policy.secret.digest(b"credentials");
    for (name, value) in found {
        digest.field(name.as_bytes());
        digest.field(value);
    }
    digest.finish()
}

pub(crate) fn is_credential(name: &HeaderName) -> bool {
    match *name {
        AUTHORIZATION | COOKIE | PROXY_AUTHORIZATION => true,
        // Standard names are told by a number.
        ACCEPT | ACCEPT_ENCODING | ACCEPT_LANGUAGE | USER_AGENT => false,
        _ => matches!(
            name.as_str(),
            "x-api-key" | "x-api-token" | "x-auth-token" | "x-access-token"
        ),
    }
}

/// The secret that keyed digests are made with; never shown.
#[derive(Clone, Copy)]
pub struct Secret([u8; 32]);

impl Secret {
    /// No secret: digests are one-way, but a guess can be tested.
    #[must_use]
    pub const fn none() -> Self {
        Self([0; 32])
    }

    /// A secret of any length; 16 random bytes or more are enough.
    #[must_use]
    pub fn new(material: &[u8]) -> Self {
        Self(blake3::derive_key(
            "cache-core 2026 keyed digests v1",
            material,
        ))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// A keyed digest over framed fields, of its own for each `purpose`.
    pub(crate) fn digest(&self, purpose: &[u8]) -> KeyedDigest {
        let mut digest = KeyedDigest {
            secret: *self,
            short: [0; SHORT_BYTES],
            length: 0,
            long: None,
        };
        digest.field(purpose);
        digest
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A keyed digest in the making.
pub(crate) struct KeyedDigest {
    secret: Secret,
    /// The bytes so far, as long as they fit: hashing them at once takes half the time.
    short: [u8; SHORT_BYTES],
    length: usize,
    long: Option<Box<blake3::Hasher>>,
}

impl KeyedDigest {
    pub(crate) fn field(&mut self, field: &[u8]) {
        self.update(&frame(field));
        self.update(field);
    }

    fn update(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        match (&mut self.long, self.short.get_mut(self.length..end)) {
            (None, Some(free)) => {
                free.copy_from_slice(bytes);
                self.length = end;
            }
            (long, _) => {
                let begin = || {
                    let mut hasher = Box::new(blake3::Hasher::new_keyed(&self.secret.0));
                    hasher.update(&self.short[..self.length]);
                    hasher
                };
                long.get_or_insert_with(begin).update(bytes);
            }
        }
    }

    pub(crate) fn finish(&self) -> Digest {
        truncate(&match &self.long {
            Some(hasher) => hasher.finalize(),
            None => blake3::keyed_hash(&self.secret.0, &self.short[..self.length]),
        })
    }
}

/// As much as a selecting field takes, or the value of a secret parameter; cookies take more.
const SHORT_BYTES: usize = 128;

fn truncate(hash: &blake3::Hash) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&hash.as_bytes()[..16]);
    digest
}

/// The length of a field, which goes before it.
fn frame(field: &[u8]) -> [u8; FRAME] {
    u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes()
}

const FRAME: usize = 4;

/// The version of the key; another one makes every stored response a miss.
const VERSION: u8 = 1;

/// Bytes of length-framed fields.
struct Framed {
    bytes: Vec<u8>,
}

impl Framed {
    /// Room for what nearly every key has, to the byte, so that it is allocated once.
    fn with_room_for(uri: &Uri, target: &Target<'_>, partition: Option<Digest>) -> Self {
        let fields = [
            2,
            uri.scheme_str().map_or(0, str::len),
            target.host.len() + target.port.map_or(0, |port| 1 + digits(port)),
            uri.path().len().max(1),
            uri.query().map_or(0, |query| 1 + query.len()),
            0,
            0,
            partition.map_or(0, |digest| digest.len()),
        ];
        let capacity = fields.iter().map(|length| FRAME + length).sum();
        Self {
            bytes: Vec::with_capacity(capacity),
        }
    }

    fn field(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(&frame(field));
        self.bytes.extend_from_slice(field);
    }

    /// A field that is written by `write`.
    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; FRAME]);
        write(&mut self.bytes);
        let length = frame(&self.bytes[start + FRAME..]);
        self.bytes[start..start + FRAME].copy_from_slice(&length);
    }

    fn lower(&mut self, field: &[u8]) {
        self.bytes.extend_from_slice(&frame(field));
        extend_lower(&mut self.bytes, field);
    }

    /// A digest, or an empty field.
    fn digest(&mut self, digest: Option<Digest>) {
        self.field(digest.as_ref().map_or(&[], |digest| digest));
    }

    /// What goes before all: the version, whose cache it is, and the scheme, which tells the default
    /// port (RFC 9110 §4.2).
    fn scheme(&mut self, policy: &Policy, uri: &Uri) -> Option<u16> {
        let kind = policy.kind as u8;
        match uri.scheme_str() {
            Some("http") => {
                self.bytes.extend_from_slice(b"\x02\0\0\0");
                self.bytes.extend_from_slice(&[VERSION, kind]);
                self.bytes.extend_from_slice(b"\x04\0\0\0http");
                Some(80)
            }
            Some("https") => {
                self.bytes.extend_from_slice(b"\x02\0\0\0");
                self.bytes.extend_from_slice(&[VERSION, kind]);
                self.bytes.extend_from_slice(b"\x05\0\0\0https");
                Some(443)
            }
            scheme => {
                self.field(&[VERSION, kind]);
                self.lower(scheme.unwrap_or_default().as_bytes());
                None
            }
        }
    }

    /// Host and port, in lower case and without the default port (RFC 9110 §4.2.3).
    fn target(&mut self, target: &Target<'_>, default_port: Option<u16>) {
        match target.port.filter(|port| Some(*port) != default_port) {
            None => self.lower(target.host),
            Some(port) => self.written(|bytes| {
                extend_lower(bytes, target.host);
                bytes.push(b':');
                bytes.extend_from_slice(port.to_string().as_bytes());
            }),
        }
    }

    fn path(&mut self, uri: &Uri) {
        let path = match uri.path() {
            "" => "/",
            path => path,
        };
        match has_escape(path.as_bytes()) {
            false => self.field(path.as_bytes()),
            true => self.written(|bytes| normalise_escapes(path.as_bytes(), bytes)),
        }
    }

    /// The query with its `?`, so that an absent one is not an empty one. Values of parameters that
    /// hold secrets are replaced by their digests, behind a byte that no query has.
    fn query(&mut self, policy: &Policy, uri: &Uri) {
        let Some(query) = uri.query() else {
            return self.field(b"");
        };
        if is_normal(policy, query.as_bytes()) {
            let [a, b, c, d] = u32::try_from(query.len() + 1)
                .unwrap_or(u32::MAX)
                .to_le_bytes();
            self.bytes.extend_from_slice(&[a, b, c, d, b'?']);
            return self.bytes.extend_from_slice(query.as_bytes());
        }
        self.parameters(policy, query);
    }

    fn parameters(&mut self, policy: &Policy, query: &str) {
        self.written(|bytes| {
            for (index, parameter) in query.split('&').enumerate() {
                bytes.push(if index == 0 { b'?' } else { b'&' });
                let Some((name, value)) = parameter.split_once('=') else {
                    normalise_escapes(parameter.as_bytes(), bytes);
                    continue;
                };
                let start = bytes.len();
                normalise_escapes(name.as_bytes(), bytes);
                let is_secret = policy.is_secret_parameter(&bytes[start..]);
                bytes.push(b'=');
                if is_secret {
                    let mut normalised = Vec::with_capacity(value.len());
                    normalise_escapes(value.as_bytes(), &mut normalised);
                    let mut digest = policy.secret.digest(b"parameter");
                    digest.field(&normalised);
                    bytes.push(0);
                    bytes.extend_from_slice(&digest.finish());
                } else {
                    normalise_escapes(value.as_bytes(), bytes);
                }
            }
        });
    }
}

fn digits(number: u16) -> usize {
    1 + number.checked_ilog10().unwrap_or_default() as usize
}

fn extend_lower(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(text.iter().map(u8::to_ascii_lowercase));
}

/// Whether a query is in the key as it is: it has no escapes and no parameter that holds a secret.
fn is_normal(policy: &Policy, query: &[u8]) -> bool {
    let mut parameter = 0;
    for (index, byte) in query.iter().enumerate() {
        let byte = BYTES[usize::from(*byte)];
        if byte <= PLAIN {
            continue;
        }
        if byte == AMPERSAND {
            parameter = index + 1;
        } else if byte == PERCENT {
            return false;
        } else if parameter <= index {
            // Of the first only: what is behind it in the same parameter is no name.
            if policy.is_secret_parameter(&query[parameter..index]) {
                return false;
            }
            parameter = usize::MAX;
        }
    }
    true
}

/// What a byte of a URI means for the key.
static BYTES: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        bytes[byte] = match byte as u8 {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => PLAIN,
            b'%' => PERCENT,
            b'&' => AMPERSAND,
            b'=' => EQUALS,
            _ => 0,
        };
        byte += 1;
    }
    bytes
};

/// It can be in the name of a host, and means nothing but itself.
const PLAIN: u8 = 1;
const PERCENT: u8 = 2;
const AMPERSAND: u8 = 3;
const EQUALS: u8 = 4;

/// Whom a request is for, as the target of the request or `Host` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target<'a> {
    user: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Target<'a> {
    /// Nothing where there is something behind the host that is no port: the origin may make
    /// something of it that the key would not have.
    fn of(authority: &'a Authority) -> Option<Self> {
        Self::plain(authority.as_str().as_bytes()).or_else(|| Self::parsed(authority))
    }

    /// The same for a name and perhaps a port, with nothing that would have to be parsed; `None`: it
    /// is none.
    fn plain(authority: &'a [u8]) -> Option<Self> {
        let is_plain = |byte: &u8| BYTES[usize::from(*byte)] == PLAIN;
        let end = authority.iter().position(|byte| !is_plain(byte));
        let (host, rest) = authority.split_at(end.unwrap_or(authority.len()));
        if host.is_empty() {
            return None;
        }
        let port = match rest {
            [] => None,
            [b':', port @ ..] => Some(number(port)?),
            _ => return None,
        };
        let user = None;
        Some(Self { user, host, port })
    }

    fn parsed(authority: &'a Authority) -> Option<Self> {
        let (user, rest) = match authority.as_str().rsplit_once('@') {
            Some((user, rest)) => (Some(user.as_bytes()), rest),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        let port = match rest.strip_prefix(host)? {
            "" => None,
            port => Some(number(port.strip_prefix(':')?.as_bytes())?),
        };
        let host = host.as_bytes();
        Some(Self { user, host, port })
    }

    /// Whether a `Host` field names this target, and so says nothing new.
    fn is_named_by(&self, host: &[u8]) -> bool {
        let is_same = |named: Target<'_>| {
            named.user.is_none()
                && named.host.eq_ignore_ascii_case(self.host)
                && named.port == self.port
        };
        match Target::plain(host) {
            Some(named) => is_same(named),
            None => Authority::try_from(host)
                .is_ok_and(|authority| Target::parsed(&authority).is_some_and(is_same)),
        }
    }
}

/// A port: digits and nothing else.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u16, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u16::from(digit - b'0')),
        _ => None,
    })
}

/// The value of `Host`, which is there; nothing where it is not one line.
fn host(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(HOST).iter();
    let value = lines.next()?;
    lines.next().is_none().then_some(value.as_bytes())
}

/// Percent-encoding in one form (RFC 3986 §6.2.2): digits in upper case, unreserved characters
/// decoded. Reserved ones stay as they are. Behind a `%` that begins no escape stands [`NO_ESCAPE`], so
/// that what is decoded behind it makes none: `%%42F` is not `%BF`.
pub(crate) fn normalise_escapes(text: &[u8], normalised: &mut Vec<u8>) {
    if !has_escape(text) {
        return normalised.extend_from_slice(text);
    }
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let decoded = hex(*high) << 4 | hex(*low);
                if decoded.is_ascii_alphanumeric() || b"-._~".contains(&decoded) {
                    normalised.push(decoded);
                } else {
                    normalised.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                }
                rest = after;
            }
            _ => {
                normalised.push(*first);
                if *first == b'%' {
                    normalised.push(NO_ESCAPE);
                }
                rest = tail;
            }
        }
    }
}

/// Whether there is a `%`.
fn has_escape(text: &[u8]) -> bool {
    text.iter().fold(false, |has, byte| has | (*byte == b'%'))
}

/// A byte that no URI has.
pub(crate) const NO_ESCAPE: u8 = 1;

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    fn key_of(policy: &Policy, request: &Request<()>) -> Option<PrimaryKey> {
        let fields = Fields::of(request.headers());
        PrimaryKey::derive(policy, &RequestHead::from(request), fields)
    }

    fn get(uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    fn key(uri: &str) -> PrimaryKey {
        key_of(&Policy::private(), &get(uri, &[])).expect("a key")
    }

    #[test]
    fn scheme_host_port_path_and_query_all_count() {
        let uris = [
            "http://a.test/",
            "https://a.test/",
            "http://b.test/",
            "http://a.test:8080/",
            "http://a.test/x",
            "http://a.test/X",
            "http://a.test/?",
            "http://a.test/?x",
            "http://a.test/x/",
            "http://a.test/?x=1&y=2",
            "http://a.test/?y=2&x=1",
            "http://a.test/?x=1;y=2",
            "http://a.test/%2Fx",
            "http://a.test//x",
        ];
        for (index, one) in uris.iter().enumerate() {
            for other in &uris[index + 1..] {
                assert_ne!(key(one), key(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_rfc_3986_calls_equivalent_is_one_key() {
        assert_eq!(key("HTTP://A.TEST"), key("http://a.test:80/"));
        assert_eq!(key("https://a.test:443/x"), key("https://a.test/x"));
        assert_eq!(
            key("http://a.test/%7euser%3a"),
            key("http://a.test/~user%3A")
        );
    }

    #[test]
    fn reserved_characters_stay_encoded_and_broken_escapes_stay_broken() {
        assert_ne!(key("http://a.test/a%2fb"), key("http://a.test/a/b"));
        assert_ne!(key("http://a.test/a%3fb"), key("http://a.test/a?b"));
        assert_eq!(key("http://a.test/a%2fb"), key("http://a.test/a%2Fb"));
        assert_ne!(key("http://a.test/a%2"), key("http://a.test/a%252"));
        assert_ne!(key("http://a.test/%zz"), key("http://a.test/%ZZ"));
    }

    #[test]
    fn a_request_without_authority_has_no_key() {
        let policy = Policy::private();
        assert_eq!(key_of(&policy, &get("/x", &[])), None);
        assert!(key_of(&policy, &get("/x", &[("host", "a.test")])).is_some());
        for ambiguous in [
            "a b",
            "a.test:99999",
            "a.test:abc",
            "a.test:",
            "evil@a.test",
            "",
        ] {
            assert_eq!(
                key_of(&policy, &get("/x", &[("host", ambiguous)])),
                None,
                "{ambiguous}"
            );
        }
        let twice = [("host", "a.test"), ("host", "evil.test")];
        assert_eq!(key_of(&policy, &get("/x", &twice)), None);
        assert_eq!(key_of(&policy, &get("http://a.test/x", &twice)), None);
        assert_eq!(key_of(&policy, &get("http://a.test:99999/x", &[])), None);
    }

    #[test]
    fn the_host_field_counts_where_the_target_has_no_authority_and_where_it_differs() {
        let policy = Policy::private();
        let of = |uri, host| key_of(&policy, &get(uri, &[("host", host)]));
        assert_ne!(of("/x", "a.test"), of("/x", "b.test"));
        assert_eq!(of("/x", "a.test"), of("/x", "A.TEST"));
        assert_ne!(
            of("http://a.test/x", "a.test"),
            of("http://a.test/x", "b.test")
        );
        assert_eq!(
            of("http://a.test/x", "A.test"),
            Some(key("http://a.test/x"))
        );
    }

    #[test]
    fn get_and_head_share_a_key() {
        let mut head = get("http://a.test/", &[]);
        *head.method_mut() = http::Method::HEAD;
        assert_eq!(
            key_of(&Policy::private(), &head),
            Some(key("http://a.test/"))
        );
    }

    #[test]
    fn credentials_partition_a_private_cache() {
        let policy = Policy::private();
        let of = |fields: &[(&str, &str)]| key_of(&policy, &get("http://a.test/", fields));
        let keys = [
            of(&[]),
            of(&[("authorization", "alice")]),
            of(&[("authorization", "bob")]),
            of(&[("proxy-authorization", "alice")]),
            of(&[("cookie", "alice")]),
            of(&[("x-api-key", "alice")]),
            of(&[("authorization", "alice"), ("cookie", "alice")]),
            of(&[("cookie", "a"), ("cookie", "b")]),
            of(&[("cookie", "ab")]),
            key_of(&policy, &get("http://alice@a.test/", &[])),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(
                keys[index + 1..].iter().all(|other| one != other),
                "{index}"
            );
        }
        assert_eq!(
            of(&[("cookie", "c"), ("authorization", "a")]),
            of(&[("authorization", "a"), ("cookie", "c")])
        );
    }

    #[test]
    fn a_shared_cache_has_one_partition() {
        let of =
            |fields: &[(&str, &str)]| key_of(&Policy::shared(), &get("http://a.test/", fields));
        assert_eq!(of(&[("authorization", "alice")]), of(&[]));
        let user = key_of(&Policy::shared(), &get("http://alice@a.test/", &[]));
        assert_ne!(user, of(&[]), "a client makes credentials of it");
    }

    #[test]
    fn private_and_shared_caches_never_share_an_entry() {
        let request = get("http://a.test/", &[]);
        let private = Policy::private().partition(Partition::None);
        assert_ne!(
            key_of(&private, &request),
            key_of(&Policy::shared(), &request)
        );
    }

    #[test]
    fn a_partition_of_ones_own_replaces_the_credentials() {
        let policy = Policy::private().partition(Partition::by(|request| {
            let tenant = request.headers.get("x-tenant")?;
            Some(tenant.as_bytes().to_vec())
        }));
        let of = |fields: &[(&str, &str)]| key_of(&policy, &get("http://a.test/", fields));
        assert_eq!(of(&[("authorization", "alice")]), of(&[]));
        assert_ne!(of(&[("x-tenant", "a")]), of(&[("x-tenant", "b")]));
        assert_ne!(of(&[("x-tenant", "")]), of(&[]));
    }

    #[test]
    fn parameters_that_hold_secrets_count_and_are_not_readable() {
        let uris = [
            "http://a.test/?token=hunter2",
            "http://a.test/?token=hunter3",
            "http://a.test/?token=",
            "http://a.test/?token",
            "http://a.test/?Token=hunter2",
            "http://a.test/?x=1&api_key=hunter2",
        ];
        for (index, uri) in uris.iter().enumerate() {
            let found = key(uri);
            let is_readable = found
                .as_bytes()
                .windows(6)
                .any(|window| window == b"hunter");
            assert!(!is_readable, "{uri}");
            assert!(
                uris[index + 1..].iter().all(|other| key(other) != found),
                "{uri}"
            );
        }
        assert_eq!(
            key("http://a.test/?token=%7e"),
            key("http://a.test/?token=~")
        );
        let policy = Policy::private().redact_parameters(["Session"]);
        let found = key_of(
            &policy,
            &get("http://a.test/?session=hunter2&token=open", &[]),
        );
        let found = found.expect("a key");
        assert!(
            !found
                .as_bytes()
                .windows(7)
                .any(|window| window == b"hunter2")
        );
        assert!(found.as_bytes().windows(4).any(|window| window == b"open"));
    }

    #[test]
    fn no_credential_is_readable_in_a_key_and_the_secret_changes_its_digest() {
        let request = get(
            "http://user:hunter2@a.test/",
            &[("authorization", "hunter2")],
        );
        let plain = key_of(&Policy::private(), &request).expect("a key");
        let keyed = key_of(&Policy::private().secret(Secret::new(b"s")), &request).expect("a key");
        assert_ne!(plain, keyed);
        for key in [plain, keyed] {
            assert!(!key.as_bytes().windows(7).any(|window| window == b"hunter2"));
        }
    }

    #[test]
    fn the_bytes_of_a_key_are_those_that_stores_already_have() {
        let tenant = Partition::by(|request| {
            let tenant = request.headers.get("x-tenant")?;
            Some(tenant.as_bytes().to_vec())
        });
        let private = Policy::private().secret(Secret::new(b"s"));
        let long = "x".repeat(2000);
        let requests = [
            (
                Policy::private(),
                get("http://a.test/", &[]),
                "368a8dd5bbd1178a61b49c2d5d5054ca",
            ),
            (
                Policy::shared(),
                get("HTTPS://A.test:8443/%7ex%2fy?b=%41&a", &[]),
                "7fe4121f5b6043c4928a4a536b6ab11a",
            ),
            (
                private.clone(),
                get("http://u:p@a.test/?token=%7es&x=1", &[]),
                "1e464c0d9e6177f609acf5ad04946d18",
            ),
            (
                private.clone(),
                get("http://a.test/", &[("cookie", "c"), ("authorization", "a")]),
                "74c10e246c6d8ee0f7ba97de2f5130c5",
            ),
            (
                private.clone(),
                get("http://a.test/", &[("cookie", &long)]),
                "c7de737e63fba287b736885aa8689153",
            ),
            (
                private.partition(tenant),
                get("http://a.test/", &[("x-tenant", "t")]),
                "db09656a6fe6573a1d0704aa5828e0cf",
            ),
            (
                Policy::private(),
                get("http://a.test/", &[("host", "B.test:80")]),
                "ededce0420531d73207affc792a7b9d3",
            ),
        ];
        for (policy, request, expected) in requests {
            let digest = key_of(&policy, &request).expect("a key").digest();
            assert_eq!(hexadecimal(&digest), expected, "{}", request.uri());
        }
    }

    #[test]
    fn a_keyed_digest_is_the_same_whether_it_is_made_at_once_or_bit_by_bit() {
        let bytes: Vec<u8> = (0..=255).collect();
        for first in 0..=SHORT_BYTES + 1 {
            for second in [0, 1, SHORT_BYTES - first.min(SHORT_BYTES), SHORT_BYTES] {
                let (first, second) = (&bytes[..first], &bytes[..second]);
                let mut digest = Secret::new(b"s").digest(b"test");
                digest.field(first);
                digest.field(second);
                let mut hasher = blake3::Hasher::new_keyed(&Secret::new(b"s").0);
                for field in [&b"test"[..], first, second] {
                    hasher.update(&(field.len() as u32).to_le_bytes());
                    hasher.update(field);
                }
                assert_eq!(digest.finish(), hasher.finalize().as_bytes()[..16]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_plain_target_is_what_it_would_be_parsed_as(
            text in "[a-zA-Z0-9._:@%\\[\\]~-]{0,12}(:[0-9]{0,6})?",
        ) {
            if let Some(plain) = Target::plain(text.as_bytes()) {
                let authority = Authority::try_from(text.as_bytes()).expect("an authority");
                prop_assert_eq!(Some(plain), Target::parsed(&authority));
            }
        }

        #[test]
        fn a_query_is_normal_only_where_normalising_changes_nothing(
            query in "((a|B|key|Token|sig|%|%41|%4|=|&|\\?|/){0,3}(=|&)?){0,4}",
        ) {
            let policy = Policy::private();
            if is_normal(&policy, query.as_bytes()) {
                let mut key = Framed { bytes: Vec::new() };
                key.parameters(&policy, &query);
                let expected = format!("?{query}");
                prop_assert_eq!(&key.bytes[4..], expected.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_decoded_behind_a_percent_sign_makes_no_escape() {
        let key = |path: &str| {
            let uri = format!("http://a.test/{path}?{path}");
            key_of(&Policy::private(), &get(&uri, &[])).expect("a key")
        };
        for (one, other) in [("%%42F", "%BF"), ("%4%31", "%41"), ("%%34%31", "%41")] {
            assert_ne!(key(one), key(other), "{one} {other}");
        }
        for (one, other) in [("%%4ea", "%Na"), ("%%42G", "%BG"), ("a%", "%61%")] {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
        for path in ["%%42F", "%%4ea", "%BG", "a%", "%%", "%4%31"] {
            let url = key(path).url().expect("a URL");
            let again = key_of(&Policy::private(), &get(&url, &[])).expect("a key");
            assert_eq!(again, key(path), "{path}: {url}");
        }
    }

    #[test]
    fn a_key_is_allocated_once() {
        for uri in [
            "http://a.test",
            "http://a.test:8080/x/y?a=b&c",
            "https://a.test/?",
        ] {
            let fields = [("cookie", "c"), ("x-y", "z")];
            for fields in [&fields[..], &fields[1..]] {
                let request = get(uri, fields);
                let policy = Policy::private();
                let head = RequestHead::from(&request);
                let partition = policy
                    .partition
                    .of(&policy, &head, Fields::of(head.headers));
                let target = Target::of(request.uri().authority().expect("one")).expect("a target");
                let room = Framed::with_room_for(request.uri(), &target, partition)
                    .bytes
                    .capacity();
                let key = key_of(&policy, &request).expect("a key");
                assert_eq!(room, key.as_bytes().len(), "{uri}");
            }
        }
    }

    fn hexadecimal(digest: &Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
