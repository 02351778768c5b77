//! The conditions of the store's origins that an operator must act on.

use kv_core::StoreView;

/// From this many origins on there is an alarm: every start of a location adds two, and they never go.
const MANY_ORIGINS: usize = 4096;

/// The state of the store that matters to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginState {
    /// How many origins the store knows.
    pub known: usize,
    /// A process of this location that started later has closed this one's origins: it takes no more writes.
    pub is_superseded: bool,
    /// The store was a member's, and lacks deletions until a session has brought them.
    pub is_rebuilding: bool,
}

impl OriginState {
    /// Reads it from a view.
    #[must_use]
    pub fn of(view: &StoreView) -> OriginState {
        OriginState {
            known: view.registry().len(),
            is_superseded: view.is_superseded(),
            is_rebuilding: view.is_rebuilding() && view.members().is_current(view.member()),
        }
    }

    /// Whether the locations of the cluster have been started so often that it matters.
    #[must_use]
    pub fn has_many(&self) -> bool {
        self.known >= MANY_ORIGINS
    }
}
