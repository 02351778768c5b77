//! Damaged rows of the dot index: a walk fails until they are made again, and one that began before begins again.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{Case, key};
use kv_core::{
    DamagedKey, Dot, ReadError, Table, VersionVector,
    commit::{Applied, Remote},
};

/// The names of the entries of the namespace that a walk over everything gives, of those too that are damaged; none if
/// the index must be checked before.
fn walked(case: &mut Case) -> Option<Vec<String>> {
    let (namespace, view) = (case.namespace, case.store.view());
    let (mut names, mut after) = (Vec::new(), None);
    let number = view.index_number();
    loop {
        let read = match view.rows_missing_in(&VersionVector::default(), after, 2) {
            Err(ReadError::Damaged { table: Table::Dots, .. }) => return None,
            read => read.unwrap(),
        };
        let changes = read.changes.into_iter().filter(|change| change.namespace == namespace);
        names.extend(changes.map(|change| change.key));
        names.extend(read.damaged.into_iter().map(|damaged| damaged.key));
        after = read.next;
        if after.is_none() {
            break;
        }
    }
    number?;
    assert_eq!(view.index_number(), number);
    let mut names: Vec<_> =
        names.iter().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect();
    names.sort();
    Some(names)
}

/// Collects garbage until nothing is left to do. Returns how many rows of the index were written or removed.
fn check(case: &mut Case) -> usize {
    let mut reindexed = 0;
    loop {
        let step = case.collect();
        reindexed += step.reindexed;
        if !step.more {
            return reindexed;
        }
    }
}

fn names(all: &[&str]) -> Option<Vec<String>> {
    Some(all.iter().map(|name| (*name).into()).collect())
}

/// A store with the entries `a`, `b` and `c`.
fn case() -> Case {
    let mut case = Case::new();
    ["a", "b", "c"].iter().for_each(|name| case.put(name));
    case
}

#[test]
fn a_walk_ends_at_a_damaged_row_of_the_index_until_it_is_made_again() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    assert_eq!(case.store.view().index_number(), Some(0), "nobody has met it");
    assert_eq!((walked(&mut case), case.store.view().index_number()), (None, None));
    assert!(case.store.view().changes(&VersionVector::default(), None, 99).is_err());
    assert_eq!(check(&mut case), 1);
    assert_eq!(walked(&mut case), names(&["a", "b", "c"]));
    assert_eq!(case.store.view().index_number(), Some(2), "a walk that began before begins again");
    assert_eq!(check(&mut case), 0, "all is well");
}

#[test]
fn a_view_from_before_the_check_shows_no_peer_the_index() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    let before = case.store.view();
    walked(&mut case);
    check(&mut case);
    assert_eq!(before.index_number(), None);
    assert!(before.rows_missing_in(&VersionVector::default(), None, 99).is_err());
    assert_eq!(case.store.view().index_number(), Some(2), "what it shows is repaired already");
}

#[test]
fn a_check_that_finds_nothing_to_do_ends_too() {
    let mut case = case();
    let row = case.indexed("b");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    walked(&mut case);
    case.put("b");
    assert_eq!((check(&mut case), walked(&mut case)), (0, names(&["a", "b", "c"])));
}

#[test]
fn a_walk_beyond_a_damaged_row_needs_no_other() {
    let mut case = case();
    let row = case.indexed("a");
    case.damage(Table::Dots, std::slice::from_ref(&row));
    let all = case.store.view().vector().clone();
    assert!(case.store.view().changes(&all, None, 9).unwrap().changes.is_empty());
}

/// The names of the entries that a walk gives beyond what a vector counts, whether it ends or not.
fn some_beyond(case: &mut Case, since: &VersionVector) -> (Vec<String>, bool) {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let Ok(read) = case.store.view().rows_missing_in(since, after, 3) else {
            return (names, false);
        };
        names.extend(read.changes.iter().map(|one| String::from_utf8_lossy(&one.key).into_owned()));
        after = read.next;
        if after.is_none() {
            return (names, case.store.view().index_number().is_some());
        }
    }
}

