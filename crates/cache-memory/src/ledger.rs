//! Whose turn it is to go.

/// On probation, or proven.
pub(crate) type Class = bool;

pub(crate) const PROBATION: Class = false;
pub(crate) const PROVEN: Class = true;

/// What only those who write need to know.
pub(crate) struct Ledger {
    /// Of which classes a cell has nodes, a bit for each.
    pub(crate) classes: Box<[u8]>,
    /// What left a cell from probation lately.
    fingerprints: Box<[[u32; 2]]>,
    /// Of both classes, in bytes.
    pub(crate) weights: [u64; 2],
    pub(crate) hands: [Hand; 2],
    pub(crate) nodes: u64,
}

/// The cell that is looked at next, and how often it went around.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hand {
    cell: usize,
    pub(crate) rounds: u8,
}

impl Ledger {
    pub(crate) fn new(cells: usize) -> Self {
        Self {
            classes: vec![0; cells].into(),
            fingerprints: vec![[0; 2]; cells].into(),
            weights: [0; 2],
            hands: [Hand::default(); 2],
            nodes: 0,
        }
    }

    /// The class of which something goes next, where so many bytes are coming on probation.
    pub(crate) fn class_in_turn(&self, coming: u64, capacity: u64) -> Class {
        let [probation, proven] = self.weights;
        let is_over = probation.saturating_add(coming) >= capacity / PROBATION_PART;
        match probation > 0 && is_over || proven == 0 {
            true => PROBATION,
            false => PROVEN,
        }
    }

    /// Moves a hand on to the next cell that has a node of its class, and past it.
    pub(crate) fn advance(&mut self, class: Class) -> Option<usize> {
        let hand = &mut self.hands[usize::from(class)];
        let has = |classes: &u8| classes & bit(class) != 0;
        let (before, behind) = self.classes.split_at(hand.cell);
        let cell = match behind.iter().position(has) {
            Some(distance) => hand.cell + distance,
            None => {
                hand.rounds = hand.rounds.wrapping_add(1);
                before.iter().position(has)?
            }
        };
        hand.cell = cell + 1;
        Some(cell)
    }

    pub(crate) fn remember(&mut self, cell: usize, hash: u64) {
        let rounds = self.hands[usize::from(PROBATION)].rounds;
        let [last, _] = self.fingerprints[cell];
        self.fingerprints[cell] = [fingerprint(hash) | u32::from(rounds), last];
    }

    /// The class of what comes in: proven, if it went from probation not long ago.
    pub(crate) fn takes_back(&mut self, cell: usize, hash: u64) -> Class {
        let rounds = self.hands[usize::from(PROBATION)].rounds;
        let known = self.fingerprints[cell].iter_mut().find(|known| {
            let [left_in, ..] = known.to_le_bytes();
            **known & !0xff == fingerprint(hash)
                && rounds.wrapping_sub(left_in) <= REMEMBERED_ROUNDS
        });
        match known {
            Some(known) => {
                *known = 0;
                PROVEN
            }
            None => PROBATION,
        }
    }
}

/// 24 bits of the hash, and room for the rounds.
fn fingerprint(hash: u64) -> u32 {
    (hash as u32) << 8
}

pub(crate) fn bit(class: Class) -> u8 {
    1 << u8::from(class)
}

/// One in so many bytes is on probation.
const PROBATION_PART: u64 = 10;

/// For how many rounds of the hand a fingerprint is remembered.
const REMEMBERED_ROUNDS: u8 = 2;
