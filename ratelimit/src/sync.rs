//! Atomics: those of the standard library, or those of loom, which tries every interleaving.

#[cfg(not(ratelimit_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(ratelimit_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
