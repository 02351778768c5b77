//! Two locations verify that they hold the same.
#![expect(clippy::unwrap_used, reason = "tests")]

mod pair;
mod rows;

use kv_core::{Attributes, Key, Metadata, Operation, Table};
use kv_replicate::{
    Ending, Event,
    inspect::{Held, Kind},
};
use pair::{Copies, Pair, member, namespace};

fn plain() -> Attributes {
    Attributes::default()
}

/// Two equal locations with values of all sizes, metadata, expiries and tombstones.
fn equal_pair() -> Pair {
    let mut pair = Pair::new();
    for n in 0..40 {
        let attributes = Attributes {
            metadata: (n % 3 == 0).then(|| Metadata::new(format!("{n}")).unwrap()),
            expires_at: (n % 5 == 0).then_some(100_000),
        };
        pair.put(n % 2, &format!("key {n}"), &vec![7; n * 300], attributes);
    }
    pair.put(0, "large", &[9; 200_000], plain());
    pair.put(1, "gone", b"x", plain());
    pair.run_for(500);
    let key = Key::new("gone").unwrap();
    pair.write(1, vec![Operation::Delete { namespace: namespace(), key }]);
    pair.run_for(2000);
    pair
}

/// Verifies from both sides: exactly these keys must differ, with these kinds of row at node 0 and node 1.
fn finds(pair: &mut Pair, wanted: &[(&str, [&str; 2])]) {
    for node in 0..2 {
        let verdict = pair.verify(node);
        assert_eq!(verdict.ending, Ending::Complete);
        assert_eq!(
            (verdict.differing, verdict.unsettled.keys()),
            (wanted.len() as u64, 0),
            "{verdict:?}"
        );
        assert_eq!(verdict.is_equal(), wanted.is_empty());
        let reported = pair.differences.iter().map(|(_, difference)| &difference.place);
        assert!(reported.eq(&verdict.places), "{verdict:?}");
        let mut found: Vec<_> = (pair.differences.drain(..))
            .map(|(_, difference)| {
                let key = String::from_utf8(difference.place.key.to_vec()).unwrap();
                let mut held = [difference.ours, difference.theirs].map(name);
                if node == 1 {
                    held.reverse();
                }
                (key, held)
            })
            .collect();
        found.sort();
        let wanted: Vec<_> = wanted.iter().map(|(key, held)| ((*key).to_owned(), *held)).collect();
        assert_eq!(found, wanted, "seen from {node}");
    }
}

fn name(held: Option<Held>) -> &'static str {
    match held {
        None => "nothing",
        Some(Held::Damaged) => "damaged",
        Some(Held::Row(row)) => match row.kind {
            Kind::Value => "value",
            Kind::Deleted => "deleted",
            Kind::Expired => "expired",
            Kind::Joined => "joined",
        },
    }
}

#[test]
fn two_stores_that_hold_the_same_verify_equal() {
    let mut pair = equal_pair();
    finds(&mut pair, &[]);
    let verdict = pair.verify(0);
    // Two members, the namespace, the origins of both, 40 keys, a large one and a tombstone.
    assert_eq!((verdict.rows, verdict.damaged), (49, [0, 0]));
}

#[test]
fn both_may_verify_each_other_at_once_and_two_requests_share_a_verdict() {
    let mut pair = equal_pair();
    for node in [0, 1, 0, 1] {
        pair.tell(node, Event::Verify(member(1 - node)));
    }
    pair.run_for(1000);
    let mut nodes: Vec<_> = pair.verdicts.iter().map(|(node, _)| *node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [0, 1]);
    assert!(pair.verdicts.iter().all(|(_, verdict)| verdict.is_equal()));
}

#[test]
fn a_changed_value_with_a_valid_checksum_is_found() {
    for node in 0..2 {
        let mut pair = equal_pair();
        let key = rows::entry("key 7");
        let row = pair.nodes[node].raw(Table::Entries, &key).unwrap();
        pair.alter(node, vec![(Table::Entries, key.clone(), Some(rows::flipped(&key, &row)))]);
        finds(&mut pair, &[("key 7", ["value", "value"])]);
    }
}

