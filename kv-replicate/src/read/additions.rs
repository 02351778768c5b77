//! When rows that a store's vector does not count were last added to it, origin by origin.
//!
//! A source sends the rows of its own unfinished sessions in every round of a session that it serves, because a
//! row of them may have replaced a counted one. A receiver that has them all as of some commit needs those of an
//! origin again only if one was added later.

use std::collections::BTreeMap;

use kv_core::OriginId;

/// The commits that added uncounted rows. They are not known from before the start of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Additions {
    /// Rows of any origin may have been added up to this commit.
    any: u64,
    /// The last commit that added a row of an origin.
    last: BTreeMap<OriginId, u64>,
}

impl Additions {
    /// This commit may have added rows of any origin.
    pub(crate) fn may_have_added(&mut self, commit: u64) {
        self.any = self.any.max(commit);
    }

    /// This commit added a row of an origin.
    pub(crate) fn added(&mut self, origin: OriginId, commit: u64) {
        let last = self.last.entry(origin).or_default();
        *last = commit.max(*last);
    }

    /// Whether no row of an origin was added after this commit.
    pub(crate) fn has_none_after(&self, origin: OriginId, commit: u64) -> bool {
        commit >= self.any && self.last.get(&origin).is_none_or(|last| commit >= *last)
    }
}
