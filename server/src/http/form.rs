//! Queries, which are encoded as forms: `application/x-www-form-urlencoded` of the URL standard.
//!
//! `form_urlencoded` 1.2 is not used, because it returns text and replaces bytes that are not UTF-8
//! by U+FFFD. Keys of rate limits and prefixes of lists are bytes: two of them must not become one.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parameters of a raw query, in order and decoded once: name and value. A parameter without `=`
/// has the empty value; empty parameters are skipped.
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name), decode(value))
    })
}

/// Decodes a name or a value: `+` is a space, and a `%` without two hexadecimal digits is itself.
#[must_use]
pub fn decode(raw: &str) -> Cow<'_, [u8]> {
    if !raw.contains('+') {
        return percent_decode_str(raw).into();
    }
    let spaced = raw.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).collect())
}