#[test]
fn a_row_that_is_missing_with_its_index_rows_is_found() {
    for (node, held) in [(0, ["nothing", "value"]), (1, ["value", "nothing"])] {
        let mut pair = equal_pair();
        let key = rows::entry("key 8");
        let row = pair.nodes[node].raw(Table::Entries, &key).unwrap();
        let dot = rows::dot(&row);
        pair.alter(node, vec![(Table::Entries, key, None), (Table::Dots, dot, None)]);
        finds(&mut pair, &[("key 8", held)]);
    }
}

#[test]
fn a_row_that_no_client_wrote_is_found() {
    for (node, held) in [(0, ["value", "nothing"]), (1, ["nothing", "value"])] {
        let mut pair = equal_pair();
        let (from, to) = (rows::entry("key 7"), rows::entry("key 7 and more"));
        let row = pair.nodes[node].raw(Table::Entries, &from).unwrap();
        pair.alter(node, vec![(Table::Entries, to.clone(), Some(rows::moved(&to, &row)))]);
        finds(&mut pair, &[("key 7 and more", held)]);
    }
}

#[test]
fn a_missing_tombstone_is_found_unless_it_was_collected() {
    let mut pair = equal_pair();
    let key = rows::entry("gone");
    let row = pair.nodes[0].raw(Table::Deleted, &key).unwrap();
    pair.alter(0, vec![(Table::Deleted, key, None), (Table::Dots, rows::dot(&row), None)]);
    finds(&mut pair, &[("gone", ["nothing", "deleted"])]);
    let mut pair = equal_pair();
    pair.run_for(5000);
    pair.close_time();
    pair.collect_garbage(1);
    assert!(pair.nodes[1].raw(Table::Deleted, &rows::entry("gone")).is_none());
    assert!(pair.nodes[0].raw(Table::Deleted, &rows::entry("gone")).is_some());
    finds(&mut pair, &[]);
}

#[test]
fn an_expired_tombstone_may_remain_on_one_side_only() {
    let mut pair = Pair::new();
    let expires_at = Some(pair.now_ms / 1000 + 2);
    pair.put(0, "short", b"lived", Attributes { metadata: Metadata::new("m").ok(), expires_at });
    pair.put(0, "last", b"one", plain());
    pair.run_for(10_000);
    let has = |pair: &Pair, node: usize, table| {
        pair.nodes[node].raw(table, &rows::entry("short")).is_some()
    };
    // A step makes an expired tombstone. It drops it only below the stable timestamp.
    pair.collect_garbage_below(1, kv_core::Hlc::ZERO);
    assert!(has(&pair, 0, Table::Entries) && has(&pair, 1, Table::Deleted));
    finds(&mut pair, &[]);
    pair.run_for(5000);
    pair.close_time();
    pair.collect_garbage(1);
    assert!(!has(&pair, 1, Table::Entries) && !has(&pair, 1, Table::Deleted));
    finds(&mut pair, &[]);
}

#[test]
fn rows_of_a_dropped_namespace_may_be_gone_on_one_side() {
    let mut pair = equal_pair();
    pair.write(0, vec![Operation::DropNamespace { id: namespace() }]);
    pair.run_for(1000);
    pair.collect_garbage(1);
    assert!(pair.nodes[1].raw(Table::Entries, &rows::entry("key 7")).is_none());
    assert!(pair.nodes[0].raw(Table::Entries, &rows::entry("key 7")).is_some());
    finds(&mut pair, &[]);
}

#[test]
fn a_damaged_row_is_a_difference_on_whichever_side() {
    for (node, held) in [(0, ["damaged", "value"]), (1, ["value", "damaged"])] {
        let mut pair = equal_pair();
        pair.alter(node, vec![(Table::Entries, rows::entry("key 9"), Some(vec![1, 2, 3]))]);
        finds(&mut pair, &[("key 9", held)]);
    }
    let mut pair = equal_pair();
    for node in 0..2 {
        pair.alter(node, vec![(Table::Entries, rows::entry("key 9"), Some(vec![1, 2, 3]))]);
    }
    finds(&mut pair, &[("key 9", ["damaged", "damaged"])]);
}

