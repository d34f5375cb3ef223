//! The command line.

use std::error::Error;
use std::path::{Path, PathBuf};

use lexopt::{Arg, Parser, ValueExt};

const HELP: &str = "\
Runs the public HTTP cache tests against the gateway of the examples, in this process.

Usage: scripts/conformance [OPTIONS]

Every case has a gateway, a store and a clock of its own, and where it says to wait, the clock is
moved: twice, from the start of a second and from the end of one, and it has to pass both times.

Options:
  --real-time      Wait, with the clock of the system, all cases at once against one gateway.
  --private        A private cache; the default is a shared one, which the cases are made for.
  --no-cache       The gateway alone: what the scores are worth.
  --backend NAME   The store: memory, or redis, a server that is started for this. [default: memory]
  --filter TEXT    Only the cases with TEXT in their id, and those that these stand on.
  --data PATH      The cases. [default: ../shared/cache-tests/cases.json beside the workspace]
  --json           Print the result as JSON.
  --help           Print this and exit.

Exits with 0 where every case of kind required or optimal passes, and all that it stands on, but for
those in conformance/expected-failures.txt, and with --private in expected-failures-private.txt, which
all fail; with 1 where not, and with 2 where it cannot tell.
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) real_time: bool,
    pub(crate) cache: CacheKind,
    pub(crate) backend: BackendKind,
    pub(crate) filter: Option<String>,
    pub(crate) data: PathBuf,
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheKind {
    Shared,
    Private,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackendKind {
    Memory,
    Redis,
}

impl Options {
    /// What the command line says; `None`: it asked for help, and got it.
    pub(crate) fn parse() -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self::default();
        let mut arguments = Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Arg::Long("real-time") => options.real_time = true,
                Arg::Long("private") => options.cache = CacheKind::Private,
                Arg::Long("no-cache") => options.cache = CacheKind::None,
                Arg::Long("backend") => options.backend = backend(&arguments.value()?.string()?)?,
                Arg::Long("filter") => options.filter = Some(arguments.value()?.string()?),
                Arg::Long("data") => options.data = arguments.value()?.into(),
                Arg::Long("json") => options.json = true,
                Arg::Long("help") | Arg::Short('h') => {
                    print!("{HELP}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}

impl Default for Options {
    fn default() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        Self {
            real_time: false,
            cache: CacheKind::Shared,
            backend: BackendKind::Memory,
            filter: None,
            data: workspace.join("../shared/cache-tests/cases.json"),
            json: false,
        }
    }
}

fn backend(name: &str) -> Result<BackendKind, String> {
    match name {
        "memory" => Ok(BackendKind::Memory),
        "redis" => Ok(BackendKind::Redis),
        _ => Err(format!("there is no backend {name}, only memory and redis")),
    }
}
