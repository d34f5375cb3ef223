//! The command, run against a Redis of its own and against dumps.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{Backend, CacheHandle, CacheLayer, Clock, Filter, Policy, Retention};
use http::Request;
use kit::{Answer, HttpOrigin, ManualClock, ok, status};
use serde_json::Value;
use tempfile::TempDir;

/// A Redis with something in it.
struct Site {
    server: EmbeddedRedis,
    clock: ManualClock,
    handle: CacheHandle,
    files: TempDir,
}

impl Site {
    async fn empty() -> Self {
        let server = EmbeddedRedis::start().await.expect("a server");
        let backend = RedisBackend::connect(&server.url())
            .await
            .expect("a backend");
        Self::over(server, backend)
    }

    fn over(server: EmbeddedRedis, backend: impl Backend) -> Self {
        let clock = ManualClock::new();
        let layer = CacheLayer::new(backend).clock(clock.clone());
        Self {
            server,
            clock,
            handle: layer.handle(),
            files: TempDir::new().expect("a directory"),
        }
    }

    /// Three resources, one of them in two languages, and 100 seconds later.
    async fn filled() -> Self {
        let site = Self::empty().await;
        site.fill().await;
        site
    }

    async fn fill(&self) {
        let json = ok("{\"users\": []}").cache_control("max-age=60, stale-while-revalidate=300");
        let json = json.etag("\"1\"").with("content-type", "application/json");
        let json = json.with("set-cookie", "session=s3cret");
        self.put("http://api.test/users?token=s3cret", &[], json)
            .await;
        let page = |text| ok(text).max_age(1000).with("vary", "accept-language");
        self.put(
            "http://www.test/",
            &[("accept-language", "en")],
            page("hello"),
        )
        .await;
        self.put(
            "http://www.test/",
            &[("accept-language", "de")],
            page("hallo"),
        )
        .await;
        self.put("http://www.test/gone", &[], status(404).max_age(200))
            .await;
        self.clock.advance(Duration::from_secs(100));
    }

