//! Numbers that may be zero.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A number from 0 to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpTo<const MAX: u32>(u32);

impl<const MAX: u32> UpTo<MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const MAX: u32> TryFrom<u64> for UpTo<MAX> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let small = u32::try_from(number).ok().filter(|number| *number <= MAX);
        small.map(UpTo).ok_or_else(|| format!("{number} is out of range: say 0 to {MAX}"))
    }
}

impl<const MAX: u32> FromStr for UpTo<MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: u64 =
            text.parse().map_err(|_not_one| format!("{text:?} is no number from 0 to {MAX}"))?;
        number.try_into()
    }
}

impl<'de, const MAX: u32> Deserialize<'de> for UpTo<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}
