//! Damaged opening rows: their content is known from the partner's, and their origins are counted without them.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, reason = "each test uses a part of it")]
mod common;

use common::{Case, NOW, key, peer::opening};
use kv_core::{
    Attributes, DamagedKey, Dot, Hlc, Key, LOST_MEMBER, Lane, MemberId, NamespaceId, OriginId,
    OriginInfo, Table, VersionVector,
    commit::{Applied, NewContent, Remote, RemoteWrite},
    limits::MAX_LOST_ORIGINS,
};

const THEIRS: OriginId = OriginId([7; 16]);

fn row_of(id: OriginId) -> Vec<u8> {
    [&[0; 16][..], &OriginInfo::key(id)].concat()
}

/// A damaged opening row, as a source names it.
fn unread(id: OriginId) -> DamagedKey {
    let key = Key::new(OriginInfo::key(id)).unwrap();
    DamagedKey { namespace: NamespaceId::SYSTEM, key, dot: Dot { origin: id, seq: 1 } }
}

fn adopt(vector: &[(OriginId, u64)], damaged: Vec<DamagedKey>) -> Remote {
    let vector = vector.iter().map(|(origin, seq)| Dot { origin: *origin, seq: *seq }).collect();
    Remote::Adopt { vector, collected: VersionVector::default(), floor: Hlc::ZERO, damaged }
}

/// A put of their origin.
fn theirs(case: &Case, seq: u64) -> RemoteWrite {
    let body = case.store.upload().finish().1;
    let change = NewContent::Put { body, attributes: Attributes::default() };
    let (dot, namespace) = (Dot { origin: THEIRS, seq }, case.namespace);
    let (hlc, key) = (Hlc::at_millis(NOW + seq), key(&format!("{seq}")));
    RemoteWrite { dot, hlc, prev: None, namespace, key, change }
}

fn settled(id: OriginId) -> Remote {
    let key = Key::new(OriginInfo::key(id)).unwrap();
    let (namespace, is_nothing, is_destroyed) = (NamespaceId::SYSTEM, true, true);
    Remote::Settled { namespace, key, is_nothing, is_destroyed }
}

/// A store whose process has ended, and its origins.
fn case(has_member: bool) -> (Case, [OriginId; 2]) {
    let mut case = Case::new();
    case.put("a");
    if has_member {
        case.add_member();
    }
    let own = case.store.view().own_origins().unwrap();
    (case, own)
}

#[test]
fn a_damaged_opening_row_is_written_again_from_that_of_its_partner() {
    for (lane, has_member) in [(0, false), (1, false), (0, true)] {
        let (mut case, own) = case(has_member);
        let (infos, rows) = (case.store.view().registry().clone(), case.rows(Table::Entries));
        case.damage(Table::Entries, &[row_of(own[lane])]);
        assert_eq!(case.store.view().registry(), &infos, "its content is known");
        assert!(case.store.record_damage(NOW));
        assert_eq!(case.rows(Table::Entries), rows);
        // A later program may have written other fields, which other locations have.
        assert_eq!(case.owed().len(), usize::from(has_member));
        case.reopen();
        assert_eq!((case.store.view().registry(), case.owed().len()), (&infos, 0));
    }
}

#[test]
fn an_opening_row_whose_key_is_damaged_is_written_again_too() {
    for (at, has_member) in [(17, false), (20, true), (32, true)] {
        let (mut case, own) = case(has_member);
        let (infos, rows) = (case.store.view().registry().clone(), case.rows(Table::Entries));
        let key = row_of(own[1]);
        let row = rows.iter().find(|(one, _)| *one == key).unwrap().1.clone();
        let mut other = key.clone();
        other[at] ^= 1;
        case.write(vec![(Table::Entries, key, None), (Table::Entries, other.clone(), Some(row))]);
        assert_eq!(case.store.view().registry(), &infos, "its content is known");
        assert!(case.store.record_damage(NOW));
        assert!(rows.iter().all(|row| case.rows(Table::Entries).contains(row)));
        assert_eq!(case.owed().len(), if has_member { 2 } else { 0 });
        if has_member {
            // A later program may have written other fields, or a row under the damaged key.
            for name in [&row_of(own[1])[16..], &other[16..]] {
                let (namespace, key) = (NamespaceId::SYSTEM, Key::new(name).unwrap());
                case.apply(Remote::Settled {
                    namespace,
                    key,
                    is_nothing: true,
                    is_destroyed: false,
                });
            }
        }
        assert!(case.owed().is_empty());
        case.reopen();
        assert_eq!(case.store.view().registry(), &infos);
        assert!(case.rows(Table::Entries).iter().all(|row| rows.contains(row)));
    }
}

#[test]
fn an_opening_row_takes_no_origin_from_its_member_and_no_member_takes_the_reserved_id() {
    let (mut case, own) = case(true);
    let info = case.store.view().registry().get(own[0]).unwrap().clone();
    let stolen = OriginInfo { member: LOST_MEMBER, opened: Hlc(u64::MAX >> 8), ..info.clone() };
    let partner = OriginId([8; 16]);
    let made = OriginInfo { id: THEIRS, partner, ..stolen.clone() };
    for row in [stolen, made] {
        let write = RemoteWrite { dot: Dot { origin: row.id, seq: 1 }, ..opening(&row) };
        assert!(matches!(case.apply(Remote::Found(write)), Applied::Refused(_)));
    }
    assert_eq!(case.store.view().registry().get(own[0]), Some(&info));
    assert_eq!(case.store.view().registry().get(THEIRS), None);
}

