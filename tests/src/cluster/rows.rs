//! The rows in a location's store, for tests that damage some.

use std::sync::Arc;

use kv_core::{
    Table,
    engine::{Engine as _, Order, Snapshot as _, Visibility, disk::DataDir, redb::RedbEngine},
};

use super::Location;

impl Location {
    /// Returns the keys and the bytes of all rows of a table of its store. It must be down.
    ///
    /// # Panics
    /// If it is up, or the store can't be read.
    #[must_use]
    pub fn rows(&self, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        assert!(!self.is_up(), "the location is up");
        let directory = DataDir::open(&self.home().data()).expect("the location is down");
        let engine = RedbEngine::open(Arc::new(directory), 1 << 20).expect("the store opens");
        let snapshot = engine.snapshot(Visibility::Latest).expect("the store can be read");
        let (mut rows, all) =
            (Vec::new(), (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded));
        let visit = &mut |key: &[u8], row: &[u8]| {
            rows.push((key.to_vec(), row.to_vec()));
            std::ops::ControlFlow::Continue(())
        };
        snapshot.range(table, all, Order::Ascending, visit).expect("the store can be read");
        drop(snapshot);
        engine.close().expect("the store closes");
        rows
    }
}
