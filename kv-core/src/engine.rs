//! The storage engine: byte-ordered tables, atomic commits, snapshots. It knows table numbers and
//! bytes, and nothing of entries.

mod api;
pub mod disk;
pub mod heir;
mod memory;
mod overlay;
pub mod redb;
mod reserve;
mod storage;
mod table;
mod watched;

pub(crate) use self::api::{after_prefix, visit_prefix};
pub use self::{
    api::{
        Batch, CommitNo, Engine, EngineError, Mode, Order, Room, Snapshot, Status, Visibility,
        Visitor,
    },
    table::Table,
};
