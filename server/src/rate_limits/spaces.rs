//! The counters that the configuration names: they are counted apart from those that callers name, who
//! must not be able to evict them.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock},
};

use ratelimit::{Algorithm, Limit};

/// What a limit adds to the name of its counters, beside namespace and key: period, algorithm, and whether it is global.
pub(crate) type Window = (u64, Algorithm, bool);

/// Returns what a limit adds to the name of its counters.
pub(crate) fn window(limit: &Limit) -> Window {
    (limit.window_id(), limit.algorithm(), limit.is_global())
}

/// The windows of the configuration's limits, by the namespace of their counters.
#[derive(Debug, Default)]
pub(super) struct Spaces(RwLock<HashMap<Box<[u8]>, HashSet<Window>>>);

impl Spaces {
    /// Adds what a part of the configuration names. What was added before stays, so that the counters of
    /// a limit that is removed and added again are found again.
    pub(super) fn add<'a>(&self, named: impl Iterator<Item = (&'a str, Window)>) {
        let mut spaces = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (namespace, window) in named {
            spaces.entry(namespace.as_bytes().into()).or_default().insert(window);
        }
    }

    /// The namespaces that the configuration names.
    pub(super) fn names(&self) -> Vec<Box<[u8]>> {
        let spaces = self.0.read().unwrap_or_else(PoisonError::into_inner);
        spaces.keys().cloned().collect()
    }

    /// Returns whether the configuration names a namespace.
    pub(super) fn knows(&self, namespace: &[u8]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(namespace)
    }

    /// Returns whether the configuration names the counters of a limit in a namespace.
    pub(super) fn has(&self, namespace: &[u8], limit: &Limit) -> bool {
        let spaces = self.0.read().unwrap_or_else(PoisonError::into_inner);
        spaces.get(namespace).is_some_and(|windows| windows.contains(&window(limit)))
    }
}
