//! Metadata: JSON text in a header, of requests and of responses.

use std::{borrow::Cow, fmt::Write as _};

use http::HeaderValue;

use super::refusal::Refusal;
use crate::{http::del::unmask, kv::metadata::check};

/// Reads the metadata of a put from its header: raw UTF-8, with DEL masked (see [`crate::http::del`]).
///
/// # Errors
/// If it is too long, or not JSON.
pub fn parse(header: &[u8]) -> Result<Box<str>, Refusal> {
    Ok(check(unmask(header))?)
}

/// Metadata as a header: the same JSON, in printable ASCII.
///
/// Outside ASCII, and DEL, are only possible inside strings of JSON, where an escape means the same.
/// Control characters are only possible between values, where a space means the same.
#[must_use]
pub fn header(json: &str) -> HeaderValue {
    let ascii = ascii(json);
    HeaderValue::from_str(&ascii).expect("printable ASCII is valid in a header")
}

/// Escapes all characters outside of ASCII, as a header needs it. The JSON stays equivalent.
fn ascii(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Cow::Borrowed(json);
    }
    let mut ascii = String::with_capacity(json.len() * 2);
    for letter in json.chars() {
        match letter {
            ' '..='~' => ascii.push(letter),
            '\0'..='\x1f' => ascii.push(' '),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(ascii, "\\u{unit:04x}").expect("writing to a string does not fail");
                }
            }
        }
    }
    Cow::Owned(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_at_most_1024_bytes_is_kept_as_it_is() {
        let longest = format!("\"{}\"", "x".repeat(1022));
        for text in ["null", "5", r#" {"a": [1, "\ud800"]} "#, "\"\u{e9}\u{1f600}\"", &longest] {
            assert_eq!(parse(text.as_bytes()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_masked_del_is_unmasked() {
        assert_eq!(parse(b"\"a\xf8b\"").as_deref(), Ok("\"a\x7fb\""));
    }

    #[test]
    fn other_metadata_is_refused() {
        let long = "\"\u{e9}".to_owned() + &"x".repeat(1021) + "\"";
        for (bytes, status, text) in [
            (long.as_bytes(), 413, "Metadata length of 1025 exceeds limit of 1024."),
            (b"", 400, "Invalid metadata. Please specify valid JSON."),
            (b"{a:1}", 400, "Invalid metadata. Please specify valid JSON."),
            (b"1 2", 400, "Invalid metadata. Please specify valid JSON."),
            (b"\"\xff\"", 400, "Invalid metadata. Please specify JSON in UTF-8."),
        ] {
            let refusal = parse(bytes).unwrap_err();
            assert_eq!((refusal.status.as_u16(), &refusal.text[..]), (status, text));
        }
    }

    #[test]
    fn a_header_is_the_same_json_in_ascii() {
        for (json, expected) in [
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("\"\u{7f}\u{e9}\u{1f600}\"", r#""\u007f\u00e9\ud83d\ude00""#),
            ("{\n\t\"a\": 1\r\n}", "{  \"a\": 1  }"),
        ] {
            let header = header(json);
            assert_eq!(header.to_str().unwrap(), expected);
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(
                value,
                serde_json::from_slice::<serde_json::Value>(header.as_bytes()).unwrap()
            );
        }
    }
}
