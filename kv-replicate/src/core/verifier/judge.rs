//! Decides whether a row that two locations hold differently is wrong, or only on its way.
//!
//! A store whose vector counts a write holds it, or a newer one of that key, or has dropped it for a
//! reason. So if both vectors count the writes of both rows, both stores must hold the newer one. A store
//! may drop a tombstone, or an expired value, that all members had at that time.
//!
//! The order of the readings matters. The peer may have replaced a row that was read here by a tombstone,
//! and have dropped that, all between two readings. But it dropped it only when this location had it
//! durably. So a store that is seen to hold nothing is compared with a *later* reading of the other: this
//! location is read before and after the peer.

use kv_core::{Dot, Version, VersionVector};

use super::comparison::Side;
use crate::{
    inspect::{Held, Kind, Looked, Reading, Summary},
    verdict::Reason,
};

/// The judgement on a key that differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The difference is allowed, or is none.
    Equal,
    /// It can't be judged yet.
    Unsettled(Reason),
    /// It is wrong: the row here, and the row there.
    Differs(Option<Held>, Option<Held>),
}

/// Judges the row `at` of three readings: here, then there, then here again.
pub(super) fn judge(
    first: &Reading,
    theirs: &Reading,
    last: &Reading,
    at: usize,
    wall_ms: u64,
) -> Judgement {
    let readings = [first, theirs, last].map(|reading| reading.rows[at]);
    let dropped_at = readings.iter().filter_map(|looked| looked.dropped_at).max();
    let [before, there, after] = readings.map(|looked| without_dead(looked, dropped_at));
    if are_equal(before, there) || are_equal(there, after) {
        return Judgement::Equal;
    }
    let row = |looked: Looked| match looked.held {
        Some(Held::Row(summary)) => Ok(Some(summary)),
        Some(Held::Damaged) => Err(()),
        None => Ok(None),
    };
    let (Ok(a), Ok(b), Ok(c)) = (row(before), row(there), row(after)) else {
        return if [there.held, after.held].contains(&Some(Held::Damaged)) {
            Judgement::Differs(after.held, there.held)
        } else {
            // It was damaged before, and was written again meanwhile.
            Judgement::Unsettled(Reason::Written)
        };
    };
    if is_joined(there) || is_joined(after) {
        return judge_joined(first, theirs, last, at);
    }
    match (a, b, c) {
        (_, Some(b), Some(c)) => {
            let missing = [c.dot(), b.dot()].into_iter().find_map(|dot| missing(theirs, last, dot));
            missing.map_or(Judgement::Differs(after.held, there.held), Judgement::Unsettled)
        }
        (_, None, Some(c)) => match lacks((theirs, Side::Theirs), &c, &last.vector, wall_ms) {
            Judgement::Differs(..) => Judgement::Differs(after.held, None),
            other => other,
        },
        (None, Some(b), None) => match lacks((first, Side::Ours), &b, &theirs.vector, wall_ms) {
            Judgement::Differs(..) => Judgement::Differs(None, there.held),
            other => other,
        },
        // It was dropped during the readings.
        (_, _, None) => Judgement::Unsettled(Reason::Written),
    }
}

/// The reason not to judge by a write that has not arrived at one of the two; none if both count it.
fn missing(theirs: &Reading, ours: &Reading, dot: Dot) -> Option<Reason> {
    if !theirs.vector.covers(dot) {
        Some(Reason::NotThere(dot.origin))
    } else if !ours.vector.covers(dot) {
        Some(Reason::NotHere(dot.origin))
    } else {
        None
    }
}

/// Whether a joined row is there.
fn is_joined(looked: Looked) -> bool {
    matches!(looked.held, Some(Held::Row(summary)) if summary.kind == Kind::Joined)
}

/// Judges a joined row. It comes from several writes, and a summary names the last of them only. So it is judged when
/// each store counts all that its own row comes from and all that the other counts.
fn judge_joined(first: &Reading, theirs: &Reading, last: &Reading, at: usize) -> Judgement {
    let (before, there, after) = (first.rows[at], theirs.rows[at], last.rows[at]);
    let is_same = first.vector == last.vector && before == after;
    let mut writes = last.vector.iter().chain(theirs.vector.iter());
    if let Some(reason) = writes.find_map(|dot| missing(theirs, last, dot)) {
        Judgement::Unsettled(reason)
    } else if is_same && there.is_counted && after.is_counted {
        Judgement::Differs(after.held, there.held)
    } else {
        Judgement::Unsettled(Reason::Written)
    }
}

