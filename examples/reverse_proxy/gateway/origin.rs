//! `Origin`.

use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Where the origin is.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    authority: Authority,
}

impl Origin {
    /// The same path and query there.
    pub(crate) fn uri(&self, target: Uri) -> Uri {
        let mut parts = target.into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts
            .path_and_query
            .get_or_insert(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("scheme, authority and path are there")
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let refused = || format!("{url} is not a URL such as http://127.0.0.1:8080");
        let uri: Uri = url.parse().map_err(|_| refused())?;
        match uri.authority() {
            Some(authority)
                if uri.scheme() == Some(&Scheme::HTTP)
                    && uri.path() == "/"
                    && uri.query().is_none() =>
            {
                Ok(Self {
                    authority: authority.clone(),
                })
            }
            _ => Err(refused()),
        }
    }
}
