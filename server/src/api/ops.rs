//! The operations API: `/healthz`, `/readyz` and `/metrics`, for monitoring.
//!
//! | path | response |
//! |---|---|
//! | `GET /healthz` | 200 as long as the process responds at all: else restart it |
//! | `GET /readyz` | 200 if this location accepts reads and writes, else 503 with the reason: send it no traffic |
//! | `GET /metrics` | Prometheus text |

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use hyper::{Response, StatusCode, header::HeaderValue};
use kv_core::Mode;

use crate::{
    app::{App, Observation},
    http::{Body, reply},
    membership::OriginState,
    metrics::{ClusterGauges, Gauges, StoreGauges},
};

/// The content type of Prometheus' text format.
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The path of the metrics, which alone need a token.
pub(crate) const METRICS: &str = "/metrics";

/// The routes of this API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || reply::text(StatusCode::OK, "alive")))
        .route("/readyz", get(ready))
        .route(METRICS, get(metrics))
}

/// `GET /readyz`.
async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    match app.unready() {
        None => reply::text(StatusCode::OK, "ready"),
        Some(why) => reply::text(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// `GET /metrics`. The state of the store and the cluster is read now; the rest was counted.
async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let observed = app.observe().await;
    let member = observed.snapshot.member.as_ref();
    let view = app.store.view();
    let is_well = observed.verdict.as_ref().is_some_and(|verdict| verdict.is_well);
    let cluster = member.map(|member| ClusterGauges {
        status: &member.status,
        has_stopped: member.has_stopped(),
        members: view.members(),
        origins: OriginState::of(&view),
        ends: member.expiry,
        is_well,
    });
    let alarms = observed.alarms.iter();
    app.metrics.connections().hold(app.budget.used(), app.budget.capacity());
    let gauges = Gauges {
        store: store_gauges(&app, &observed),
        limits: app.rate_limits.load().gauges(|id| view.members().is_current(id)),
        alarms: alarms.map(|raised| (raised.alarm.kind, raised.alarm.is_reported)).collect(),
    };
    reply::with_type(StatusCode::OK, PROMETHEUS, app.metrics.render(&gauges, cluster.as_ref()))
}

/// The state of the store and of the writes before its queue.
fn store_gauges(app: &App, observed: &Observation) -> StoreGauges {
    StoreGauges {
        queue_operations: app.writes.in_progress(),
        queue_capacity: app.store.queue_capacity(),
        bytes: app.store.bytes(),
        garbage_bodies: app.store.bodies_waiting(),
        takes_values: observed.snapshot.room.takes_values,
        reserve_bytes: observed.snapshot.room.reserve_bytes,
        mode: match observed.snapshot.mode {
            Mode::Writer => "writer",
            Mode::Waiting(_) => "waiting",
            Mode::ReadOnly(_) => "read_only",
            Mode::Closed(_) => "closed",
        },
        namespaces: app.store.namespaces().len(),
        damaged_keys: observed.snapshot.damage.count,
        title_conflicts: observed.snapshot.titles.len(),
    }
}
