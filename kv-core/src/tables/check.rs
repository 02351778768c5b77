//! Checks whether the bytes of a row are a row that a store writes.

use super::{
    entries::{Place, decode},
    entry_key::split,
    layout::{Layout, decode as decode_row},
    local::LocalParts,
    small::{
        Chunks, ClosedTime, Collected, CollectedUpto, CommitTime, Dots, ExpiredTombstones, Expiry,
        Format, FormatBy, Identity, InUse, Migrating, NewestEntry, OriginIds, OwedRows, Pending,
        Purge, Rebuilding, Tombstones, Vector, whole,
    },
};
use crate::{
    codec::{DecodeError, Reader},
    engine::Table,
    types::{NamespaceId, OriginId},
};

/// Checks one row by itself: its key, its checksums, its layout and its bounds. It does not check that
/// the row fits the other rows.
///
/// # Errors
/// The mistake in the row.
pub fn check_row(table: Table, key: &[u8], row: &[u8]) -> Result<(), DecodeError> {
    /// Decodes a key and a row of one table.
    fn check<T: Layout>(key: &[u8], row: &[u8]) -> Result<(), DecodeError> {
        decode_row::<T>(key, row).map(drop)
    }
    match table {
        Table::Meta => match key {
            // The engine's own rows have no checksum.
            [0, ..] => whole(row, Reader::u64).map(drop),
            b"format" => check::<Format>(key, row),
            b"closed" => check::<ClosedTime>(key, row),
            b"software" => check::<FormatBy>(key, row),
            b"migration" => check::<Migrating>(key, row),
            b"features" => check::<InUse>(key, row),
            b"identity" => check::<Identity>(key, row),
            b"newest" => check::<NewestEntry>(key, row),
            b"collected_upto" => check::<CollectedUpto>(key, row),
            b"rebuilding" => check::<Rebuilding>(key, row),
            _ => check::<CommitTime>(key, row),
        },
        Table::Origins => check::<OriginIds>(key, row),
        Table::Entries | Table::Deleted => check_entry((table, key), row),
        Table::Dots => check::<Dots>(key, row),
        Table::Vector => check::<Vector>(key, row),
        Table::Collected => check::<Collected>(key, row),
        Table::Expiry => check::<Expiry>(key, row),
        Table::Tombstones => check::<Tombstones>(key, row),
        Table::Chunks => check::<Chunks>(key, row),
        Table::Pending => check::<Pending>(key, row),
        Table::Purge => check::<Purge>(key, row),
        Table::Local => check::<LocalParts>(key, row),
        Table::ExpiredTombstones => check::<ExpiredTombstones>(key, row),
        Table::Owed => check::<OwedRows>(key, row),
    }
}

/// Checks an entry or a tombstone. The system namespace has joined rows, whatever their fields mean, and no other has
/// any.
fn check_entry((table, key): Place<'_>, row: &[u8]) -> Result<(), DecodeError> {
    let (namespace, _name) = split(key)?;
    // Which origins the store has met is written in other rows.
    let (head, _value) = decode((table, key), row, &|_number| Ok(OriginId([0; 16])))?;
    match (namespace == NamespaceId::SYSTEM, head.joined().is_some()) {
        (true, false) => Err(DecodeError("a row of the system namespace that is not a joined row")),
        (false, true) => Err(DecodeError("a joined row outside of the system namespace")),
        _ => Ok(()),
    }
}
