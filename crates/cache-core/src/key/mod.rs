//! The cache key (RFC 9111 §2) and the digests that stand for what must not be readable at rest.

use std::fmt;

use http::Uri;
use http::uri::Authority;

use crate::keying;
use crate::options::CacheOptions;
use crate::policy::Policy;
use crate::request::{Fields, RequestHead};

mod framed;
use framed::{FRAME, Framed};

mod octets;
pub(crate) use octets::{NO_ESCAPE, normalise_escapes};

mod partition;
pub(crate) use partition::is_credential;
pub use partition::{Partition, PartitionFn};

mod secret;
pub(crate) use secret::KeyedDigest;
pub use secret::Secret;
use secret::truncate;

mod target;
use target::{Target, default_port};

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
            Some(target::host(request.headers)?)
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
            .filter(|host| {
                request.uri.authority().is_some()
                    && !target.is_named_by(host, default_port(request.uri))
            })
            .unwrap_or_default();
        let user = partition::user_information(policy, &target);
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

#[cfg(test)]
mod tests;
