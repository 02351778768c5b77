//! Calls that may read much of the disk.

use http::Response;
use kv_core::Store;

use super::failure::{self, Failure};
use crate::{app::App, http::Body};

/// Runs what may read much of the disk on a thread that serves no connections.
pub(super) async fn blocking<F>(app: &App, respond: F) -> Result<Response<Body>, Failure>
where
    F: FnOnce(&Store) -> Result<Response<Body>, Failure> + Send + 'static,
{
    let store = app.store.clone();
    let task = tokio::task::spawn_blocking(move || respond(&store));
    task.await.unwrap_or_else(|error| Err(failure::panicked(&error)))
}
