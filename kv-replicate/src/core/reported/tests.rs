use super::*;
use crate::core::testing::{PEER, dot, origins, vector};

/// A message with counts of these origins: number, the id if it is named, and the count.
fn delta(number: u64, base: u64, counts: &[(u32, Option<u8>, u64)]) -> ProgressDelta {
    let count = |(number, id, seq): &(u32, Option<u8>, u64)| Count {
        number: *number,
        origin: id.map(|id| OriginId([id; 16])),
        seq: *seq,
    };
    let opened = if base == 0 { Opened::Nothing } else { Opened::AsBefore };
    let counts = counts.iter().map(count).collect();
    ProgressDelta { number, base, opened, counts, ..ProgressDelta::default() }
}

fn dots(dots: &[(u8, u64)]) -> Vec<Dot> {
    dots.iter().map(|(id, seq)| Dot { origin: OriginId([*id; 16]), seq: *seq }).collect()
}

fn take(reported: &mut Reported, delta: ProgressDelta) -> Result<Taken, &'static str> {
    reported.take(Duration::from_millis(50), delta)
}

/// A peer that has reported two origins, in a message without a base.
fn reported() -> Reported {
    let mut reported = Reported::default();
    let first = delta(3, 0, &[(0, Some(1), 5), (1, Some(2), 6)]);
    assert_eq!(take(&mut reported, first), Ok(Taken::Changed(dots(&[(1, 5), (2, 6)]))));
    reported
}

fn counts(reported: &Reported) -> Vec<Dot> {
    reported.progress().durable.iter().collect()
}

#[test]
fn a_message_changes_what_was_reported_in_its_base() {
    let mut reported = reported();
    let second = delta(4, 3, &[(1, None, 8), (2, Some(3), 1)]);
    assert_eq!(take(&mut reported, second), Ok(Taken::Changed(dots(&[(2, 8), (3, 1)]))));
    assert_eq!(counts(&reported), dots(&[(1, 5), (2, 8), (3, 1)]));
    assert_eq!(reported.echo(Duration::from_millis(70)), Some(Echo { number: 4, held_ms: 20 }));
}

#[test]
fn lost_repeated_and_late_messages_change_nothing() {
    let mut reported = reported();
    // The second was lost. What it changed is in the third too, because its base is the first.
    let third = delta(5, 3, &[(0, None, 7), (1, None, 9)]);
    assert!(matches!(take(&mut reported, third.clone()), Ok(Taken::Changed(_))));
    let after = counts(&reported);
    assert_eq!(after, dots(&[(1, 7), (2, 9)]));
    for late in [third, delta(4, 3, &[(0, None, 6)])] {
        assert_eq!(take(&mut reported, late), Ok(Taken::Stale));
        assert_eq!(counts(&reported), after);
    }
}

#[test]
fn a_message_whose_base_is_not_here_does_not_count() {
    let mut reported = Reported::default();
    assert_eq!(take(&mut reported, delta(4, 3, &[(0, None, 7)])), Ok(Taken::Baseless));
    assert_eq!(reported.echo(Duration::ZERO), None, "its sender learns that nothing is here");
    let whole = delta(5, 0, &[(0, Some(1), 7)]);
    assert_eq!(take(&mut reported, whole), Ok(Taken::Changed(dots(&[(1, 7)]))));
}

#[test]
fn a_message_without_a_base_is_in_the_place_of_everything() {
    let mut reported = reported();
    let whole = delta(4, 0, &[(0, Some(2), 6), (1, Some(3), 1)]);
    assert_eq!(take(&mut reported, whole), Ok(Taken::Changed(dots(&[(3, 1)]))));
    assert_eq!(counts(&reported), dots(&[(2, 6), (3, 1)]));
}

#[test]
fn a_count_may_fall_and_end() {
    let mut reported = reported();
    let fallen = delta(4, 3, &[(0, None, 4), (1, None, 0)]);
    assert_eq!(take(&mut reported, fallen), Ok(Taken::Changed(dots(&[(1, 4), (2, 0)]))));
    assert_eq!(counts(&reported), dots(&[(1, 4)]));
}

#[test]
fn a_number_that_no_origin_has_or_another_one_has_violates_the_protocol() {
    for wrong in [delta(4, 3, &[(7, None, 1)]), delta(4, 3, &[(0, Some(9), 1)])] {
        let mut reported = reported();
        assert!(take(&mut reported, wrong).is_err());
    }
}

#[test]
fn the_origins_of_a_process_are_those_of_the_base_if_a_message_does_not_name_them() {
    let mut reported = Reported::default();
    let pair = Opened::Pair(origins(PEER));
    let named = ProgressDelta { opened: pair, ..delta(1, 0, &[(0, Some(PEER.0[0]), 3)]) };
    take(&mut reported, named).unwrap();
    take(&mut reported, delta(2, 1, &[])).unwrap();
    assert_eq!(reported.progress().origins, Some(origins(PEER)));
    assert_eq!(reported.progress().durable, vector(3));
    assert_eq!(counts(&reported), [dot(3)]);
    let none = ProgressDelta { opened: Opened::Nothing, ..delta(3, 2, &[]) };
    take(&mut reported, none).unwrap();
    assert_eq!(reported.progress().origins, None);
}
