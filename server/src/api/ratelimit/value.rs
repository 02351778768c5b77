//! The values of fields, for `deserialize_with`. None of them may be `null`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::rate_limits::MAX_KEY_BYTES;

/// A value that is present if its field is.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A namespace or key: any string, as bytes, borrowed if it contains no escapes.
///
/// It is not read as text, because half a surrogate pair, which JavaScript's strings may contain, is
/// not text.
pub(super) fn key<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'de, [u8]>>, D::Error> {
    let key = deserializer.deserialize_bytes(Bytes)?;
    let length = key.len();
    if length > MAX_KEY_BYTES {
        return Err(D::Error::custom(format_args!(
            "it has {length} bytes, and the maximum is {MAX_KEY_BYTES}: hash longer ones"
        )));
    }
    Ok(Some(key))
}

/// A text.
pub(super) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'de, str>>, D::Error> {
    let text = match deserializer.deserialize_bytes(Bytes)? {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).ok(),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
    };
    text.map(Some).ok_or_else(|| D::Error::custom("it is not UTF-8"))
}

/// A text that is the name of something.
pub(super) fn parsed<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    let text = text(deserializer)?.unwrap_or_default();
    text.parse().map(Some).map_err(D::Error::custom)
}

/// A whole number, which may be written as a float.
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    deserializer.deserialize_i64(Integer).map(Some)
}

/// A whole number from 0 to `u32::MAX`.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = deserializer.deserialize_i64(Integer)?;
    u32::try_from(number).map(Some).map_err(|_range| {
        D::Error::custom(format_args!("{number} is out of range: use 0 to {}", u32::MAX))
    })
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }
}

struct Integer;

impl Visitor<'_> for Integer {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        // More than any bound that is checked later.
        Ok(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
        /// Below this, a float holds every integer exactly.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() != 0.0 || number.abs() >= EXACT {
            return Err(E::invalid_type(Unexpected::Float(number), &self));
        }
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number in bounds")]
        Ok(number as i64)
    }
}
