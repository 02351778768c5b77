//! Queries, encoded as forms are: `application/x-www-form-urlencoded` of the URL standard.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Decodes a name or a value: `+` is a space, and a stray `%` is itself.
pub(super) fn decode(raw: &str) -> Cow<'_, [u8]> {
    if !raw.contains('+') {
        return percent_decode_str(raw).into();
    }
    let spaced = raw.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).collect())
}
