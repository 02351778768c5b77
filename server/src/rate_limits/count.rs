//! The count of a limit in a configuration file. Each error names the field and the valid range, which
//! the errors of serde's own `u32` do not.

use std::fmt;

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

/// Reads a count that may be left out.
///
/// # Errors
/// If it is not a whole number from 0 to `u32::MAX`. The error names `field`.
pub(crate) fn count<'de, D: Deserializer<'de>>(
    field: &'static str,
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    deserializer.deserialize_option(Count(field))
}

/// Reads the count of the field with this name.
struct Count(&'static str);

impl Count {
    /// The number, if it is in range.
    fn in_range<E: Error>(
        &self,
        number: impl TryInto<u32> + fmt::Display + Copy,
    ) -> Result<u32, E> {
        number
            .try_into()
            .map_err(|_range| E::custom(format!("`{}` is {number}: use 0 to {}", self.0, u32::MAX)))
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` as a whole number from 0 to {}", self.0, u32::MAX)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.in_range(number).map(Some)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.in_range(number).map(Some)
    }
}
