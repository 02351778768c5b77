//! Keys: how they are encoded in a path, and which are allowed.

use std::borrow::Cow;

use kv_core::limits::MAX_KEY_BYTES;
use percent_encoding::percent_decode_str;

use super::invalid::{Invalid, Rule};

/// Decodes a percent-encoded key, once. A `+` is itself.
///
/// # Errors
/// If a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
pub fn decode_key(raw: &str) -> Result<Cow<'_, str>, Invalid> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let undecodable = || Invalid::new(Rule::KeyEncoding, "Could not URL-decode key name");
    let is_escaped = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !raw.split('%').skip(1).all(is_escaped) {
        return Err(undecodable());
    }
    percent_decode_str(raw).decode_utf8().map_err(|_not_utf8| undecodable())
}

/// Checks that a key is allowed.
///
/// # Errors
/// If it is empty, `.`, `..` or too long.
pub fn check_key(key: &str) -> Result<(), Invalid> {
    match key {
        "" => Err(Invalid::new(Rule::KeyName, "Key names must not be empty")),
        "." | ".." => Err(Invalid::new(
            Rule::KeyName,
            format!("Illegal key name \"{key}\". Please use a different name."),
        )),
        _ if key.len() > MAX_KEY_BYTES => Err(Invalid::key_too_long(key.len())),
        _ => Ok(()),
    }
}