#[test]
fn without_other_locations_an_origin_whose_rows_are_all_damaged_is_of_no_member() {
    let (mut case, own) = case(false);
    case.damage(Table::Entries, &own.map(row_of));
    assert!(case.store.record_damage(NOW));
    for id in own {
        assert_eq!(case.store.view().registry().get(id).unwrap().member, LOST_MEMBER);
    }
    assert!(case.owed().is_empty());
    case.put("b");
    assert_eq!(case.store.view().registry().len(), 4);
}

#[test]
fn in_a_cluster_such_an_origin_waits_for_the_other_locations() {
    let (mut case, own) = case(true);
    case.damage(Table::Entries, &own.map(row_of));
    assert!(case.store.record_damage(NOW));
    assert_eq!((case.owed().len(), case.store.view().registry().len()), (2, 0));
    for id in own {
        assert_eq!(case.apply(settled(id)), Applied::Known);
        assert_eq!(case.store.view().registry().get(id).unwrap().member, LOST_MEMBER);
    }
    assert!(case.owed().is_empty());
    case.reopen();
    assert_eq!(case.store.view().registry().len(), 2, "the row is on the disk");
}

#[test]
fn an_origin_is_counted_and_its_opening_row_is_owed_if_the_source_could_not_read_that() {
    let mut case = Case::new();
    case.add_member();
    let write = theirs(&case, 2);
    assert_eq!(case.apply(Remote::Row(write)), Applied::Unopened);
    case.apply(adopt(&[], vec![unread(THEIRS)]));
    assert_eq!(case.owed(), [OriginInfo::key(THEIRS).to_vec()]);
    for seq in [2, 3] {
        let write = theirs(&case, seq);
        assert!(matches!(case.apply(Remote::Row(write)), Applied::Won { .. }));
    }
    case.apply(adopt(&[(THEIRS, 3)], vec![unread(THEIRS)]));
    assert_eq!(case.store.view().vector().get(THEIRS), 3);
    case.reopen();
    let write = theirs(&case, 4);
    assert!(matches!(case.apply(Remote::Next(write)), Applied::Won { .. }));
    // It is named to those that catch up from here.
    let named = case.store.view().rows_missing_in(&VersionVector::default(), None, 99).unwrap();
    assert_eq!(named.damaged, [unread(THEIRS)]);

    let (member, lane, partner) = (MemberId([6; 16]), Lane::Small, OriginId([8; 16]));
    let info = OriginInfo { id: THEIRS, member, lane, partner, closes: [].into(), opened: Hlc(9) };
    assert!(matches!(case.apply(Remote::Found(opening(&info))), Applied::Won { .. }));
    assert_eq!(case.store.view().registry().get(THEIRS), Some(&info));
}

#[test]
fn a_row_that_comes_back_shows_the_owner_of_an_origin_that_counted_as_lost() {
    let mut case = Case::new();
    case.add_member();
    case.apply(adopt(&[], vec![unread(THEIRS)]));
    case.apply(settled(THEIRS));
    let lost = case.store.view().registry().get(THEIRS).unwrap().clone();
    assert_eq!(lost.member, LOST_MEMBER);
    let (member, lane, partner) = (MemberId([6; 16]), Lane::Small, OriginId([8; 16]));
    let info = OriginInfo { id: THEIRS, member, lane, partner, closes: [].into(), opened: Hlc(9) };
    assert!(matches!(case.apply(Remote::Found(opening(&info))), Applied::Won { .. }));
    assert_eq!(case.store.view().registry().get(THEIRS), Some(&info));
    assert_eq!(case.store.view().registry().count_of(LOST_MEMBER), 0);
    assert_eq!(case.apply(Remote::Found(opening(&lost))), Applied::Known);
    case.reopen();
    assert_eq!(case.store.view().registry().get(THEIRS), Some(&info));
}

#[test]
fn a_peer_that_names_many_opening_rows_of_no_origin_takes_little_room() {
    let mut case = Case::new();
    case.add_member();
    let id = |number: usize| {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        OriginId(id)
    };
    let named: Vec<_> = (0..MAX_LOST_ORIGINS + 9).map(|number| unread(id(number))).collect();
    case.apply(adopt(&[], named));
    let counted = || (0..MAX_LOST_ORIGINS + 9).map(id);
    let count = |case: &mut Case| {
        let view = case.store.view();
        counted().filter(|id| view.vector().get(*id) > 0).count()
    };
    assert_eq!(count(&mut case), MAX_LOST_ORIGINS);
    assert_eq!(case.owed().len(), MAX_LOST_ORIGINS);
    // Also after they are settled.
    for number in 0..MAX_LOST_ORIGINS {
        case.apply(settled(id(number)));
    }
    case.apply(adopt(&[], vec![unread(THEIRS)]));
    assert_eq!((case.owed().len(), case.store.view().vector().get(THEIRS)), (0, 0));
}
