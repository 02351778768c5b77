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
pub enum Api {
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

impl Api {
    pub(crate) const COUNT: usize = 7;

    /// The value of the label `api`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Api::Binding => "binding",
            Api::Limit => "limit",
            Api::Rls => "rls",
            Api::Namespaces => "namespaces",
            Api::Cluster => "cluster",
            Api::Operations => "operations",
            Api::None => "none",
        }
    }
}
