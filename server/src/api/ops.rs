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
    app::App,
    http::{Body, reply},
    membership::OriginState,
    metrics::{ClusterGauges, Gauges, StoreGauges},
};

/// The content type of Prometheus' text format.
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The routes of this API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(async || reply::text(StatusCode::OK, "alive")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
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
    let cluster = match &app.membership {
        Some(membership) => Some((membership.status().await.ok(), membership.expiry())),
        None => None,
    };
    let view = app.store.view();
    let cluster = cluster.as_ref().map(|(status, ends)| ClusterGauges {
        status: status.as_ref(),
        members: view.members(),
        origins: OriginState::of(&view),
        ends: *ends,
    });
    let gauges = Gauges { store: store_gauges(&app), limits: app.rate_limits.gauges() };
    reply::with_type(StatusCode::OK, PROMETHEUS, app.metrics.render(&gauges, cluster.as_ref()))
}

/// The state of the store and of the writes before its queue.
fn store_gauges(app: &App) -> StoreGauges {
    StoreGauges {
        queue_operations: app.writes.in_progress(),
        queue_capacity: app.store.queue_capacity(),
        bytes: app.store.bytes(),
        garbage_bodies: app.store.bodies_waiting(),
        mode: match app.store.status().mode {
            Mode::Writer => "writer",
            Mode::Waiting(_) => "waiting",
            Mode::ReadOnly(_) => "read_only",
            Mode::Closed(_) => "closed",
        },
        namespaces: app.store.namespaces().len(),
        damaged_keys: app.store.view().owed().len(),
        title_conflicts: app.store.namespaces().conflicts().len(),
    }
}
