//! Why a part of a request is not valid: the rule that it breaks, and a sentence.

use std::borrow::Cow;

use http::StatusCode;
use kv_core::limits;

use crate::bounds::TooOften;

/// The longest piece of a caller's text that a sentence repeats, in characters.
const MAX_SHOWN_CHARS: usize = 100;

/// A rule for a part of a request. An API that has numbers for errors derives them from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A key is not empty, `.` or `..`.
    KeyName,
    /// A key or a prefix has a greatest length.
    KeyLength,
    /// A key is percent-encoded UTF-8.
    KeyEncoding,
    /// A cursor is that of an earlier page.
    Cursor,
    /// The time to live of an entry has bounds.
    Ttl,
    /// The time at which an entry expires has bounds.
    Expiration,
    /// The time for which a read may be cached has bounds.
    CacheTtl,
    /// Metadata is JSON.
    Metadata,
    /// Metadata has a greatest length.
    MetadataLength,
    /// A value has a greatest length.
    ValueLength,
    /// A bulk get is JSON of a certain form.
    BulkGet,
    /// A key may be put so often.
    WriteRate,
    /// The values of a bulk get have a greatest length together.
    TotalLength,
}

impl Rule {
    /// The status of a response to a request that breaks the rule.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Rule::KeyLength => StatusCode::URI_TOO_LONG,
            Rule::MetadataLength | Rule::ValueLength | Rule::TotalLength => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Rule::WriteRate => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A part of a request that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Invalid {
    /// The rule that it breaks.
    pub rule: Rule,
    /// The status of the response.
    pub status: StatusCode,
    /// What is wrong and what to do.
    pub text: Cow<'static, str>,
}

impl Invalid {
    /// A part that breaks this rule.
    #[must_use]
    pub fn new(rule: Rule, text: impl Into<Cow<'static, str>>) -> Invalid {
        Invalid { rule, status: rule.status(), text: text.into() }
    }

    /// A value of `length` bytes is over the limit.
    #[must_use]
    pub fn value_too_long(length: u64) -> Invalid {
        let limit = limits::MAX_VALUE_BYTES;
        let text = format!("Value length of {length} exceeds limit of {limit}.");
        Invalid::new(Rule::ValueLength, text)
    }

    /// A key or a prefix of `length` bytes is over the limit.
    #[must_use]
    pub fn key_too_long(length: usize) -> Invalid {
        let limit = limits::MAX_KEY_BYTES;
        let text = format!("UTF-8 encoded length of {length} exceeds key length limit of {limit}.");
        Invalid::new(Rule::KeyLength, text)
    }

    /// Metadata of `length` bytes is over the limit.
    #[must_use]
    pub fn metadata_too_long(length: usize) -> Invalid {
        let limit = limits::MAX_METADATA_BYTES;
        let text = format!("Metadata length of {length} exceeds limit of {limit}.");
        Invalid::new(Rule::MetadataLength, text)
    }
}

impl From<TooOften> for Invalid {
    fn from(error: TooOften) -> Invalid {
        Invalid::new(Rule::WriteRate, error.to_string())
    }
}

/// A caller's text, shortened to be repeated in a sentence.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_of_the_caller_is_cut() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"\u{e9}".repeat(101)), format!("{}...", "\u{e9}".repeat(100)));
    }
}
