//! Memory for large bodies, in huge pages.

use bytes::Bytes;

#[cfg(target_os = "linux")]
pub(crate) use linux::Block;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Block;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::sync::LazyLock;

    use memmap2::{Advice, MmapMut};

    use super::{Bytes, HUGE_PAGE, MOST_BYTES};

    /// Memory that is taken from the system in huge pages, and filled from its beginning.
    pub(crate) struct Block {
        memory: MmapMut,
        /// Where its first page begins. What is before it, and behind the last, is never touched, and takes nothing.
        start: usize,
        filled: usize,
        length: usize,
    }

    impl Block {
        /// One of huge pages that will all be filled, of so many bytes at most; `None`: there is none.
        pub(crate) fn of_at_most(bytes: usize) -> Option<Self> {
            let pages = bytes.min(MOST_BYTES) / HUGE_PAGE;
            if pages == 0 {
                return None;
            }
            // Without huge pages there is nothing to be had by copying.
            if !*ARE_OFFERED {
                return None;
            }
            let length = pages * HUGE_PAGE;
            let memory = MmapMut::map_anon(length + HUGE_PAGE).ok()?;
            memory.advise(Advice::HugePage).ok()?;
            Some(Self {
                start: memory.as_ptr().align_offset(HUGE_PAGE),
                memory,
                filled: 0,
                length,
            })
        }

        /// Copies the beginning of `bytes`, as much as there is room for; how much it was.
        pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
            let free = &mut self.memory[self.start..][self.filled..self.length];
            let length = free.len().min(bytes.len());
            free[..length].copy_from_slice(&bytes[..length]);
            self.filled += length;
            length
        }

        pub(crate) fn is_full(&self) -> bool {
            self.filled == self.length
        }
    }

    impl From<Block> for Bytes {
        fn from(block: Block) -> Self {
            let filled = block.start..block.start + block.filled;
            Self::from_owner(block.memory).slice(filled)
        }
    }

    /// Whether the system gives huge pages to who asks for them.
    static ARE_OFFERED: LazyLock<bool> = LazyLock::new(|| {
        let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        setting.is_ok_and(|setting| !setting.contains("[never]"))
    });
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::Bytes;

    /// There are none.
    pub(crate) enum Block {}

    impl Block {
        pub(crate) fn of_at_most(_: usize) -> Option<Self> {
            None
        }

        pub(crate) fn fill(&mut self, _: &[u8]) -> usize {
            match *self {}
        }

        pub(crate) fn is_full(&self) -> bool {
            match *self {}
        }
    }

    impl From<Block> for Bytes {
        fn from(block: Block) -> Self {
            match block {}
        }
    }
}

/// As large as a huge page is on x86-64, and on ARM with small pages of 4 KiB.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// No more is taken at once, as nobody knows whether the body comes.
#[cfg(target_os = "linux")]
const MOST_BYTES: usize = 8 << 20;
