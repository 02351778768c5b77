//! Committing: a batch of operations becomes rows, dots and versions in one step.
//!
//! [`Committer::commit`] is a function of the store's state, the time and the batch. It owns no thread
//! and reads no clock: the writer thread calls it, and so do tests.

mod applied;
mod by_time;
mod chunks;
mod closing;
mod collect;
mod committer;
mod entry;
mod gc;
mod index;
mod local;
mod members;
mod migrate;
mod namespaces;
mod open;
mod openings;
mod operation;
mod origins;
mod overrides;
mod owed;
mod program;
mod purge;
mod read;
mod rebuild;
mod remote;
mod repair;
mod skip;
mod state;
mod sweep;
mod system;
#[cfg(test)]
mod tests;
mod transaction;
mod upload;
mod write;

pub(crate) use committer::MAX_SKEW_MS;

pub use self::{
    applied::Applied,
    committer::{Committed, Committer},
    gc::{GcLimits, GcStep},
    migrate::{Formats, MIGRATIONS, Rewrite, Slice, Step},
    open::Creation,
    operation::{
        BatchWrite, NewContent, Operation, Outcome, Remote, RemoteWrite, SkippedWrite, Written,
    },
    program::Program,
    upload::Upload,
};
