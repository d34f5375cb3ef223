//! What the cases do not ask of the gateway.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::client::{Client, Request, Response};
use crate::fields::Fields;
use crate::front::Front;
use crate::message::{Framing, Head, Wire};
use crate::options::Options;
use crate::store::Store;
use crate::timeline::Timeline;

/// A gateway with a shared cache, and behind it an origin that sends what it is told to.
struct Scene {
    front: Front,
    client: Client,
    timeline: Timeline,
    /// What the origin sends, where it was asked; an empty text closes the connection.
    sends: UnboundedSender<&'static str>,
    asked: Arc<Mutex<Vec<Head>>>,
    _tasks: JoinSet<()>,
}

impl Scene {
    async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let origin = listener.local_addr().expect("it listens");
        let timeline = Timeline::manual(0);
        let options = Options::default();
        let front = Front::start(&options, &Store::Memory, origin, timeline.clone()).await;
        let front = front.expect("a free port");
        let (sends, receiver) = unbounded_channel();
        let asked = Arc::default();
        let mut tasks = JoinSet::new();
        let script = Script {
            texts: receiver.into(),
            asked: Arc::clone(&asked),
        };
        tasks.spawn(Arc::new(script).accept(listener));
        Self {
            client: Client::new(front.address),
            front,
            timeline,
            sends,
            asked,
            _tasks: tasks,
        }
    }

    fn origin_sends(&self, text: &'static str) {
        self.sends.send(text).expect("the origin listens");
    }

    async fn get(&mut self, fields: &[(&str, &str)]) -> Response {
        let mut request = Request {
            method: "GET",
            target: "/".to_owned(),
            fields: Fields::default(),
            body: None,
        };
        for (name, value) in fields {
            request.fields.push(name, *value);
        }
        let response = self.client.send(request).await.expect("a response");
        self.front.activity.ends().await;
        response
    }

    async fn wire(&self) -> Wire {
        let stream = TcpStream::connect(self.front.address).await;
        Wire::new(stream.expect("it listens")).expect("a connection")
    }

    fn asked_last(&self, name: &str) -> Option<String> {
        let asked = self.asked.lock().expect("no panic");
        asked.last().expect("the origin was asked").fields.get(name)
    }
}

/// What the connections of the origin share.
struct Script {
    texts: tokio::sync::Mutex<UnboundedReceiver<&'static str>>,
    asked: Arc<Mutex<Vec<Head>>>,
}

impl Script {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(Arc::clone(&self).converse(stream));
        }
    }

    /// Answers requests with a text each, after the interim responses before it.
    async fn converse(self: Arc<Self>, stream: TcpStream) {
        let mut wire = Wire::new(stream).expect("a connection");
        while let Ok(Some(head)) = wire.head().await {
            self.asked.lock().expect("no panic").push(head);
            let mut texts = self.texts.lock().await;
            while let Some(text) = texts.recv().await {
                if text.is_empty() || wire.write(text.as_bytes()).await.is_err() {
                    return;
                }
                if !text.starts_with("HTTP/1.1 1") {
                    break;
                }
            }
        }
    }
}

async fn ask(wire: &mut Wire) {
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    wire.write(request).await.expect("it reads");
}

async fn head(wire: &mut Wire) -> Head {
    wire.head().await.expect("it answers").expect("a head")
}

/// The body of a 200.
async fn answer(wire: &mut Wire) -> String {
    let head = head(wire).await;
    assert_eq!(head.start, "HTTP/1.1 200 OK");
    let body = wire.body(Framing::of_response(&head.fields)).await;
    String::from_utf8(body.expect("a body")).expect("text")
}

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: b\r\nB: 1\r\n\r\n";

#[tokio::test]
async fn an_interim_response_is_passed_on_before_there_is_a_final_one() {
    let scene = Scene::new().await;
    let mut wire = scene.wire().await;
    ask(&mut wire).await;
    scene.origin_sends(HINT);
    let hint = head(&mut wire).await;
    assert_eq!(hint.start, "HTTP/1.1 103 Early Hints");
    assert_eq!(hint.fields.get("link").as_deref(), Some("</a>"));
    assert!(!hint.fields.has("connection") && !hint.fields.has("b"));

    scene.origin_sends("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_eq!(head(&mut wire).await.start, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn an_interim_response_that_comes_with_the_final_one_is_passed_on_before_it_and_once() {
    let scene = Scene::new().await;
    let mut wire = scene.wire().await;
    scene.origin_sends(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\none",
    );
    ask(&mut wire).await;
    assert_eq!(head(&mut wire).await.start, "HTTP/1.1 103 Early Hints");
    assert_eq!(answer(&mut wire).await, "one");
    ask(&mut wire).await;
    assert_eq!(answer(&mut wire).await, "one");
}

#[tokio::test]
async fn an_interim_response_to_a_request_in_the_background_is_passed_on_to_nobody() {
    let scene = Scene::new().await;
    let mut wire = scene.wire().await;
    scene.origin_sends(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-while-revalidate=60\r\n\
         Content-Length: 3\r\n\r\none",
    );
    ask(&mut wire).await;
    assert_eq!(answer(&mut wire).await, "one");
    scene.timeline.wait(Duration::from_secs(2)).await;
    scene.origin_sends(HINT);
    scene.origin_sends(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\ntwo",
    );
    ask(&mut wire).await;
    assert_eq!(answer(&mut wire).await, "one");
    scene.front.activity.ends().await;
    ask(&mut wire).await;
    assert_eq!(answer(&mut wire).await, "two");
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_a_502() {
    let mut scene = Scene::new().await;
    scene.origin_sends("");
    let response = scene.get(&[]).await;
    assert_eq!(response.status, 502);
    assert!(!response.fields.lists("connection", "close"));
}

#[tokio::test]
async fn fields_of_a_connection_go_no_further() {
    let mut scene = Scene::new().await;
    scene.origin_sends(
        "HTTP/1.1 200 OK\r\nConnection: b\r\nB: 1\r\nProxy-Authenticate: Basic\r\n\
         Cache-Control: max-age=60\r\nC: 1\r\nContent-Length: 3\r\n\r\none",
    );
    for _ in ["from the origin", "from the store"] {
        let response = scene
            .get(&[("Connection", "d"), ("D", "1"), ("E", "1")])
            .await;
        assert_eq!(response.fields.get("c").as_deref(), Some("1"));
        for name in ["b", "connection", "proxy-authenticate"] {
            assert!(!response.fields.has(name), "{name}");
        }
    }
    assert_eq!(scene.asked_last("d"), None);
    assert_eq!(scene.asked_last("e").as_deref(), Some("1"));
}

#[tokio::test]
async fn the_origin_gets_its_own_host() {
    let mut scene = Scene::new().await;
    scene.origin_sends("HTTP/1.1 204 No Content\r\n\r\n");
    scene.get(&[("Host", "elsewhere.test")]).await;
    let host = scene.asked_last("host").expect("a host");
    assert!(host.starts_with("127.0.0.1:"), "{host}");
}

#[tokio::test]
async fn what_follows_a_body_that_is_too_long_is_not_the_next_response() {
    let mut scene = Scene::new().await;
    scene.origin_sends(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    assert_eq!(scene.get(&[]).await.body, "one");
    scene.origin_sends("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    assert_eq!(scene.get(&[]).await.body, "two");
}
