//! Rows with checksums as specified in FORMAT.md, by independent code: random bytes would not pass
//! a checksum.

use kv_core::Table;

/// A row: the payload and its checksum.
pub fn seal(table: Table, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c(&[&[table.number()], key, payload].concat());
    [payload, &crc.to_be_bytes()].concat()
}

/// An entry's row: the head and its checksum, then, if there is one, the body and its checksum.
pub fn seal_entry(key: &[u8], head: &[u8], body: Option<&[u8]>) -> Vec<u8> {
    let mut row = seal(Table::Entries, key, head);
    if let Some(body) = body {
        row.extend(seal(Table::Entries, key, body));
    }
    row
}
