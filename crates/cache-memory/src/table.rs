//! A table bounded in bytes, which is read without a lock.
//!
//! A key has a cell by its hash, and a cell has a chain of nodes, two of them where it is full of the smallest
//! responses. A node is never changed but replaced, so who reads it has all of it. Who writes has the ledger.
//!
//! What is used least goes first, as S3-FIFO (Yang et al., SOSP 2023) has it: what comes in is on probation, in a tenth of
//! the bytes. What is not used there goes when its turn comes, and leaves its fingerprint. What is used, or comes
//! back while that is remembered, is kept with the rest, where each use, three at most, puts off its turn
//! once more. In the place of S3-FIFO's queues two hands go around the cells, so there is nothing to keep in order.

use std::hash::BuildHasher;
use std::iter::successors;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use cache_core::PrimaryKey;
use foldhash::fast::RandomState;

use crate::ledger::{Class, Ledger, PROBATION, PROVEN, bit};
use crate::slot::Slot;

/// What is stored, by key.
pub(crate) struct Table {
    cells: Box<[Link]>,
    hasher: RandomState,
    capacity: u64,
    ledger: Mutex<Ledger>,
}

type Link = ArcSwapOption<Node>;

/// What is stored for one key.
struct Node {
    key: PrimaryKey,
    slot: Slot,
    hash: u64,
    /// In bytes.
    weight: u64,
    used: AtomicU8,
    /// Changed by who has the ledger only.
    class: AtomicBool,
    next: Link,
}

