use std::sync::Arc;

use super::*;
use crate::{
    SalvagedRow,
    core::testing::{Fixture, PEER, THIRD, US, dot, row_of, vector},
    inspect::Place,
};

/// A location whose store is rebuilt and has rows.
fn rebuilding() -> (Fixture, Rebuild, Puller) {
    let mut fixture = Fixture::new();
    fixture.store(|store| {
        store.rebuilding = true;
        store.has_received = true;
        store.durable.merge(&vector(2));
    });
    let rebuild = Rebuild::new(fixture.local());
    // The vectors that an earlier process may have adopted were compared long ago.
    fixture.wait(UNCOMPARED);
    (fixture, rebuild, Puller::default())
}

fn ends(fixture: &mut Fixture) -> bool {
    std::iter::from_fn(|| fixture.poll_work()).any(|work| matches!(work, Work::Rebuilt { .. }))
}

#[test]
fn a_rebuild_begins_once_however_many_peers_have_dropped_what_is_missing() {
    let mut fixture = Fixture::new();
    let mut rebuild = Rebuild::new(fixture.local());
    assert!(rebuild.begin(&mut fixture.context(), PEER, vector(1)));
    assert!(!rebuild.begin(&mut fixture.context(), THIRD, vector(1)));
    assert!(matches!(fixture.poll_work(), Some(Work::Rebuild { .. })));
    rebuild.committed(true);
    assert!(rebuild.begin(&mut fixture.context(), THIRD, vector(1)), "the commit has failed");
}

#[test]
fn a_peer_that_lacks_the_same_tombstones_is_not_a_source() {
    let (mut fixture, puller) = (Fixture::new(), Puller::default());
    let mut rebuild = Rebuild::new(fixture.local());
    for (peer, seq) in [(PEER, 4), (THIRD, 2)] {
        fixture.connect(peer);
        fixture.progress(peer, |progress| progress.durable = vector(seq));
    }
    assert!(rebuild.begin(&mut fixture.context(), PEER, vector(3)));
    fixture.store(|store| store.rebuilding = true);
    rebuild.follow(&mut fixture.context());
    assert_eq!(rebuild.source(&fixture.context(), &puller), Some(PEER));
    fixture.progress(PEER, |progress| progress.rebuilding = true);
    assert_eq!(rebuild.source(&fixture.context(), &puller), None);
    rebuild.disconnect(&mut fixture.context(), PEER);
    assert_eq!(rebuild.source(&fixture.context(), &puller), Some(THIRD));
}

#[test]
fn a_peer_that_rebuilds_is_not_a_source() {
    let (mut fixture, rebuild, puller) = rebuilding();
    fixture.connect(PEER);
    for (rebuilding, source) in [(true, None), (false, Some(PEER))] {
        fixture.progress(PEER, |progress| progress.rebuilding = rebuilding);
        assert_eq!(rebuild.source(&fixture.context(), &puller), source);
    }
}

#[test]
fn rows_of_before_are_compared_and_those_of_one_source_are_not() {
    for (is_empty, is_done) in [(true, true), (false, false)] {
        let (mut fixture, mut rebuild, _) = rebuilding();
        if is_empty {
            rebuild.contents = Contents::Nothing;
        }
        fixture.connect(PEER);
        rebuild.session_began(&fixture.context(), PEER);
        rebuild.session_done(&mut fixture.context(), PEER);
        assert_eq!(ends(&mut fixture), is_done);
        assert_eq!(rebuild.step == Step::Comparing(PEER), !is_done);
    }
}

/// A row that the source of a comparison neither counts nor has was read.
fn salvage(fixture: &mut Fixture, rebuild: &mut Rebuild, id: u64) {
    let key = kv_core::Key::new("key 3").unwrap();
    let place = Place { namespace: kv_core::NamespaceId([9; 16]), key };
    let places = (vec![(place, dot(3))], Arc::new(vector(2)));
    let row = SalvagedRow { row: row_of(PEER, 3), parts: Vec::new() };
    rebuild.salvaged(&mut fixture.context(), id, vec![row], places);
}

/// A location that compares its rows with a peer's again later.
fn comparing() -> (Fixture, Rebuild, Puller) {
    let (mut fixture, mut rebuild, puller) = rebuilding();
    rebuild.step = Step::Again(PEER, fixture.context().local.mono() + AGAIN_AFTER);
    (fixture, rebuild, puller)
}

