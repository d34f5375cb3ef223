//! Storing a response.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cache_core::{Answer, BackendError, BackendErrorKind, BodyWriter, StoredHead, Token};
use http::HeaderMap;
use redis::{Value, cmd, pipe};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::backend::{RedisBackend, millis};
use crate::body::Framer;
use crate::format;
use crate::keys::Keys;
use crate::lane::{Lane, LaneError};

/// A body on its way into Redis.
///
/// A small one is kept until it is complete. A large one is sent while it arrives, under the key
/// where it will stay, with a short TTL until it is published.
#[derive(Debug)]
pub(crate) struct RedisWriter {
    backend: RedisBackend,
    head: StoredHead,
    keys: Keys,
    token: Token,
    length: u64,
    /// What has arrived, as long as it is small.
    chunks: Vec<Bytes>,
    upload: Option<Upload>,
}

impl RedisWriter {
    pub(crate) fn new(backend: RedisBackend, head: StoredHead) -> Self {
        Self {
            keys: backend.options().namespace.keys(&head.key().digest()),
            backend,
            head,
            token: Token(fastrand::u128(..)),
            length: 0,
            chunks: Vec::new(),
            upload: None,
        }
    }
}

impl BodyWriter for RedisWriter {
    fn write(&mut self, chunk: Bytes) -> Result<(), BackendError> {
        self.length += chunk.len() as u64;
        if self.upload.is_none() {
            self.chunks.push(chunk);
            if self.length <= self.backend.options().inline_limit {
                return Ok(());
            }
            self.upload = Some(Upload::begin(&self.backend, &self.keys, self.token)?);
        } else {
            self.chunks.push(chunk);
        }
        let most = self.backend.options().upload_buffer;
        match &mut self.upload {
            Some(upload) => self
                .chunks
                .drain(..)
                .try_for_each(|chunk| upload.push(chunk, most)),
            None => Ok(()),
        }
    }

    fn ready(&mut self) -> Answer<'_, ()> {
        let Some(upload) = &self.upload else {
            return Answer::Now(());
        };
        let (progress, most) = (&upload.progress, self.backend.options().upload_buffer);
        Answer::later(async move {
            loop {
                let mut sent = pin!(progress.sent.notified());
                // Before the look, so that nothing is missed between the two.
                sent.as_mut().enable();
                let waiting = progress.waiting.load(Ordering::Relaxed);
                if waiting <= most / 2 || upload.frames.is_closed() {
                    return;
                }
                sent.await;
            }
        })
    }

    fn publish(
        mut self: Box<Self>,
        trailers: Option<HeaderMap>,
    ) -> Answer<'static, Result<(), BackendError>> {
        Answer::later(async move {
            let is_inline = self.upload.is_none();
            if let Some(upload) = self.upload.take() {
                upload.finish().await?;
            }
            let body = is_inline.then_some(&self.chunks[..]);
            let value = format::encode_response(
                &self.head,
                self.token,
                trailers.as_ref(),
                self.length,
                body,
            )
            .ok_or_else(|| BackendError::new(BackendErrorKind::Declined, PUBLISHING))?;
            let staged = (!is_inline).then_some(self.length);
            let since = self.head.received_at();
            let stored = self
                .backend
                .store(&self.keys, &self.head, &value, staged, None, since)
                .await;
            match stored {
                Ok(true) => Ok(()),
                Ok(false) => {
                    if !is_inline {
                        discard(self.backend.bulk(), &self.keys.body(self.token)).await;
                    }
                    Err(BackendError::new(BackendErrorKind::Declined, PUBLISHING)
                        .with_source("it is older than what is there, or than an invalidation"))
                }
                Err(error) => Err(error.into_backend_error(PUBLISHING)),
            }
        })
    }
}

/// A large body being sent.
///
/// The caller never waits for it: what cannot be sent as fast as it arrives is not stored.
#[derive(Debug)]
struct Upload {
    framer: Framer,
    frames: mpsc::UnboundedSender<Bytes>,
    progress: Arc<Progress>,
    task: JoinHandle<Result<(), LaneError>>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes that are not sent yet.
    waiting: AtomicUsize,
    /// All of it was given, and what is sent is to stay.
    is_complete: AtomicBool,
    /// Some were sent, or none will be any more.
    sent: Notify,
}

