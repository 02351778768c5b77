//! Reasons to stop replicating for good.

use std::fmt;

/// Why a core has stopped replicating for good. Only an operator can resolve it: the text of
/// [`Display`](fmt::Display) names the cause and the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaltReason {
    /// This location was removed from the cluster.
    Removed,
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HaltReason::Removed => {
                "this location was removed from the cluster: to join again, start it with an empty data \
                 directory and `waypost serve --join TOKEN`"
            }
        })
    }
}
