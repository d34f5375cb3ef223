//! Keys that are not the default ones: what a policy, a rule or a request has to say of them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::content::ContentKey;
use crate::key::{PrimaryKey, normalise_escapes};
use crate::policy::Policy;
use crate::request::{Fields, RequestHead};

/// What a policy has to say of keys; most have nothing.
#[derive(Clone, Default)]
pub(crate) struct Keying {
    pub(crate) ignored: Option<IgnoredParameters>,
    /// Rules have to say of parameters, too.
    pub(crate) asks_rules: bool,
    pub(crate) sorts_query: bool,
    pub(crate) salt: Option<Arc<[u8]>>,
    pub(crate) function: Option<KeyFn>,
    pub(crate) credentials: Arc<[HeaderName]>,
    pub(crate) content: Option<Arc<ContentKey>>,
}

type KeyFn = Arc<dyn Fn(&RequestHead<'_>, KeyDraft) -> Option<KeyDraft> + Send + Sync>;

/// What a key is about to be made of, for [`Policy::key_by`](crate::Policy::key_by): a URI, and perhaps
/// more. Partition, method and content are added behind it.
#[derive(Clone)]
#[must_use]
pub struct KeyDraft {
    uri: Uri,
    material: Vec<Box<[u8]>>,
}

impl KeyDraft {
    /// The URI: that of the request, without ignored parameters.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Another URI in its place: requests for both share responses.
    pub fn with_uri(self, uri: Uri) -> Self {
        Self { uri, ..self }
    }

    /// One more thing that requests have to have in common to share responses. It is in the key as a
    /// keyed digest.
    pub fn with(mut self, material: impl AsRef<[u8]>) -> Self {
        self.material.push(material.as_ref().into());
        self
    }
}

impl fmt::Debug for KeyDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Queries and material can hold secrets.
        f.debug_struct("KeyDraft")
            .field("path", &self.uri.path())
            .field("material", &self.material.len())
            .finish_non_exhaustive()
    }
}

/// The content of a request that may be in its key, in the request's extensions.
#[derive(Clone)]
pub struct RequestContent(Bytes);

impl RequestContent {
    /// All of the content.
    #[must_use]
    pub fn new(content: Bytes) -> Self {
        Self(content)
    }

    /// The content.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for RequestContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestContent")
            .field(&self.0.len())
            .finish()
    }
}

impl Keying {
    /// Whether a request is one whose content is in its key.
    pub(crate) fn takes_content_of(&self, request: &RequestHead<'_>) -> bool {
        let is_read = [Method::GET, Method::HEAD].contains(request.method);
        let takes = |content: &ContentKey| content.takes(request.method);
        self.content.as_deref().is_some_and(takes)
            && request
                .content
                .is_some_and(|content| !is_read || !content.as_bytes().is_empty())
    }

    /// Whether a method is one whose content is in keys.
    pub(crate) fn takes_method(&self, method: &Method) -> bool {
        self.content
            .as_deref()
            .is_some_and(|content| content.takes(method))
    }
}

/// The key of a request for which there is more to say.
pub(crate) fn derive(
    policy: &Policy,
    request: &RequestHead<'_>,
    mut fields: Fields,
) -> Option<PrimaryKey> {
    let keying = policy.keying.as_deref();
    let material = request
        .options
        .and_then(|options| options.material.as_ref());
    let Some(keying) = keying else {
        let key = PrimaryKey::derive_plain(policy, request, fields)?;
        return Some(key.with_all(policy, b"material", material));
    };
    fields.credentials |= keying
        .credentials
        .iter()
        .any(|name| request.headers.contains_key(name));
    let mut draft = KeyDraft {
        uri: rewritten(policy, keying, request)?,
        material: Vec::new(),
    };
    if let Some(function) = &keying.function {
        draft = function(request, draft)?;
    }
    let uri = &draft.uri;
    let key = PrimaryKey::derive_plain(policy, &RequestHead { uri, ..*request }, fields)?
        .with_all(policy, b"material", material)
        .with_all(policy, b"salt", keying.salt.as_ref())
        .with_all(policy, b"drafted", &draft.material);
    if !keying.takes_content_of(request) {
        return Some(key);
    }
    let (content, settings) = (request.content?, keying.content.as_ref()?);
    let (form, normalised) = settings.normalise(request.headers, content.as_bytes());
    let mut digest = policy.secret.digest(b"content");
    digest.field(request.method.as_str().as_bytes());
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        digest_field(&mut digest, request.headers, &name);
    }
    digest.field(form);
    digest.field(&normalised);
    Some(key.with_digest(b"content", digest.finish()))
}

fn digest_field(digest: &mut crate::key::KeyedDigest, headers: &HeaderMap, name: &HeaderName) {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => digest.field(b""),
        (Some(line), None) => digest.field(line.as_bytes().trim_ascii()),
        _ => {
            for line in headers.get_all(name) {
                digest.field(b"line");
                digest.field(line.as_bytes());
            }
        }
    }
}

/// The URI without the parameters that do not count, and in the order that does not.
fn rewritten(policy: &Policy, keying: &Keying, request: &RequestHead<'_>) -> Option<Uri> {
    let uri = request.uri;
    // What is stored is the answer to a GET, also for a HEAD, and for what makes it invalid.
    let read = match keying.takes_content_of(request) {
        true => *request,
        false => RequestHead {
            method: &Method::GET,
            ..*request
        },
    };
    let from_rule = match &policy.rules {
        Some(rules) if keying.asks_rules => rules.ignored_parameters(&read),
        _ => None,
    };
    let ignored = from_rule.or(keying.ignored.as_ref());
    let Some(query) = uri.query() else {
        return Some(uri.clone());
    };
    if ignored.is_none() && !keying.sorts_query {
        return Some(uri.clone());
    }
    let mut parameters: Vec<(Vec<u8>, &str)> = query
        .split('&')
        .map(|parameter| (name_of(parameter), parameter))
        .filter(|(name, _)| !ignored.is_some_and(|ignored| ignored.contain(name)))
        .collect();
    if keying.sorts_query {
        // Stable: of several with one name, the order may mean something.
        parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    let parameters: Vec<&str> = parameters.iter().map(|(_, text)| *text).collect();
    let path_and_query = match &*parameters {
        [] => PathAndQuery::try_from(uri.path()),
        parameters => PathAndQuery::try_from(format!("{}?{}", uri.path(), parameters.join("&"))),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.ok()?);
    Uri::from_parts(parts).ok()
}

fn name_of(parameter: &str) -> Vec<u8> {
    let name = parameter.split('=').next().unwrap_or_default();
    let mut normalised = Vec::with_capacity(name.len());
    normalise_escapes(name.as_bytes(), &mut normalised);
    normalised
}

/// Names of parameters, `utm_*` for all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IgnoredParameters(Arc<[Box<[u8]>]>);

impl IgnoredParameters {
    pub(crate) fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let name = |name: &str| name_of(name).into();
        Self(names.into_iter().map(|text| name(text.as_ref())).collect())
    }

    fn contain(&self, name: &[u8]) -> bool {
        self.0
            .iter()
            .any(|pattern| match pattern.strip_suffix(b"*") {
                Some(beginning) => name.starts_with(beginning),
                None => **pattern == *name,
            })
    }
}

impl fmt::Debug for Keying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keying")
            .field("ignored", &self.ignored)
            .field("asks_rules", &self.asks_rules)
            .field("sorts_query", &self.sorts_query)
            .field("has_salt", &self.salt.is_some())
            .field("has_function", &self.function.is_some())
            .field("credentials", &self.credentials)
            .field("content", &self.content)
            .finish()
    }
}
