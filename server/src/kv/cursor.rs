//! The cursor of a list: "after this key", as opaque text.
//!
//! It names a key and not a position, so deletes do not invalidate it, later inserts after it appear,
//! and it can be reused, also with another limit.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kv_core::limits::MAX_KEY_BYTES;

use super::invalid::{Invalid, Rule, shown};

/// The cursor after a page whose last key is `last`.
#[must_use]
pub fn encode(last: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// The key after which a page begins; none at the start, which is also what the empty cursor means.
///
/// # Errors
/// If this is not a cursor.
pub fn decode(cursor: &str) -> Result<Option<Vec<u8>>, Invalid> {
    if cursor.is_empty() {
        return Ok(None);
    }
    match URL_SAFE_NO_PAD.decode(cursor) {
        Ok(last) if last.len() <= MAX_KEY_BYTES => Ok(Some(last)),
        _ => Err(Invalid::new(
            Rule::Cursor,
            format!(
                "Invalid cursor of {}. Please use the cursor of the page before, unchanged.",
                shown(cursor)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_key() {
        for key in [&b"a"[..], b"\0\xff?>", &[b'x'; 512]] {
            let cursor = encode(key);
            assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            assert_eq!(decode(&cursor), Ok(Some(key.to_vec())));
        }
        assert_eq!(decode(""), Ok(None));
    }

    #[test]
    fn other_texts_are_not_cursors() {
        for cursor in ["a", "YQ==", "YR", "Y Q", "a+b/", "\u{e9}", &encode(&[b'x'; 513])] {
            let refusal = decode(cursor).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(refusal.text.starts_with("Invalid cursor of "), "{}", refusal.text);
        }
    }
}
