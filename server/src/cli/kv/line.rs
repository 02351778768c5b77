//! An entry as one line of JSON. The fields are those of a pair in wrangler's bulk files.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

/// An entry to print.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// The key.
    key: &'a str,
    /// The value: text, or base64; none where only keys are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    /// Whether the value is base64.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    base64: bool,
    /// When it expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<u64>,
    /// Its metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

impl<'a> Line<'a> {
    /// A key without its value.
    pub(super) fn key(
        key: &'a str,
        expiration: Option<u64>,
        metadata: Option<&'a RawValue>,
    ) -> Line<'a> {
        Line { key, value: None, base64: false, expiration, metadata }
    }

    /// The same with a value, which is base64 if it is not text.
    pub(super) fn with_value(self, value: &'a [u8]) -> Line<'a> {
        let text = str::from_utf8(value);
        let base64 = text.is_err();
        let value = text.map_or_else(|_not_text| STANDARD.encode(value).into(), Cow::Borrowed);
        Line { value: Some(value), base64, ..self }
    }
}
