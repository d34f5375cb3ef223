//! What is recorded once can be replayed, and holds no secrets.

use bytes::Bytes;
use cache_testing::{ManualClock, Origin, Record, RecordLayer, Recording, ReplayError, ok, status};
use cache_tower::{Cache, CacheInfo, CacheLayer, MemoryBackend, Outcome};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Collected, Empty};
use tower::{Layer, ServiceExt};

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://user:s3cret@origin.test{path}"))
        .header("authorization", "Bearer s3cret")
        .header("accept", "text/plain")
        .body(Empty::new())
        .expect("a request")
}

fn recorded() -> (Origin, Recording, Record<Origin>) {
    let (origin, recording) = (Origin::new(), Recording::new());
    let service = RecordLayer::new(&recording).layer(origin.clone());
    (origin, recording, service)
}

async fn read<B: Body<Error: std::fmt::Debug>>(response: Response<B>) -> Collected<B::Data> {
    response.into_body().collect().await.expect("a body")
}

#[tokio::test]
async fn what_was_recorded_is_replayed_in_its_order() {
    let (origin, recording, service) = recorded();
    let noise = Bytes::from_static(b"\xff\x00\xfe");
    for (path, answer) in [
        ("/a", ok("one").max_age(60).trailer("checksum", "1")),
        ("/a", ok("two").with("set-cookie", "s3cret")),
        ("/b?token=s3cret&x=1", ok("").chunk(noise.clone())),
        (
            "/empty",
            status(204).with("link", "</a>").with("link", "</b>"),
        ),
    ] {
        origin.answers(answer);
        let response = service
            .clone()
            .oneshot(get(path))
            .await
            .expect("a response");
        read(response).await;
    }
    origin.fails();
    let failed = service.clone().oneshot(get("/down")).await;
    let said = failed.expect_err("an error").to_string();
    assert_eq!(recording.len(), 5);

    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("traffic.jsonl");
    recording.save(&file).expect("saved");
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!(text.lines().count(), 5);

    let replay = Recording::load(&file).expect("a recording").replay();
    let asked = |path: &'static str| replay.clone().oneshot(get(path));
    let first = asked("/a").await.expect("a response");
    assert_eq!(first.headers()["cache-control"], "max-age=60");
    let first = read(first).await;
    assert_eq!(first.trailers().expect("trailers")["checksum"], "1");
    assert_eq!(first.to_bytes(), "one");
    let second = asked("/a").await.expect("a response");
    assert_eq!(second.headers()["set-cookie"], "[redacted]");
    assert_eq!(read(second).await.to_bytes(), "two");
    let third = asked("/b?token=another&x=1").await.expect("a response");
    assert_eq!(read(third).await.to_bytes(), noise);
    let empty = asked("/empty").await.expect("a response");
    assert_eq!(empty.status(), 204);
    assert_eq!(empty.headers().get_all("link").iter().count(), 2);
    assert_eq!(replay.left(), 1);
    assert_eq!(
        asked("/down").await.expect_err("an error"),
        ReplayError::Recorded(said)
    );
    let again = asked("/a").await.expect_err("no more");
    assert!(
        again.to_string().contains("GET http://origin.test/a"),
        "{again}"
    );
}

#[tokio::test]
async fn a_body_that_broke_off_breaks_off_again() {
    let (origin, recording, service) = recorded();
    origin.answers(ok("begin").breaks_off());
    origin.answers(ok("begin").chunk("end"));
    let broken = service.clone().oneshot(get("/")).await.expect("a response");
    broken
        .into_body()
        .collect()
        .await
        .expect_err("it breaks off");
    // One that nobody reads to its end.
    drop(service.clone().oneshot(get("/")).await.expect("a response"));
    let replay = recording.replay();
    for _ in 0..2 {
        let response = replay.clone().oneshot(get("/")).await.expect("a response");
        response
            .into_body()
            .collect()
            .await
            .expect_err("it breaks off");
    }
}

#[tokio::test]
async fn a_cache_can_be_tested_against_recorded_traffic() {
    let (origin, recording, service) = recorded();
    let cache = |service| -> Cache<Record<Origin>> { layer().layer(service) };
    origin.answers(ok("one").max_age(60));
    let live = cache(service);
    for _ in 0..2 {
        read(live.clone().oneshot(get("/")).await.expect("a response")).await;
    }
    assert_eq!(recording.len(), 1);
    let replayed = layer().layer(recording.replay());
    for expected in [Outcome::Miss, Outcome::Hit] {
        let response = replayed
            .clone()
            .oneshot(get("/"))
            .await
            .expect("a response");
        let info = response.extensions().get::<CacheInfo>();
        assert_eq!(info.expect("always").outcome, expected);
        assert_eq!(read(response).await.to_bytes(), "one");
    }
}

fn layer() -> CacheLayer {
    CacheLayer::new(MemoryBackend::default()).clock(ManualClock::new())
}

#[test]
fn what_is_no_recording_is_an_error_that_names_the_file() {
    let files = tempfile::tempdir().expect("a directory");
    let file = files.path().join("traffic.jsonl");
    let error = Recording::load(&file).expect_err("no file");
    assert!(error.to_string().contains("traffic.jsonl"));
    for text in [
        "nonsense",
        "{}",
        r#"{"method":"GET","uri":"/","response":{"status":9999,"fields":[]}}"#,
        r#"{"method":"GET","uri":"/","response":{"status":200,"fields":[["a b","c"]]}}"#,
        r#"{"method":"GET","uri":"/","response":{"status":200,"fields":[],"base64":"?"}}"#,
    ] {
        std::fs::write(&file, text).expect("written");
        Recording::load(&file).expect_err(text);
    }
    std::fs::write(&file, "\n").expect("written");
    assert!(Recording::load(&file).expect("empty").is_empty());
}
