//! Heads that were read a moment ago.

use std::fmt;
use std::sync::Arc;

use cache_core::{StoredHead, Token, wire};
use http::HeaderMap;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Heads that were decoded, with the bytes that they were decoded of: the same bytes of the same response
/// are the same head. Redis is asked all the same, and what it answers holds.
pub(crate) struct Heads(Cache<u128, Arc<Head>, Bytes>);

/// A head, and what it was decoded of.
pub(crate) struct Head {
    encoded: Box<[u8]>,
    pub(crate) head: Arc<StoredHead>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Heads {
    pub(crate) fn new() -> Self {
        Self(Cache::with_weighter(EXPECTED, BYTES, Bytes))
    }

    /// The head of the response with this token.
    pub(crate) fn decode(&self, token: Token, encoded: &[u8]) -> Option<Arc<Head>> {
        let known = self.0.get(&token.0);
        if let Some(known) = known.filter(|known| *known.encoded == *encoded) {
            return Some(known);
        }
        let (head, trailers) = wire::decode(encoded)?;
        let head = Arc::new(Head {
            encoded: encoded.into(),
            head: Arc::new(head),
            trailers,
        });
        self.0.insert(token.0, head.clone());
        Some(head)
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heads")
            .field("len", &self.0.len())
            .field("bytes", &self.0.weight())
            .finish()
    }
}

/// Weighs a head in bytes.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<u128, Arc<Head>> for Bytes {
    fn weight(&self, _: &u128, head: &Arc<Head>) -> u64 {
        // Trailers are no longer than the bytes that they were decoded of, and seldom there.
        (size_of::<Head>() + 2 * head.encoded.len() + head.head.weight()) as u64
    }
}

/// What all heads take together: some thousands of them.
const BYTES: u64 = 8 << 20;

const EXPECTED: usize = 2_048;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::format::tests::head;

    #[test]
    fn the_same_bytes_are_decoded_once_and_others_anew() {
        let heads = Heads::new();
        let (token, other) = (Token(1), Token(2));
        let first = head();
        let freshened = first.fresh_for(Duration::from_secs(7), first.received_at());
        assert_ne!(first, freshened);
        let encode = |head| wire::encode(head, None).expect("a head");
        let decode = |token, bytes: &[u8]| heads.decode(token, bytes).expect("a head").head.clone();
        let once = decode(token, &encode(&first));
        assert_eq!(*once, first);
        assert!(Arc::ptr_eq(&once, &decode(token, &encode(&first))));
        assert_eq!(*decode(token, &encode(&freshened)), freshened);
        assert_eq!(*decode(token, &encode(&first)), first);
        assert_eq!(*decode(other, &encode(&freshened)), freshened);
        assert!(heads.decode(token, b"none").is_none());
    }
}
