//! Stops, restarts, and removals.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use kv_core::Operation;
use kv_replicate::{
    Condition, HaltReason, Notice,
    quic::{QueryError, Replica},
};

use crate::{
    authority::Authority,
    location::{Location, anywhere, cluster, config, member, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_location_continues_from_its_durable_state() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    all[0].put_many("before", 300);
    all[1].wait_for("before 299", b"299").await;
    wait_until("it is durable", async || {
        let vectors = [&all[0], &all[1]].map(|found| found.store().durable_view().vector().clone());
        vectors[0] == vectors[1]
    })
    .await;
    all[1].stop().await;
    all[0].put_many("meanwhile", 50);
    all[1].start(&authority, 2).await;
    all[1].wait_for("meanwhile 49", b"49").await;
    let status = all[1].status().await;
    assert!(status.is_joined && status.rows_taken <= 60, "only what it lacked: {status:?}");
    all[1].put("after", "it");
    all[0].wait_for("after", b"it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_close_frees_the_port_and_leaves_the_store_open() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    for _ in 0..3 {
        let replica = all[0].replica.take().unwrap();
        replica.close().await;
        drop(UdpSocket::bind(all[0].address).expect("the port is free"));
        all[0].put("alone", "still");
        all[0].store().close().unwrap();
        all[0].start(&authority, 1).await;
    }
    all[0].put("again", "linked");
    all[1].wait_for("again", b"linked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_store_is_closed_ends() {
    let authority = Authority::new();
    let location = Location::first(&authority, 1).await;
    location.store().close().unwrap();
    wait_until("it has ended", async || {
        matches!(location.replica().status().await, Err(QueryError::Closed))
    })
    .await;
    drop(UdpSocket::bind(location.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_with_its_store_reports_that_to_its_peers() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    let peer = async || all[0].status().await.peers[&member(2)].clone();
    wait_until("a link is up", async || peer().await.is_connected).await;
    all[1].store().close().unwrap();
    wait_until("its reason is known", async || {
        peer().await.halted.is_some_and(|why| why.contains("its replica has ended"))
    })
    .await;
    wait_until("it does not answer", async || peer().await.is_halt_old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_replica_of_a_store_ends_the_first() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    let mut config = config(&authority, 1, anywhere());
    config.bootstrap = vec![(member(2), vec![all[1].address.to_string()])];
    let last = Replica::start(config, all[0].store().clone()).await.unwrap();
    let first = all[0].replica.replace(last).unwrap();
    wait_until("the first replica has ended", async || {
        matches!(first.status().await, Err(QueryError::Closed))
    })
    .await;
    first.close().await;
    all[0].put("by", "the last");
    all[1].wait_for("by", b"the last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_downtime_of_a_peer_is_reported_until_there_is_a_link() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    let down = async |location: &Location| {
        location.status().await.peers.get(&member(2)).and_then(|peer| peer.down_for)
    };
    wait_until("a link is up", async || down(&all[0]).await.is_none()).await;
    all[1].stop().await;
    wait_until("it is down", async || down(&all[0]).await.is_some()).await;
    let soon = down(&all[0]).await.expect("it is down");
    wait_until("it is down for longer", async || down(&all[0]).await > Some(2 * soon)).await;
    all[1].start(&authority, 2).await;
    let link = async || all[0].status().await.peers[&member(2)].is_connected;
    wait_until("a link is up again", async || link().await).await;
    let unstable = async || all[0].status().await.peers[&member(2)].unstable_for;
    assert_eq!(down(&all[0]).await, None, "a location with a link is not down");
    assert_eq!(unstable().await, None, "a location that returns has not come and gone");
    assert!(link().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_location_that_is_away_lacks_is_counted_and_what_is_not_known_is_not() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    let lacks = async |location: &Location| {
        let status = location.status().await;
        status.peers[&member(2)].missing_there.map(|lacking| lacking.writes)
    };
    wait_until("it has everything", async || lacks(&all[0]).await == Some(0)).await;
    all[1].stop().await;
    all[0].put_many("meanwhile", 20);
    let lacking = async || lacks(&all[0]).await.is_some_and(|writes| writes >= 20);
    wait_until("its writes are counted", async || lacking().await).await;
    assert!(!all[0].status().await.peers[&member(2)].is_connected);
    all[0].stop().await;
    all[0].start(&authority, 1).await;
    assert_eq!(lacks(&all[0]).await, None, "it has not reported to this process");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_location_gives_its_reason_to_one_that_does_not_know_of_the_removal() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 3).await;
    all[1].stop().await;
    all[0].run(Operation::RemoveMember { id: member(3) });
    wait_until("it knows", async || all[2].status().await.halted.is_some()).await;
    all[0].stop().await;
    all[1].start(&authority, 2).await;
    let halted = async || all[1].status().await.peers[&member(3)].halted.clone();
    wait_until("it gives its reason", async || halted().await.is_some()).await;
    assert!(halted().await.expect("a reason").contains("was removed from the cluster"));
    all[2].stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conditions_of_a_location_reach_its_peers_and_end_there() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    let told = async || {
        let status = all[0].status().await;
        status.peers[&member(2)].conditions.iter().map(|one| one.code).collect::<Vec<_>>()
    };
    for codes in [&[7_u16, 9][..], &[]] {
        let condition = |code: &u16| Condition { code: *code, about: None, for_ms: 0 };
        wait_until("they arrive", async || {
            let conditions = codes.iter().map(condition).collect();
            all[1].replica().handle().set_conditions(conditions).await.expect("it runs");
            told().await == codes
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_was_removed_while_away_learns_of_it_and_halts() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    all[1].stop().await;
    all[0].run(Operation::RemoveMember { id: member(2) });
    all[1].start(&authority, 2).await;
    wait_until("it knows", async || all[1].status().await.halted.is_some()).await;
    assert_eq!(all[1].status().await.halted, Some(HaltReason::Removed));
    assert_eq!(all[1].replica().verify(member(1)).await, Err(QueryError::Halted));
    assert_eq!(all[0].status().await.halted, None);
    all[1].stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_is_removed_while_linked_learns_of_it_at_once() {
    let authority = Authority::new();
    let (sender, notices) = std::sync::mpsc::channel();
    let first = Location::first(&authority, 1).await;
    let second = Location::with(&authority, 2, Some(&first), |config| {
        config.on_notice = Some(Arc::new(move |notice| drop(sender.send(notice.clone()))));
    })
    .await;
    first.add(&second);
    second.wait_until_joined().await;
    first.run(Operation::RemoveMember { id: member(2) });
    wait_until("it knows", async || second.status().await.halted.is_some()).await;
    wait_until("it has no link", async || {
        let status = second.status().await;
        status.peers.values().all(|peer| !peer.is_connected)
    })
    .await;
    let notices: Vec<_> = notices.try_iter().collect();
    assert!(notices.contains(&Notice::Joined), "{notices:?}");
    assert!(matches!(notices.last(), Some(Notice::Halted(_))), "{notices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_stops_holding_back_garbage_collection() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 3).await;
    all[2].put("last", "words");
    all[0].wait_for("last", b"words").await;
    all[1].wait_for("last", b"words").await;
    all[2].stop().await;
    all[0].run(Operation::RemoveMember { id: member(3) });
    for location in &all[..2] {
        wait_until("what remains of it is everywhere", async || {
            let status = location.status().await;
            status.is_settled && !status.peers.contains_key(&member(3))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_locations_that_dial_each_other_at_once_keep_one_link() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    for location in &mut all {
        location.stop().await;
    }
    for (location, number) in all.iter_mut().zip(1..) {
        location
            .start_with(&authority, number, |config| {
                config.tuning.dial_patience = Duration::ZERO;
            })
            .await;
    }
    all[0].put("one", "1");
    all[1].put("two", "2");
    all[0].wait_for("two", b"2").await;
    all[1].wait_for("one", b"1").await;
    let status = all[0].status().await;
    assert!(status.peers[&member(2)].is_connected, "{status:?}");
}
