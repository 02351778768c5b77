//! The permissions of a unix socket.

use std::{fmt, str::FromStr};

/// The permissions of a unix socket, as `chmod` writes them: a process needs the permission to write to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// Returns the bits.
    pub(super) fn bits(self) -> u32 {
        self.0
    }
}

/// A text is not the mode of a socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a mode: write three octal digits such as 0660 (the owner and the group may connect) or 0600 (the owner \
     alone)"
)]
pub struct SocketModeError(String);

impl FromStr for SocketMode {
    type Err = SocketModeError;

    fn from_str(text: &str) -> Result<SocketMode, SocketModeError> {
        let leading = if text.len() > 3 { "0" } else { "" };
        let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix(leading)).unwrap_or(text);
        let is_mode =
            digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let bits = u32::from_str_radix(digits, 8).ok().filter(|_| is_mode);
        bits.map(SocketMode).ok_or_else(|| SocketModeError(text.into()))
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_three_octal_digits() {
        for text in ["0660", "660", "0o660"] {
            assert_eq!(text.parse::<SocketMode>().expect(text).to_string(), "0660");
        }
        assert_eq!("000".parse::<SocketMode>().expect("a mode").bits(), 0);
        for wrong in ["", "0", "66", "6600", "01777", "0680", "rw-rw----", "+660", "00o660"] {
            let error = wrong.parse::<SocketMode>().expect_err(wrong).to_string();
            assert!(error.contains("0660"), "{error}");
        }
    }
}
