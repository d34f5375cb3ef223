use super::*;
use http::Request;

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
    let of = |fields: &[(&str, &str)]| key_of(&Policy::shared(), &get("http://a.test/", fields));
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
