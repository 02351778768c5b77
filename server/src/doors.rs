//! The doors: one module per protocol.

pub mod binding;
pub mod cluster;
pub mod limit;
pub mod namespaces;
pub mod operations;
pub mod rls;
mod urlencoded;

/// A door, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// workerd's KV protocol.
    Binding,
    /// Rate limits.
    Limit,
    /// Rate limits, for Envoy.
    Rls,
    /// Namespaces, for the command line.
    Namespaces,
    /// The cluster, for the command line.
    Cluster,
    /// Health and metrics.
    Operations,
    /// No door: an unknown path, or a request that was refused before it came to one.
    None,
}

impl Door {
    pub(crate) const COUNT: usize = 7;

    /// The value of the label `door`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Door::Binding => "binding",
            Door::Limit => "limit",
            Door::Rls => "rls",
            Door::Namespaces => "namespaces",
            Door::Cluster => "cluster",
            Door::Operations => "operations",
            Door::None => "none",
        }
    }
}