#[test]
fn no_walk_ends_without_a_row_whatever_bit_of_a_key_of_the_index_flips_on_the_disk() {
    let all: Vec<_> = (0..24).map(|number| format!("{number:02}")).collect();
    let mut repaired = 0;
    for (at, bit) in (0..12).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut case = Case::new();
        for name in &all {
            // Overwritten rows leave gaps, in which a key stays in order if one of its last bits flips.
            [name, "x", "x", "x"].iter().for_each(|name| case.put(name));
        }
        let own = case.store.view().own_origins().unwrap()[0];
        let last = case.store.view().vector().get(own);
        let row = case.indexed(&all[12]);
        let since = |behind: u64| {
            [Dot { origin: own, seq: last - 4 * behind }].into_iter().collect::<VersionVector>()
        };
        case.flip_key(Table::Dots, &row, at, 1 << bit).unwrap();
        for round in 0..2 {
            for behind in 1..24 {
                let (names, is_whole) = some_beyond(&mut case, &since(behind));
                let expected = &all[24 - usize::try_from(behind).unwrap()..];
                let has_all = expected.iter().all(|name| names.contains(name));
                assert!(has_all || !is_whole, "byte {at}, bit {bit}, round {round}: {names:?}");
                repaired += usize::from(round == 1 && behind == 23 && is_whole);
            }
            case.try_check();
        }
    }
    assert!(repaired >= 2, "a row whose key is in order comes back: {repaired}");
}

#[test]
fn an_entry_that_the_index_lacks_is_noticed_by_a_check_of_the_rows() {
    let mut case = case();
    let row = case.indexed("b");
    case.write(vec![(Table::Dots, row, None)]);
    assert_eq!((walked(&mut case), check(&mut case)), (names(&["a", "c"]), 0));
    let view = case.store.view();
    for name in ["a", "b"] {
        let found = view.row(case.namespace, name.as_bytes()).unwrap().unwrap();
        view.check_indexed((case.namespace, name.as_bytes()), &found).unwrap();
    }
    assert_eq!(case.store.view().index_number(), None);
    assert_eq!(check(&mut case), 1);
    assert_eq!(walked(&mut case), names(&["a", "b", "c"]));
}

#[test]
fn the_damaged_row_of_a_damaged_entry_is_known_to_be_its_own() {
    let mut case = case();
    case.add_member();
    let (row, entry) = (case.indexed("b"), [&case.namespace.0[..], b"b"].concat());
    case.damage(Table::Dots, std::slice::from_ref(&row));
    case.damage(Table::Entries, &[entry]);
    assert_eq!(walked(&mut case), None);
    assert_eq!(check(&mut case), 1);
    assert_eq!(
        walked(&mut case),
        names(&["a", "b", "c"]),
        "the receiver must know that it lacks b"
    );
    assert_eq!(case.owed(), [b"b".to_vec()]);
}

/// The names of the entries that a location which lacks the last write is told to be damaged.
fn told(case: &mut Case) -> Vec<Vec<u8>> {
    let own = case.store.view().own_origins().or(case.pair).unwrap()[0];
    let view = case.store.view();
    let mut since = view.vector().clone();
    since.lower(own, since.get(own) - 1);
    let read = view.rows_missing_in(&since, None, 9).unwrap();
    assert_eq!(read.next, None);
    read.damaged.iter().map(|damaged| damaged.key.to_vec()).collect()
}

#[test]
fn a_damaged_row_of_the_index_may_be_of_any_damaged_entry_and_each_walk_names_all_of_them() {
    let mut case = case();
    case.add_member();
    case.pair = case.store.view().own_origins();
    let rows = ["a", "b"].map(|name| case.indexed(name));
    let entry = |name: &[u8]| [&case.namespace.0[..], name].concat();
    let entries = [entry(b"a"), entry(b"b")];
    case.damage(Table::Dots, &rows[..1]);
    case.damage(Table::Entries, &entries);
    assert_eq!((walked(&mut case), check(&mut case)), (None, 1), "the damaged row is removed");
    for _ in 0..2 {
        // The index names b, but it may do so under a dot that b had before.
        assert_eq!(walked(&mut case), names(&["a", "b", "b", "c"]));
        assert_eq!(told(&mut case), [b"a", b"b"], "it has the writes of both, and may not know");
        case.reopen();
    }
    let all = case.store.view().vector().clone();
    assert_eq!(case.store.view().rows_missing_in(&all, None, 9).unwrap().damaged, []);
    let (namespace, key) = (case.namespace, key("a"));
    case.put("a");
    case.apply(Remote::Settled { namespace, key, is_nothing: false, is_destroyed: false });
    assert_eq!(told(&mut case), [b"b"]);
}

