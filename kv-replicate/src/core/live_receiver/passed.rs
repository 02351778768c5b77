//! The later writes that were taken instead of those that they replaced.

use std::collections::VecDeque;

use kv_core::{Key, NamespaceId, Version};

use crate::Row;

/// How many are remembered. A write that is forgotten is fetched for nothing, and then counted.
const MAX_PASSED: usize = 64;

/// The last such writes, the newest last. They are in the store, or on their way to it.
#[derive(Debug, Default)]
pub(super) struct Passed(VecDeque<(NamespaceId, Key, Version)>);

impl Passed {
    /// Takes note of a later write that was taken.
    pub(super) fn insert(&mut self, row: &Row) {
        self.0.retain(|(namespace, key, _)| (namespace, key) != (&row.namespace, &row.key));
        if self.0.len() >= MAX_PASSED {
            self.0.pop_front();
        }
        self.0.push_back((row.namespace, row.key.clone(), row.version()));
    }

    /// Whether a write, or a later one of its key, was taken.
    pub(super) fn covers(&self, row: &Row) -> bool {
        self.0.iter().any(|(namespace, key, version)| {
            *version >= row.version() && *namespace == row.namespace && *key == row.key
        })
    }

    /// About how many bytes this takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.iter().map(|(_, key, _)| 64 + key.len()).sum()
    }
}
