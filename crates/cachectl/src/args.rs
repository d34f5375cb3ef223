//! The command line.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cache_tower::Filter;
use clap::{Parser, Subcommand, ValueEnum};
use http::{StatusCode, Uri};

/// Looks after what an HTTP cache has stored in Redis, or in a dump of it.
#[derive(Debug, Parser)]
#[command(name = "cachectl", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Where it is stored: a Redis URL (redis://, rediss://, redis+unix://, redis-cluster://,
    /// redis-sentinel://, with ?namespace=NAME), or the path of a dump that `copy` wrote.
    #[arg(
        short,
        long,
        env = "CACHECTL_STORE",
        global = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    pub(crate) store: String,
    /// Writes JSON, one value a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What the cache does to what it stores, where it has a codec.
    #[arg(long, value_enum, global = true)]
    pub(crate) codec: Option<CodecKind>,
    /// A key of the codec: its number, and the file whose content is its secret. Can be given several
    /// times; the first is written with.
    #[arg(long = "key", value_name = "NUMBER:FILE", value_parser = key, global = true)]
    pub(crate) keys: Vec<(u32, PathBuf)>,
    /// Ages and lifetimes as of this time, in the place of now.
    #[arg(long, env = "CACHECTL_AT", value_name = "RFC 3339", value_parser = time, global = true)]
    pub(crate) at: Option<SystemTime>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CodecKind {
    Compressed,
    Signed,
    Encrypted,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists what is stored.
    List(List),
    /// Shows what is stored for a URL: status, fields, age, freshness, variants, and the beginning of
    /// the body.
    Show(Show),
    /// Explains whether, why and since when what is stored for a URL is stale.
    WhyStale(Which),
    /// Counts what is stored, by host.
    Stats,
    /// Deletes what is picked.
    Delete(Delete),
    /// Makes what is picked stale, so that it is validated before its next use.
    MarkStale(Mark),
    /// Makes what is picked fresh for a time from now on.
    SetTtl(SetTtl),
    /// Deletes everything.
    Clear(Clear),
    /// Looks again and again, and tells what was stored, replaced, freshened, and is gone. What comes
    /// and goes between two looks is not seen.
    Watch(Watch),
    /// Asks for URLs through a cache over the store, so that they are there when they are wanted.
    Warm(Warm),
    /// Copies what is picked into another store: a Redis URL, or the path of a dump.
    Copy(Copy),
}

/// Which responses; all conditions have to hold.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Picked {
    /// Those for this URL, all variants, whoever asked.
    #[arg(long, value_parser = url)]
    url: Option<Uri>,
    /// Those whose URL begins with this.
    #[arg(long)]
    prefix: Option<String>,
    /// Those of this host.
    #[arg(long)]
    host: Option<String>,
    /// Those with this status code.
    #[arg(long)]
    status: Option<StatusCode>,
    /// Those that are fresh.
    #[arg(long, conflicts_with = "stale")]
    fresh: bool,
    /// Those that are stale.
    #[arg(long)]
    stale: bool,
    /// Those that are older than this: 90s, 5min, 2h, 1day.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "TIME")]
    older_than: Option<Duration>,
}

impl Picked {
    pub(crate) fn is_everything(&self) -> bool {
        self.url.is_none()
            && self.prefix.is_none()
            && self.host.is_none()
            && self.status.is_none()
            && self.older_than.is_none()
            && !self.fresh
            && !self.stale
    }

    pub(crate) fn filter(self) -> Filter {
        let mut filter = Filter::all();
        if let Some(url) = self.url {
            filter = filter.url(url);
        }
        if let Some(prefix) = self.prefix {
            filter = filter.prefix(prefix);
        }
        if let Some(host) = self.host {
            filter = filter.host(host);
        }
        if let Some(status) = self.status {
            filter = filter.status(status);
        }
        if self.fresh {
            filter = filter.fresh();
        }
        if self.stale {
            filter = filter.stale();
        }
        match self.older_than {
            Some(age) => filter.older_than(age),
            None => filter,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) picked: Picked,
    /// No more than this many.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The URL.
    #[arg(value_parser = url)]
    pub(crate) url: Uri,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The URL.
    #[arg(value_parser = url)]
    pub(crate) url: Uri,
    /// How many bytes of the body are shown.
    #[arg(long, default_value_t = 400)]
    pub(crate) preview: u64,
    /// Shows cookies and what else can be a secret.
    #[arg(long)]
    pub(crate) secrets: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) picked: Picked,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Mark {
    #[command(flatten)]
    pub(crate) picked: Picked,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SetTtl {
    /// For how long: 90s, 5min, 2h, 1day.
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
    #[command(flatten)]
    pub(crate) picked: Picked,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Consent {
    /// Does it without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) picked: Picked,
    /// The time between two looks.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "2s")]
    pub(crate) interval: Duration,
    /// Ends after this many looks.
    #[arg(long)]
    pub(crate) looks: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Warm {
    /// A file with a URL on each line, or - for what is piped in; # begins a remark.
    pub(crate) urls: PathBuf,
    /// How many are asked for together.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) together: u16,
    /// A field to send along, as the application sends it: what is stored is for requests that vary
    /// in no other way. Can be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// As a shared cache stores, in the place of a private one.
    #[arg(long)]
    pub(crate) shared: bool,
    /// The file whose content is the secret of the application's policy.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Asks the origin for what is fresh, too.
    #[arg(long)]
    pub(crate) reload: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// The other store.
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) picked: Picked,
    /// Replaces a dump that is there, without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// A URL that something can be stored for.
pub(crate) fn url(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    let is_url = |url: &Uri| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.host().is_some_and(|host| !host.is_empty())
    };
    url.filter(is_url)
        .ok_or_else(|| "it is no URL; write http://host/path".into())
}

fn key(text: &str) -> Result<(u32, PathBuf), String> {
    let (number, file) = text
        .split_once(':')
        .ok_or("write the number of the key, a colon, and the file of its secret: 1:key.bin")?;
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is no number; write 1:key.bin"))?;
    Ok((number, file.into()))
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("{error}; write 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Args::command().debug_assert();
    }
}
