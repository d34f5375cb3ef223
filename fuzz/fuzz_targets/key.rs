//! Two requests have one key only if they ask for the same, as a plain normaliser sees it.

#![no_main]

use std::time::UNIX_EPOCH;

use cache_core::{Begin, Partition, Policy, PrimaryKey, RequestHead};
use cache_fuzz::text;
use http::Request;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut sections = text::sections(input);
    let mut next = || text::request(sections.next()?);
    let Some(one) = next() else {
        return;
    };
    if let Some(decoded) = decoded(&one) {
        check(&one, &decoded);
    }
    if let Some(other) = next() {
        check(&one, &other);
    }
});

/// The same request with all escapes of its target decoded, if that is one.
fn decoded(request: &Request<()>) -> Option<Request<()>> {
    let characters = characters(&request.uri().to_string()).into_iter();
    let bytes: Vec<u8> = characters
        .map(|(Character::Plain(byte) | Character::Escaped(byte))| byte)
        .collect();
    let mut decoded = request.clone();
    *decoded.uri_mut() = std::str::from_utf8(&bytes).ok()?.parse().ok()?;
    Some(decoded)
}

fn check(one: &Request<()>, other: &Request<()>) {
    let shared = Policy::shared();
    let same = compare(&shared, one, other, target);
    // Without `Host` there is nothing that could be said in two ways and be the same to nobody.
    let has_host = [one, other].map(|request| request.headers().contains_key("host"));
    if let Some((same_key, same_target)) = same {
        assert!(same_target || !same_key, "different targets share a key");
        assert!(
            same_key || !same_target || has_host.contains(&true),
            "one target has two keys"
        );
    }
    let private = Policy::private();
    if let Some((same_key, same_target)) = compare(&private, one, other, |request| {
        (target(request), credentials(request))
    }) {
        assert!(same_target || !same_key, "different callers share a key");
    }
    let tenants = Policy::shared().partition(Partition::by(|request| {
        request
            .headers
            .get("x-tenant")
            .map(|tenant| tenant.as_bytes().to_vec())
    }));
    let tenant = |request: &Request<()>| request.headers().get("x-tenant").cloned();
    if let Some((same_key, same_target)) = compare(&tenants, one, other, |request| {
        (target(request), tenant(request))
    }) {
        assert!(same_target || !same_key, "different tenants share a key");
    }
}

/// Whether two requests have the same key, and the same meaning; `None`: one of them has no key.
fn compare<T: PartialEq>(
    policy: &Policy,
    one: &Request<()>,
    other: &Request<()>,
    meaning: impl Fn(&Request<()>) -> T,
) -> Option<(bool, bool)> {
    let same_key = key(policy, one)? == key(policy, other)?;
    Some((same_key, meaning(one) == meaning(other)))
}

fn key(policy: &Policy, request: &Request<()>) -> Option<PrimaryKey> {
    match Begin::new(policy, &RequestHead::from(request), UNIX_EPOCH) {
        Begin::Lookup(lookup) => Some(lookup.key().clone()),
        Begin::Forward(forward) => Some(forward.key().clone()),
        _ => None,
    }
}

/// What a request is for: scheme, user, host and port as the target has them, then host and port as
/// `Host` has them where it says something else, then path and query.
#[derive(PartialEq)]
struct Target {
    scheme: String,
    user: Option<String>,
    host: String,
    named: String,
    path: Vec<Character>,
    query: Option<Vec<Character>>,
}

fn target(request: &Request<()>) -> Target {
    let uri = request.uri();
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let authority = uri.authority().map(|authority| authority.as_str());
    let field = request.headers().get("host").map(|host| host.as_bytes());
    let field = field.map(|host| String::from_utf8_lossy(host).to_ascii_lowercase());
    let host = authority.map_or_else(|| field.clone().unwrap_or_default(), without_user);
    let host = without_default_port(&host, &scheme);
    let named = field.map(|field| without_default_port(&field, &scheme));
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    Target {
        user: user.map(|(user, _)| user.to_owned()),
        named: named.filter(|named| *named != host).unwrap_or_default(),
        host,
        scheme,
        path: characters(if uri.path().is_empty() {
            "/"
        } else {
            uri.path()
        }),
        query: uri.query().map(characters),
    }
}

fn without_user(authority: &str) -> String {
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.to_ascii_lowercase()
}

/// RFC 9110 §4.2.3, and no leading zeros in a port.
fn without_default_port(host: &str, scheme: &str) -> String {
    let Some((name, port)) = host.rsplit_once(':') else {
        return host.to_owned();
    };
    match (scheme, port.parse::<u16>()) {
        ("http", Ok(80)) | ("https", Ok(443)) => name.to_owned(),
        (_, Ok(port)) => format!("{name}:{port}"),
        _ => host.to_owned(),
    }
}

/// A character of a path or query.
#[derive(PartialEq)]
enum Character {
    Plain(u8),
    /// Escaped, and not the same as its plain form.
    Escaped(u8),
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2: hexadecimal digits in any case, and unreserved characters
/// escaped or not.
fn characters(text: &str) -> Vec<Character> {
    let bytes = text.as_bytes();
    let mut characters = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|digits| {
            bytes[at] == b'%' && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        characters.push(match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                Character::Plain(byte)
            }
            Some(byte) => Character::Escaped(byte),
            None => Character::Plain(bytes[at]),
        });
        at += if escaped.is_some() { 3 } else { 1 };
    }
    characters
}

/// What says who asks.
fn credentials(request: &Request<()>) -> Vec<(String, Vec<u8>)> {
    let names = [
        "authorization",
        "proxy-authorization",
        "cookie",
        "x-api-key",
        "x-api-token",
        "x-auth-token",
        "x-access-token",
    ];
    let fields = names.iter().flat_map(|name| {
        let lines = request.headers().get_all(*name).iter();
        lines.map(|line| ((*name).to_owned(), line.as_bytes().to_vec()))
    });
    fields.collect()
}