#[test]
fn a_damaged_entry_that_the_index_lacks_is_named_by_each_walk() {
    let mut case = case();
    case.add_member();
    let [a, b] = ["a", "b"].map(|name| case.indexed(name));
    let entry = [&case.namespace.0[..], b"b"].concat();
    case.write(vec![(Table::Dots, b, None)]);
    // The check begins with another row.
    case.damage(Table::Dots, &[a]);
    case.damage(Table::Entries, &[entry]);
    assert_eq!((walked(&mut case), check(&mut case)), (None, 1));
    assert_eq!(walked(&mut case), names(&["a", "b", "c"]));
}

#[test]
fn what_a_source_could_not_place_is_owed_by_those_that_lack_any_of_its_writes_and_named_in_turn() {
    for lacks in [false, true] {
        let mut case = case();
        case.add_member();
        case.pair = case.store.view().own_origins();
        let own = case.pair.unwrap()[0];
        case.reopen();
        let (namespace, floor, collected) =
            (case.namespace, kv_core::Hlc::ZERO, VersionVector::default());
        let mut vector = case.store.view().vector().clone();
        vector.raise(own, vector.get(own) + u64::from(lacks));
        let damaged = vec![DamagedKey { namespace, key: key("a"), dot: kv_core::UNPLACED }];
        case.apply(Remote::Adopt { vector, collected, floor, damaged });
        let expected = if lacks { vec![b"a".to_vec()] } else { Vec::new() };
        assert_eq!((case.owed(), told(&mut case)), (expected.clone(), expected.clone()));
        // It may be later than a local write.
        case.put("a");
        assert_eq!(case.owed(), expected);
    }
}

#[test]
fn a_damaged_row_of_the_index_refuses_no_joined_row_of_a_peer() {
    let mut case = case();
    case.add_member();
    let member = kv_core::Member::key(kv_core::MemberId([6; 16]));
    let found = case.store.view().row(kv_core::NamespaceId::SYSTEM, &member).unwrap().unwrap();
    let entry = [&[0; 16][..], &member].concat();
    let rows = case.rows(Table::Dots);
    let row = rows.iter().find(|(_, row)| row.starts_with(&entry)).unwrap().0.clone();
    case.damage(Table::Dots, &[row]);
    let change = kv_core::commit::NewContent::Joined(found.joined().unwrap().clone());
    let (dot, hlc, prev) = (found.dot, found.version.hlc, None);
    let (namespace, key) = (kv_core::NamespaceId::SYSTEM, kv_core::Key::new(&member[..]).unwrap());
    let write = kv_core::commit::RemoteWrite { dot, hlc, prev, namespace, key, change };
    assert_eq!(case.apply(Remote::Found(write)), Applied::Known);
    assert_eq!(check(&mut case), 1);
}

#[test]
fn what_a_source_could_not_read_keeps_its_name_when_its_row_of_the_index_is_damaged() {
    let mut case = case();
    case.add_member();
    let own = case.store.view().own_origins().unwrap()[0];
    case.reopen();
    let (namespace, dot) = (case.namespace, Dot { origin: own, seq: 40 });
    let damaged = ["x", "y"].map(|name| {
        let dot = Dot { seq: dot.seq + u64::from(name == "y"), ..dot };
        DamagedKey { namespace, key: key(name), dot }
    });
    let (vector, collected) = ([dot].into_iter().collect(), VersionVector::default());
    let floor = kv_core::Hlc::ZERO;
    case.apply(Remote::Adopt { vector, collected, floor, damaged: damaged.into() });
    let rows = ["x", "y"].map(|name| case.indexed(name));
    case.damage(Table::Dots, &rows);
    walked(&mut case);
    assert_eq!(check(&mut case), 2);
    assert_eq!(walked(&mut case), names(&["a", "b", "c", "x", "y"]));
}