impl Upload {
    fn begin(backend: &RedisBackend, keys: &Keys, token: Token) -> Result<Self, BackendError> {
        let runtime = Handle::try_current().map_err(|error| {
            BackendError::new(BackendErrorKind::Declined, WRITING).with_source(error)
        })?;
        let (frames, received) = mpsc::unbounded_channel();
        let progress = Arc::new(Progress::default());
        let (lane, key) = (backend.bulk().clone(), keys.body(token));
        let staging = backend.options().staging_ttl;
        let task = runtime.spawn(upload(lane, key, staging, received, progress.clone()));
        Ok(Self {
            framer: Framer::new(token),
            frames,
            progress,
            task,
        })
    }

    fn push(&mut self, mut chunk: Bytes, most: usize) -> Result<(), BackendError> {
        if self.progress.waiting.load(Ordering::Relaxed) > most {
            return Err(BackendError::new(BackendErrorKind::Declined, WRITING)
                .with_source("the body arrives faster than it can be stored"));
        }
        while !chunk.is_empty() {
            if let Some(frame) = self.framer.fill(&mut chunk) {
                send(&self.frames, &self.progress, frame)?;
            }
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), BackendError> {
        if let Some(frame) = self.framer.finish() {
            send(&self.frames, &self.progress, frame)?;
        }
        self.progress.is_complete.store(true, Ordering::Release);
        drop(self.frames);
        match self.task.await {
            Ok(sent) => sent.map_err(|error| error.into_backend_error(WRITING)),
            Err(error) => {
                Err(BackendError::new(BackendErrorKind::Unavailable, WRITING).with_source(error))
            }
        }
    }
}

/// Leaves a frame to the task; it fails where the task has failed.
fn send(
    frames: &mpsc::UnboundedSender<Bytes>,
    progress: &Progress,
    frame: Bytes,
) -> Result<(), BackendError> {
    progress.waiting.fetch_add(frame.len(), Ordering::Relaxed);
    frames.send(frame).map_err(|_| {
        BackendError::new(BackendErrorKind::Unavailable, WRITING)
            .with_source("what came before could not be stored")
    })
}

/// Sends frames as they come, and takes them back if they are given up.
async fn upload(
    lane: Lane,
    key: String,
    staging: Duration,
    mut frames: mpsc::UnboundedReceiver<Bytes>,
    progress: Arc<Progress>,
) -> Result<(), LaneError> {
    let mut there = 0;
    let mut batch = Vec::new();
    while frames.recv_many(&mut batch, BATCH).await > 0 {
        let bytes = batch.iter().map(Bytes::len).sum();
        let sent = add(&lane, &key, staging, &batch, &mut there).await;
        batch.clear();
        progress.waiting.fetch_sub(bytes, Ordering::Relaxed);
        if sent.is_err() {
            frames.close();
        }
        progress.sent.notify_waiters();
        if let Err(error) = sent {
            drop(frames);
            discard(&lane, &key).await;
            return Err(error);
        }
    }
    if !progress.is_complete.load(Ordering::Acquire) {
        discard(&lane, &key).await;
    }
    Ok(())
}

/// Adds frames to the `there` that were sent before. There is never a key without a TTL, whenever this
/// process ends.
async fn add(
    lane: &Lane,
    key: &str,
    staging: Duration,
    frames: &[Bytes],
    there: &mut u64,
) -> Result<(), LaneError> {
    let mut commands = pipe();
    commands.atomic().cmd("HSET").arg(key);
    for frame in frames {
        commands.arg(*there).arg(&**frame);
        *there += 1;
    }
    commands.ignore();
    commands.cmd("PEXPIRE").arg(key).arg(millis(staging));
    commands.ignore().cmd("HLEN").arg(key);
    let replies = lane.send_all(&commands).await?;
    // Otherwise it has expired meanwhile, or another server answers now.
    if replies == [Value::Int(there.cast_signed())] {
        Ok(())
    } else {
        Err(LaneError::Lost)
    }
}

/// Removes what nobody will look up; where that fails, its TTL does it.
async fn discard(lane: &Lane, key: &str) {
    let mut command = cmd("UNLINK");
    command.arg(key);
    let _ = lane.send(&command).await;
}

/// How many frames are sent together at most.
const BATCH: usize = 8;

const WRITING: &str = "writing a body";
const PUBLISHING: &str = "publishing";
