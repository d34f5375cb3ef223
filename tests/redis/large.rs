//! Bodies that do not stand behind their heads: sent and read in frames, never wrong.

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Backend, BackendErrorKind, Entry, Policy, Source, StoredHead};
use cache_redis::Options;
use kit::contract::get;
use kit::ok;

use crate::support::{Site, assert_same, is_taken, long, noise, patient, pieces, read, until};

/// How many bytes a frame has, and how many are before them.
const FRAME: usize = 131_072;
const CHECKSUM: usize = 8;

fn head(site: &Site, path: &str) -> StoredHead {
    site.head(&get(path), &ok("").max_age(60))
}

fn body_key(site: &Site, path: &str, entry: &Entry) -> String {
    format!("{}:b:{:032x}", site.primary(&get(path)), entry.token.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_all_lengths_that_could_be_cut_wrongly_come_back() {
    let site = Site::start().await;
    let other = site.other();
    let limit = 131_072;
    let mut lengths = vec![0, 1, limit - 1, limit, limit + 1];
    for frames in 1..4 {
        for length in frames * FRAME - CHECKSUM - 1..=frames * FRAME - CHECKSUM + 1 {
            lengths.push(length);
        }
        for length in frames * FRAME - 1..=frames * FRAME + 1 {
            lengths.push(length);
        }
    }
    for (index, length) in lengths.into_iter().enumerate() {
        let path = format!("/{length}");
        let body = noise(length, index as u64);
        let mut writer = site.backend.writer(head(&site, &path));
        // Pieces of a length that divides nothing.
        for piece in pieces(body.clone(), 40_009) {
            writer.write(piece).expect("a piece is taken");
        }
        assert!(is_taken(writer.publish(None).wait().await), "{length}");
        let entry = other.one(&get(&path)).await;
        let is_elsewhere = matches!(entry.body.source(), Source::Remote(_));
        assert_eq!(is_elsewhere, length > limit, "{length}");
        assert_eq!(entry.body.len(), length as u64);
        assert!(read(&entry).await.expect("a body") == body, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_can_be_read_from_any_place() {
    let site = Site::start().await;
    let body = noise(3 * FRAME + 1000, 1);
    assert!(site.write(head(&site, "/"), body.clone()).await);
    let entry = site.one(&get("/")).await;
    let Source::Remote(remote) = entry.body.source() else {
        panic!("it stands elsewhere");
    };
    for start in [
        0,
        1,
        FRAME - 1,
        FRAME,
        FRAME + 1,
        2 * FRAME + 500,
        3 * FRAME - 1,
        3 * FRAME,
        body.len() - 1,
    ] {
        let window = remote.read(start as u64).await.expect("a window");
        assert!(!window.is_empty(), "{start}");
        assert!(body[start..start + window.len()] == window, "{start}");
        assert!(window.len() <= FRAME, "{start}");
        let end = (start + window.len()) as u64;
        assert_eq!(remote.window_end(start as u64), Some(end), "{start}");
    }
    for start in [body.len(), body.len() + 1, 10 * FRAME, usize::MAX >> 1] {
        // There is nothing, and nobody may be told that there is.
        if let Ok(window) = remote.read(start as u64).await {
            assert!(window.is_empty(), "{start}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_any_size_become_one_body() {
    let site = Site::start().await;
    let body = noise(300_000, 1);
    for most in [
        1_000_000,
        300_000,
        FRAME,
        FRAME - CHECKSUM,
        65_536,
        65_537,
        997,
    ] {
        let path = format!("/{most}");
        let mut writer = site.backend.writer(head(&site, &path));
        writer.write(Bytes::new()).expect("an empty piece is taken");
        for piece in pieces(body.clone(), most) {
            writer.write(piece).expect("a piece is taken");
            writer.write(Bytes::new()).expect("an empty piece is taken");
        }
        assert!(is_taken(writer.publish(None).wait().await));
        assert!(read(&site.one(&get(&path)).await).await.expect("a body") == body);
    }
}

/// Waits until the server has all but so many of the bytes of a body that is under way.
async fn has_arrived(site: &Site, written: usize, but: usize) {
    until("the server has what was sent", || {
        let bodies = site.bodies_elsewhere();
        let frames: usize = bodies
            .first()
            .map_or(0, |key| site.server.query(&["HLEN", key]));
        frames * FRAME + but >= written
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_megabytes_that_come_as_fast_as_they_are_sent_are_stored() {
    let site = Site::start().await;
    let body = noise(8 << 20, 1);
    let mut writer = site.backend.writer(head(&site, "/"));
    for (index, piece) in pieces(body.clone(), 1 << 20).into_iter().enumerate() {
        writer.write(piece).expect("a piece is taken");
        has_arrived(&site, (index + 1) << 20, 1 << 20).await;
    }
    assert!(is_taken(writer.publish(None).wait().await));
    let entry = site.other().one(&get("/")).await;
    assert!(read(&entry).await.expect("a body") == body);
}

/// What comes in one piece is in memory already, and takes no more of it while it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_megabytes_that_come_in_one_piece_are_stored() {
    let site = Site::start().await;
    let body = noise(8 << 20, 1);
    let mut writer = site.backend.writer(head(&site, "/"));
    // Nothing of it is sent before all of it is there.
    site.server.pause();
    let written = writer.write(body.clone());
    site.server.resume();
    written.expect("the piece is taken");
    assert!(is_taken(writer.publish(None).wait().await));
    let entry = site.one(&get("/")).await;
    assert!(read(&entry).await.expect("a body") == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_faster_than_it_is_sent_is_declined_and_leaves_nothing() {
    let site = Site::with(Options {
        upload_buffer: 300_000,
        ..patient()
    })
    .await;
    site.server.pause();
    let mut writer = site.backend.writer(head(&site, "/"));
    let mut taken = 0;
    let error = loop {
        match writer.write(noise(50_000, 1)) {
            Ok(()) => taken += 50_000,
            Err(error) => break error,
        }
        assert!(taken < 1_000_000, "it takes all there is");
    };
    assert_eq!(error.kind(), BackendErrorKind::Declined);
    assert!(taken >= 300_000, "{taken} bytes may wait");
    drop(writer);
    site.server.resume();
    until("nothing is left", || {
        site.all_expire();
        site.server.keys().is_empty()
    })
    .await;
    assert!(!site.is_found(&get("/")).await);
    // The next one, which comes slower, is stored.
    assert!(site.write(head(&site, "/"), noise(200_000, 1)).await);
    assert!(site.is_found(&get("/")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_before_a_large_body_is_published() {
    let site = Site::start().await;
    let mut writer = site.backend.writer(head(&site, "/"));
    writer.write(noise(500_000, 1)).expect("a piece is taken");
    has_arrived(&site, 500_000, FRAME).await;
    assert!(!site.is_found(&get("/")).await);
    assert!(!site.other().is_found(&get("/")).await);
    assert!(is_taken(writer.publish(None).wait().await));
    assert!(site.is_found(&get("/")).await);
}

/// What can happen to the bytes of a body that its head knows nothing of.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    Emptied,
    CutByAByte,
    CutByAFrame,
    ExtendedByAByte,
    ExtendedByAFrame,
    ABitOfAChecksum,
    ABitOfTheFirstFrame,
    ABitOfTheLastFrame,
    OtherBytes,
    AnothersFrames,
    FramesExchanged,
    FramesRepeated,
    TheContentWithoutChecksums,
    AFrameRenamed,
    AList,
    AHash,
    ASet,
    ASortedSet,
    AStream,
}

const DAMAGES: [Damage; 20] = [
    Damage::Deleted,
    Damage::Emptied,
    Damage::CutByAByte,
    Damage::CutByAFrame,
    Damage::ExtendedByAByte,
    Damage::ExtendedByAFrame,
    Damage::ABitOfAChecksum,
    Damage::ABitOfTheFirstFrame,
    Damage::ABitOfTheLastFrame,
    Damage::OtherBytes,
    Damage::AnothersFrames,
    Damage::FramesExchanged,
    Damage::FramesRepeated,
    Damage::TheContentWithoutChecksums,
    Damage::AFrameRenamed,
    Damage::AList,
    Damage::AHash,
    Damage::ASet,
    Damage::ASortedSet,
    Damage::AStream,
];

/// The length of a body of three whole frames and a bit.
const LENGTH: usize = 3 * FRAME + 500;

impl Damage {
    fn happens(self, site: &Site, key: &str, another: &str, content: &[u8]) {
        let whole = FRAME + CHECKSUM;
        let mut bytes = site.frames(key);
        let of_type = |arguments: &[&str]| {
            site.delete(key);
            site.server.command(arguments);
        };
        match self {
            Self::Deleted => return site.delete(key),
            Self::AList => return of_type(&["RPUSH", key, "one"]),
            Self::AHash => return of_type(&["HSET", key, "one", "1"]),
            Self::ASet => return of_type(&["SADD", key, "one"]),
            Self::ASortedSet => return of_type(&["ZADD", key, "1", "one"]),
            Self::AStream => return of_type(&["XADD", key, "*", "one", "1"]),
            Self::AFrameRenamed => {
                site.server.command(&["HDEL", key, "0"]);
                site.server.command(&["HSET", key, "one", "1"]);
                return;
            }
            Self::Emptied => bytes.clear(),
            Self::CutByAByte => {
                bytes.pop();
            }
            Self::CutByAFrame => bytes.truncate(2 * whole),
            Self::ExtendedByAByte => bytes.push(0),
            Self::ExtendedByAFrame => bytes.extend_from_within(..whole),
            Self::ABitOfAChecksum => bytes[whole] ^= 1,
            Self::ABitOfTheFirstFrame => bytes[CHECKSUM + 1000] ^= 1,
            Self::ABitOfTheLastFrame => *bytes.last_mut().expect("a byte") ^= 0x80,
            Self::OtherBytes => bytes = noise(bytes.len(), 99).to_vec(),
            Self::AnothersFrames => bytes = site.frames(another),
            Self::FramesExchanged => {
                let (first, rest) = bytes.split_at_mut(whole);
                first.swap_with_slice(&mut rest[..whole]);
            }
            Self::FramesRepeated => bytes.copy_within(..whole, whole),
            Self::TheContentWithoutChecksums => {
                let length = bytes.len();
                bytes = content.to_vec();
                bytes.resize(length, 0);
            }
        }
        site.overwrite_frames(key, &bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_was_damaged_is_not_found_or_cannot_be_read() {
    let site = Site::start().await;
    let other = site.other();
    for damage in DAMAGES {
        let _: String = site.server.query(&["FLUSHALL"]);
        let content = noise(LENGTH, 1);
        assert!(site.write(head(&site, "/"), content.clone()).await);
        assert!(site.write(head(&site, "/another"), noise(LENGTH, 2)).await);
        let found = site.one(&get("/")).await;
        let key = body_key(&site, "/", &found);
        let another = body_key(&site, "/another", &site.one(&get("/another")).await);
        damage.happens(&site, &key, &another, &content);

        // Whoever found it before, whoever finds it now, and whoever is in the middle of it.
        let mut entries = vec![found];
        entries.extend(other.matching(&get("/")).await);
        for entry in entries {
            let Source::Remote(body) = entry.body.source() else {
                panic!("it stands elsewhere");
            };
            if let Ok(bytes) = read(&entry).await {
                assert!(bytes == content, "{damage:?}");
            }
            for start in [0, 1, FRAME, 2 * FRAME + 5, 3 * FRAME, LENGTH - 1] {
                if let Ok(window) = body.read(start as u64).await {
                    assert!(!window.is_empty(), "{damage:?}, {start}");
                    assert!(content[start..].starts_with(&window), "{damage:?}, {start}");
                }
            }
        }
        // What is stored next is found, whatever stands there.
        site.wait(1);
        let again = noise(LENGTH, 3);
        assert!(
            site.write(head(&site, "/"), again.clone()).await,
            "{damage:?}"
        );
        let entry = other.one(&get("/")).await;
        assert!(read(&entry).await.expect("a body") == again, "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_other_than_all_frames_or_of_another_type_is_not_found() {
    let site = Site::start().await;
    for damage in [
        Damage::Deleted,
        Damage::Emptied,
        Damage::CutByAFrame,
        Damage::ExtendedByAFrame,
        Damage::AList,
        Damage::AHash,
    ] {
        let _: String = site.server.query(&["FLUSHALL"]);
        let content = noise(LENGTH, 1);
        assert!(site.write(head(&site, "/"), content.clone()).await);
        let key = body_key(&site, "/", &site.one(&get("/")).await);
        damage.happens(&site, &key, "", &content);
        assert!(!site.is_found(&get("/")).await, "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_304_to_what_has_lost_its_body_is_no_error_and_stores_nothing() {
    let site = Site::start().await;
    for damage in [
        Damage::Deleted,
        Damage::CutByAFrame,
        Damage::ExtendedByAFrame,
        Damage::AList,
        Damage::AHash,
    ] {
        let _: String = site.server.query(&["FLUSHALL"]);
        let content = noise(LENGTH, 1);
        assert!(site.write(head(&site, "/"), content.clone()).await);
        let entry = site.one(&get("/")).await;
        damage.happens(&site, &body_key(&site, "/", &entry), "", &content);
        let before = site.server.dump();
        site.wait(1);
        site.freshen(&entry, head(&site, "/")).await;
        assert_same(&site.server.dump(), &before, &format!("{damage:?}"));
        assert!(!site.is_found(&get("/")).await, "{damage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_a_body_comes_to_its_end_whatever_becomes_of_its_head() {
    let site = Site::start().await;
    let other = site.other();
    let content = noise(LENGTH, 1);
    for how in [
        "replaced",
        "by a small one",
        "removed",
        "invalidated",
        "deleted",
        "freshened",
    ] {
        assert!(site.write(head(&site, "/"), content.clone()).await);
        let entry = site.one(&get("/")).await;
        let Source::Remote(body) = entry.body.source() else {
            panic!("it stands elsewhere");
        };
        let mut bytes = body.read(0).await.expect("a window").to_vec();
        site.wait(1);
        match how {
            "replaced" => assert!(other.write(head(&site, "/"), noise(LENGTH, 2)).await),
            "by a small one" => assert!(other.write(head(&site, "/"), "small").await),
            "removed" => other.remove(&entry).await,
            "invalidated" => other.invalidate(&get("/")).await,
            "deleted" => site.delete(&site.primary(&get("/"))),
            _ => other.freshen(&entry, head(&site, "/")).await,
        }
        while bytes.len() < LENGTH {
            let window = body.read(bytes.len() as u64).await.expect(how);
            bytes.extend_from_slice(&window);
        }
        assert!(bytes == content, "{how}");
        site.wait(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_and_writers_of_one_resource_never_see_two_bodies_mixed() {
    let site = std::sync::Arc::new(Site::start().await);
    let content = |number: u64| noise(LENGTH, number + 1);
    assert!(site.write(head(&site, "/"), content(0)).await);
    let writers: Vec<_> = (0..3_u64)
        .map(|number| {
            let site = site.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    site.write(head(&site, "/"), content(number)).await;
                }
            })
        })
        .collect();
    let mut reads = 0;
    while reads < 10 || writers.iter().any(|writer| !writer.is_finished()) {
        for entry in site.matching(&get("/")).await {
            let bytes = read(&entry)
                .await
                .expect("a body that stays for its readers");
            assert!((0..3).any(|number| content(number) == bytes));
            reads += 1;
        }
    }
    for writer in writers {
        writer.await.expect("no writer panicked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_small_for_one_process_and_large_for_another_is_found_by_both() {
    let site = Site::small(Policy::private()).await;
    let other = site.other_with(Options {
        inline_limit: 1 << 20,
        reader_grace: Duration::from_secs(1),
        ..patient()
    });
    let answer = ok("").max_age(60).etag("\"1\"");
    for (writer, reader) in [(&*site, &other), (&other, &*site)] {
        assert!(writer.publish(&get("/"), &answer, long("one")).await);
        let entry = reader.one(&get("/")).await;
        assert_eq!(read(&entry).await.expect("a body"), long("one").as_bytes());
        site.wait(1);
        reader
            .freshen(&entry, reader.head(&get("/"), &answer))
            .await;
        let entry = writer.one(&get("/")).await;
        assert_eq!(entry.head.received_at(), site.store.now());
        assert_eq!(read(&entry).await.expect("a body"), long("one").as_bytes());
        site.wait(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inline_limit_of_zero_puts_every_body_but_an_empty_one_elsewhere() {
    let site = Site::with(Options {
        inline_limit: 0,
        ..patient()
    })
    .await;
    for body in ["", "1"] {
        assert!(site.write(head(&site, "/"), body).await);
        let entry = site.one(&get("/")).await;
        assert_eq!(
            matches!(entry.body.source(), Source::Remote(_)),
            !body.is_empty()
        );
        assert_eq!(read(&entry).await.expect("a body"), body.as_bytes());
    }
}
