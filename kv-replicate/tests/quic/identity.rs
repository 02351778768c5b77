//! Certificates that are replaced while a location runs.

use kv_replicate::quic::IdentityError;

use crate::{
    authority::Authority,
    location::{cluster, member, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_location_with_an_expired_certificate_links_once_it_has_another_one() {
    let authority = Authority::new();
    let mut all = cluster(&authority, 2).await;
    all[1].stop().await;
    let expired = authority.expired(member(2));
    all[1].start_with(&authority, 2, |config| config.identity = expired).await;
    all[1].put("while expired", "here");
    wait_until("a dial fails", async || {
        all[1].status().await.peers.values().all(|peer| !peer.is_connected && peer.failures > 0)
    })
    .await;
    assert!(all[0].get("while expired").is_none());

    let handle = all[1].replica().handle();
    handle.set_identity(authority.identity(member(2))).await.unwrap();
    all[0].wait_for("while expired", b"here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_stay_up_while_a_certificate_is_replaced_and_an_unusable_one_changes_nothing() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    let handle = all[1].replica().handle();
    let other = authority.identity(member(3));
    let refused = handle.set_identity(other).await.unwrap_err();
    assert!(matches!(refused, IdentityError::Unusable(_)), "{refused}");
    handle.set_identity(authority.identity(member(2))).await.unwrap();
    assert!(all[1].status().await.peers[&member(1)].is_connected);
    all[1].put("after", "here");
    all[0].wait_for("after", b"here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_closes_its_links_dials_again() {
    let authority = Authority::new();
    let all = cluster(&authority, 2).await;
    all[1].replica().handle().unlink("its certificate has expired").await.unwrap();
    all[1].put("after", "here");
    all[0].wait_for("after", b"here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_are_trusted_at_once() {
    let (former, newest) = (Authority::new(), Authority::new());
    let all = cluster(&former, 2).await;
    let both = |mut identity: kv_replicate::quic::Identity| {
        let roots = [&former, &newest].map(|one| one.identity(member(9)).authorities);
        identity.authorities = roots.concat();
        identity
    };
    let set = async |number: u8, identity| {
        let handle = all[usize::from(number) - 1].replica().handle();
        handle.set_identity(identity).await.unwrap();
    };
    set(1, both(former.identity(member(1)))).await;
    set(2, both(newest.identity(member(2)))).await;
    all[1].replica().handle().unlink("so that a new link is made").await.unwrap();
    all[1].put("after", "here");
    all[0].wait_for("after", b"here").await;
}
