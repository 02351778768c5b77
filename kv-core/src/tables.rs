//! Typed tables: the keys and rows of each table of the engine, and their bytes. FORMAT.md describes
//! the same in prose.

mod check;
mod entries;
mod entry_key;
mod layout;
mod local;
mod origins;
mod rows;
mod seal;
mod small;

#[cfg(test)]
pub(crate) use self::layout::encode;
pub use self::{check::check_row, seal::FORMAT_VERSION};
pub(crate) use self::{
    entries::{
        Apart, Place, decode_entry, decode_head, encode_entry, other_table, set_apart, table_of,
    },
    entry_key::{EntryKey, split as split_entry},
    layout::{Layout, decode, delete, first, get, last, put, visit},
    local::{LocalParts, Part},
    origins::Origins,
    rows::{row, visit_rows},
    small::{
        ChunkKey, Chunks, ClosedTime, Collected, CollectedUpto, CommitTime, Dots,
        ExpiredTombstones, Expiry, Format, FormatBy, Identity, InUse, IndexedDot, Migrating,
        Migration, NewestEntry, OriginIds, OwedRows, Pending, Purge, Rebuilding, Timed, Tombstones,
        Vector, body_prefix, chunk,
    },
};