/// Judges a row that one store, on this side, lacks, and the other holds at a later reading.
fn lacks(
    (lacking, side): (&Reading, Side),
    held: &Summary,
    holder: &VersionVector,
    wall_ms: u64,
) -> Judgement {
    let dot = held.dot();
    let (not_at_lacking, not_at_holder): (fn(_) -> _, fn(_) -> _) = match side {
        Side::Ours => (Reason::NotHere, Reason::NotThere),
        Side::Theirs => (Reason::NotThere, Reason::NotHere),
    };
    if !lacking.vector.covers(dot) {
        return Judgement::Unsettled(not_at_lacking(dot.origin));
    }
    // A store that does not count a collected deletion is about to be rebuilt.
    let mut behind = [dot].into_iter().chain(lacking.collected.iter());
    if let Some(dot) = behind.find(|dot| !holder.covers(*dot)) {
        return Judgement::Unsettled(not_at_holder(dot.origin));
    }
    if !lacking.collected.covers(dot) {
        return Judgement::Differs(None, None);
    }
    match (held.kind, held.expires_at) {
        (Kind::Deleted | Kind::Expired, _) => Judgement::Equal,
        (Kind::Value, Some(at)) if at.saturating_mul(1000) <= wall_ms => Judgement::Equal,
        // The other location's clock may be ahead of this one.
        (Kind::Value, Some(_)) => Judgement::Unsettled(Reason::Clocks),
        (Kind::Value, None) | (Kind::Joined, _) => Judgement::Differs(None, None),
    }
}

/// The state of a name without a row that is dead: one store removes it before the other does, or before the other knows
/// that its namespace was dropped.
fn without_dead(looked: Looked, dropped_at: Option<Version>) -> Looked {
    let is_dead = |held: &Held| match held {
        Held::Row(summary) => dropped_at.is_some_and(|dropped_at| summary.version <= dropped_at),
        Held::Damaged => false,
    };
    Looked { held: looked.held.filter(|held| !is_dead(held)), ..looked }
}

/// Whether two states of a name need no further judgement.
fn are_equal(one: Looked, other: Looked) -> bool {
    match (one.held, other.held) {
        (None, None) => true,
        (Some(Held::Row(one)), Some(Held::Row(other))) => {
            one.digest == other.digest
                || is_expired_tombstone_of(&one, &other)
                || is_expired_tombstone_of(&other, &one)
        }
        _ => false,
    }
}

/// Whether one is what remains of the other after its expiry.
fn is_expired_tombstone_of(expired_tombstone: &Summary, value: &Summary) -> bool {
    (expired_tombstone.kind, value.kind) == (Kind::Expired, Kind::Value)
        && (expired_tombstone.version, expired_tombstone.seq, expired_tombstone.expires_at)
            == (value.version, value.seq, value.expires_at)
}

#[cfg(test)]
mod tests {
    use kv_core::{Dot, Hlc, OriginId, Version};

    use super::*;

    const WALL_MS: u64 = 50_000;

    const ORIGIN: OriginId = OriginId([1; 16]);

    fn row(seq: u64, kind: Kind, expires_at: Option<u64>) -> Held {
        let version = Version { hlc: Hlc(seq), origin: ORIGIN };
        let digest = [u8::try_from(seq).unwrap() * 8 + kind.number(); 32];
        Held::Row(Summary { version, seq, kind, expires_at, digest })
    }

    fn value(seq: u64) -> Option<Held> {
        Some(row(seq, Kind::Value, None))
    }

    fn expiring(seq: u64, at: u64) -> Option<Held> {
        Some(row(seq, Kind::Value, Some(at)))
    }

    fn tombstone(seq: u64) -> Option<Held> {
        Some(row(seq, Kind::Deleted, None))
    }

    /// A reading whose vector and collected vector have reached these sequence numbers.
    fn reading(held: Option<Held>, counts: u64, collected: u64) -> Reading {
        let vector =
            |seq: u64| (seq > 0).then_some(Dot { origin: ORIGIN, seq }).into_iter().collect();
        let rows = vec![Looked { is_counted: true, dropped_at: None, held }];
        let collected_upto = Hlc::ZERO;
        Reading { vector: vector(counts), collected: vector(collected), collected_upto, rows }
    }

    fn check(ours: Reading, theirs: Reading) -> Judgement {
        judge(&ours, &theirs, &ours.clone(), 0, WALL_MS)
    }

    #[test]
    fn a_row_that_one_side_has_not_received_is_unsettled() {
        let (not_here, not_there) = (Reason::NotHere(ORIGIN), Reason::NotThere(ORIGIN));
        for (ours, theirs, reason) in [
            (reading(value(2), 2, 0), reading(value(1), 1, 0), not_there),
            (reading(value(1), 1, 0), reading(value(2), 2, 0), not_here),
            (reading(None, 1, 0), reading(value(2), 2, 0), not_here),
            (reading(value(2), 2, 0), reading(None, 1, 0), not_there),
            // A row of a session whose vector is not adopted yet.
            (reading(value(2), 1, 0), reading(None, 2, 0), not_here),
            // A deletion was collected at one end, and has not arrived at the other: that one will be rebuilt.
            (reading(value(2), 2, 0), reading(None, 9, 5), not_here),
            (reading(None, 9, 5), reading(value(2), 2, 0), not_there),
        ] {
            assert_eq!(check(ours, theirs), Judgement::Unsettled(reason));
        }
    }

