//! The query of a target.

use std::borrow::Cow;

use crate::http::form;

/// A raw query: `name=value&…`, form-encoded.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a str);

impl<'a> Query<'a> {
    /// The decoded value of the first parameter of this name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*form::decode(key) == *name.as_bytes()).then(|| form::decode(value))
        })
    }

    /// [`Query::get`] as text: bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn text(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).map(|value| match value {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_a_query_are_form_encoded() {
        let query = Query("a=1&b=x+y%2B%20%&c&d=&a=2&%65=3&f=%FF&g+h=4");
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("x y+ %")),
            ("c", Some("")),
            ("d", Some("")),
            ("e", Some("3")),
            ("f", Some("\u{fffd}")),
            ("g h", Some("4")),
            ("h", None),
        ] {
            assert_eq!(query.text(name).as_deref(), value, "{name}");
        }
        assert_eq!(query.get("f").as_deref(), Some(&b"\xff"[..]));
    }

    #[test]
    fn a_parameter_is_found_by_its_decoded_name() {
        let query = Query("%32=a&x+y=b&%2532=c&x%2By=d");
        for (name, value) in [("2", "a"), ("x y", "b"), ("%32", "c"), ("x+y", "d")] {
            assert_eq!(query.text(name).as_deref(), Some(value), "{name}");
        }
    }
}
