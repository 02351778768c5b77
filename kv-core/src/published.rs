//! The views that readers get.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;

use crate::{body::ChunkSource, engine::Snapshot, error::ReadError, types::BodyId, view::View};

/// The newest view that readers may have (durable, unless the store is relaxed), and the newest durable
/// one.
pub(crate) struct Published<S> {
    latest: ArcSwap<View<S>>,
    durable: ArcSwap<View<S>>,
}

impl<S> Published<S> {
    /// Publishes the first view, which is durable.
    pub(crate) fn new(view: View<S>) -> Published<S> {
        let view = Arc::new(view);
        Published { latest: ArcSwap::new(Arc::clone(&view)), durable: ArcSwap::new(view) }
    }

    /// Publishes the view of a commit.
    pub(crate) fn set(&self, view: View<S>) {
        self.latest.store(Arc::new(view));
    }

    /// Records that the latest view survives a crash.
    pub(crate) fn set_durable(&self) {
        self.durable.store(self.latest.load_full());
    }

    /// Returns the newest view for one short read.
    pub(crate) fn load(&self) -> Guard<Arc<View<S>>> {
        self.latest.load()
    }

    /// Returns the newest view.
    pub(crate) fn latest(&self) -> Arc<View<S>> {
        self.latest.load_full()
    }

    /// Returns the newest view of which everything survives a crash.
    pub(crate) fn durable(&self) -> Arc<View<S>> {
        self.durable.load_full()
    }
}

impl<S: Snapshot> ChunkSource for Published<S> {
    fn chunk(&self, body: BodyId, index: u32) -> Result<Option<Bytes>, ReadError> {
        self.latest.load().chunk(body, index)
    }
}
