//! Several addresses of a location, of which the first ones lead nowhere.

use std::{net::UdpSocket, time::Duration};

use crate::{
    authority::Authority,
    location::{Location, member, wait_until},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_drops_packets_does_not_hold_up_the_next_one() {
    let authority = Authority::new();
    // It is bound, so that the system reports nothing, and nothing answers.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let dead = silent.local_addr().expect("it is bound").to_string();
    let first = Location::first(&authority, 1).await;
    let sponsor = vec![dead, "localhost.invalid:1".into(), first.address.to_string()];
    let second = Location::with(&authority, 2, Some(&first), |config| {
        config.bootstrap = vec![(member(1), sponsor)];
        // Longer than the test waits: only the next address helps.
        config.tuning.handshake = Duration::from_secs(60);
    })
    .await;
    first.add(&second);
    second.wait_until_joined().await;
    wait_until("the link is up", async || {
        let status = second.status().await;
        status.peers.values().all(|peer| peer.is_connected && peer.down_for.is_none())
    })
    .await;
}