#[test]
fn an_owed_key_is_counted_as_damaged_whether_there_is_a_row_or_none() {
    for (has_row, differs) in [(true, 0), (false, 1)] {
        for node in 0..2 {
            let mut pair = equal_pair();
            // Nobody sends the row.
            pair.fate = |_, kind| if kind == 20 { Copies::None } else { Copies::One };
            let key = rows::entry("key 9");
            let row = pair.nodes[node].raw(Table::Entries, &key).unwrap();
            let owed = [&1_000_000_u64.to_be_bytes()[..], &[1]].concat();
            let mut batch = vec![(Table::Owed, key.clone(), Some(owed))];
            if !has_row {
                batch.extend([(Table::Entries, key, None), (Table::Dots, rows::dot(&row), None)]);
            }
            pair.alter(node, batch);
            let verdict = pair.verify(node);
            assert_eq!((verdict.damaged, verdict.differing), ([1, 0], differs), "{verdict:?}");
            assert!(!verdict.is_equal());
            let verdict = pair.verify(1 - node);
            assert_eq!((verdict.damaged, verdict.differing), ([0, 1], differs), "{verdict:?}");
        }
    }
}

#[test]
fn a_row_with_an_invalid_name_is_counted_as_damaged() {
    let mut pair = equal_pair();
    for name in [vec![255; 3], vec![7; 2000]] {
        pair.alter(0, vec![(Table::Entries, name, Some(vec![1, 2, 3]))]);
    }
    let verdict = pair.verify(0);
    assert_eq!((verdict.damaged, verdict.differing, verdict.is_equal()), ([2, 0], 0, false));
    assert_eq!(pair.verify(1).damaged, [0, 2]);
}

#[test]
fn a_write_that_the_peer_has_not_received_is_unsettled_and_not_a_difference() {
    let mut pair = equal_pair();
    let key = rows::entry("key 7");
    let row = pair.nodes[0].raw(Table::Entries, &key).unwrap();
    pair.alter(0, vec![(Table::Entries, key.clone(), Some(rows::flipped(&key, &row)))]);
    // No rows arrive, live or in a session; everything else does.
    pair.fate = |_, kind| if matches!(kind, 5 | 7) { Copies::None } else { Copies::One };
    for n in 0..3 {
        pair.put(0, &format!("new {n}"), b"value", plain());
    }
    pair.put(1, "key 8", b"value", plain());
    for node in 0..2 {
        let verdict = pair.verify(node);
        assert_eq!((verdict.differing, verdict.unsettled.keys()), (1, 4), "{verdict:?}");
        // Each end names the writes that it has not received, and those that the other has not.
        let missing = (verdict.unsettled.not_here, verdict.unsettled.not_there);
        assert_eq!(missing, if node == 0 { (1, 3) } else { (3, 1) }, "{verdict:?}");
    }
    // Writes that arrive before the next reading are settled.
    pair.tell(0, Event::Verify(member(1)));
    pair.run_for(500);
    pair.fate = |_, _| Copies::One;
    let verdict = pair.verdict();
    assert_eq!((verdict.differing, verdict.unsettled.keys()), (1, 0), "{verdict:?}");
}

#[test]
fn a_link_that_loses_repeats_and_reorders_does_not_change_the_verdict() {
    let mut pair = equal_pair();
    let key = rows::entry("key 8");
    let row = pair.nodes[0].raw(Table::Entries, &key).unwrap();
    pair.alter(0, vec![(Table::Entries, key, None), (Table::Dots, rows::dot(&row), None)]);
    pair.fate = |n, _| match n * 7 % 11 {
        0..4 => Copies::None,
        4..8 => Copies::Two,
        _ => Copies::One,
    };
    finds(&mut pair, &[("key 8", ["nothing", "value"])]);
}

