//! Heads and tails: what stands in the place of a head, and behind a body.
//!
//! The head of a response stands in one field of the head that the store gets, whose other parts say only
//! what the store needs: key, selecting fields, times. The tail is one trailer field, as what it says is
//! known last: how long the body is, how long each of its frames, and the trailers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cache_core::{
    Entry, PrimaryKey, SelectingField, StoredBody, StoredHead, StoredHeadParts, wire,
};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::body::{self, CodecBody, FRAME};
use crate::codec::Codec;
use crate::compression::unpack;
use crate::protection::{Context, Id};

/// What all parts of a backend share.
#[derive(Debug)]
pub(crate) struct Envelopes {
    pub(crate) codec: Codec,
    rejected: AtomicU64,
}

/// A head that was opened.
pub(crate) struct Opened {
    pub(crate) head: StoredHead,
    pub(crate) id: Id,
}

/// What stands behind a body.
#[derive(Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) length: u64,
    /// The number of the key that the frames were written with.
    pub(crate) key: u32,
    /// How long each frame is in the store.
    pub(crate) frames: Vec<u32>,
    trailers: Vec<(String, Vec<u8>)>,
}

impl Tail {
    pub(crate) fn new(
        length: u64,
        key: u32,
        frames: Vec<u32>,
        trailers: Option<&HeaderMap>,
    ) -> Self {
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        let fields = trailers.map(|trailers| trailers.iter().map(field).collect());
        Self {
            length,
            key,
            frames,
            trailers: fields.unwrap_or_default(),
        }
    }

