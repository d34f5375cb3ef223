//! What keeps requests for one URI apart.

use std::fmt;
use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, HeaderMap, HeaderName,
    PROXY_AUTHORIZATION, USER_AGENT,
};

use super::{Digest, Target};
use crate::policy::Policy;
use crate::request::{Fields, RequestHead};

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
    #[inline]
    pub(super) fn of(
        &self,
        policy: &Policy,
        request: &RequestHead<'_>,
        fields: Fields,
    ) -> Option<Digest> {
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
#[inline]
pub(super) fn user_information(policy: &Policy, target: &Target<'_>) -> Option<Digest> {
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
