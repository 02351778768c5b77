//! The program that a location runs, as the other locations must know it.

use std::fmt;

use super::{features::Features, limits::MAX_SOFTWARE_BYTES};
use crate::codec::{DecodeError, OptionalFields, Reader, put_text};

/// The version of a program, such as `0.1.0`: 1 to [`MAX_SOFTWARE_BYTES`] bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SoftwareVersion(Box<str>);

/// Why a program can't be described so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoftwareError {
    /// The version is empty, too long, or has control characters.
    #[error("a software version has 1 to {MAX_SOFTWARE_BYTES} bytes and no control characters")]
    Version,
    /// The oldest version of messages is above the newest, or 0.
    #[error("a range of wire versions begins at 1 or more, and ends at its beginning or above it")]
    Wire,
}

impl SoftwareVersion {
    /// Takes the version of a program.
    ///
    /// # Errors
    /// [`SoftwareError::Version`].
    pub fn new(version: impl Into<Box<str>>) -> Result<SoftwareVersion, SoftwareError> {
        let version = version.into();
        let has_length = (1..=MAX_SOFTWARE_BYTES).contains(&version.len());
        if !has_length || version.chars().any(char::is_control) {
            return Err(SoftwareError::Version);
        }
        Ok(SoftwareVersion(version))
    }

    /// Returns the version of this program.
    ///
    /// # Panics
    /// Never: the version of this package is short.
    #[must_use]
    pub fn of_this_program() -> SoftwareVersion {
        SoftwareVersion::new(env!("CARGO_PKG_VERSION")).expect("the version of a package is short")
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a version behind its length.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<SoftwareVersion, DecodeError> {
        let invalid = |_error| DecodeError("an invalid software version");
        SoftwareVersion::new(reader.text(MAX_SOFTWARE_BYTES)?).map_err(invalid)
    }
}

impl fmt::Debug for SoftwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SoftwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The program that a location runs. Its member row has it, so that others know what it understands even while there is
/// no link to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Software {
    /// The version of the program.
    pub version: SoftwareVersion,
    /// The oldest and the newest version of messages that it understands.
    wire: (u16, u16),
    /// What it understands beyond these.
    pub features: Features,
}

impl Software {
    /// Describes a program that understands the messages of versions `wire.0` to `wire.1`.
    ///
    /// # Errors
    /// [`SoftwareError::Wire`].
    pub fn new(
        version: SoftwareVersion,
        wire: (u16, u16),
        features: Features,
    ) -> Result<Software, SoftwareError> {
        if wire.0 == 0 || wire.0 > wire.1 {
            return Err(SoftwareError::Wire);
        }
        Ok(Software { version, wire, features })
    }

    /// Returns the oldest and the newest version of messages that it understands.
    #[must_use]
    pub fn wire(&self) -> (u16, u16) {
        self.wire
    }

    /// Encodes version, range and features. Optional fields may follow.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_text(&mut out, self.version.as_str());
        out.extend_from_slice(&self.wire.0.to_be_bytes());
        out.extend_from_slice(&self.wire.1.to_be_bytes());
        out.extend_from_slice(&self.features.bits().to_be_bytes());
        out
    }

    /// Decodes a program. Optional fields that follow are skipped.
    ///
    /// # Errors
    /// If the bytes do not describe a program.
    pub fn decode(bytes: &[u8]) -> Result<Software, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = SoftwareVersion::read(&mut reader)?;
        let wire = (reader.u16()?, reader.u16()?);
        let features = Features::from_bits(reader.u64()?);
        OptionalFields::new(reader.rest()).try_for_each(|field| field.map(drop))?;
        Software::new(version, wire, features)
            .map_err(|_range| DecodeError("a range of wire versions that is none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::put_optional_field;

    fn software() -> Software {
        let version = SoftwareVersion::new("1.2.3").unwrap();
        Software::new(version, (2, 4), Features::from_bits(5)).unwrap()
    }

    #[test]
    fn software_reads_back_with_and_without_later_fields() {
        let mut bytes = software().encode();
        assert_eq!(Software::decode(&bytes), Ok(software()));
        put_optional_field(&mut bytes, 9, b"later");
        assert_eq!(Software::decode(&bytes), Ok(software()));
        bytes.pop();
        assert!(Software::decode(&bytes).is_err(), "the later field is cut short");
    }

    #[test]
    fn versions_and_ranges_have_bounds() {
        for wrong in [String::new(), "v".repeat(MAX_SOFTWARE_BYTES + 1), "1\n2".into()] {
            assert_eq!(SoftwareVersion::new(wrong), Err(SoftwareError::Version));
        }
        for wrong in [(0, 0), (0, 3), (3, 2)] {
            let made = Software::new(software().version, wrong, Features::NONE);
            assert_eq!(made, Err(SoftwareError::Wire), "{wrong:?}");
        }
    }
}