    pub(crate) fn trailers(&self) -> Option<HeaderMap> {
        let mut trailers = HeaderMap::new();
        for (name, value) in &self.trailers {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            trailers.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        (!trailers.is_empty()).then_some(trailers)
    }

    /// Whether the frames are as many as the length asks for, and as long as the body in the store.
    fn fits(&self, stored: u64) -> bool {
        let frames = self.frames.len() as u64;
        let bytes: u64 = self.frames.iter().map(|length| u64::from(*length)).sum();
        frames == self.length.div_ceil(FRAME as u64) && bytes == stored
    }
}

impl Envelopes {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            rejected: AtomicU64::new(0),
        }
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Takes note of something that cannot be read.
    pub(crate) fn reject(&self, what: &'static str) {
        if self.rejected.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(
                what,
                "something stored was not written with this codec and these keys, or was changed; \
                 it is a miss"
            );
        } else {
            debug!(what, "something stored was rejected");
        }
    }

    /// The key that the store gets.
    pub(crate) fn key(&self, key: &PrimaryKey) -> PrimaryKey {
        if self.codec.protection.hides() {
            let digest = blake3::derive_key("cache-codec 2026 name of a key v1", key.as_bytes());
            PrimaryKey::from_bytes(&[NAME, &digest].concat())
        } else {
            key.clone()
        }
    }

    /// The head that the store gets, without what only this crate reads.
    pub(crate) fn outline(&self, head: &StoredHead) -> StoredHead {
        self.parts(head).into()
    }

    fn parts(&self, head: &StoredHead) -> StoredHeadParts {
        let selecting = head.selecting().iter();
        StoredHeadParts {
            key: self.key(head.key()),
            status: if self.codec.protection.hides() {
                StatusCode::OK
            } else {
                head.status()
            },
            version: head.version(),
            headers: HeaderMap::new(),
            selecting: selecting
                .map(|field: &SelectingField| (field.name().clone(), field.value()))
                .collect(),
            requested_at: head.requested_at(),
            received_at: head.received_at(),
            freshness: head.freshness().clone(),
            part: head.part().cloned(),
        }
    }

    /// The head that the store gets.
    pub(crate) fn seal_head(&self, head: &StoredHead, id: &Id) -> Option<StoredHead> {
        let mut parts = self.parts(head);
        if self.codec.protection.hides() {
            parts.freshness.no_cache_fields = Vec::new();
        }
        let encoded = wire::encode(head, None)?;
        if encoded.len() > LARGEST_HEAD {
            return None;
        }
        let length = u32::try_from(encoded.len()).ok()?.to_le_bytes();
        let packed = self.codec.compression.pack(&encoded);
        let data = [&id[..], &length, &packed].concat();
        let context = Context {
            purpose: b"head",
            of: parts.key.as_bytes(),
        };
        parts.headers.insert(FIELD, self.seal(context, &data)?);
        Some(parts.into())
    }

    /// The head that was sealed; `None`: it was not by this codec and these keys, or was changed.
    pub(crate) fn open_head(&self, stored: &StoredHead) -> Option<Opened> {
        let context = Context {
            purpose: b"head",
            of: stored.key().as_bytes(),
        };
        let data = self.open(context, stored.headers().get(FIELD)?)?;
        let (id, rest) = data.split_first_chunk::<16>()?;
        let (length, packed) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let encoded = unpack(
            packed,
            Some(length).filter(|length| *length <= LARGEST_HEAD)?,
        )?;
        let (head, _) = wire::decode(&encoded)?;
        (self.key(head.key()) == *stored.key()).then_some(Opened { head, id: *id })
    }

    pub(crate) fn seal_tail(&self, tail: &Tail, id: &Id) -> Option<HeaderMap> {
        let data = postcard::to_stdvec(tail).ok()?;
        let context = Context {
            purpose: b"tail",
            of: id,
        };
        let mut trailers = HeaderMap::new();
        trailers.insert(FIELD, self.seal(context, &data)?);
        Some(trailers)
    }

    pub(crate) fn open_tail(&self, trailers: Option<&HeaderMap>, id: &Id) -> Option<Tail> {
        let context = Context {
            purpose: b"tail",
            of: id,
        };
        let data = self.open(context, trailers?.get(FIELD)?)?;
        postcard::from_bytes(&data).ok()
    }

    /// What the store has, as it was before it was sealed; what cannot be read is noted.
    pub(crate) fn open_entry(self: &Arc<Self>, stored: &Entry) -> Option<Entry> {
        let opened = self.try_open_entry(stored);
        if opened.is_none() {
            self.reject("a response");
        }
        opened
    }

    fn try_open_entry(self: &Arc<Self>, stored: &Entry) -> Option<Entry> {
        let Opened { head, id } = self.open_head(&stored.head)?;
        let tail = self.open_tail(stored.body.trailers(), &id)?;
        if !tail.fits(stored.body.len()) {
            return None;
        }
        let (length, trailers) = (tail.length, tail.trailers());
        let sealed = CodecBody::new(self.clone(), stored.body.clone(), tail, id);
        let body = match sealed.whole() {
            body::Whole::Here(bytes) => StoredBody::whole(bytes),
            body::Whole::Changed => return None,
            body::Whole::Elsewhere => StoredBody::remote(Arc::new(sealed), length),
        };
        Some(Entry {
            head: Arc::new(head),
            body: body.with_trailers(trailers),
            token: stored.token,
        })
    }

    fn seal(&self, context: Context<'_>, data: &[u8]) -> Option<HeaderValue> {
        let sealed = self.codec.protection.seal(context, data)?;
        HeaderValue::try_from(STANDARD_NO_PAD.encode(sealed)).ok()
    }

    fn open(&self, context: Context<'_>, value: &HeaderValue) -> Option<Vec<u8>> {
        let sealed = STANDARD_NO_PAD.decode(value.as_bytes()).ok()?;
        self.codec.protection.open(context, &sealed)
    }
}

/// The field that head and tail stand in.
const FIELD: HeaderName = HeaderName::from_static("cache-codec");

/// What the names of hidden keys begin with: no key of a request does, as its first field is short.
const NAME: &[u8] = b"hidden key";

/// A longer head is not stored, and so nothing longer is ever unpacked.
const LARGEST_HEAD: usize = 1 << 20;
