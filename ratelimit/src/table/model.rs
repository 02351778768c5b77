//! Two threads on one set of two slots, in every order of their steps with at most three preemptions,
//! checked by loom. Run with `RUSTFLAGS="--cfg ratelimit_loom" cargo test -p waypost-ratelimit --release --lib`.

use loom::sync::Arc;
use loom::thread;

use super::{Insertion, Table};
use crate::limit::Limit;

/// Counts one request of a key, as the limiter does, against a limit of one. Returns whether it is allowed.
fn check(table: &Table, hash: u64) -> bool {
    loop {
        match table.find(hash) {
            Some(_) => return false,
            None => match table.insert(hash, 1, 1, 0) {
                Insertion::Done { .. } => return true,
                Insertion::Exists { .. } => {}
                Insertion::Crowded { .. } => panic!("fewer threads than looks never crowd a set"),
            },
        }
    }
}

/// Counts one more of a key whatever the limit is, as the limiter does for a record.
fn record(table: &Table, hash: u64) {
    loop {
        let is_counted = match table.find(hash) {
            Some((slot, word)) => slot.replace(word, word.payload() + 1).is_ok(),
            None => match table.insert(hash, 1, 1, 0) {
                Insertion::Done { .. } => true,
                Insertion::Exists { .. } => false,
                Insertion::Crowded { .. } => panic!("fewer threads than looks never crowd a set"),
            },
        };
        if is_counted {
            return;
        }
    }
}

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(run);
}

#[test]
fn two_threads_that_insert_one_key_get_one_slot() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        let other = Arc::clone(&table);
        let second = thread::spawn(move || check(&other, 1));
        let first = check(&table, 1);
        let second = second.join().expect("no panic");
        assert!(first ^ second, "a limit of one admits one");
    });
}

#[test]
fn a_counted_request_is_kept_while_another_key_is_inserted() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        assert!(check(&table, 1));
        let other = Arc::clone(&table);
        let second = thread::spawn(move || check(&other, 2));
        let (slot, word) = table.find(1).expect("it was just inserted, and there is room");
        assert!(slot.replace(word, 2).is_ok());
        assert!(second.join().expect("no panic"));
        assert_eq!(table.find(1).map(|(_, word)| word.payload()), Some(2));
        assert_eq!(table.find(2).map(|(_, word)| word.payload()), Some(1));
    });
}

#[test]
fn a_counter_that_falls_to_zero_during_a_request_keeps_one_slot() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        assert!(check(&table, 1));
        let other = Arc::clone(&table);
        let second = thread::spawn(move || {
            if let Some((slot, word)) = other.find(1) {
                let _lost = slot.replace(word, 0).is_err();
            }
            check(&other, 1)
        });
        let first = check(&table, 1);
        let second = second.join().expect("no panic");
        assert!(first ^ second, "one reset allows one more request");
    });
}

#[test]
fn two_threads_that_choose_different_slots_for_one_key_get_one_slot() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        let limit = Limit::fixed(9, std::time::Duration::from_secs(60)).expect("within bounds");
        let class = table.classes().of(&limit);
        let done = Insertion::Done { evicted: false };
        assert_eq!(table.insert(2, class, 5, 0), done);
        assert_eq!(table.insert(3, class, 2, 0), done);
        let other = Arc::clone(&table);
        let second = thread::spawn(move || {
            // The slot of key 2 was the heavier one; now it is the lighter one.
            if let Some((slot, word)) = other.find(2) {
                let _lost = slot.replace(word, 1).is_err();
            }
            check(&other, 1)
        });
        let first = check(&table, 1);
        let second = second.join().expect("no panic");
        // Two requests may be allowed only if the first counter was evicted, and no third key evicts it.
        assert!(first ^ second, "a limit of one admits one");
    });
}

#[test]
fn two_threads_that_record_one_key_lose_no_cost() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        let other = Arc::clone(&table);
        let second = thread::spawn(move || record(&other, 1));
        record(&table, 1);
        second.join().expect("no panic");
        assert_eq!(table.find(1).map(|(_, word)| word.payload()), Some(2));
    });
}

#[test]
fn a_record_during_a_reset_keeps_one_slot() {
    model(|| {
        let table = Arc::new(Table::new(2, false));
        record(&table, 1);
        let other = Arc::clone(&table);
        let second = thread::spawn(move || {
            if let Some((slot, word)) = other.find(1) {
                let _lost = slot.replace(word, 0).is_err();
            }
            record(&other, 1);
        });
        record(&table, 1);
        second.join().expect("no panic");
        let counted = table.find(1).map_or(0, |(_, word)| word.payload());
        assert!((1..=3).contains(&counted), "{counted}");
        assert_eq!(table.live(0, 0).count(), usize::from(counted > 0));
    });
}
