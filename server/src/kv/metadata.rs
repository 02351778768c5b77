//! Metadata: JSON text beside a value.

use kv_core::limits::MAX_METADATA_BYTES;
use serde::de::IgnoredAny;

use super::invalid::{Invalid, Rule};

/// Checks metadata.
///
/// # Errors
/// If it is too long, or not JSON in UTF-8.
pub fn check(text: Vec<u8>) -> Result<Box<str>, Invalid> {
    if text.len() > MAX_METADATA_BYTES {
        return Err(Invalid::metadata_too_long(text.len()));
    }
    let invalid = |why| Invalid::new(Rule::Metadata, why);
    let text = String::from_utf8(text)
        .map_err(|_not_utf8| invalid("Invalid metadata. Please specify JSON in UTF-8."))?;
    if !is_json(&text) {
        return Err(invalid("Invalid metadata. Please specify valid JSON."));
    }
    Ok(text.into())
}

/// Whether this is JSON text.
#[must_use]
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_may_be_nested_deeply() {
        assert!(is_json(&("[".repeat(500) + &"]".repeat(500))));
    }
}
