//! Features: what the program of a location understands beyond the version of messages and rows.

use std::fmt;

/// The names of the features of this program, by bit. A bit is never given a second meaning.
///
/// To add one: the next free bit and a name of at most [`MAX_NAME_BYTES`] bytes, as a constant of [`Features`] and a
/// line here.
const NAMES: &[(u8, &str)] = &[];

/// The longest name of a feature, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 64;

/// A set of features, one bit each. It may have bits that this program does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(u64);

impl Features {
    /// No feature.
    pub const NONE: Features = Features(0);

    /// Returns the features that this program has.
    #[must_use]
    pub fn of_this_program() -> Features {
        Features(NAMES.iter().fold(0, |bits, (bit, _)| bits | 1 << bit))
    }

    /// Makes the set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Features {
        Features(bits)
    }

    /// Returns the bits of the set.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether the set has no feature.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the features that are in both sets.
    #[must_use]
    pub fn and(self, other: Features) -> Features {
        Features(self.0 & other.0)
    }

    /// Returns the features of this set that the other one lacks.
    #[must_use]
    pub fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// The bits that are set, in rising order.
    pub(super) fn each(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |bit| self.0 & (1 << bit) != 0)
    }
}

/// Lists the names; a feature without a known name is `feature` and its bit.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.each().map(name_of).collect();
        f.write_str(&names.join(", "))
    }
}

/// The name of a feature.
pub(super) fn name_of(bit: u8) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == bit);
    known.map_or_else(|| format!("feature {bit}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_without_a_known_name_is_shown_by_its_bit() {
        assert_eq!(Features::from_bits(1 << 63 | 1 << 62).to_string(), "feature 62, feature 63");
        assert_eq!(Features::NONE.to_string(), "");
    }

    #[test]
    fn the_names_of_features_are_short_and_their_bits_differ() {
        let mut bits: Vec<_> = NAMES.iter().map(|(bit, _)| *bit).collect();
        bits.dedup();
        assert_eq!(bits.len(), NAMES.len());
        assert!(NAMES.iter().all(|(bit, name)| *bit < 64 && name.len() <= MAX_NAME_BYTES));
    }
}
