//! The checksum of rows.
//!
//! Every row ends in a CRC-32C over its table, its key and its payload, so that neither damaged bytes nor
//! a row in another row's place become a value. An entry with an inline body has two checksums: one for
//! the head, so that a list need not read bodies, and one for the body.

use crate::{codec::DecodeError, engine::Table};

/// The version of the disk format that this crate writes. A store of an older one is migrated when it is opened, if steps
/// lead here from it.
pub const FORMAT_VERSION: u32 = 3;

/// The length of a checksum, in bytes.
pub(super) const CRC_BYTES: usize = 4;

/// The checksum over a row's table and key. The checksums of its payloads continue from it.
#[derive(Clone, Copy)]
pub(super) struct Place(u32);

impl Place {
    /// Returns the place of a row. The checksum covers it, so that a valid row in a wrong place is found.
    pub(super) fn new(table: Table, key: &[u8]) -> Place {
        Place(crc32c::crc32c_append(crc32c::crc32c(&[table.number()]), key))
    }

    /// Returns the CRC-32C (RFC 3720, section 12.1) of the place and the payload.
    pub(super) fn checksum(self, payload: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, payload)
    }

    /// Checks and removes the checksum at the end of `row`.
    pub(super) fn unseal(self, row: &[u8]) -> Result<&[u8], DecodeError> {
        let (payload, crc) =
            row.split_last_chunk().ok_or(DecodeError("shorter than its checksum"))?;
        if u32::from_be_bytes(*crc) != self.checksum(payload) {
            return Err(DecodeError("wrong checksum"));
        }
        Ok(payload)
    }
}

/// Appends the checksum of `payload` as the row `key` of `table`.
pub(crate) fn seal(table: Table, key: &[u8], mut payload: Vec<u8>) -> Vec<u8> {
    let crc = Place::new(table, key).checksum(&payload);
    payload.extend_from_slice(&crc.to_be_bytes());
    payload
}

/// Returns the payload of a sealed row.
pub(super) fn unseal<'a>(table: Table, key: &[u8], row: &'a [u8]) -> Result<&'a [u8], DecodeError> {
    Place::new(table, key).unseal(row)
}