#[test]
fn rows_are_dropped_once_the_owner_keeps_them() {
    for is_kept in [true, false] {
        let (mut fixture, mut rebuild, puller) = comparing();
        salvage(&mut fixture, &mut rebuild, 7);
        rebuild.watch(&mut fixture.context(), &puller);
        assert!(matches!(fixture.out().poll_notice(), Some(Notice::Salvage { id: 7, .. })));
        rebuild.watch(&mut fixture.context(), &puller);
        assert!(fixture.poll_work().is_none(), "the owner has not answered");
        rebuild.kept(&mut fixture.context(), 7, is_kept);
        let is_dropped = matches!(fixture.poll_work(), Some(Work::Drop { uncount: Some(_), .. }));
        assert_eq!(is_dropped, is_kept);
        rebuild.kept(&mut fixture.context(), 7, true);
        assert!(fixture.poll_work().is_none(), "the second answer is for nothing");
    }
}

#[test]
fn rows_that_the_owner_keeps_are_not_dropped_after_the_link_to_the_source_and_no_other_has_ended() {
    for (peer, is_dropped) in [(PEER, false), (THIRD, true)] {
        let (mut fixture, mut rebuild, _) = comparing();
        salvage(&mut fixture, &mut rebuild, 7);
        rebuild.disconnect(&mut fixture.context(), peer);
        rebuild.kept(&mut fixture.context(), 7, true);
        assert_eq!(fixture.poll_work().is_some(), is_dropped);
    }
}

#[test]
fn rows_that_are_read_after_the_link_to_the_source_has_ended_are_left_for_the_next_comparison() {
    let (mut fixture, mut rebuild, _) = comparing();
    rebuild.disconnect(&mut fixture.context(), PEER);
    salvage(&mut fixture, &mut rebuild, 7);
    assert!(fixture.out().poll_notice().is_none());
}

#[test]
fn a_source_is_sought_for_a_minute_from_when_the_link_to_the_last_one_has_ended() {
    let (mut fixture, mut rebuild, _) = comparing();
    rebuild.adopted(&fixture.context());
    fixture.wait(UNCOMPARED);
    rebuild.disconnect(&mut fixture.context(), PEER);
    assert!(!rebuild.is_compared(fixture.local()));
    fixture.wait(UNCOMPARED);
    assert!(rebuild.is_compared(fixture.local()));
}

#[test]
fn rows_that_the_owner_could_not_keep_are_compared_again_after_seconds() {
    let (mut fixture, mut rebuild, _) = comparing();
    let now = fixture.context().local.mono();
    assert_eq!(rebuild.timeout(), Some(now + AGAIN_AFTER));
    salvage(&mut fixture, &mut rebuild, 7);
    rebuild.kept(&mut fixture.context(), 7, false);
    assert_eq!(rebuild.timeout(), Some(now + NOT_KEPT_AFTER));
    assert!(!rebuild.is_due(&fixture.context(), now));
}

#[test]
fn rows_of_two_sources_are_compared() {
    let (mut fixture, mut rebuild, _) = rebuilding();
    rebuild.contents = Contents::Nothing;
    fixture.connect(PEER);
    fixture.connect(THIRD);
    rebuild.session_began(&fixture.context(), PEER);
    rebuild.disconnect(&mut fixture.context(), PEER);
    rebuild.session_began(&fixture.context(), THIRD);
    rebuild.session_done(&mut fixture.context(), THIRD);
    assert!(!ends(&mut fixture));
}

#[test]
fn a_location_that_may_not_know_all_members_does_not_end_its_rebuild_alone() {
    let (mut fixture, mut rebuild, puller) = rebuilding();
    fixture.store(|store| store.durable = [dot(1)].into_iter().collect());
    for peer in [PEER, THIRD] {
        fixture.connect(peer);
        fixture.progress(peer, |progress| progress.rebuilding = true);
    }
    rebuild.watch(&mut fixture.context(), &puller);
    assert!(!ends(&mut fixture));
}

#[test]
fn a_rebuild_ends_if_all_members_lack_tombstones_that_were_dropped_here() {
    let (mut fixture, mut rebuild, puller) = rebuilding();
    fixture.store(|store| store.collected = vector(2));
    for (third, ended) in [(2, false), (1, true)] {
        for (peer, seq) in [(PEER, 1), (THIRD, third)] {
            fixture.connect(peer);
            fixture.progress(peer, |progress| progress.durable = vector(seq));
        }
        rebuild.watch(&mut fixture.context(), &puller);
        assert_eq!(ends(&mut fixture), ended, "{third}");
    }
}