#[test]
fn a_verification_ends_with_its_link() {
    let mut pair = equal_pair();
    pair.fate = |_, _| Copies::None;
    pair.tell(0, Event::Verify(member(1)));
    pair.tell(0, Event::Disconnected(member(1)));
    assert_eq!(pair.verdict().ending, Ending::LinkLost);
    // A verification without a link does not begin.
    assert_eq!(pair.verify(0).ending, Ending::LinkLost);
}

#[test]
fn a_verification_ends_if_a_peer_is_silent_or_a_disk_unreadable() {
    let mut pair = equal_pair();
    pair.is_unreadable[1] = true;
    assert_eq!(pair.verify(0).ending, Ending::PeerUnreadable);
    pair.is_unreadable = [true, false];
    assert_eq!(pair.verify(0).ending, Ending::Unreadable);
    pair.is_unreadable = [false; 2];
    pair.fate = |_, _| Copies::None;
    assert_eq!(pair.verify(0).ending, Ending::PeerSilent);
}

#[test]
fn equal_stores_cost_few_messages_and_a_difference_few_more() {
    let mut pair = Pair::new();
    let rows: u64 = 20_000;
    for part in 0..rows / 200 {
        let mut operations = Vec::new();
        for n in 0..200 {
            let mut upload = pair.nodes[0].store.committer().upload();
            upload.push(&[8; 100]).unwrap();
            let (_, body) = upload.finish();
            let key = Key::new(format!("key {:08}", part * 200 + n)).unwrap();
            operations.push(Operation::Put {
                namespace: namespace(),
                key,
                body,
                attributes: plain(),
            });
        }
        pair.write(0, operations);
        pair.run_for(20);
    }
    pair.run_for(3000);
    let cost = |pair: &mut Pair, others: u64| {
        let before = (pair.messages, pair.bytes, pair.inspections);
        let verdict = pair.verify(0);
        assert_eq!((verdict.ending, verdict.rows), (Ending::Complete, rows + others));
        (pair.messages - before.0, pair.bytes - before.1, pair.inspections - before.2)
    };
    // Two members, the two origins of the one that writes, and the namespace are rows too.
    let (messages, bytes, inspections) = cost(&mut pair, 5);
    assert_eq!(pair.progress, 2);
    // Ten ranges, with a question and an answer each, and a few progress messages.
    assert!(messages <= 30, "{messages} messages");
    assert!(bytes <= 6_000, "{bytes} bytes");
    assert_eq!(inspections, 20);
    let key = rows::entry("key 00012345");
    let row = pair.nodes[0].raw(Table::Entries, &key).unwrap();
    pair.alter(0, vec![(Table::Entries, key.clone(), Some(rows::flipped(&key, &row)))]);
    // The altered location was restarted, and has opened two origins more.
    let (_, bytes, inspections) = cost(&mut pair, 7);
    assert_eq!(pair.differences.len(), 1);
    // One range was listed.
    assert!(bytes <= 300_000, "{bytes} bytes");
    assert!(inspections <= 40, "{inspections} inspections");
}

#[test]
fn many_differences_are_all_counted_and_the_first_hundred_reported() {
    let mut pair = Pair::new();
    for n in 0..3000 {
        pair.put(0, &format!("key {n:04}"), b"value", plain());
    }
    pair.run_for(3000);
    let mut batch = Vec::new();
    for n in 0..2500 {
        let key = rows::entry(&format!("key {n:04}"));
        let row = pair.nodes[1].raw(Table::Entries, &key).unwrap();
        batch.push((Table::Dots, rows::dot(&row), None));
        batch.push((Table::Entries, key, None));
    }
    pair.alter(1, batch);
    for node in 0..2 {
        let verdict = pair.verify(node);
        assert_eq!((verdict.differing, verdict.unsettled.keys()), (2500, 0), "{verdict:?}");
        assert_eq!((pair.differences.len(), verdict.places.len()), (100, 100));
    }
}
