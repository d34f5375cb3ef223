//! Fields that belong to one connection and are never stored (RFC 9111 §3.1, RFC 9110 §7.6.1).

use http::header::{
    CONNECTION, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};

use super::list;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

static ALWAYS: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHENTICATION_INFO,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the fields of the connection: the known ones and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most often there are none, and to compare names is faster than to look for each.
    if !headers.keys().any(|name| ALWAYS.contains(name)) {
        return;
    }
    let listed: Vec<HeaderName> = listed(headers).collect();
    for name in ALWAYS.iter().chain(&listed) {
        headers.remove(name);
    }
}

/// The names of the fields of the connection, those that `Connection` lists in `headers` included.
pub(crate) fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    ALWAYS.iter().cloned().chain(listed(headers)).collect()
}

fn listed(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| list::members(line.as_bytes()))
        .filter_map(|member| HeaderName::from_bytes(member).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn known_and_listed_fields_are_removed_and_others_kept() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static("close, A"));
        headers.append(CONNECTION, HeaderValue::from_static("b, not a name,,"));
        for name in ["a", "b", "c", "keep-alive", "proxy-authenticate", "upgrade"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["c"]
        );
    }
}
