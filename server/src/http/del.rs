//! DEL (U+007F) in the value of a header.
//!
//! workerd sends metadata as JSON in a header and leaves DEL unescaped, but hyper's parser rejects
//! that byte. So the connection replaces it by [`MASK`] before the parser sees it, and the API
//! restores it with [`unmask`].

/// The byte that hyper rejects.
pub const DEL: u8 = 0x7f;

/// Stands for [`DEL`] between the socket and the API. No UTF-8 text contains this byte.
pub const MASK: u8 = 0xf8;

/// Returns the value of a header as its client sent it.
#[must_use]
pub fn unmask(value: &[u8]) -> Vec<u8> {
    value.iter().map(|byte| if *byte == MASK { DEL } else { *byte }).collect()
}
