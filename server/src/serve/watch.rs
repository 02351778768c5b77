//! Watches the state of the location: alarms are logged when they rise and when they end, they are reported to other
//! locations, and `/readyz` is up to date.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{alarms::conditions, app::App};

/// How often the state is looked at.
const CHECK: Duration = Duration::from_secs(1);

/// Watches until it is dropped.
pub(super) async fn watch(app: Arc<App>) {
    loop {
        let observed = app.observe().await;
        if let Some(membership) = &app.membership {
            let raised = observed.alarms.iter().map(|raised| (&raised.alarm, raised.since));
            let conditions = conditions(&observed.snapshot, raised);
            // If the replica has ended, nothing can be reported, and that is an alarm.
            let _ended = membership.report(conditions).await;
            // A disk that hangs must not hold up the alarms.
            let counting = Arc::clone(membership);
            let _counted = tokio::task::spawn_blocking(move || counting.count_salvaged());
        }
        sleep(CHECK).await;
    }
}
