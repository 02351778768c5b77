//! The hand-over of what a location has acknowledged, before it ends.

use std::time::Duration;

use kv_core::Store;
use kv_replicate::quic::{Peer, Status};
use tokio::time::{sleep, timeout};

use crate::membership::Membership;

/// How long a stop waits at most until another location has what was acknowledged here.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a stop looks whether that is so.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until another location has everything that was acknowledged here. Waits a bounded time, and not at all while
/// no other is linked: then the others get the writes after the next start. A process that a later one has superseded
/// waits for a link too, because its directory may be discarded: the two take turns at the links of the others.
pub(super) async fn hand_over(membership: &Membership, store: &Store) {
    let handing_over = async {
        while membership.status().await.is_ok_and(|status| must_wait(&status, store)) {
            sleep(LOOK_EVERY).await;
        }
    };
    if timeout(LIMIT, handing_over).await.is_err() {
        tracing::warn!(
            "no other location has all writes that were acknowledged here: keep the data directory, and start this \
             location again"
        );
    }
}

/// Whether no other location has everything, and one may soon. With `relaxed` durability, other locations get a write
/// only once it is synced.
fn must_wait(status: &Status, store: &Store) -> bool {
    let is_synced = store.durable_view().vector().covers_all(store.view().vector());
    let has_all = |peer: &Peer| peer.missing_there.is_some_and(|missing| missing.writes == 0);
    let mut others = status.peers.values();
    let may_come = status.is_superseded || status.peers.values().any(|peer| peer.is_connected);
    status.halted.is_none() && may_come && !(is_synced && others.any(has_all))
}
