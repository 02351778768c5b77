use std::sync::Arc;

use kv_core::{Key, Member, NamespaceId, OriginEntry, OriginInfo};

use super::*;
use crate::{
    core::testing::{Fixture, PEER, THIRD, US, origins, vector},
    inspect::Place,
    wire::UNKNOWN,
};

fn announced(closed: u64, seq: u64, resolved: u64) -> Progress {
    Progress {
        closed_timestamp: Hlc(closed),
        durable: vector(seq),
        origins: Some(origins(PEER)),
        resolved: Hlc(resolved),
        held: Hlc(resolved),
        ..Progress::default()
    }
}

fn third() -> Progress {
    let (durable, origins) = (Default::default(), Some(origins(THIRD)));
    Progress { durable, origins, ..announced(900, 0, 900) }
}

/// All members announce the origins that the store knows, and the third one everything.
fn following(fixture: &mut Fixture) -> Stability {
    fixture.store(|store| store.closed_timestamp = Hlc(1_000));
    let mut stability = Stability::default();
    stability.follow_members(fixture.local());
    stability.progressed(fixture.local(), THIRD, (&third(), None));
    stability
}

fn resolved(fixture: &Fixture, stability: &mut Stability) -> Hlc {
    stability.assess(fixture.local(), &LiveReceiver::default(), 0);
    stability.resolved(fixture.local())
}

#[test]
fn a_closed_timestamp_counts_once_its_writes_are_durable_here() {
    let mut fixture = Fixture::new();
    fixture.open(PEER);
    let mut stability = following(&mut fixture);
    let mut resolved_after = |fixture: &Fixture, closed, seq| {
        stability.progressed(fixture.local(), PEER, (&announced(closed, seq, 0), None));
        resolved(fixture, &mut stability)
    };
    let steps: [(u64, u64, u64, u64); 4] =
        // Closed timestamp, its sequence number, what is durable here, what is resolved then.
        [(10, 1, 1, 10), (20, 2, 1, 10), (30, 3, 2, 20), (30, 3, 3, 30)];
    for (closed, seq, durable, resolved) in steps {
        fixture.store(|store| store.durable.merge(&vector(durable)));
        assert_eq!(resolved_after(&fixture, closed, seq), Hlc(resolved), "{closed} {durable}");
    }
}

