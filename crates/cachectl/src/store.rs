//! What is looked after: a Redis, or a dump.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_codec::{Codec, CodecBackend, Key, Keys};
use cache_redis::RedisBackend;
use cache_tower::{Backend, CacheHandle, CacheLayer, Clock, MemoryBackend, Policy, SystemClock};

use crate::args::{Args, CodecKind};
use crate::{Error, dump};

pub(crate) struct Store {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) handle: CacheHandle,
    pub(crate) clock: AsOf,
    pub(crate) codec: Option<Codec>,
    /// The dump that is to be written again when something was changed.
    dump: Option<PathBuf>,
}

impl Store {
    pub(crate) async fn open(args: &Args) -> Result<Self, Error> {
        let clock = AsOf(args.at);
        let codec = codec(args)?;
        let (backend, dump) = if args.store.contains("://") {
            (redis(&args.store, codec.as_ref()).await?, None)
        } else {
            let path = PathBuf::from(&args.store);
            (dump::read(&path).await?, Some(path))
        };
        let layer = layer(backend.clone(), clock);
        Ok(Self {
            backend,
            handle: layer.handle(),
            clock,
            codec,
            dump,
        })
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// A cache over the store.
    pub(crate) fn layer(&self, policy: Policy) -> CacheLayer {
        layer(self.backend.clone(), self.clock).policy(policy)
    }

    /// Keeps what was changed.
    pub(crate) async fn save(&self) -> Result<(), Error> {
        match &self.dump {
            Some(path) => dump::write(&self.handle, path, &mut |_| ()).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether this is the path of the dump.
    pub(crate) fn is_dump(&self, path: &Path) -> bool {
        let same = |dump: &PathBuf| fs::canonicalize(dump).ok() == fs::canonicalize(path).ok();
        self.dump.as_ref().is_some_and(same)
    }
}

/// Whoever looks after a cache has more time than a request.
fn layer(backend: Arc<dyn Backend>, clock: AsOf) -> CacheLayer {
    CacheLayer::new(backend)
        .backend_budget(Duration::from_secs(5))
        .backend_timeout(Duration::from_secs(30))
        .clock(clock)
}

/// What is at a Redis URL.
pub(crate) async fn redis(url: &str, codec: Option<&Codec>) -> Result<Arc<dyn Backend>, Error> {
    let redis = RedisBackend::connect(url).await?;
    Ok(match codec {
        Some(codec) => Arc::new(CodecBackend::new(redis, codec.clone())?),
        None => Arc::new(redis),
    })
}

/// A store in memory for this many bytes of a dump, whatever they are.
pub(crate) fn memory(bytes: u64) -> Result<MemoryBackend, Error> {
    let capacity = bytes.saturating_mul(12).saturating_add(256 << 20);
    Ok(MemoryBackend::with_capacity(capacity)?)
}

fn codec(args: &Args) -> Result<Option<Codec>, Error> {
    let Some(kind) = args.codec else {
        return match args.keys.is_empty() {
            true => Ok(None),
            false => Err("what are the keys for? Write --codec encrypted or --codec signed".into()),
        };
    };
    if let CodecKind::Compressed = kind {
        return Ok(Some(Codec::new().zstd(3)));
    }
    let mut keys: Option<Keys> = None;
    for (number, file) in &args.keys {
        let secret = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let key = Key::new(*number, &secret)?;
        keys = Some(match keys {
            Some(keys) => keys.and_older(key),
            None => Keys::new(key),
        });
    }
    let keys = keys.ok_or("the codec needs a key; write --key 1:FILE")?;
    Ok(Some(match kind {
        CodecKind::Signed => Codec::new().sign(keys),
        _ => Codec::new().zstd(3).encrypt(keys),
    }))
}

/// The clock of the system, or one that stands still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsOf(Option<SystemTime>);

impl Clock for AsOf {
    fn now(&self) -> SystemTime {
        self.0.unwrap_or_else(|| SystemClock.now())
    }
}
