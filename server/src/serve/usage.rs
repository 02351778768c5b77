//! Exchanges what is counted of global limits with the other locations.

use std::{sync::Arc, time::Duration};

use kv_core::Store;
use kv_replicate::{Notice, quic::Handle};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::rate_limits::Exchange;

/// How often changes are reported.
const REPORT: Duration = Duration::from_millis(20);

/// How long the last report may take to leave.
const LEAVE: Duration = Duration::from_millis(50);

/// Hands on what a notice of the replica means for global limits.
pub(super) fn observe(exchange: &Exchange, notice: &Notice) {
    match notice {
        Notice::Usage { from, piece } => exchange.received(*from, piece),
        Notice::UsageWanted(peer) => exchange.wanted(*peer),
        Notice::UsageEnded(peer) => exchange.ended(*peer),
        _ => {}
    }
}

/// Sends what is due, until the replica ends.
pub(super) async fn exchange(handle: Handle, exchange: Arc<Exchange>, store: Store) {
    let mut ticks = interval(REPORT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let pieces = exchange.next(locations(&store));
        if !pieces.is_empty() && handle.send_usage(pieces).await.is_err() {
            return;
        }
    }
}

/// Reports the rest before the replica ends: this location may not return.
pub(super) async fn finish(handle: &Handle, exchange: &Exchange) {
    // So many locations keep nothing back.
    let pieces = exchange.next(u32::MAX);
    if !pieces.is_empty() && handle.send_usage(pieces).await.is_ok() {
        sleep(LEAVE).await;
    }
}

/// How many locations the cluster has.
fn locations(store: &Store) -> u32 {
    u32::try_from(store.view().members().current().count()).unwrap_or(u32::MAX)
}
