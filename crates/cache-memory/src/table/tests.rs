use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

const CAPACITY: u64 = 1 << 20;

fn key(number: u64) -> PrimaryKey {
    PrimaryKey::from_bytes(format!("key {number}").as_bytes())
}

/// What is stored in these tests is a time.
fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number)
}

fn put(table: &Table, number: u64, value: u64) -> Option<()> {
    table.change_or_insert(&key(number), |slot| slot.invalidate(time(value)))
}

fn get(table: &Table, number: u64) -> Option<SystemTime> {
    table.read(&key(number), Slot::invalidated_at).flatten()
}

/// How many of these fit.
fn most(table: &Table) -> u64 {
    put(table, u64::MAX, 0).expect("room for one");
    let most = table.capacity() / table.weight();
    table.clear();
    most
}

/// Panics where what the ledger says is not what is there.
#[track_caller]
fn check(table: &Table) {
    let ledger = table.lock();
    let (mut weights, mut nodes) = ([0; 2], 0);
    for cell in 0..table.cells() {
        let mut classes = 0;
        for node in table.chain(cell) {
            assert_eq!(table.cell(node.hash), cell);
            assert_eq!(node.hash, table.hash(&node.key));
            weights[usize::from(node.class())] += node.weight;
            classes |= bit(node.class());
            nodes += 1;
        }
        assert_eq!(ledger.classes[cell], classes);
    }
    assert_eq!((ledger.weights, ledger.nodes), (weights, nodes));
    assert!(weights.iter().sum::<u64>() <= table.capacity);
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[test]
fn it_does_what_a_map_does_while_there_is_room() {
    // Few cells, so that chains are long.
    let table = Table::new(16 * CELL_BYTES);
    let mut map = HashMap::new();
    let mut numbers = Numbers(1);
    for step in 0..20_000 {
        let number = numbers.below(most(&Table::new(16 * CELL_BYTES)) * 9 / 10);
        match numbers.below(4) {
            0 | 1 => {
                put(&table, number, step).expect("room");
                map.insert(number, time(step));
            }
            2 => {
                let removed = table.change(&key(number), |slot| *slot = Slot::default());
                assert_eq!(removed.is_some(), map.remove(&number).is_some());
            }
            _ => assert_eq!(get(&table, number), map.get(&number).copied()),
        }
    }
    check(&table);
    for number in 0..200 {
        assert_eq!(get(&table, number), map.get(&number).copied());
    }
    let listed = AtomicUsize::new(0);
    for cell in 0..table.cells() {
        table.each(cell, |_| {
            listed.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(listed.into_inner(), map.len());
    assert_eq!(table.clear(), map.len() as u64);
    check(&table);
    assert_eq!((table.weight(), get(&table, 1)), (0, None));
}

#[test]
fn a_change_of_what_is_not_there_stores_nothing() {
    let table = Table::new(CAPACITY);
    assert_eq!(table.change(&key(1), |slot| slot.invalidate(time(1))), None);
    assert_eq!((table.weight(), get(&table, 1)), (0, None));
}

#[test]
fn what_is_larger_than_all_is_refused_and_moves_nothing_else() {
    let table = Table::new(CAPACITY);
    put(&table, 1, 1).expect("room");
    let large = PrimaryKey::from_bytes(&vec![0; CAPACITY as usize]);
    let refused = table.change_or_insert(&large, |slot| slot.invalidate(time(1)));
    assert_eq!((refused, get(&table, 1)), (None, Some(time(1))));
    check(&table);
}

#[test]
fn what_just_came_in_stays_and_all_stays_within_the_bound() {
    let table = Table::new(CAPACITY);
    for number in 0..50_000 {
        put(&table, number, number).expect("room");
        assert_eq!(get(&table, number), Some(time(number)));
        assert!(table.weight() <= CAPACITY);
    }
    check(&table);
    assert!(table.weight() > CAPACITY / 10 * 9);
}

#[test]
fn what_is_used_again_outlives_what_is_used_once() {
    let table = Table::new(CAPACITY);
    let hot = most(&table) / 2;
    for number in 0..hot {
        put(&table, number, number).expect("room");
        get(&table, number);
    }
    let mut kept = 0;
    for once in 0..20 * hot {
        put(&table, hot + once, 0).expect("room");
        // Each is used once while half a table of others comes in.
        let number = once % hot;
        kept += u64::from(get(&table, number).is_some());
    }
    assert!(kept > 20 * hot * 95 / 100, "{kept} of {}", 20 * hot);
}

/// How many nodes have this class and were used at least so often.
fn count(table: &Table, class: Class, used: u8) -> u64 {
    let cells = 0..table.cells();
    let nodes = cells.flat_map(|cell| table.chain(cell));
    nodes
        .filter(|node| node.class() == class && node.used() >= used)
        .count() as u64
}

#[test]
fn a_write_passes_over_few_however_much_all_is_used() {
    for class in [PROBATION, PROVEN] {
        let table = Table::new(CAPACITY);
        let most = most(&table);
        for number in 0..most {
            put(&table, number, 0).expect("room");
        }
        {
            let mut ledger = table.lock();
            for node in (0..table.cells()).flat_map(|cell| table.chain(cell)) {
                node.class.store(class, Ordering::Relaxed);
                node.used.store(MOST_USED, Ordering::Relaxed);
            }
            let weight = ledger.weights.iter().sum();
            ledger.weights = [0; 2];
            ledger.weights[usize::from(class)] = weight;
            (0..table.cells()).for_each(|cell| table.note_classes(&mut ledger, cell));
        }
        check(&table);
        // Their keys are a little shorter than what was measured by, so there is room for some more.
        let nodes = || table.lock().nodes;
        let mut number = most;
        while nodes() == number {
            put(&table, number, 0).expect("room");
            number += 1;
        }
        let passed = most - count(&table, class, MOST_USED);
        assert!(passed > 0, "one made room");
        // And the rest of the last cell.
        assert!(passed <= u64::from(PATIENCE) + 50, "{passed} of {most}");
        check(&table);
    }
}

#[test]
fn what_is_large_takes_the_place_of_what_is_on_probation_first() {
    let table = Table::new(CAPACITY);
    let most = most(&table);
    for number in 0..most {
        put(&table, number, 0).expect("room");
        get(&table, number);
    }
    for number in most..5 * most {
        put(&table, number, 0).expect("room");
        get(&table, number % most);
    }
    let (probation, proven) = (count(&table, PROBATION, 0), count(&table, PROVEN, 0));
    assert!(probation > 0 && proven > most / 10 * 8);
    let large = PrimaryKey::from_bytes(&vec![0; CAPACITY as usize / 8]);
    table
        .change_or_insert(&large, |slot| slot.invalidate(time(0)))
        .expect("room");
    assert_eq!(count(&table, PROBATION, 0), 1, "it alone");
    let taken = proven - count(&table, PROVEN, 0);
    // The hands pass over cells, and these have some twenty nodes each.
    assert!(taken < most / 16, "{taken} of {most}");
    check(&table);
}

#[test]
fn what_comes_back_soon_is_proven_and_what_comes_back_late_is_not() {
    let table = Table::new(CAPACITY);
    let class = || {
        let cell = table.cell(table.hash(&key(1)));
        let node = table.chain(cell).find(|node| node.key == key(1));
        node.map(|node| node.class())
    };
    put(&table, 1, 1).expect("room");
    assert_eq!(class(), Some(PROBATION));
    for number in 2.. {
        put(&table, number, 0).expect("room");
        if class().is_none() {
            break;
        }
    }
    put(&table, 1, 1).expect("room");
    assert_eq!(class(), Some(PROVEN), "it came back at once");
    table.change(&key(1), |slot| *slot = Slot::default());
    put(&table, 1, 1).expect("room");
    assert_eq!(class(), Some(PROBATION), "its fingerprint was used");

    for (rounds, expected) in [(0, PROVEN), (2, PROVEN), (3, PROBATION)] {
        let mut ledger = Ledger::new(1);
        ledger.hands[usize::from(PROBATION)].rounds = u8::MAX;
        ledger.remember(0, 7);
        let hand = &mut ledger.hands[usize::from(PROBATION)];
        hand.rounds = hand.rounds.wrapping_add(rounds);
        assert_eq!(ledger.takes_back(0, 7), expected, "{rounds} rounds later");
    }
}

/// Hits of requests for some things often and for others seldom, with a crowd of others in between that are
/// asked for once.
fn hits(mut is_hit: impl FnMut(u64) -> bool) -> u64 {
    const THINGS: usize = 100_000;
    let mut sums = Vec::with_capacity(THINGS);
    let mut sum = 0.0;
    for rank in 1..=THINGS {
        sum += 1.0 / (rank as f64).powf(0.9);
        sums.push(sum);
    }
    let mut numbers = Numbers(3);
    let mut hits = 0;
    for request in 0..200_000 {
        let drawn = numbers.below(1 << 53) as f64 / (1_u64 << 53) as f64 * sum;
        let number = match request % 50_000 < 10_000 {
            true => 1_000_000 + request,
            false => sums.partition_point(|sum| *sum < drawn) as u64,
        };
        hits += u64::from(is_hit(number));
    }
    hits
}

#[test]
fn it_keeps_more_of_what_is_asked_for_again_than_the_most_recent_would_be() {
    let table = Table::new(CAPACITY / 4);
    let most = most(&table) as usize;
    let ours = hits(|number| {
        let is_hit = get(&table, number).is_some();
        if !is_hit {
            put(&table, number, 0).expect("room");
        }
        is_hit
    });
    let (mut used, mut order) = (HashMap::new(), BTreeMap::new());
    let mut now = 0;
    let recent = hits(|number| {
        now += 1;
        order.insert(now, number);
        let before = used.insert(number, now);
        if let Some(before) = before {
            order.remove(&before);
        } else if used.len() > most {
            let (_, oldest) = order.pop_first().expect("it is not empty");
            used.remove(&oldest);
        }
        before.is_some()
    });
    assert!(ours * 100 > recent * 125, "{ours} hits, {recent} by LRU");
    check(&table);
}

#[test]
fn readers_see_whole_slots_of_their_key_while_others_write() {
    // Small, so that nodes go and come back, and chains change under the readers.
    let table = Table::new(16 * CELL_BYTES);
    let keys = most(&table) * 3 / 2;
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..2 {
            let table = &table;
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                for round in 0..20_000 {
                    let number = numbers.below(keys);
                    // The value tells the key.
                    let value = number + keys * round;
                    match numbers.below(8) {
                        0 => {
                            table.change(&key(number), |slot| *slot = Slot::default());
                        }
                        1 if round % 100 == 0 => {
                            table.clear();
                        }
                        _ => put(table, number, value).expect("room"),
                    }
                }
            });
        }
        for seed in 2..4 {
            let (table, seen) = (&table, &seen);
            scope.spawn(move || {
                let mut numbers = Numbers(seed);
                for _ in 0..100_000 {
                    let number = numbers.below(keys);
                    if let Some(value) = get(table, number) {
                        let value = value.duration_since(UNIX_EPOCH).expect("after 1970");
                        assert_eq!(value.as_secs() % keys, number);
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(seen.into_inner() > 0);
    check(&table);
}

#[test]
fn a_reader_finds_what_was_written_before() {
    let table = Table::new(16 * CELL_BYTES);
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (table, written) = (&table, &written);
        scope.spawn(move || {
            for value in 1..50_000 {
                put(table, 1, value).expect("room");
                written.store(value as usize, Ordering::Release);
                // Its neighbours come and go.
                put(table, 2 + value % 20, value).expect("room");
                get(table, 1);
            }
        });
        scope.spawn(move || {
            let mut last = 0;
            while last < 49_000 {
                let before = written.load(Ordering::Acquire) as u64;
                if let Some(found) = get(table, 1) {
                    assert!(found >= time(before));
                } else {
                    assert_eq!(before, 0, "it is used, and stays");
                }
                last = before;
            }
        });
    });
}

#[test]
fn what_goes_is_dropped_at_once() {
    let table = Table::new(CAPACITY);
    let node = || {
        let cell = table.cell(table.hash(&key(1)));
        let node = table.chain(cell).find(|node| node.key == key(1));
        Arc::downgrade(&node.expect("it is there"))
    };
    put(&table, 1, 1).expect("room");
    let first = node();
    put(&table, 1, 2).expect("room");
    assert_eq!(first.strong_count(), 0, "replaced");
    let second = node();
    table.change(&key(1), |slot| *slot = Slot::default());
    assert_eq!(second.strong_count(), 0, "removed");
    put(&table, 1, 3).expect("room");
    let third = node();
    table.clear();
    assert_eq!(third.strong_count(), 0, "cleared");
    put(&table, 1, 4).expect("room");
    let fourth = node();
    for number in 2..50_000 {
        put(&table, number, 0).expect("room");
    }
    assert_eq!(fourth.strong_count(), 0, "evicted");
}
