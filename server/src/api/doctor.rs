//! The doctor API: `/v1/doctor`, which examines the whole store while it runs. `waypost doctor` uses it.
//!
//! | request | body | response |
//! |---|---|---|
//! | `POST /v1/doctor` | `{"dry_run":true}` | 200 and a [`DoctorInfo`], which may take minutes |
//!
//! A refusal is `{"error":"a sentence"}` with 400, 409 (an examination runs already), or 503 (the disk can't be read,
//! or no writes for now).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{State, rejection::BytesRejection},
    routing::post,
};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    doctor::{self, DoctorInfo},
    http::{
        Body,
        problem::{Refused, parse},
        reply,
    },
};

/// The routes of this API.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/doctor", post(examine))
}

/// The body of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewExamination {
    /// Whether to change nothing.
    pub dry_run: bool,
}

/// Whether an examination runs: two at a time would only slow the server down.
static RUNS: AtomicBool = AtomicBool::new(false);

/// Ends the examination when it is dropped.
struct Running;

impl Running {
    /// Begins an examination; none if one runs.
    fn begin() -> Option<Running> {
        (!RUNS.swap(true, Ordering::AcqRel)).then_some(Running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNS.store(false, Ordering::Release);
    }
}

/// `POST /v1/doctor`.
async fn examine(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response<Body>, Refused> {
    let NewExamination { dry_run } = parse(&body?, r#"{"dry_run":true}"#)?;
    let running = Running::begin().ok_or_else(|| {
        let error = "an examination of this store runs already: wait for its end";
        Refused::new(StatusCode::CONFLICT, error)
    })?;
    let store = app.store.clone();
    let examination = tokio::task::spawn_blocking(move || -> Result<DoctorInfo, _> {
        let _running = running;
        doctor::examine(&store, dry_run, &mut |rows| tracing::debug!(rows, "examines the store"))
    });
    let unavailable = |error: String| Refused::new(StatusCode::SERVICE_UNAVAILABLE, error);
    let found = examination.await.map_err(|error| unavailable(error.to_string()))?;
    let found = found.map_err(|error| unavailable(error.to_string()))?;
    if !found.is_sound {
        tracing::warn!("the store was examined: {}", found.text().trim_end().replace('\n', "; "));
    }
    Ok(reply::json(StatusCode::OK, &found))
}
