//! Reasons to stop replicating for good.

use std::fmt;

/// Why a core has stopped replicating for good. Only an operator can resolve it: the text of
/// [`Display`](fmt::Display) names the cause and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaltReason {
    /// A peer counts more writes of this store than this store has made.
    RolledBack,
    /// A peer holds writes under this store's origins that this store did not make.
    ForeignWrites,
    /// A peer presents this store's member id or origins as its own.
    DuplicateIdentity,
    /// This location was removed from the cluster.
    Removed,
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HaltReason::RolledBack => {
                "a peer has writes of this store that this store does not have: the store was \
                 restored from an older image; empty it and let it join again"
            }
            HaltReason::ForeignWrites => {
                "a peer has writes under this store's identity that this store did not make: the \
                 store is a copy, or was restored from an older image; empty it and let it join again"
            }
            HaltReason::DuplicateIdentity => {
                "another store has this store's identity: one of the two is a copy; empty the copy \
                 and let it join again"
            }
            HaltReason::Removed => {
                "this location was removed from the cluster: to join again, start it with an empty data \
                 directory and `waypost serve --join TOKEN`"
            }
        })
    }
}