    #[test]
    fn a_row_that_both_sides_have_received_must_be_equal() {
        let differs = |ours, theirs| {
            let judgement = check(reading(ours, 9, 0), reading(theirs, 9, 0));
            assert_eq!(judgement, Judgement::Differs(ours, theirs));
        };
        differs(value(1), value(2));
        differs(value(2), None);
        differs(None, value(2));
        differs(None, tombstone(2));
        differs(value(2), tombstone(2));
        differs(value(2), Some(Held::Damaged));
        differs(Some(Held::Damaged), Some(Held::Damaged));
        differs(Some(Held::Damaged), None);
    }

    #[test]
    fn a_joined_row_differs_only_where_both_sides_count_the_same_writes() {
        let joined = |seq| Some(row(seq, Kind::Joined, None));
        assert_eq!(
            check(reading(joined(1), 9, 0), reading(joined(2), 9, 0)),
            Judgement::Differs(joined(1), joined(2))
        );
        let differs = check(reading(joined(1), 9, 0), reading(None, 9, 0));
        assert_eq!(differs, Judgement::Differs(joined(1), None));
        let ahead = check(reading(joined(1), 8, 0), reading(joined(2), 9, 0));
        assert_eq!(ahead, Judgement::Unsettled(Reason::NotHere(ORIGIN)));
        // A field of it came in a session that has not ended.
        let mut uncounted = reading(joined(2), 9, 0);
        uncounted.rows[0].is_counted = false;
        let pending = Judgement::Unsettled(Reason::Written);
        assert_eq!(check(reading(joined(1), 9, 0), uncounted.clone()), pending);
        assert_eq!(check(uncounted, reading(joined(1), 9, 0)), pending);
    }

    #[test]
    fn a_collected_tombstone_may_be_missing_and_a_value_may_not() {
        let lacks = |theirs| check(reading(None, 9, 5), reading(theirs, 9, 0));
        assert_eq!(lacks(tombstone(5)), Judgement::Equal);
        assert_eq!(lacks(Some(row(5, Kind::Expired, Some(40)))), Judgement::Equal);
        assert_eq!(lacks(expiring(5, 50)), Judgement::Equal);
        assert_eq!(lacks(expiring(5, 51)), Judgement::Unsettled(Reason::Clocks));
        assert_eq!(lacks(value(5)), Judgement::Differs(None, value(5)));
        assert_eq!(lacks(tombstone(6)), Judgement::Differs(None, tombstone(6)));
        let holds = |ours| check(reading(ours, 9, 0), reading(None, 9, 5));
        assert_eq!(holds(tombstone(5)), Judgement::Equal);
        assert_eq!(holds(tombstone(6)), Judgement::Differs(tombstone(6), None));
    }

    #[test]
    fn an_expired_tombstone_equals_its_own_value_and_no_other() {
        let expired_tombstone = |seq, at| Some(row(seq, Kind::Expired, Some(at)));
        let check = |ours, theirs| check(reading(ours, 9, 0), reading(theirs, 9, 0));
        assert_eq!(check(expired_tombstone(5, 40), expiring(5, 40)), Judgement::Equal);
        assert_eq!(check(expiring(5, 40), expired_tombstone(5, 40)), Judgement::Equal);
        assert!(matches!(check(expired_tombstone(5, 40), expiring(6, 40)), Judgement::Differs(..)));
        assert!(matches!(check(expired_tombstone(5, 40), expiring(5, 41)), Judgement::Differs(..)));
    }

    #[test]
    fn rows_that_are_not_later_than_a_drop_that_one_side_knows_may_differ() {
        let mut dropped = reading(None, 9, 0);
        let version = |hlc| Version { hlc: Hlc(hlc), origin: ORIGIN };
        dropped.rows[0].dropped_at = Some(version(5));
        for dead in [value(1), value(5), tombstone(5)] {
            assert_eq!(check(dropped.clone(), reading(dead, 9, 0)), Judgement::Equal);
            assert_eq!(check(reading(dead, 9, 0), dropped.clone()), Judgement::Equal);
        }
        let differs = check(dropped.clone(), reading(value(6), 9, 0));
        assert_eq!(differs, Judgement::Differs(None, value(6)), "it is later");
        let mut created_again = dropped;
        created_again.rows[0].held = value(6);
        let differs = check(created_again, reading(value(5), 9, 0));
        assert_eq!(differs, Judgement::Differs(value(6), None));
    }

    #[test]
    fn a_row_that_is_deleted_and_dropped_between_two_readings_is_not_a_difference() {
        // Value 1 is here. Then its deletion, 2, arrives, and the peer has dropped its tombstone.
        let (first, last) = (reading(value(1), 1, 0), reading(tombstone(2), 2, 0));
        let theirs = reading(None, 2, 2);
        assert_eq!(judge(&first, &theirs, &last, 0, WALL_MS), Judgement::Equal);
        // The same if it is dropped here as well by then.
        let gone = reading(None, 2, 2);
        assert_eq!(judge(&first, &theirs, &gone, 0, WALL_MS), Judgement::Equal);
        // It arrived, was deleted and was dropped here while the peer was read: it is read again.
        let (nothing, theirs) = (reading(None, 0, 0), reading(value(1), 1, 0));
        let judgement = judge(&nothing, &theirs, &gone, 0, WALL_MS);
        assert_eq!(judgement, Judgement::Unsettled(Reason::NotHere(ORIGIN)));
    }
}
