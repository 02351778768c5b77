//! Atomics: the real ones, or loom's, which try every interleaving.

#[cfg(not(ratelimit_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(ratelimit_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
