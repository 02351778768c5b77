//! How long bodies may be.

use kv_core::limits::MAX_VALUE_BYTES;

/// The longest body of a bulk write, in bytes.
pub(super) const MAX_BULK_BYTES: usize = 100 << 20;

/// How much of a body is read in all before it is refused: the longest of a bulk write. A client that writes its
/// whole body before it reads the response would not see it otherwise.
pub(super) const MAX_DISCARDED_BYTES: u64 = MAX_BULK_BYTES as u64;

/// How much of a put is read in all before it is refused. A form has more than its value.
pub(super) const MAX_PUT_BYTES: u64 = 2 * MAX_VALUE_BYTES;
