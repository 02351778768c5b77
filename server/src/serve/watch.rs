//! Watches the state of the location: alarms are logged when they rise and when they end, they are reported to other
//! locations, and `/readyz` is up to date.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kv_core::MemberId;
use serde_json::json;
use tokio::time::sleep;

use crate::{alarms::conditions, app::App};

/// How often the state is looked at.
const CHECK: Duration = Duration::from_secs(1);

/// How often refusals are written to the audit log, in checks.
const REFUSALS: u64 = 10;

/// The members of the cluster, by id, with their names.
type Members = BTreeMap<MemberId, String>;

/// Records locations that have joined or were removed, here or elsewhere, since the last call.
fn audit_members(app: &App, known: &mut Members) {
    let view = app.store.view();
    let now: Members =
        view.members().current().map(|member| (member.id, member.name.clone())).collect();
    let is_first = known.is_empty();
    for (action, these, those) in
        [("cluster.joined", &now, &*known), ("cluster.removed", &*known, &now)]
    {
        for (id, name) in these.iter().filter(|(id, _)| !is_first && !those.contains_key(id)) {
            app.audit.own(action, "done", &json!({"location": name, "id": id.to_string()}));
        }
    }
    *known = now;
}

/// Watches until it is dropped.
pub(super) async fn watch(app: Arc<App>) {
    let mut members = Members::new();
    for second in 1_u64.. {
        audit_members(&app, &mut members);
        let looking = Arc::clone(&app);
        // A disk that hangs must not hold up the alarms.
        let _looked = tokio::task::spawn_blocking(move || looking.alarms.directory().look());
        if second.is_multiple_of(REFUSALS) {
            app.audit.write_refusals();
        }
        let observed = app.observe().await;
        if let Some(membership) = &app.membership {
            let raised = observed.alarms.iter().map(|raised| (&raised.alarm, raised.since));
            let conditions = conditions(&observed.snapshot, raised);
            // If the replica has ended, nothing can be reported, and that is an alarm.
            let _ended = membership.report(conditions).await;
            let counting = Arc::clone(membership);
            let _counted = tokio::task::spawn_blocking(move || counting.count_salvaged());
        }
        sleep(CHECK).await;
    }
}
