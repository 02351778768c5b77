//! Reasons why bytes are not a message.

use std::fmt;

use bytes::TryGetError;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes end before the message does.
    CutShort,
    /// The bytes break a rule of the format, which the text names.
    Invalid(&'static str),
}

impl MessageError {
    /// The reason as a text.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            MessageError::CutShort => "a message is cut short",
            MessageError::Invalid(rule) => rule,
        }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for MessageError {}

impl From<TryGetError> for MessageError {
    fn from(_missing: TryGetError) -> MessageError {
        MessageError::CutShort
    }
}
