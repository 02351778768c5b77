//! Writes at one location reach the others.

use std::num::NonZeroU32;

use kv_core::limits::CHUNK_BYTES;
use kv_replicate::Ending;

use crate::{
    authority::Authority,
    location::{Location, NAMESPACE, cluster, member, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_locations_receive_each_others_writes() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    all[0].put("a", "from one");
    all[1].put("b", "from two");
    all[1].wait_for("a", b"from one").await;
    all[0].wait_for("b", b"from two").await;
    all[0].store().delete(NAMESPACE, "b").unwrap();
    wait_until("the deletion arrives", async || all[1].get("b").is_none()).await;
    let status = all[0].status().await;
    let peer = &status.peers[&member(2)];
    assert!(peer.is_connected && peer.address == Some(all[1].address), "{peer:?}");
    assert!(peer.state.is_known && peer.bytes_in > 0 && peer.bytes_out > 0, "{peer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_locations_converge_under_writes_at_all_of_them() {
    let authority = Authority::new();
    let all = cluster(&authority, 3).await;
    for round in 0..40 {
        for (at, location) in all.iter().enumerate() {
            location.put(format!("own {at} {round}"), format!("{round}"));
            location.put(format!("shared {}", round % 7), format!("{at} {round}"));
        }
    }
    wait_until("all vectors are equal and durable", async || {
        let vectors: Vec<_> =
            all.iter().map(|location| location.store().durable_view().vector().clone()).collect();
        vectors.iter().all(|vector| *vector == vectors[0])
    })
    .await;
    for key in 0..7 {
        let key = format!("shared {key}");
        let values: Vec<_> = all.iter().map(|location| location.get(&key)).collect();
        assert!(values.iter().all(|value| value.is_some() && *value == values[0]), "{values:?}");
    }
    let verdict = all[2].replica().verify(member(1)).await.unwrap();
    assert!(verdict.is_equal() && verdict.rows > 120, "{verdict:?}");
    let nobody = all[2].replica().verify(member(9)).await.unwrap();
    assert_eq!(nobody.ending, Ending::LinkLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_arrives_and_small_writes_overtake_it() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    let body: Vec<u8> = (0..=250).cycle().take(100 * CHUNK_BYTES + 17).collect();
    all[0].put("large", &body);
    all[0].put("small", "x");
    all[1].wait_for("small", b"x").await;
    all[1].wait_for("large", &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_large_body_holds_up_nothing_else() {
    let authority = Authority::new();
    // At this rate the body takes many minutes.
    let first = Location::with(&authority, 1, None, |config| {
        config.tuning.catch_up_bytes_per_second = NonZeroU32::new(16 << 10);
    })
    .await;
    first.found();
    let second = Location::new(&authority, 2, Some(&first)).await;
    first.add(&second);
    second.wait_until_joined().await;
    first.put("large", vec![1; 20 << 20]);
    for round in 0..20 {
        first.put("small", format!("{round}"));
        second.wait_for("small", format!("{round}").as_bytes()).await;
        second.put("other way", format!("{round}"));
        first.wait_for("other way", format!("{round}").as_bytes()).await;
    }
    assert_eq!(second.get("large"), None, "it is still under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_location_joins_through_one_sponsor_and_then_links_with_all() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    all[0].put_many("key", 2_000);
    let new = Location::with(&authority, 3, Some(&all[1]), |config| {
        config.tuning.catch_up_bytes_per_second = NonZeroU32::new(1 << 20);
    })
    .await;
    assert!(!new.status().await.is_joined);
    all[1].add(&new);
    new.wait_until_joined().await;
    new.wait_for("key 1999", b"1999").await;
    assert!(new.status().await.rows_taken >= 2_000);
    wait_until("it is linked with the first location too", async || {
        let status = new.status().await;
        status.peers.get(&member(1)).is_some_and(|peer| peer.is_connected)
    })
    .await;
    all.push(new);
    all[2].put("from", "three");
    all[0].wait_for("from", b"three").await;
}