#[test]
fn a_rebuild_that_has_adopted_vectors_is_compared_before_it_ends_or_ends_after_a_minute() {
    let (mut fixture, mut rebuild, puller) = rebuilding();
    fixture.connect(PEER);
    rebuild.session_began(&fixture.context(), PEER);
    rebuild.adopted(&fixture.context());
    rebuild.disconnect(&mut fixture.context(), PEER);
    fixture.store(|store| store.collected = vector(2));
    for peer in [PEER, THIRD] {
        fixture.connect(peer);
        fixture.progress(peer, |progress| progress.durable = vector(1));
    }
    fixture.wait(UNCOMPARED.saturating_sub(Duration::from_millis(1)));
    rebuild.watch(&mut fixture.context(), &puller);
    assert!(!ends(&mut fixture), "the source may come back");
    fixture.wait(Duration::from_millis(1));
    rebuild.watch(&mut fixture.context(), &puller);
    assert!(ends(&mut fixture));
}

/// A location that has just rebuilt from a peer. It has collected tombstones that the peer lacks.
fn rebuilt() -> (Fixture, Rebuild) {
    let (mut fixture, mut rebuild, _) = rebuilding();
    fixture.store(|store| store.collected = vector(2));
    fixture.connect(PEER);
    fixture.progress(PEER, |progress| progress.durable = vector(1));
    rebuild.compared(&mut fixture.context(), PEER);
    assert!(ends(&mut fixture));
    fixture.store(|store| store.rebuilding = false);
    rebuild.follow(&mut fixture.context());
    (fixture, rebuild)
}

#[test]
fn of_two_stores_that_lack_tombstones_of_each_other_the_one_that_has_rebuilt_lets_the_other_rebuild()
 {
    let (mut fixture, mut rebuild) = rebuilt();
    assert!(!rebuild.begin(&mut fixture.context(), PEER, vector(3)), "it is the peer's turn");
    fixture.progress(PEER, |progress| progress.durable = vector(2));
    assert!(rebuild.begin(&mut fixture.context(), PEER, vector(3)), "the peer has rebuilt");
}

#[test]
fn a_peer_that_does_not_rebuild_in_its_turn_is_not_awaited_for_ever() {
    let (mut fixture, mut rebuild) = rebuilt();
    fixture.wait(turns::TURN.saturating_sub(Duration::from_millis(1)));
    assert!(!rebuild.begin(&mut fixture.context(), PEER, vector(3)));
    fixture.wait(Duration::from_millis(1));
    assert!(rebuild.begin(&mut fixture.context(), PEER, vector(3)));
}

#[test]
fn a_store_that_lets_one_peer_rebuild_still_rebuilds_from_another() {
    let (mut fixture, mut rebuild) = rebuilt();
    fixture.connect(THIRD);
    assert!(rebuild.begin(&mut fixture.context(), THIRD, vector(3)));
}

#[test]
fn a_peer_that_counts_all_that_was_collected_here_has_no_turn() {
    let (mut fixture, mut rebuild, _) = rebuilding();
    fixture.connect(PEER);
    fixture.progress(PEER, |progress| progress.durable = vector(2));
    rebuild.compared(&mut fixture.context(), PEER);
    fixture.store(|store| store.rebuilding = false);
    rebuild.follow(&mut fixture.context());
    assert!(rebuild.begin(&mut fixture.context(), PEER, vector(3)));
}

#[test]
fn a_process_that_begins_with_a_rebuild_does_not_know_whether_vectors_were_adopted() {
    let (mut fixture, _, puller) = rebuilding();
    let mut rebuild = Rebuild::new(fixture.local());
    for peer in [PEER, THIRD] {
        fixture.connect(peer);
        fixture.progress(peer, |progress| progress.rebuilding = true);
    }
    rebuild.watch(&mut fixture.context(), &puller);
    assert!(!ends(&mut fixture));
}

#[test]
fn if_all_members_rebuild_the_lowest_ends_it() {
    let (mut fixture, mut rebuild, puller) = rebuilding();
    assert!(US < PEER && PEER < THIRD);
    for (peer, ended) in [(PEER, false), (THIRD, true)] {
        fixture.connect(peer);
        rebuild.watch(&mut fixture.context(), &puller);
        assert!(!ends(&mut fixture), "{peer} does not rebuild");
        fixture.progress(peer, |progress| progress.rebuilding = true);
        rebuild.watch(&mut fixture.context(), &puller);
        assert_eq!(ends(&mut fixture), ended);
    }
}
