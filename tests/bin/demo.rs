//! A tour through cachectl and the handle, against a Redis of its own, written as a page: run by
//! `scripts/demo`. The time is that of a clock that is moved, so that the page is the same each time.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_redis::{EmbeddedRedis, RedisBackend};
use cache_tower::{CacheInfo, CacheLayer, Clock, Filter};
use http::Request;
use http_body_util::{BodyExt, Empty};
use kit::{HttpOrigin, ManualClock, Origin, ok, status};
use tempfile::TempDir;
use tower_layer::Layer;
use tower_service::Service;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What this page was made of.
const SOURCE: &str = include_str!("demo.rs");

struct Tour {
    cachectl: PathBuf,
    server: EmbeddedRedis,
    clock: ManualClock,
    files: TempDir,
    /// What differs from run to run, and what is written in its place.
    replaced: Vec<(String, &'static str)>,
}

impl Tour {
    /// Shows a command and what it says.
    fn run(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.cachectl);
        let at = humantime::format_rfc3339_millis(self.clock.now()).to_string();
        command.args(words).current_dir(self.files.path());
        command.env("CACHECTL_STORE", self.server.url());
        command.env("CACHECTL_AT", at).stdin(Stdio::null());
        let output = command.output()?;
        let shown = words
            .iter()
            .map(|word| match word.contains([' ', '?', '&']) {
                true => format!("'{word}'"),
                false => (*word).to_owned(),
            });
        let mut text = format!("$ cachectl {}\n", shown.collect::<Vec<_>>().join(" "));
        text.push_str(&String::from_utf8(output.stdout)?);
        text.push_str(&String::from_utf8(output.stderr)?);
        text = text.replace(&self.server.url(), "$CACHECTL_STORE");
        for (from, to) in &self.replaced {
            text = text.replace(from, to);
        }
        println!("```text\n{}\n```\n", text.trim_end());
        Ok(())
    }
}

/// Shows the lines of this file between two marks: what is done next.
fn code(name: &str) {
    let begin = format!("// {name}\n");
    let rest = SOURCE.split_once(&begin).map_or("", |(_, rest)| rest);
    let lines = rest.lines().take_while(|line| line.trim() != "// end");
    let lines: Vec<&str> = lines.collect();
    let indent = lines.iter().filter(|line| !line.trim().is_empty());
    let indent = indent
        .map(|line| line.len() - line.trim_start().len())
        .min();
    println!("```rust");
    for line in &lines {
        println!(
            "{}",
            line.get(indent.unwrap_or_default()..).unwrap_or_default()
        );
    }
    println!("```\n");
}

fn say(text: &str) {
    println!("{text}\n");
}

#[tokio::main]
async fn main() -> Result<()> {
    let cachectl = env::args().nth(1).ok_or("write the path of cachectl")?;
    let mut tour = Tour {
        cachectl: PathBuf::from(cachectl).canonicalize()?,
        server: EmbeddedRedis::start().await?,
        clock: ManualClock::new(),
        files: TempDir::new()?,
        replaced: Vec::new(),
    };
    say("# A tour");
    say(
        "Written by `scripts/demo`, which runs all of this against a Redis of its own. `CACHECTL_STORE` holds \
         its URL, and the clock stands still but where it is moved.",
    );
    fill(&tour).await?;
    look(&tour)?;
    change(&tour).await?;
    warm(&mut tour).await?;
    copy(&tour)?;
    encrypt(&tour).await
}

async fn fill(tour: &Tour) -> Result<()> {
    let clock = tour.clock.clone();
    let origin = Origin::new();
    say("## Something to look at\n\nA client with a cache in Redis, and some requests:");
    code("client");
    // client
    let backend = RedisBackend::connect(&tour.server.url()).await?;
    let layer = CacheLayer::new(backend).clock(clock.clone());
    let mut client = layer.layer(origin.clone());
    // end
    let users = ok("{\"users\": [\"ada\", \"grace\"]}")
        .cache_control("max-age=60, stale-while-revalidate=300")
        .with("content-type", "application/json")
        .with("set-cookie", "session=secret")
        .etag("\"v1\"");
    let page = |text| ok(text).max_age(3600).with("vary", "accept-language");
    println!("```text");
    for (url, language, answer) in [
        ("http://api.test/users?page=1&token=secret", "en", users),
        ("http://www.test/", "en", page("<h1>Hello</h1>")),
        ("http://www.test/", "de", page("<h1>Hallo</h1>")),
        ("http://www.test/missing", "en", status(404).max_age(30)),
        ("http://www.test/", "en", ok("")),
    ] {
        origin.answers(answer);
        let request = Request::get(url).header("accept-language", language);
        let response = client
            .call(request.body(Empty::<bytes::Bytes>::new())?)
            .await?;
        let info = response
            .extensions()
            .get::<CacheInfo>()
            .map(ToString::to_string);
        let shown = url.replace("=secret", "=…");
        println!("GET {shown} in {language}: {}", info.unwrap_or_default());
        response.into_body().collect().await?;
        origin.forget();
        is_stored(&layer, url, language).await?;
    }
    println!("```\n");
    say("A minute and a half later:");
    clock.advance(Duration::from_secs(90));
    Ok(())
}

