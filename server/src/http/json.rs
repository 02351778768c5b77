//! The JSON of request bodies.

use serde::de::DeserializeOwned;

/// Why a body is not the JSON that an API expects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The body is not UTF-8.
    #[error("it is not UTF-8 ({0})")]
    NotText(#[from] std::str::Utf8Error),
    /// The body is JSON of another kind.
    #[error("expected an object")]
    NotAnObject,
    /// The body is not JSON, or a field of it is wrong.
    #[error("{}", describe(.0))]
    Invalid(serde_path_to_error::Error<serde_json::Error>),
    /// Something follows the object.
    #[error("{0}")]
    Trailing(serde_json::Error),
}

impl JsonError {
    /// Returns the text without the path of the field. The responses to Workers have this text.
    #[must_use]
    pub fn without_path(&self) -> String {
        match self {
            JsonError::Invalid(error) => reason(error.inner()),
            other => other.to_string(),
        }
    }
}

/// Reads a document that must be an object: serde would also accept a list, field by field.
///
/// # Errors
/// See [`JsonError`]. The text names the field, the reason, the line and the column.
pub fn object<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    if !matches!(text.trim_start().as_bytes().first(), None | Some(b'{')) {
        return Err(JsonError::NotAnObject);
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let object = serde_path_to_error::deserialize(&mut json).map_err(JsonError::Invalid)?;
    json.end().map_err(JsonError::Trailing)?;
    Ok(object)
}

/// [`object`] of bytes.
///
/// # Errors
/// See [`JsonError`].
pub fn object_from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    object(str::from_utf8(body)?)
}

/// The text of an error, with the path of the field.
fn describe(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    describe_at(error.path(), error.inner())
}

/// Describes an error with the field where it is, unless the text names that already.
#[must_use]
pub fn describe_at(path: &serde_path_to_error::Path, error: &serde_json::Error) -> String {
    let (path, reason) = (path.to_string(), reason(error));
    // A document that ends before the name of a field has a path that ends in `?`.
    let path = path.trim_end_matches('?').trim_end_matches('.');
    if path.is_empty() || reason.contains(&format!("`{path}`")) {
        return reason;
    }
    format!("`{path}`: {reason}")
}

/// serde_json reports half a surrogate pair as whatever it expected to follow it.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    ["unexpected end of hex escape", "lone leading surrogate in hex escape"]
        .iter()
        .find_map(|half| text.strip_prefix(half))
        .map(|place| format!("half a surrogate pair, which is not text,{place}"))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn half_a_surrogate_pair_is_named() {
        for text in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800\n"}"#,
            r#"{"a":"\ud800\ud800"}"#,
            r#"{"a":"\udc00"}"#,
        ] {
            let refused = object::<BTreeMap<String, String>>(text).unwrap_err().to_string();
            assert!(
                refused.contains("half a surrogate pair, which is not text, at line 1"),
                "{refused}"
            );
        }
    }

    #[test]
    fn an_error_names_the_field_and_the_reason() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Example {
            #[expect(dead_code, reason = "it is only read")]
            title: String,
        }
        for (body, expected) in [
            (
                &b"{\"title\":5}"[..],
                "`title`: invalid type: integer `5`, expected a string at line 1",
            ),
            (b"{}", "missing field `title`"),
            (b"{\"titel\":\"a\"}", "unknown field `titel`, expected `title`"),
            (b"{\"title\":\"a\"}x", "trailing characters"),
            (b"[\"a\"]", "expected an object"),
            (b"", "EOF while parsing"),
            (b"{", "EOF while parsing an object at line 1"),
            (b"{\"title\":\"\xff\"}", "it is not UTF-8"),
        ] {
            let error = object_from_slice::<Example>(body).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
