//! The pieces of a body that is being stored.

use bytes::{Buf, Bytes, BytesMut};
use cache_core::StoredBody;

use crate::block::Block;

/// The pieces of a body, as they arrive.
#[derive(Default)]
pub(crate) struct Pieces {
    pieces: Vec<Bytes>,
    /// Small ones, put together: kept as they are, each would cost more than its bytes.
    tail: BytesMut,
    block: Option<Block>,
    length: u64,
    /// As long as the body is said to become, if that is known.
    announced: u64,
}

impl Pieces {
    /// None yet, of a body that is said to become so long.
    pub(crate) fn of(announced: Option<u64>) -> Self {
        Self {
            announced: announced.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn push(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            let Some(block) = self.block() else {
                return self.keep(piece);
            };
            let copied = block.fill(&piece);
            let is_full = block.is_full();
            piece.advance(copied);
            self.length += copied as u64;
            if is_full {
                self.pieces.extend(self.block.take().map(Bytes::from));
            }
        }
    }

    /// What is to be filled next, where it is worth to copy: a body of many MiB whose pieces are kept has
    /// each piece in memory of its own, which the system has to clear page by page.
    fn block(&mut self) -> Option<&mut Block> {
        if self.block.is_none() {
            let left = self.announced.saturating_sub(self.length);
            let block = Block::of_at_most(usize::try_from(left).unwrap_or(usize::MAX));
            if block.is_none() {
                // Nor is there another for what comes after it.
                self.announced = 0;
                return None;
            }
            self.close_tail();
            self.block = block;
        }
        self.block.as_mut()
    }

    fn keep(&mut self, piece: Bytes) {
        self.length = self.length.saturating_add(piece.len() as u64);
        if piece.len() < SMALL_BYTES {
            self.tail.extend_from_slice(&piece);
            if self.tail.len() >= SMALL_BYTES {
                self.close_tail();
            }
        } else {
            self.close_tail();
            self.pieces.push(piece);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    /// The body. A small one becomes one piece of its own: the pieces that arrive are slices of a
    /// connection's read buffer and would keep all of it.
    pub(crate) fn into_body(mut self) -> StoredBody {
        self.close_tail();
        // One that is not full: the body ended before its time.
        self.pieces.extend(self.block.take().map(Bytes::from));
        if self.length <= COPIED_BYTES {
            let mut whole =
                BytesMut::with_capacity(usize::try_from(self.length).unwrap_or_default());
            for piece in &self.pieces {
                whole.extend_from_slice(piece);
            }
            return StoredBody::whole(whole.freeze());
        }
        match self.pieces.pop() {
            Some(only) if self.pieces.is_empty() => StoredBody::whole(only),
            last => {
                self.pieces.extend(last);
                StoredBody::chunks(self.pieces)
            }
        }
    }
}

/// Bodies up to this many bytes are copied into one piece when they are stored.
const COPIED_BYTES: u64 = 64 << 10;

/// Pieces below this many bytes are put together when they arrive.
const SMALL_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use cache_core::Source;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Bytes of which each tells its place.
    fn text(length: usize) -> Bytes {
        (0..length).map(|index| (index % 251) as u8).collect()
    }

    /// What becomes of a body that comes in pieces of so many bytes.
    fn stored(body: &Bytes, piece: usize, announced: Option<usize>) -> Vec<Bytes> {
        let mut pieces = Pieces::of(announced.map(|length| length as u64));
        for piece in body.chunks(piece) {
            pieces.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(pieces.len(), body.len() as u64);
        let stored = pieces.into_body();
        assert_eq!(stored.len(), body.len() as u64);
        match stored.source() {
            Source::Whole(whole) => vec![whole.clone()],
            Source::Chunks(chunks) => chunks.to_vec(),
            Source::Remote(_) => panic!("it is here"),
        }
    }

    #[test]
    fn a_body_is_what_its_pieces_were() {
        for length in [0, 1, 65_536, 65_537, 2 * MIB, 5 * MIB + 7, 17 * MIB + 1] {
            let body = text(length);
            for piece in [7_919, 8 << 10, 100_003, 3 * MIB] {
                let more_or_less = [length, length / 2, length + 5 * MIB];
                for announced in [None].into_iter().chain(more_or_less.map(Some)) {
                    let stored = stored(&body, piece, announced);
                    assert!(
                        stored.concat() == body,
                        "{length} bytes by {piece}, {announced:?}"
                    );
                }
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn huge_pages_are_taken_for_what_fills_them_and_for_nothing_else() {
        let lengths = |length, announced| {
            let stored = stored(&text(length), 100_000, announced);
            stored.iter().map(Bytes::len).collect::<Vec<_>>()
        };
        let length = 11 * MIB;
        let [first, second, rest @ ..] = &*lengths(length, Some(length)) else {
            panic!("there are several pieces");
        };
        assert_eq!((*first, *second), (8 * MIB, 2 * MIB));
        assert!(rest.iter().all(|length| *length <= 100_000));
        assert!(lengths(length, None)[0] == 100_000, "nobody knows");
        assert!(lengths(MIB, Some(MIB))[0] == 100_000, "a part of one");
    }
}
