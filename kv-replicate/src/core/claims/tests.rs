use super::*;
use crate::{
    core::{
        announced::Sent,
        testing::{Fixture, PEER, THIRD, US, dot, origins, vector},
    },
    work::Work,
};

/// A location that counts five writes of [`PEER`], which has made three.
fn deceived() -> (Fixture, Counts) {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    fixture.connect(THIRD);
    fixture.open(PEER);
    fixture.store(|store| {
        store.durable.merge(&vector(5));
        store.visible.merge(&vector(5));
    });
    fixture.progress(PEER, |progress| progress.durable = vector(3));
    let counts = Counts::new(fixture.local());
    (fixture, counts)
}

fn disowned(fixture: &mut Fixture) -> Option<(OriginId, u64)> {
    match fixture.poll_work() {
        Some(Work::Disown { origin, made, .. }) => Some((origin, made)),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_origin_is_disowned_only_once_its_writer_knows_what_is_counted_here() {
    let (mut fixture, counts) = deceived();
    let mut claims = Claims::default();
    claims.progressed(&mut fixture.context(), &counts, PEER);
    assert_eq!(disowned(&mut fixture), None, "its writes may overtake its progress");
    fixture.acknowledge(PEER, Sent { number: 1, state: counts.state(), pair: 1 });
    for expected in [Some((dot(1).origin, 3)), None] {
        claims.progressed(&mut fixture.context(), &counts, PEER);
        assert_eq!(disowned(&mut fixture), expected);
    }
    fixture.wait(APART);
    fixture.progress(PEER, |progress| progress.durable = vector(5));
    claims.progressed(&mut fixture.context(), &counts, PEER);
    assert_eq!(disowned(&mut fixture), None);
}

#[test]
fn an_origin_of_a_process_that_was_superseded_or_rebuilds_is_not_disowned() {
    let unknown = Dot { origin: origins(MemberId([9; 16]))[0], seq: 1 };
    let later = Dot { origin: origins(PEER)[1], seq: 1 };
    let changes: [&dyn Fn(&mut Fixture); 4] = [
        &|fixture| fixture.supersede(PEER),
        &|fixture| fixture.progress(PEER, |progress| progress.rebuilding = true),
        &|fixture| fixture.progress(PEER, |progress| progress.durable.raise(unknown.origin, 1)),
        &|fixture| fixture.progress(PEER, |progress| progress.durable.raise(later.origin, 1)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut fixture, counts) = deceived();
        change(&mut fixture);
        fixture.acknowledge(PEER, Sent { number: 1, state: counts.state(), pair: 1 });
        Claims::default().progressed(&mut fixture.context(), &counts, PEER);
        assert_eq!(disowned(&mut fixture), None, "{number}");
    }
}

#[test]
fn a_peer_that_claims_own_writes_is_reported_at_once_and_refused_if_it_goes_on() {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    let (mut claims, counts) = (Claims::default(), Counts::new(fixture.local()));
    let claim = |fixture: &mut Fixture, seq: u64| {
        let claimed = (seq > 0).then_some(kv_core::Dot { origin: origins(US)[0], seq });
        fixture.progress(PEER, |progress| progress.durable = claimed.into_iter().collect());
    };
    for (wait, seq, is_noticed, is_closed) in [
        (0, 0, false, false),
        (0, 9, true, false),
        (29, 9, false, false),
        (1, 9, true, true),
        (1, 0, false, false),
        (60, 9, true, false),
    ] {
        claim(&mut fixture, seq);
        fixture.wait(Duration::from_secs(wait));
        claims.progressed(&mut fixture.context(), &counts, PEER);
        let is_found = matches!(fixture.out().poll_notice(), Some(Notice::Refused { .. }));
        assert_eq!((is_found, fixture.is_closed(PEER)), (is_noticed, is_closed), "{wait} {seq}");
    }
}

#[test]
fn of_an_origin_that_was_disowned_only_a_session_with_its_writer_adopts_more() {
    let (mut fixture, _) = deceived();
    fixture.store(|store| store.visible = vector(2));
    let head = || PageHead { vector: vector(1 << 40), collected: vector(9), ..PageHead::default() };
    assert_eq!(
        without(head(), &fixture.context(), THIRD),
        head(),
        "nothing was ever wrong with it"
    );
    fixture.doubt(dot(1).origin);
    let adopted = without(head(), &fixture.context(), THIRD);
    assert_eq!((adopted.vector, adopted.collected), (vector(2), vector(2)));
    assert_eq!(without(head(), &fixture.context(), PEER), head(), "it is its own");
    fixture.wait(Duration::from_secs(6));
    let silent = without(head(), &fixture.context(), THIRD);
    assert_eq!(silent, head(), "others may have more of a writer that is not heard");
}

#[test]
fn what_a_member_reports_of_the_origins_of_another_one_disowns_nothing() {
    let (mut fixture, counts) = deceived();
    fixture.progress(PEER, |progress| progress.durable = vector(5));
    fixture.progress(THIRD, |progress| {
        progress.origins = Some(origins(PEER));
        progress.durable = vector(1);
    });
    fixture.acknowledge(THIRD, Sent { number: 1, state: counts.state(), pair: 1 });
    Claims::default().progressed(&mut fixture.context(), &counts, THIRD);
    assert_eq!(disowned(&mut fixture), None);
    let open = fixture.peers().open_counts(fixture.local());
    assert_eq!(open.get(&dot(1).origin), Some(&(PEER, 5)));
}

#[test]
fn a_member_that_lies_about_its_own_writes_makes_others_count_them_again_only_so_often() {
    let (mut fixture, counts) = deceived();
    let mut claims = Claims::default();
    fixture.acknowledge(PEER, Sent { number: 1, state: counts.state(), pair: 1 });
    for (wait, is_disowned) in [(0, true), (1, false), (8, false), (1, true), (9, false)] {
        fixture.wait(Duration::from_secs(wait));
        claims.progressed(&mut fixture.context(), &counts, PEER);
        assert_eq!(disowned(&mut fixture).is_some(), is_disowned, "{wait}");
    }
}

#[test]
fn a_claim_of_another_link_does_not_count() {
    let mut fixture = Fixture::new();
    fixture.connect(PEER);
    let (mut claims, counts) = (Claims::default(), Counts::new(fixture.local()));
    let claimed = kv_core::Dot { origin: origins(US)[0], seq: 9 };
    for _ in 0..3 {
        fixture.progress(PEER, |progress| progress.durable.raise(claimed.origin, claimed.seq));
        claims.progressed(&mut fixture.context(), &counts, PEER);
        assert!(!fixture.is_closed(PEER));
        claims.disconnect(PEER);
        fixture.wait(PATIENCE);
    }
}

#[test]
fn nobody_rebuilds_for_tombstones_that_cannot_exist() {
    let (mut fixture, _) = deceived();
    fixture.store(|store| store.visible = vector(2));
    let own = kv_core::Dot { origin: origins(US)[0], seq: 9 };
    let mut collected = vector(1 << 40);
    collected.raise(own.origin, own.seq);
    let possible = collected_by(collected, &fixture.context(), THIRD);
    assert!(fixture.local().visible().covers_all(&possible), "{possible:?}");
}
