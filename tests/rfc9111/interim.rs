//! Interim responses (RFC 9110 §15.2): the cache does not see them, and is not in their way.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use cache_memory::MemoryBackend;
use cache_tower::{CacheInfo, CacheLayer, Outcome};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt;
use tower_layer::Layer;

const RESPONSES: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n\
    HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n\
    HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 3\r\n\r\none";

#[tokio::test]
async fn interim_responses_reach_the_caller_with_their_fields_and_the_final_one_is_stored() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let uri = format!("http://{}/", listener.local_addr().expect("an address"));
    let origin = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a request");
            head.extend(byte);
        }
        stream.write_all(RESPONSES).expect("it is read");
    });
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let cache = CacheLayer::new(MemoryBackend::default()).layer(client);

    let interim = Arc::new(Mutex::new(Vec::new()));
    for expected in [Outcome::Miss, Outcome::Hit] {
        let seen = interim.clone();
        let request = Request::get(&uri).body(Full::default());
        let mut request = request.expect("a request");
        hyper::ext::on_informational(&mut request, move |response| {
            let link = response.headers().get("link").cloned();
            let mut seen = seen.lock().expect("unpoisoned");
            seen.push((response.status().as_u16(), link));
        });
        let response = cache.clone().oneshot(request).await.expect("a response");
        let info = response.extensions().get::<CacheInfo>();
        assert_eq!(info.expect("a CacheInfo").outcome, expected);
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), "one");
    }
    origin.join().expect("no panic");

    let interim = interim.lock().expect("unpoisoned").clone();
    let hint = "</style.css>; rel=preload".parse().expect("a value");
    assert_eq!(interim, [(102, None), (103, Some(hint))]);
}