impl Table {
    /// An empty one, for so many bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        let cells = usize::try_from(capacity / CELL_BYTES).unwrap_or(usize::MAX);
        let cells = cells.clamp(1, MOST_CELLS);
        Self {
            cells: (0..cells).map(|_| Link::empty()).collect(),
            hasher: RandomState::default(),
            capacity,
            ledger: Mutex::new(Ledger::new(cells)),
        }
    }

    /// Reads what is stored for a key, which is thereby used.
    pub(crate) fn read<T>(&self, key: &PrimaryKey, read: impl FnOnce(&Slot) -> T) -> Option<T> {
        self.find(key, |node| {
            let used = node.used.load(Ordering::Relaxed);
            // Two at the same time may count as one.
            if used < MOST_USED {
                node.used.store(used + 1, Ordering::Relaxed);
            }
            read(&node.slot)
        })
    }

    /// The same, but to be looked at is not to be used.
    pub(crate) fn peek<T>(&self, key: &PrimaryKey, read: impl FnOnce(&Slot) -> T) -> Option<T> {
        self.find(key, |node| read(&node.slot))
    }

    fn find<T>(&self, key: &PrimaryKey, found: impl FnOnce(&Node) -> T) -> Option<T> {
        let cell = self.cell(self.hash(key));
        let mut guard: Guard<Option<Arc<Node>>> = self.cells[cell].load();
        while let Some(node) = &*guard {
            if node.key == *key {
                return Some(found(node));
            }
            let next = node.next.load();
            guard = next;
        }
        None
    }

    /// Changes what is stored for a key, if anything is. What is empty afterwards is removed.
    pub(crate) fn change<T>(
        &self,
        key: &PrimaryKey,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        self.write(key, false, change)
    }

    /// Changes what is stored for a key, or was not until now; `None`: it would be larger than the table.
    pub(crate) fn change_or_insert<T>(
        &self,
        key: &PrimaryKey,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        self.write(key, true, change)
    }

    fn write<T>(
        &self,
        key: &PrimaryKey,
        inserts: bool,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> Option<T> {
        let hash = self.hash(key);
        let cell = self.cell(hash);
        // Dropped when the ledger is free again: bodies can be large.
        let mut gone = Vec::new();
        let mut ledger = self.lock();
        let old = self.chain(cell).find(|node| node.key == *key);
        if old.is_none() && !inserts {
            return None;
        }
        let mut slot = old
            .as_ref()
            .map_or_else(Slot::default, |node| node.slot.clone());
        let changed = change(&mut slot);
        let weight = key.as_bytes().len() as u64 + slot.weight();
        let fits = weight <= self.capacity;
        if inserts && !fits {
            return None;
        }
        if let Some(old) = &old {
            ledger.weights[usize::from(old.class())] -= old.weight;
        }
        let is_kept = fits && !slot.is_empty();
        if is_kept {
            let class = match &old {
                Some(old) => old.class(),
                None => ledger.takes_back(cell, hash),
            };
            self.make_room(&mut ledger, weight, class, old.as_ref(), &mut gone);
            ledger.weights[usize::from(class)] += weight;
            let next = match &old {
                Some(old) => old.next.load_full(),
                None => self.cells[cell].load_full(),
            };
            let new = Arc::new(Node {
                key: key.clone(),
                slot,
                hash,
                weight,
                used: AtomicU8::new(old.as_ref().map_or(0, |old| old.used())),
                class: AtomicBool::new(class),
                next: Link::new(next),
            });
            self.put(cell, old.as_ref(), Some(new));
        } else if let Some(old) = &old {
            self.put(cell, Some(old), old.next.load_full());
        }
        ledger.nodes += u64::from(is_kept);
        ledger.nodes -= u64::from(old.is_some());
        self.note_classes(&mut ledger, cell);
        drop(ledger);
        drop((gone, old));
        Some(changed)
    }

    /// Removes everything; how much there was.
    pub(crate) fn clear(&self) -> u64 {
        let mut ledger = self.lock();
        let gone: Vec<_> = self
            .cells
            .iter()
            .zip(&ledger.classes)
            .filter(|(_, classes)| **classes != 0)
            .map(|(link, _)| link.swap(None))
            .collect();
        let nodes = ledger.nodes;
        *ledger = Ledger::new(self.cells.len());
        drop(ledger);
        drop(gone);
        nodes
    }

    /// The bytes that all weighs.
    pub(crate) fn weight(&self) -> u64 {
        self.lock().weights.iter().sum()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many cells there are, each of which has something or nothing.
    pub(crate) fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Looks at all that is stored in a cell.
    pub(crate) fn each(&self, cell: usize, mut look: impl FnMut(&Slot)) {
        self.chain(cell).for_each(|node| look(&node.slot));
    }

    fn hash(&self, key: &PrimaryKey) -> u64 {
        self.hasher.hash_one(key)
    }

    /// By the upper bits of the hash; the lower ones are the fingerprint.
    fn cell(&self, hash: u64) -> usize {
        let cell = (u128::from(hash) * self.cells.len() as u128) >> 64;
        cell as usize
    }

    /// The nodes of a cell.
    fn chain(&self, cell: usize) -> impl Iterator<Item = Arc<Node>> + use<> {
        let first = self.cells[cell].load_full();
        successors(first, |node| node.next.load_full())
    }

    /// Puts a node in the place of another, or at the beginning of the chain. What is behind it goes on as it does.
    fn put(&self, cell: usize, old: Option<&Arc<Node>>, node: Option<Arc<Node>>) {
        let is_before = |node: &Arc<Node>| {
            let next = node.next.load();
            next.as_ref()
                .zip(old)
                .is_some_and(|(next, old)| Arc::ptr_eq(next, old))
        };
        match self.chain(cell).find(is_before) {
            Some(before) => before.next.store(node),
            None => self.cells[cell].store(node),
        }
    }

    /// Removes what is used least until there is room for so many bytes. One node, which is not among the
    /// weights any more, stays.
    fn make_room(
        &self,
        ledger: &mut Ledger,
        weight: u64,
        class: Class,
        stays: Option<&Arc<Node>>,
        gone: &mut Vec<Arc<Node>>,
    ) {
        let coming = match class {
            PROBATION => weight,
            PROVEN => 0,
        };
        let mut patience = PATIENCE;
        while ledger.weights.iter().sum::<u64>() + weight > self.capacity {
            let class = ledger.class_in_turn(coming, self.capacity);
            let Some(cell) = ledger.advance(class) else {
                return;
            };
            for node in self.chain(cell) {
                let is_it = stays.is_some_and(|stays| Arc::ptr_eq(stays, &node));
                if node.class() != class || is_it {
                    continue;
                }
                if patience == 0 || node.used() == 0 {
                    patience = PATIENCE;
                    ledger.weights[usize::from(class)] -= node.weight;
                    ledger.nodes -= 1;
                    if class == PROBATION {
                        ledger.remember(cell, node.hash);
                    }
                    self.put(cell, Some(&node), node.next.load_full());
                    gone.push(node);
                    continue;
                }
                patience -= 1;
                if class == PROBATION {
                    ledger.weights[usize::from(PROBATION)] -= node.weight;
                    ledger.weights[usize::from(PROVEN)] += node.weight;
                    node.class.store(PROVEN, Ordering::Relaxed);
                    node.used.store(0, Ordering::Relaxed);
                } else {
                    node.used.store(node.used() - 1, Ordering::Relaxed);
                }
            }
            self.note_classes(ledger, cell);
        }
    }

    fn note_classes(&self, ledger: &mut Ledger, cell: usize) {
        let classes = self.chain(cell).map(|node| bit(node.class()));
        ledger.classes[cell] = classes.fold(0, |all, one| all | one);
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A change that panics does so before anything is changed.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    /// One after the other: a chain could be longer than the stack.
    fn drop(&mut self) {
        let mut next = self.next.swap(None);
        while let Some(node) = next.and_then(Arc::into_inner) {
            next = node.next.swap(None);
        }
    }
}

impl Node {
    fn class(&self) -> Class {
        self.class.load(Ordering::Relaxed)
    }

    fn used(&self) -> u8 {
        self.used.load(Ordering::Relaxed)
    }
}

/// There is a cell for so many bytes of the capacity, so that small responses have one each, or nearly.
const CELL_BYTES: u64 = 4 << 10;

/// Chains become longer beyond: 64 GiB of small responses.
const MOST_CELLS: usize = 1 << 24;

/// More uses than this do not count.
const MOST_USED: u8 = 3;

/// So many nodes in a row have their turn put off at the most, as whoever writes waits meanwhile.
const PATIENCE: u32 = 256;

#[cfg(test)]
mod tests;
