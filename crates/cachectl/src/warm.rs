//! `warm`.

use std::fs;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use cache_tower::{Cache, CacheInfo, CacheMode, Policy, Secret, Storing};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use indicatif::{ProgressBar, ProgressStyle};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;

use crate::Error;
use crate::args::{self, Warm};
use crate::store::Store;
use crate::text::{self, Output};

/// What became of a URL.
struct Warmed {
    url: Uri,
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
    let client = layer.layer(client(&urls)?);
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
            let mut request = Request::get(url.clone()).body(Empty::new())?;
            request.headers_mut().clone_from(&fields);
            request.extensions_mut().insert(mode);
            asking.spawn(ask(client.clone(), request, url));
        }
        let Some(warmed) = asking.join_next().await else {
            break;
        };
        let warmed = warmed?;
        counts[warmed.kind as usize] += 1;
        bar.inc(1);
        if output.is_json || matches!(warmed.kind, Kind::NotStored | Kind::Failed) {
            let value = json!({
                "url": warmed.url.to_string(),
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

type Origin = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// A client for HTTP, and for HTTPS with the certificates that the system trusts.
fn client(urls: &[Uri]) -> Result<Origin, Error> {
    let config = || {
        let provider = rustls::crypto::ring::default_provider();
        ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()
    };
    let needs_tls = urls.iter().any(|url| url.scheme_str() == Some("https"));
    let config = if needs_tls {
        config()?.with_native_roots()?.with_no_client_auth()
    } else {
        let nobody = RootCertStore::empty();
        config()?
            .with_root_certificates(nobody)
            .with_no_client_auth()
    };
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

async fn ask(client: Cache<Origin>, request: Request<Empty<Bytes>>, url: Uri) -> Warmed {
    let warmed = timeout(PATIENCE, ask_patiently(client, request, &url)).await;
    let too_late = || Warmed {
        url,
        kind: Kind::Failed,
        says: "it took too long".to_owned(),
    };
    warmed.unwrap_or_else(|_| too_late())
}

async fn ask_patiently(
    mut client: Cache<Origin>,
    request: Request<Empty<Bytes>>,
    url: &Uri,
) -> Warmed {
    let url = url.clone();
    let response = match client.call(request).await {
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
    if let Err(error) = response.into_body().collect().await {
        let says = text::chain(&error);
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

fn read(warm: &Warm) -> Result<Vec<Uri>, Error> {
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
        let url = args::url(line);
        urls.push(url.map_err(|problem| format!("line {}: {line:?}: {problem}", number + 1))?);
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

/// How long one URL may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that moves while nobody knows how much there is.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
