//! Lists of keys: which page a query asks for, and the keys that a page leaves out.

use kv_core::{NamespaceId, limits::MAX_KEY_BYTES};

use super::{Invalid, cursor, query::Query};
use crate::metrics::Metrics;

/// A page of a list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that start with this. It is not text: a prefix that is not UTF-8 matches no keys.
    pub prefix: Vec<u8>,
    /// Only keys after this one.
    pub after: Option<Vec<u8>>,
    /// At most this many keys.
    pub limit: usize,
}

impl ListRequest {
    /// Reads the query of a list. The APIs have different names and bounds for the limit.
    ///
    /// # Errors
    /// If the prefix is longer than a key, or the cursor is not one.
    pub fn parse(query: Query<'_>, limit: usize) -> Result<ListRequest, Invalid> {
        let prefix = query.get("prefix").unwrap_or_default().into_owned();
        if prefix.len() > MAX_KEY_BYTES {
            return Err(Invalid::key_too_long(prefix.len()));
        }
        let after = cursor::decode(&query.text("cursor").unwrap_or_default())?;
        Ok(ListRequest { prefix, after, limit })
    }
}

/// Counts and logs keys that a page leaves out, because their entries are damaged.
pub fn count_damaged(metrics: &Metrics, namespace: NamespaceId, keys: usize) {
    if keys > 0 {
        // The keys may be personal data: `waypost cluster status` names them, the log does not.
        tracing::error!(%namespace, keys, "a list left out keys whose entries are damaged on this disk");
        metrics.left_out_of_lists(keys);
    }
}