/// Waits until what was captured is visible.
async fn is_stored(layer: &CacheLayer, url: &str, language: &str) -> Result<()> {
    let request = Request::get(url)
        .header("accept-language", language)
        .body(())?;
    let handle = layer.handle();
    for _ in 0..100_000 {
        if handle.contains(&request).await? {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Err(format!("{url} is not stored").into())
}

fn look(tour: &Tour) -> Result<()> {
    say("## Looking\n\nThe value of a parameter that holds a secret is nowhere in the store.");
    tour.run(&["list"])?;
    tour.run(&["stats"])?;
    let users = "http://api.test/users?page=1&token=secret";
    tour.run(&["show", users])?;
    tour.run(&["why-stale", users])?;
    tour.run(&["stats", "--json"])
}

async fn change(tour: &Tour) -> Result<()> {
    say("## Changing\n\nWhat destroys asks first, and where nobody can be asked, does nothing:");
    tour.run(&["delete", "--host", "www.test"])?;
    tour.run(&["delete", "--status", "404", "--yes"])?;
    tour.run(&["mark-stale", "--url", "http://www.test/", "--yes"])?;
    tour.run(&["list", "--stale"])?;
    say("The same from a program, by the handle:");
    let backend = RedisBackend::connect(&tour.server.url()).await?;
    let layer = CacheLayer::new(backend).clock(tour.clock.clone());
    code("handle");
    // handle
    let handle = layer.handle();
    let ten_minutes = Duration::from_secs(600);
    let fresh_again = handle
        .set_ttl(Filter::all().host("www.test"), ten_minutes)
        .await?;
    let purged = handle
        .invalidate_url("http://api.test/users?page=1&token=secret".parse()?)
        .await?;
    let request = Request::get("http://www.test/new").body(())?;
    let response = http::Response::builder().header("cache-control", "max-age=60");
    handle
        .put(&request, response.body("<h1>New</h1>".to_owned())?)
        .await?;
    let stats = handle.stats().await?;
    // end
    let (fresh, purged) = (fresh_again.done, purged.done);
    let stored = stats.entries;
    say(&format!(
        "{fresh} were made fresh, {purged} key was purged, {stored} are stored."
    ));
    tour.run(&["list"])
}

async fn warm(tour: &mut Tour) -> Result<()> {
    say("## Warming\n\nFrom a list of URLs, before somebody waits for them:");
    let origin = HttpOrigin::start().await?;
    origin.answers(ok("one").max_age(60));
    origin.answers(ok("two").cache_control("no-store"));
    let host = origin.uri("").replace("http://", "");
    let list = format!("{}\n{}\n", origin.uri("/one"), origin.uri("/two"));
    std::fs::write(tour.files.path().join("urls.txt"), list)?;
    tour.replaced.push((host, "origin.test"));
    tour.run(&["warm", "--together", "1", "urls.txt"])?;
    tour.run(&["delete", "--prefix", &origin.uri("/"), "--yes"])
}

fn copy(tour: &Tour) -> Result<()> {
    say("## Copying\n\nInto a file, which can be looked into as a Redis can, and back:");
    tour.run(&["copy", "cache.dump"])?;
    tour.run(&["clear", "--yes"])?;
    tour.run(&["--store", "cache.dump", "list"])?;
    let url = tour.server.url();
    tour.run(&["--store", "cache.dump", "copy", &url])?;
    tour.run(&["stats"])
}

async fn encrypt(tour: &Tour) -> Result<()> {
    say("## Encrypting\n\nWith a codec nothing of a response can be read without the key:");
    let server = EmbeddedRedis::start().await?;
    let secret = b"sixteen bytes or more, which nobody can guess";
    std::fs::write(tour.files.path().join("key.bin"), secret)?;
    code("codec");
    // codec
    let redis = RedisBackend::connect(&server.url()).await?;
    let keys = Keys::new(Key::new(1, secret)?);
    let backend = CodecBackend::new(redis, Codec::new().zstd(3).encrypt(keys))?;
    // end
    let layer = CacheLayer::new(backend).clock(tour.clock.clone());
    let request = Request::get("http://bank.test/balance").body(())?;
    let response = http::Response::builder().header("cache-control", "max-age=60");
    layer
        .handle()
        .put(&request, response.body("{\"balance\": 17}".to_owned())?)
        .await?;
    let tour = Tour {
        cachectl: tour.cachectl.clone(),
        server,
        clock: tour.clock.clone(),
        files: TempDir::new()?,
        replaced: Vec::new(),
    };
    std::fs::write(tour.files.path().join("key.bin"), secret)?;
    tour.run(&["list"])?;
    let balance = "http://bank.test/balance";
    tour.run(&[
        "--codec",
        "encrypted",
        "--key",
        "1:key.bin",
        "show",
        balance,
    ])
}
