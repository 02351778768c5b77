//! The names of the tables in redb's file.

use redb::TableDefinition;

use crate::engine::table::Table;

/// The name in redb of each table, by [`Table::number`].
const NAMES: [&str; Table::SLOTS] = [
    "meta",
    "origins",
    "entries",
    "dots",
    "vector",
    "collected",
    "expiry",
    "graves",
    "chunks",
    "pending",
    "purge",
    "local",
    "expired",
    "owed",
    "deleted",
];

/// Tables that are younger than the first stores. An old file may lack them.
pub(super) const LATER: [Table; 4] =
    [Table::Local, Table::ExpiredTombstones, Table::Owed, Table::Deleted];

/// The row of `meta` that holds the number of the last commit.
pub(super) const COMMIT_ROW: &[u8] = b"\0commit";

/// Returns a table as redb names and types it.
pub(super) fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(NAMES[usize::from(table.number())])
}