#[test]
fn an_announced_process_whose_writes_never_come_is_not_waited_for_once_another_one_announces() {
    let mut fixture = Fixture::new();
    let mut stability = following(&mut fixture);
    let lost = [OriginId([8; 16]), OriginId([9; 16])];
    let durable = lost.into_iter().map(|origin| Dot { origin, seq: 1 }).collect();
    let before = Progress { origins: Some(lost), durable, ..announced(20, 0, 20) };
    stability.progressed(fixture.local(), PEER, (&before, None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc::ZERO, "its writes are not here");
    stability.progressed(fixture.local(), PEER, (&announced(30, 0, 30), None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc(30));
}

#[test]
fn the_stable_timestamp_is_behind_every_member_and_every_session() {
    let mut fixture = Fixture::new();
    let mut stability = following(&mut fixture);
    let nobody = std::iter::empty;
    resolved(&fixture, &mut stability);
    assert_eq!(
        stability.stable(fixture.local(), nobody()),
        Hlc::ZERO,
        "one member has not reported"
    );
    stability.progressed(fixture.local(), PEER, (&announced(100, 0, 50), None));
    fixture.wait(own::APART);
    resolved(&fixture, &mut stability);
    assert_eq!(stability.stable(fixture.local(), nobody()), Hlc(51));
    assert_eq!(stability.stable(fixture.local(), [Hlc(7)].into_iter()), Hlc(8));
}

/// A location that has everything of its peer up to 40, whose process has then ended.
fn ended() -> (Fixture, Stability) {
    let mut fixture = Fixture::new();
    fixture.open(PEER);
    let mut stability = following(&mut fixture);
    stability.progressed(fixture.local(), PEER, (&announced(40, 0, 40), None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc(40));
    let after = Progress { origins: None, ..announced(60, 1, 60) };
    assert!(stability.progressed(fixture.local(), PEER, (&after, None)), "its origins have ended");
    (fixture, stability)
}

#[test]
fn the_resolved_timestamp_stays_while_writes_of_an_ended_process_may_be_missing() {
    let (mut fixture, mut stability) = ended();
    assert_eq!(resolved(&fixture, &mut stability), Hlc(40), "its last write is not here");
    fixture.store(|store| {
        store.durable.merge(&vector(1));
        store.visible.merge(&vector(1));
    });
    stability.disturb();
    assert_eq!(resolved(&fixture, &mut stability), Hlc(40), "the third one lacks it");
    let has_it = Progress { durable: vector(1), ..third() };
    stability.progressed(fixture.local(), THIRD, (&has_it, None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc(60));
    assert!(stability.is_finished());
}

#[test]
fn while_a_write_of_a_finished_origin_that_turns_up_later_is_missing_nothing_is_collected() {
    let (mut fixture, mut stability) = ended();
    let none = Progress { origins: None, ..announced(60, 0, 60) };
    stability.progressed(fixture.local(), PEER, (&none, None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc(60));
    fixture.wait(own::APART);
    resolved(&fixture, &mut stability);
    let stable = stability.stable(fixture.local(), std::iter::empty());
    assert_eq!(stable, Hlc(61));
    let has_more = Progress { durable: vector(1), ..announced(90, 1, 90) };
    stability.progressed(fixture.local(), PEER, (&Progress { origins: None, ..has_more }, None));
    assert_eq!(resolved(&fixture, &mut stability), Hlc(60));
    assert_eq!(stability.stable(fixture.local(), std::iter::empty()), Hlc::ZERO);
}

#[test]
fn a_location_that_is_alone_waits_for_no_other_once_nothing_remains_of_ended_origins() {
    let mut fixture = Fixture::new();
    fixture.open(PEER);
    fixture.members(&[PEER, THIRD]);
    let mut stability = Stability::default();
    stability.follow_members(fixture.local());
    let stable = |stability: &Stability, fixture: &Fixture| {
        stability.stable(fixture.local(), std::iter::empty())
    };
    stability.assess(fixture.local(), &LiveReceiver::default(), UNKNOWN);
    assert_eq!(stable(&stability, &fixture), Hlc::ZERO, "some rows may not be counted");
    stability.disturb();
    stability.assess(fixture.local(), &LiveReceiver::default(), 0);
    assert_eq!(stable(&stability, &fixture), Hlc(u64::MAX));
    fixture.members(&[THIRD]);
    stability.follow_members(fixture.local());
    assert_eq!(stable(&stability, &fixture), Hlc::ZERO, "it is alone no more");
}

#[test]
fn nothing_is_resolved_while_rows_of_members_or_of_origins_are_owed() {
    let mut fixture = Fixture::new();
    let mut stability = following(&mut fixture);
    stability.progressed(fixture.local(), PEER, (&announced(40, 0, 40), None));
    let keys = [
        (Member::key(PEER).to_vec(), 0),
        (OriginInfo::key(origins(PEER)[0]).to_vec(), 0),
        (NamespaceId([9; 16]).0.to_vec(), 40),
    ];
    for (key, wanted) in keys {
        let key = Key::try_from(key).unwrap();
        let place = Place { namespace: NamespaceId::SYSTEM, key };
        fixture.store(|store| store.wanted = Arc::new([place].into_iter().collect()));
        assert_eq!(resolved(&fixture, &mut stability), Hlc(wanted));
    }
}

#[test]
fn the_origins_of_a_removed_member_have_ended() {
    let mut fixture = Fixture::new();
    fixture.open(THIRD);
    let mut stability = following(&mut fixture);
    stability.progressed(fixture.local(), PEER, (&announced(40, 0, 0), None));
    assert!(stability.ended().is_empty());
    fixture.remove(THIRD);
    stability.follow_members(fixture.local());
    assert_eq!(stability.ended().iter().copied().collect::<Vec<_>>(), origins(THIRD));
    assert!(!origins(US).iter().any(|own| stability.ended().contains(own)));
}

#[test]
fn what_a_superseded_process_reports_does_not_count_for_its_member() {
    let mut fixture = Fixture::new();
    fixture.open(PEER);
    let mut stability = following(&mut fixture);
    stability.progressed(fixture.local(), PEER, (&announced(40, 0, 40), None));
    fixture.store(|store| {
        let closed = origins(PEER).map(|id| OriginEntry::Closed { id, member: PEER });
        let later = store.registry.of_member(PEER).cloned().map(|info| {
            let [id, partner] = [info.id, info.partner].map(|id| OriginId([id.0[0] + 50; 16]));
            OriginInfo { id, partner, ..info }
        });
        let opened = store.registry.iter().cloned().chain(later).map(OriginEntry::Opened);
        store.registry = Arc::new(opened.chain(closed).collect());
    });
    stability.follow_origins(fixture.local());
    assert_eq!(resolved(&fixture, &mut stability), Hlc(40));
    assert!(stability.is_finished());
    stability.progressed(fixture.local(), PEER, (&announced(50, 0, 50), None));
    resolved(&fixture, &mut stability);
    assert!(!stability.is_finished(), "the later process may hold something else");
}
