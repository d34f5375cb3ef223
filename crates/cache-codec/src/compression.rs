//! Compression: a byte that says how, and what it made of the data.

/// How to compress.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Compression {
    #[default]
    None,
    #[cfg(feature = "zstd")]
    Zstd(i32),
    #[cfg(feature = "lz4")]
    Lz4,
}

const PLAIN: u8 = 0;
#[cfg(feature = "zstd")]
const ZSTD: u8 = 1;
#[cfg(feature = "lz4")]
const LZ4: u8 = 2;

impl Compression {
    pub(crate) fn is_none(self) -> bool {
        matches!(self, Self::None)
    }

    /// The data, shorter where that pays.
    pub(crate) fn pack(self, data: &[u8]) -> Vec<u8> {
        self.compress(data)
            .filter(|packed| packed.len() <= data.len() - data.len() / 8)
            .unwrap_or_else(|| [&[PLAIN], data].concat())
    }

    fn compress(self, data: &[u8]) -> Option<Vec<u8>> {
        match self {
            _ if data.len() < WORTHWHILE => None,
            Self::None => None,
            #[cfg(feature = "zstd")]
            Self::Zstd(level) => {
                let packed = zstd::bulk::compress(data, level).ok()?;
                Some([&[ZSTD], &packed[..]].concat())
            }
            #[cfg(feature = "lz4")]
            Self::Lz4 => Some([&[LZ4], &lz4_flex::block::compress(data)[..]].concat()),
        }
    }
}

/// The data, if they are exactly this many bytes. No more is ever written, whatever was packed.
pub(crate) fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    let (how, data) = packed.split_first()?;
    let unpacked = match *how {
        PLAIN => data.to_vec(),
        #[cfg(feature = "zstd")]
        ZSTD => zstd::bulk::decompress(data, length).ok()?,
        #[cfg(feature = "lz4")]
        LZ4 => {
            let mut unpacked = vec![0; length];
            let written = lz4_flex::block::decompress_into(data, &mut unpacked).ok()?;
            unpacked.truncate(written);
            unpacked
        }
        _ => return None,
    };
    (unpacked.len() == length).then_some(unpacked)
}

/// Less is not worth the attempt.
const WORTHWHILE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Compression> {
        vec![
            Compression::None,
            #[cfg(feature = "zstd")]
            Compression::Zstd(3),
            #[cfg(feature = "lz4")]
            Compression::Lz4,
        ]
    }

    #[test]
    fn what_was_packed_comes_back_and_is_shorter_only_where_that_pays() {
        let text = b"the same again and again, ".repeat(100);
        let noise: Vec<u8> = (0_u32..2000)
            .map(|number| blake3::hash(&number.to_le_bytes()).as_bytes()[0])
            .collect();
        for compression in every() {
            for data in [&b""[..], b"short", &text, &noise] {
                let packed = compression.pack(data);
                assert!(packed.len() <= data.len() + 1);
                assert_eq!(unpack(&packed, data.len()).as_deref(), Some(data));
            }
            let packed = compression.pack(&text);
            assert_eq!(packed.len() < 500, !compression.is_none());
            assert_eq!(compression.pack(&noise)[0], PLAIN);
        }
    }

    #[test]
    fn a_length_that_is_not_so_is_refused_and_never_written() {
        let data = vec![7; 100_000];
        for compression in every() {
            let packed = compression.pack(&data);
            for length in [0, 1, 99_999, 100_001] {
                assert_eq!(unpack(&packed, length), None);
            }
            for cut in 0..packed.len().min(50) {
                assert_eq!(unpack(&packed[..cut], data.len()), None);
            }
        }
        for how in 0..=255 {
            assert_eq!(unpack(&[how, 1, 2, 3], 1000), None);
        }
        assert_eq!(unpack(&[], 0), None);
    }
}
