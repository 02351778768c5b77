//! Rows in the engine, to be changed under the store: see FORMAT.md.

use kv_core::Table;

use crate::pair::namespace;

/// The bytes of a row's head before the length of its value, without `prev`, expiry and metadata: flags,
/// time, origin, sequence number.
const HEAD: usize = 1 + 8 + 4 + 8;

/// The name of an entry's row.
pub(crate) fn entry(key: &str) -> Vec<u8> {
    [&namespace().0, key.as_bytes()].concat()
}

/// The name of an entry's row in the dot index.
pub(crate) fn dot(row: &[u8]) -> Vec<u8> {
    row[9..HEAD].to_vec()
}

/// The row with another value and a valid checksum.
pub(crate) fn flipped(key: &[u8], row: &[u8]) -> Vec<u8> {
    let (head, mut value) = parts(row);
    value[0] ^= 1;
    sealed(key, &head, &value)
}

/// The row, sealed for another key.
pub(crate) fn moved(key: &[u8], row: &[u8]) -> Vec<u8> {
    let (head, value) = parts(row);
    sealed(key, &head, &value)
}

fn parts(row: &[u8]) -> (Vec<u8>, Vec<u8>) {
    assert_eq!(row[0], 0, "an inline value and no more");
    (row[..HEAD + 4].to_vec(), row[HEAD + 8..row.len() - 4].to_vec())
}

fn sealed(key: &[u8], head: &[u8], value: &[u8]) -> Vec<u8> {
    let place = crc32c::crc32c_append(crc32c::crc32c(&[Table::Entries.number()]), key);
    let crc = |part: &[u8]| crc32c::crc32c_append(place, part).to_be_bytes();
    [head, &crc(head), value, &crc(value)].concat()
}