    async fn put(&self, url: &str, fields: &[(&str, &str)], answer: Answer) {
        let mut request = Request::get(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let put = self.handle.put(&request, answer.response()).await;
        put.expect("stored");
    }

    /// The command with this store, at the time of the test.
    fn command(&self, words: &[&str]) -> Command {
        self.command_on(&self.server.url(), words)
    }

    fn command_on(&self, store: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachectl"));
        let at = humantime::format_rfc3339_millis(self.clock.now()).to_string();
        command.args(["--store", store, "--at", &at]).args(words);
        command.env_remove("CACHECTL_STORE").stdin(Stdio::null());
        command
    }

    fn text(&self, words: &[&str]) -> String {
        succeeded(self.command(words))
    }

    fn json(&self, words: &[&str]) -> Vec<Value> {
        let mut command = self.command(words);
        command.arg("--json");
        json(&succeeded(command))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    async fn urls(&self) -> Vec<String> {
        let urls = self.handle.urls(Filter::all()).await.expect("URLs");
        urls.into_iter().collect()
    }
}

fn json(text: &str) -> Vec<Value> {
    let value = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(value).collect()
}

fn succeeded(command: Command) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn failed(command: Command) -> String {
    let output = run(command);
    assert!(!output.status.success(), "{:?}", output.stdout);
    String::from_utf8(output.stderr).expect("text")
}

fn run(mut command: Command) -> Output {
    command.output().expect("it runs")
}

const USERS: &str = "http://api.test/users?token=s3cret";

#[tokio::test]
async fn what_is_stored_is_listed() {
    let site = Site::filled().await;
    let text = site.text(&["list"]);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(lines[0][..4], ["URL", "STATUS", "AGE", "FRESHNESS"]);
    assert_eq!(
        lines[1],
        [
            "http://api.test/users?token=[redacted]",
            "200",
            "1m 40s",
            "stale for 40s",
            "13",
        ]
    );
    let page = |line: &[&str]| line[0] == "http://www.test/" && line[5] == "accept-language";
    assert!(page(&lines[2]) && page(&lines[3]), "{text}");
    assert_eq!(lines[4][..2], ["http://www.test/gone", "404"]);
    assert_eq!(lines.len(), 5);

    let listed = site.json(&["list", "--stale"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["url"], "http://api.test/users?token=[redacted]");
    assert_eq!(listed[0]["age_seconds"], 100);
    assert_eq!(listed[0]["stale_for_seconds"], 40);
    assert_eq!(listed[0]["body_bytes"], 13);
    assert_eq!(site.json(&["list", "--host", "www.test"]).len(), 3);
    assert_eq!(
        site.json(&["list", "--host", "www.test", "--status", "404"])
            .len(),
        1
    );
    assert_eq!(site.json(&["list", "--limit", "2"]).len(), 2);
    assert_eq!(site.json(&["list", "--older-than", "101s"]).len(), 0);
    assert_eq!(
        site.json(&["list", "--prefix", "http://www.test/g"]).len(),
        1
    );
}

#[tokio::test]
async fn one_resource_is_shown_with_its_fields_and_the_beginning_of_its_body() {
    let site = Site::filled().await;
    let text = site.text(&["show", USERS]);
    for line in [
        "http://api.test/users?token=[redacted]",
        "  status     200 OK",
        "  age        1m 40s",
        "  freshness  stale for 40s",
        "  > etag: \"1\"",
        "  > set-cookie: [redacted]",
        "  body       13 B",
        "  | {\"users\": []}",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
    assert!(!text.contains("s3cret"));
    assert!(
        site.text(&["show", USERS, "--secrets"])
            .contains("session=s3cret")
    );
    let short = site.text(&["show", USERS, "--preview", "5"]);
    assert!(short.ends_with("  | {\"use\n  | ...\n"), "{short}");
    let without = site.text(&["show", USERS, "--preview", "0"]);
    assert!(without.ends_with("  body       13 B\n"), "{without}");
    let shown = site.json(&["show", "http://WWW.test:80"]);
    assert_eq!(shown.len(), 2);
    let mut previews: Vec<_> = shown
        .iter()
        .map(|one| one["body_preview"].clone())
        .collect();
    previews.sort_by_key(ToString::to_string);
    assert_eq!(previews, ["hallo", "hello"]);
    let missing = failed(site.command(&["show", "http://www.test/none"]));
    assert_eq!(missing, "cachectl: nothing is stored for this URL\n");
}

const NO_URL: &str = "it is no URL; write http://host/path";

#[tokio::test]
async fn what_is_no_url_is_refused_by_every_command() {
    let site = Site::filled().await;
    let dump = site.path("cache.dump");
    let dump = dump.to_str().expect("a path");
    for url in ["notaurl", "www.test:80", "/users", "ftp://www.test/", "*"] {
        for words in [
            &["show", url][..],
            &["why-stale", url],
            &["list", "--url", url],
            &["delete", "--yes", "--url", url],
            &["mark-stale", "--yes", "--url", url],
            &["set-ttl", "5min", "--yes", "--url", url],
            &["watch", "--looks", "1", "--url", url],
            &["copy", dump, "--url", url],
        ] {
            let wrong = failed(site.command(words));
            assert!(wrong.contains(NO_URL), "{words:?}: {wrong}");
        }
    }
    assert_eq!(site.urls().await.len(), 3);
}

#[tokio::test]
async fn why_something_is_stale_is_explained() {
    let site = Site::filled().await;
    let text = site.text(&["why-stale", USERS]);
    for line in [
        "It has been stale for 40s: its age of 1m 40s has reached its lifetime of 1m.",
        "The lifetime is what the origin said: cache-control: max-age=60, stale-while-revalidate=300.",
        "Stale, it may be used while it is validated, for 4m 20s still.",
        "The origin can be asked whether it is current (ETag or Last-Modified).",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let fresh = &site.json(&["why-stale", "http://www.test/gone"])[0];
    let because = fresh["because"][0].as_str().expect("text");
    assert!(because.starts_with("It is fresh for 1m 40s"), "{because}");
    assert_eq!(fresh["is_fresh"], true);
}

#[tokio::test]
async fn what_is_said_of_ages_adds_up() {
    let site = Site::empty().await;
    let start = humantime::format_rfc3339_millis(site.clock.now()).to_string();
    assert_eq!(start, "2026-05-28T20:26:40.300Z");
    site.clock.advance(Duration::from_millis(400));
    let answer = ok("news").cache_control("max-age=1, stale-while-revalidate=1");
    let answer = answer.with("date", "Thu, 28 May 2026 20:26:40 GMT");
    site.put("http://www.test/news", &[], answer).await;
    for (wait, lines) in [
        (
            200,
            [
                "It is fresh for 100ms: its age of 900ms is below its lifetime of 1s.",
                "with an age of 700ms, 200ms ago.",
                "while it is validated, for 1s still.",
            ],
        ),
        (
            500,
            [
                "It has been stale for 400ms: its age of 1s 400ms has reached its lifetime of 1s.",
                "with an age of 700ms, 700ms ago.",
                "while it is validated, for 600ms still.",
            ],
        ),
        (
            99_500,
            [
                "It has been stale for 1m 39s: its age of 1m 40s has reached its lifetime of 1s.",
                "with an age of 0s, 1m 40s ago.",
                "while it is validated for 1s, which are over.",
            ],
        ),
    ] {
        site.clock.advance(Duration::from_millis(wait));
        let text = site.text(&["why-stale", "http://www.test/news"]);
        for line in lines {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}

#[tokio::test]
async fn what_is_fresh_or_kept_without_end_is_told_in_sentences() {
    let site = Site::filled().await;
    let gone = "http://www.test/gone";
    site.text(&["set-ttl", "500000years", "--url", gone, "--yes"]);
    let said = [
        site.text(&["show", gone]),
        site.text(&["why-stale", gone]),
        site.text(&["list", "--status", "404"]),
    ];
    for (text, line) in [
        (&said[0], "\n  freshness  fresh for over 1000 years\n"),
        (&said[0], "\n  kept until after the year 9999\n"),
        (
            &said[1],
            "It is fresh for over 1000 years: its age of 1m 40s is below its lifetime of over 1000 years.",
        ),
        (&said[1], "It is kept until after the year 9999."),
        (&said[2], "  fresh for over 1000 years  "),
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(site.json(&["show", gone])[0]["kept_until"], Value::Null);

    let backend = RedisBackend::connect(&site.server.url()).await;
    let layer = CacheLayer::new(backend.expect("a backend")).clock(site.clock.clone());
    let layer = layer.policy(Policy::private().retention(Retention::Forever));
    let request = Request::get("http://www.test/kept").body(());
    let request = request.expect("a request");
    let handle = layer.handle();
    let put = handle.put(&request, ok("kept").max_age(60).response());
    put.await.expect("stored");
    let text = site.text(&["show", "http://www.test/kept"]);
    assert!(text.contains("\n  kept       for ever\n"), "{text}");
    let text = site.text(&["why-stale", "http://www.test/kept"]);
    assert!(text.contains("It is kept until it is replaced or evicted."));
}

#[tokio::test]
async fn what_is_stored_is_counted() {
    let site = Site::filled().await;
    let stats = &site.json(&["stats"])[0];
    assert_eq!((&stats["entries"], &stats["keys"]), (&4.into(), &3.into()));
    assert_eq!((&stats["fresh"], &stats["stale"]), (&3.into(), &1.into()));
    assert_eq!(stats["body_bytes"], 23);
    assert_eq!(stats["hosts"][1]["host"], "www.test");
    assert_eq!(stats["hosts"][1]["entries"], 3);
    let text = site.text(&["stats"]);
    assert!(text.contains("www.test          3"), "{text}");
}

#[tokio::test]
async fn nothing_is_destroyed_without_consent() {
    let site = Site::filled().await;
    for words in [
        &["delete", "--host", "www.test"][..],
        &["clear"],
        &["mark-stale", "--host", "www.test"],
        &["set-ttl", "5min", "--host", "www.test"],
    ] {
        let error = failed(site.command(words));
        assert_eq!(
            error,
            "cachectl: nobody is there to be asked; write --yes\n"
        );
    }
    let error = failed(site.command(&["delete", "--yes"]));
    assert!(
        error.contains("to delete everything, write clear"),
        "{error}"
    );
    assert_eq!(site.urls().await.len(), 3);
}

#[tokio::test]
async fn what_is_picked_is_deleted_or_changed() {
    let site = Site::filled().await;
    let marked = site.text(&["mark-stale", "--prefix", "http://www.test/", "--yes"]);
    assert_eq!(marked, "3 of 4 marked as stale\n");
    assert_eq!(site.json(&["list", "--stale"]).len(), 4);
    let set = site.text(&["set-ttl", "5min", "--url", "http://www.test/", "-y"]);
    assert_eq!(set, "2 of 4 changed\n");
    assert_eq!(site.json(&["list", "--fresh"]).len(), 2);
    let deleted = site.text(&["delete", "--url", USERS, "--yes"]);
    assert_eq!(deleted, "1 of 4 deleted\n");
    let deleted = &site.json(&["delete", "--status", "404", "--yes"])[0];
    assert_eq!((&deleted["seen"], &deleted["done"]), (&3.into(), &1.into()));
    assert_eq!(site.urls().await, ["http://www.test/"]);
    site.text(&["clear", "--yes"]);
    assert!(site.urls().await.is_empty());
}

#[tokio::test]
async fn a_dump_is_written_looked_into_changed_and_copied_back() {
    let site = Site::filled().await;
    let path = site.path("cache.dump");
    let dump = path.to_str().expect("a path");
    assert_eq!(site.text(&["copy", dump]), "4 of 4 copied\n");
    let error = failed(site.command(&["copy", dump]));
    assert!(error.contains("write --yes to replace it"), "{error}");
    site.text(&["clear", "--yes"]);

    let on_dump = |words: &[&str]| succeeded(site.command_on(dump, words));
    assert_eq!(on_dump(&["list"]).lines().count(), 5);
    assert!(on_dump(&["show", USERS]).contains("{\"users\": []}"));
    assert_eq!(
        on_dump(&["delete", "--status", "404", "--yes"]),
        "1 of 4 deleted\n"
    );
    assert_eq!(on_dump(&["list"]).lines().count(), 4);
    assert_eq!(on_dump(&["copy", &site.server.url()]), "3 of 3 copied\n");
    assert_eq!(
        site.urls().await,
        ["http://api.test/users?token=[redacted]", "http://www.test/"]
    );
    let request = Request::get(USERS).body(()).expect("a request");
    let entry = site
        .handle
        .get(&request)
        .await
        .expect("an answer")
        .expect("it is there");
    let body = site.handle.read(&entry, 100).await.expect("a body");
    assert_eq!(body, "{\"users\": []}");

    let whole = std::fs::read(&path).expect("a dump");
    for at in [0, 8, 20, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).expect("written");
        let error = failed(site.command_on(dump, &["list"]));
        assert!(error.contains("cache.dump"), "{error}");
    }
    for length in [0, 5, 12, whole.len() - 9] {
        std::fs::write(&path, &whole[..length]).expect("written");
        failed(site.command_on(dump, &["list"]));
    }
    let error = failed(site.command_on("none.dump", &["list"]));
    assert!(
        error.contains("write a Redis URL, or the path of a dump"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_warmed_from_a_list_of_urls() {
    let site = Site::empty().await;
    let origin = HttpOrigin::start().await.expect("an origin");
    origin.answers(ok("one").max_age(60));
    let list = site.path("urls");
    let lines = format!("# what is wanted\n{}\n\n", origin.uri("/one"));
    std::fs::write(&list, lines).expect("written");
    let file = list.to_str().expect("a path");
    let warm = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cachectl"));
        command
            .args(["--store", &site.server.url(), "warm", file])
            .args(words);
        run(command)
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let output = warm(&["-H", "X-From: cachectl"]);
    assert_eq!(
        text(&output),
        "1 stored, 0 fresh already, 0 not stored, 0 failed\n"
    );
    assert_eq!(origin.sent()[0].headers["x-from"], "cachectl");
    let output = warm(&["--json"]);
    let told = json(&text(&output));
    assert_eq!(told[0]["outcome"], "fresh already");
    origin.answers(ok("two").max_age(60));
    let output = warm(&["--reload"]);
    assert_eq!(
        text(&output),
        "1 stored, 0 fresh already, 0 not stored, 0 failed\n"
    );

    origin.answers(ok("secret").cache_control("no-store"));
    origin.fails();
    std::fs::write(&list, origin.uri("/two")).expect("written");
    let output = warm(&[]);
    assert!(output.status.success());
    assert!(text(&output).contains("0 stored, 0 fresh already, 1 not stored, 0 failed"));
    std::fs::write(&list, origin.uri("/three")).expect("written");
    let output = warm(&[]);
    assert!(!output.status.success());
    assert!(text(&output).contains("1 failed"));
    std::fs::write(&list, "no url").expect("written");
    let output = warm(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, format!("cachectl: line 1: \"no url\": {NO_URL}\n"));
    let urls = site.handle.urls(Filter::all()).await.expect("URLs");
    assert_eq!(urls.into_iter().collect::<Vec<_>>(), [origin.uri("/one")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_and_goes_is_watched() {
    use std::io::{BufRead, BufReader};

    let site = Site::filled().await;
    let mut command = site.command(&["watch", "--interval", "10ms", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("JSON")
    };
    let first = next();
    assert_eq!(
        (&first["event"], &first["entries"]),
        (&"watching".into(), &4.into())
    );
    site.put("http://www.test/new", &[], ok("new").max_age(60))
        .await;
    let told = next();
    assert_eq!(
        (&told["event"], &told["url"]),
        (&"stored".into(), &"http://www.test/new".into())
    );
    site.clock.advance(Duration::from_secs(1));
    site.put("http://www.test/new", &[], ok("newer").max_age(60))
        .await;
    assert_eq!(next()["event"], "replaced");
    let url = || Filter::all().url("http://www.test/new".parse().expect("a URL"));
    site.handle.mark_stale(url()).await.expect("marked");
    assert_eq!(next()["event"], "freshened");
    site.handle.remove_all(url()).await.expect("removed");
    assert_eq!(next()["event"], "gone");
    child.kill().expect("it runs still");
    child.wait().expect("it ended");
    let ended = site.text(&["watch", "--looks", "1"]);
    assert_eq!(ended, "watching; 4 responses are stored\n");
}

#[tokio::test]
async fn what_is_encrypted_is_read_with_the_key_and_not_without() {
    let server = EmbeddedRedis::start().await.expect("a server");
    let redis = RedisBackend::connect(&server.url())
        .await
        .expect("a backend");
    let secret = b"a secret of more than sixteen bytes";
    let keys = Keys::new(Key::new(3, secret).expect("a key"));
    let backend = CodecBackend::new(redis, Codec::new().zstd(3).encrypt(keys));
    let site = Site::over(server, backend.expect("a backend"));
    site.fill().await;
    let file = site.path("key");
    std::fs::write(&file, secret).expect("written");
    let key = format!("3:{}", file.display());
    let words = ["--codec", "encrypted", "--key", &key];
    let with_key = |more: &[&str]| site.text(&[more, &words].concat());
    assert_eq!(with_key(&["list"]).lines().count(), 5);
    assert!(with_key(&["show", USERS]).contains("{\"users\": []}"));
    let blind = site.text(&["list"]);
    assert!(!blind.contains("test"), "{blind}");
    let error = failed(site.command(&["list", "--key", &key]));
    assert!(error.contains("Write --codec encrypted"), "{error}");
    let error = failed(site.command(&["list", "--codec", "signed"]));
    assert!(error.contains("write --key 1:FILE"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_without_secrets() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cachectl"));
    command.args(["--store", "redis://user:s3cret@127.0.0.1:1", "list"]);
    let error = failed(command);
    assert!(
        error.starts_with("cachectl: Redis does not answer as it should"),
        "{error}"
    );
    assert!(!error.contains("s3cret"));
}
