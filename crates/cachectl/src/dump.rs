//! Dumps.
//!
//! ```text
//! "httcdump" · version (1)
//! of each response: length of the head (4) · head, as `cache_core::wire` has it
//!                   length of the body (8) · body
//! at the end: zero (4) · how many responses (8) · XXH3 of all that is before (8)
//! ```
//!
//! Numbers are little-endian. A dump is written beside its place and moved there when it is whole, for
//! its owner only. It has what the store has: bodies, and header fields of responses.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cache_core::{Backend, BackendErrorKind, wire};
use cache_tower::{CacheHandle, Filter, Progress};
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::Xxh3;

use crate::{Error, store};

const MAGIC: &[u8; 9] = b"httcdump\x01";

/// A longer head was never stored.
const LARGEST_HEAD: u32 = 16 << 20;

/// Reads a dump into memory.
pub(crate) async fn read(path: &Path) -> Result<Arc<dyn Backend>, Error> {
    let at =
        |error: &dyn std::fmt::Display| -> Error { format!("{}: {error}", path.display()).into() };
    let file = File::open(path).map_err(|error| {
        at(&format!(
            "{error}; write a Redis URL, or the path of a dump"
        ))
    })?;
    let bytes = file.metadata().map_err(|error| at(&error))?.len();
    let backend = store::memory(bytes)?;
    let mut input = Input {
        input: BufReader::new(file),
        left: bytes,
        hash: Xxh3::new(),
    };
    load(&mut input, &backend)
        .await
        .map_err(|error| at(&error))?;
    Ok(Arc::new(backend))
}

async fn load(input: &mut Input, backend: &dyn Backend) -> Result<(), Error> {
    if input.take(MAGIC.len() as u64)? != MAGIC[..] {
        return Err("it is no dump of this version".into());
    }
    let mut count = 0_u64;
    loop {
        let length = input.number::<4>()?;
        if length == 0 {
            break;
        }
        if length > u64::from(LARGEST_HEAD) {
            return Err(damaged());
        }
        let head = input.take(length)?;
        let (head, trailers) = wire::decode(&head).ok_or_else(damaged)?;
        let length = input.number::<8>()?;
        let body = input.take(length)?;
        let mut writer = backend.writer(head);
        let taken = match writer.write(body) {
            Ok(()) => writer.publish(trailers).wait().await,
            refused => refused,
        };
        match taken {
            // Two of the same in one dump: the later one is there.
            Err(error) if error.kind() != BackendErrorKind::Declined => return Err(error.into()),
            _ => count += 1,
        }
    }
    let counted = input.number::<8>()?;
    let hash = input.hash.digest();
    if counted != count || input.number::<8>()? != hash || input.left != 0 {
        return Err(damaged());
    }
    Ok(())
}

struct Input {
    input: BufReader<File>,
    left: u64,
    hash: Xxh3,
}

impl Input {
    /// So many bytes, if there are so many: nothing is reserved before that is known.
    fn take(&mut self, length: u64) -> Result<Bytes, Error> {
        self.left = self.left.checked_sub(length).ok_or_else(damaged)?;
        let mut bytes = vec![0; usize::try_from(length)?];
        self.input.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        Ok(bytes.into())
    }

    fn number<const N: usize>(&mut self) -> Result<u64, Error> {
        let bytes = self.take(N as u64)?;
        let mut number = [0; 8];
        number[..N].copy_from_slice(&bytes);
        Ok(u64::from_le_bytes(number))
    }
}

fn damaged() -> Error {
    "the dump is damaged, or not whole".into()
}

/// Writes all that is stored into a dump.
pub(crate) async fn write(
    handle: &CacheHandle,
    path: &Path,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Progress, Error> {
    write_picked(handle, path, Filter::all(), on_progress).await
}

/// Writes what is picked into a dump.
pub(crate) async fn write_picked(
    handle: &CacheHandle,
    path: &Path,
    filter: Filter,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Progress, Error> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(format!("{} is no file", path.display()).into()),
    };
    if !fs::metadata(directory).is_ok_and(|found| found.is_dir()) {
        return Err(format!("there is no directory {}", directory.display()).into());
    }
    let file = NamedTempFile::new_in(directory)?;
    let mut output = Output {
        output: BufWriter::new(file),
        hash: Xxh3::new(),
    };
    output.put(MAGIC)?;
    let mut entries = handle.entries(filter);
    let mut done = 0_u64;
    while let Some(listed) = entries.next().await {
        // What is gone meanwhile is left out.
        if let Some(entry) = handle.open(&listed?).await? {
            let body = handle.read(&entry, u64::MAX).await?;
            let head = wire::encode(&entry.head, entry.body.trailers()).ok_or_else(damaged)?;
            output.put(&u32::try_from(head.len())?.to_le_bytes())?;
            output.put(&head)?;
            output.put(&(body.len() as u64).to_le_bytes())?;
            output.put(&body)?;
            done += 1;
        }
        on_progress(Progress {
            seen: entries.seen(),
            done,
        });
    }
    output.put(&0_u32.to_le_bytes())?;
    output.put(&done.to_le_bytes())?;
    let hash = output.hash.digest();
    output.put(&hash.to_le_bytes())?;
    let file = output.output.into_inner()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(Progress {
        seen: entries.seen(),
        done,
    })
}

struct Output {
    output: BufWriter<NamedTempFile>,
    hash: Xxh3,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        Ok(self.output.write_all(bytes)?)
    }
}
