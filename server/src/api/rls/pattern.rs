//! Values with wildcards: `/api/*/action`.
//!
//! In envoyproxy/ratelimit only `*` is special, and crates for patterns give a meaning to more:
//! wildmatch 2 always reserves a second character (`?` by default) for one letter, and glob 0.3 also
//! has `?` and `[…]`. A value such as `/search?q=*` would match something else with them.

use memchr::memmem;

/// A value in which each `*` stands for any text, also for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// The pattern as it is written.
    text: Box<str>,
    /// The text before the first `*`.
    first: Box<[u8]>,
    /// The texts between two.
    middle: Vec<Box<[u8]>>,
    /// The text after the last.
    last: Box<[u8]>,
}

impl Pattern {
    /// The pattern of this text; none if it has no `*`.
    pub(super) fn of(text: &str) -> Option<Pattern> {
        let (first, rest) = text.split_once('*')?;
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // `**` means the same as `*`.
        let middle = middle.split('*').filter(|part| !part.is_empty());
        Some(Pattern {
            text: text.into(),
            first: first.as_bytes().into(),
            middle: middle.map(|part| part.as_bytes().into()).collect(),
            last: last.as_bytes().into(),
        })
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a value matches. A `*` also stands for bytes that are not text.
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        let inner =
            value.strip_prefix(&*self.first).and_then(|rest| rest.strip_suffix(&*self.last));
        let Some(mut inner) = inner else { return false };
        for part in &self.middle {
            // The first occurrence is the best: it leaves the most text for the parts after it.
            let Some(at) = memmem::find(inner, part) else { return false };
            inner = &inner[at + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_star_stands_for_any_text() {
        for (pattern, values, others) in [
            ("foo*", &["foo", "foobar", "foo*"][..], &["", "fo", "xfoo"][..]),
            ("*", &["", "x"], &[]),
            ("*.png", &[".png", "a.png"], &["png", "a.png2"]),
            ("/api/*/action", &["/api/1/action", "/api//action"], &["/api/action", "/api/1/other"]),
            ("a*b*c", &["abc", "aXbYc", "abbc", "abcbc"], &["ac", "acb", "aXc"]),
            ("a*b*b*c", &["abbc", "abXbc"], &["abc"]),
            ("ab*ba", &["abba"], &["aba"]),
            ("a**b", &["ab", "axb"], &["a", "b"]),
            ("\u{e9}*\u{e9}", &["\u{e9}\u{e9}"], &["\u{e9}"]),
        ] {
            let wildcard = Pattern::of(pattern).unwrap();
            for value in values {
                assert!(wildcard.matches(value.as_bytes()), "{pattern} matches {value:?}");
            }
            for value in others {
                assert!(!wildcard.matches(value.as_bytes()), "{pattern} does not match {value:?}");
            }
        }
        assert_eq!(Pattern::of("foo"), None);
        assert!(Pattern::of("a*b").unwrap().matches(b"a\xff\0b"));
    }
}
