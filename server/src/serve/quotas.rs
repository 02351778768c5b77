//! Saves the counters of calendar windows while the server runs, so that a crash forgets about a second of them.

use std::{sync::Arc, time::Duration};

use kv_core::Store;
use tokio::time::{Instant, sleep};

use crate::rate_limits::RateLimits;

/// How long a crash may forget, at least.
const PAUSE: Duration = Duration::from_secs(1);

/// How many times as long as a save takes the pause after it is: a save of very many counters must not keep the disk busy.
const SHARE: u32 = 20;

/// Saves them until it is dropped, each time that they have changed.
pub(super) async fn save(rates: Arc<RateLimits>, store: Store) {
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        let began = Instant::now();
        let (rates, store) = (Arc::clone(&rates), store.clone());
        let saving = tokio::task::spawn_blocking(move || rates.save_quotas(&store));
        if let Err(error) = saving.await {
            tracing::error!(%error, "the counters of calendar windows were not saved");
        }
        pause = PAUSE.max(began.elapsed() * SHARE);
    }
}
