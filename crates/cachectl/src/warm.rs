//! `warm`.

use std::fs;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use cache_reqwest::CachedClient;
use cache_tower::{CacheInfo, CacheMode, Policy, Secret, Storing};
use http::{HeaderMap, HeaderName, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use serde_json::json;
use tokio::task::JoinSet;

use crate::Error;
use crate::args::Warm;
use crate::store::Store;
use crate::text::{self, Output};

/// What became of a URL.
struct Warmed {
    url: Url,
    kind: Kind,
    says: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stored,
    Fresh,
    NotStored,
    Failed,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Fresh => "fresh already",
            Self::NotStored => "not stored",
            Self::Failed => "failed",
        }
    }
}

pub(crate) async fn warm(store: &Store, warm: &Warm, output: Output) -> Result<ExitCode, Error> {
    let urls = read(warm)?;
    let fields = fields(&warm.headers)?;
    let layer = store.layer(policy(warm)?);
    let reqwest = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        .user_agent("cachectl")
        .build()?;
    let mode = if warm.reload {
        CacheMode::Reload
    } else {
        CacheMode::Default
    };
    let bar = bar(urls.len() as u64);
    let mut counts = [0_u64; 4];
    let mut asking = JoinSet::new();
    let mut urls = urls.into_iter();
    loop {
        while asking.len() < usize::from(warm.together) {
            let Some(url) = urls.next() else {
                break;
            };
            let client = CachedClient::new(reqwest.clone(), layer.clone());
            let request = reqwest.get(url.clone()).headers(fields.clone()).build()?;
            asking.spawn(ask(client, request, mode, url));
        }
        let Some(warmed) = asking.join_next().await else {
            break;
        };
        let warmed = warmed?;
        counts[warmed.kind as usize] += 1;
        bar.inc(1);
        if output.is_json || matches!(warmed.kind, Kind::NotStored | Kind::Failed) {
            let value = json!({
                "url": warmed.url.as_str(),
                "outcome": warmed.kind.as_str(),
                "because": warmed.says,
            });
            bar.suspend(|| {
                output.say(&value, || {
                    let Warmed { url, kind, says } = &warmed;
                    format!("{:<10}  {url}  {says}", kind.as_str())
                })
            })?;
        }
    }
    // What is being stored still.
    layer.shutdown().await;
    bar.finish_and_clear();
    store.save().await?;
    if !output.is_json {
        let [stored, fresh, unstored, failed] = counts;
        let text = format!(
            "{stored} stored, {fresh} fresh already, {unstored} not stored, {failed} failed"
        );
        output.say(&json!(null), || text)?;
    }
    Ok(match counts[Kind::Failed as usize] {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn ask(client: CachedClient, request: reqwest::Request, mode: CacheMode, url: Url) -> Warmed {
    let failed = |error: &dyn std::error::Error| format!("{error}");
    let response = match client.execute_with(request, mode).await {
        Ok(response) => response,
        Err(error) => {
            let says = text::chain(&error);
            return Warmed {
                url,
                kind: Kind::Failed,
                says,
            };
        }
    };
    let status = response.status();
    let info = response.extensions().get::<CacheInfo>();
    let info = info.map(|info| (info.storing, info.reason));
    // It is stored when it has been read.
    if let Err(error) = response.bytes().await {
        let says = failed(&error);
        return Warmed {
            url,
            kind: Kind::Failed,
            says,
        };
    }
    let (kind, says) = match info {
        Some((Storing::Stored, reason)) => (Kind::Fresh, reason.explain().to_owned()),
        Some((Storing::Accepted, _)) => (Kind::Stored, status.to_string()),
        Some((Storing::Refused(reason), _)) => {
            (Kind::NotStored, format!("{status}: {}", reason.explain()))
        }
        _ => (Kind::NotStored, status.to_string()),
    };
    Warmed { url, kind, says }
}

fn read(warm: &Warm) -> Result<Vec<Url>, Error> {
    let mut text = String::new();
    if warm.urls.as_os_str() == "-" {
        io::stdin().read_to_string(&mut text)?;
    } else {
        text = fs::read_to_string(&warm.urls)
            .map_err(|error| format!("{}: {error}", warm.urls.display()))?;
    }
    let mut urls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let url = line.parse::<Url>();
        let url = url.map_err(|error| format!("line {}: {line:?}: {error}", number + 1))?;
        urls.push(url);
    }
    Ok(urls)
}

fn fields(lines: &[String]) -> Result<HeaderMap, Error> {
    let mut fields = HeaderMap::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or("write a field as 'name: value'")?;
        let name: HeaderName = name.trim().parse()?;
        let mut value: HeaderValue = value.trim().parse()?;
        value.set_sensitive(true);
        fields.append(name, value);
    }
    Ok(fields)
}

fn policy(warm: &Warm) -> Result<Policy, Error> {
    let policy = if warm.shared {
        Policy::shared()
    } else {
        Policy::private()
    };
    let Some(file) = &warm.secret_file else {
        return Ok(policy);
    };
    let secret = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(policy.secret(Secret::new(&secret)))
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}");
    let bar = ProgressBar::new(length);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Something that moves while nobody knows how much there is.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
