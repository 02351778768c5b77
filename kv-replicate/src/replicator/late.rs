//! Writes that arrive later than the tombstones that may have deleted them were collected.

use kv_core::{VersionVector, engine::Snapshot, view::View};

use crate::{Content, How, Row, ToApply};

/// Which rows of a commit are late: a tombstone that was collected here may have deleted them. A row of a session is not
/// late if its snapshot counts all tombstones that were collected here: then it shows what they deleted. Behind a live
/// write that is late, the next ones of its origin can't be applied either.
pub(super) struct Late {
    /// Whether the snapshot of the rows counts every collected tombstone.
    knows_all: bool,
    /// Whether a live write was late.
    is_cut: bool,
}

impl Late {
    /// For rows of a snapshot that counts these writes; none for rows of no session.
    pub(super) fn new<S: Snapshot>(view: &View<S>, basis: Option<&VersionVector>) -> Late {
        let knows_all = basis.is_some_and(|basis| basis.covers_all(view.collected()));
        Late { knows_all, is_cut: false }
    }

    /// Whether the next row is late.
    pub(super) fn is_late<S: Snapshot>(
        &mut self,
        view: &View<S>,
        ToApply { row, how, .. }: &ToApply,
    ) -> bool {
        let is_late = !self.knows_all && view.is_late(row.namespace, row.dot, row.hlc);
        self.is_cut |= is_late && matches!(how, How::Next | How::Skip);
        is_late || self.is_cut
    }
}

/// Whether a row brings a value.
pub(super) fn has_value(row: &Row) -> bool {
    matches!(row.content, Content::Value(_) | Content::Large { .. })
}
