//! Ids of 128 bits: origins, namespaces and members.

use std::{fmt, str::FromStr};

/// The id that a process writes under: 128 random bits, never used by another process.
///
/// A process has two from its first write on: one for entries whose value is in the row, one for entries with a
/// large body. A long upload thus never holds up small writes on their way to a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(pub [u8; 16]);

/// The id of a namespace: 128 bits, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub [u8; 16]);

impl NamespaceId {
    /// The namespace whose entries describe the other namespaces and the members.
    pub const SYSTEM: NamespaceId = NamespaceId([0; 16]);

    /// The namespace of the overrides of rate limits. It always exists, has no title, and no list contains it.
    pub const OVERRIDES: NamespaceId =
        NamespaceId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Whether no namespace of a user can have this id.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        self == NamespaceId::SYSTEM || self == NamespaceId::OVERRIDES
    }
}

/// The id of a location: 128 random bits, written as 32 lower-case hexadecimal digits. No other
/// location ever has it, not even after this one has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub [u8; 16]);

/// A text is not an id: it does not have exactly 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

/// Parses 32 hexadecimal digits of either case.
fn parse_hex(text: &str) -> Result<[u8; 16], ParseIdError> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return Err(ParseIdError);
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| (digit as char).to_digit(16));
        let (Some(high), Some(low)) = (high, low) else {
            return Err(ParseIdError);
        };
        *byte = u8::try_from(high << 4 | low).map_err(|_out_of_range| ParseIdError)?;
    }
    Ok(id)
}

/// Writes 32 lowercase hexadecimal digits.
fn write_hex(id: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Parses and shows ids of 16 bytes as 32 hexadecimal digits.
macro_rules! hexadecimal {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map($name)
            }
        }
    )*};
}

hexadecimal!(OriginId, NamespaceId, MemberId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = NamespaceId(std::array::from_fn(|i| u8::try_from(i * 16 + i).unwrap()));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn a_text_that_is_not_an_id_is_rejected() {
        for text in ["", "12", &"g".repeat(32), &"0".repeat(33), "+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1"]
        {
            assert_eq!(text.parse::<NamespaceId>(), Err(ParseIdError), "{text:?}");
        }
    }
}
