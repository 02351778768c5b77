//! Characters that nobody sees, or that change how other characters are shown.

use std::{borrow::Cow, fmt::Write as _};

/// The characters that are not shown: the property Default_Ignorable_Code_Point of Unicode 17, the categories Cf (format
/// characters, which contain those that change the direction of writing), Zl and Zp (separators of lines and
/// paragraphs), and U+2800, which is blank. Controls are not among them: see [`char::is_control`].
///
/// A table of ours, because crates with these properties (`icu_properties`, `unicode-properties`) bring the tables of all
/// others. Unicode guarantees that code points outside of these ranges do not become ignorable; the ranges contain the
/// ones that are reserved for it.
const INVISIBLE: [(char, char); 27] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{16fe4}', '\u{16fe4}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character is not shown, or changes how others are shown.
#[must_use]
pub fn is_invisible(letter: char) -> bool {
    !letter.is_ascii() && INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&letter))
}

/// Returns a text in which every control and every invisible character is replaced by its escape, such as `\u{1b}`: a
/// text of another machine must not act on the terminal on which it is printed, nor look like another text.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_hidden = |letter: char| letter.is_control() || is_invisible(letter);
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_hidden(letter) {
            write!(shown, "{}", letter.escape_default())
                .expect("writing to a string does not fail");
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_ranges_are_apart() {
        assert!(INVISIBLE.iter().all(|(first, last)| first <= last));
        assert!(INVISIBLE.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn characters_that_nobody_sees_are_invisible_and_others_are_not() {
        for letter in "\u{200b}\u{200d}\u{200e}\u{202e}\u{2066}\u{2069}\u{feff}\u{ad}\u{3164}\u{2028}\u{fe0f}\u{e0041}"
            .chars()
        {
            assert!(is_invisible(letter), "{letter:?}");
        }
        for letter in
            "aZ0 _-\u{e9}\u{df}\u{4e2d}\u{5d0}\u{627}\u{1f600}\u{301}\u{a0}\u{3000}".chars()
        {
            assert!(!is_invisible(letter), "{letter:?}");
        }
    }

    #[test]
    fn a_text_is_escaped_where_it_would_act_on_a_terminal() {
        for (text, expected) in [
            ("plain \u{e9} \u{1f600}", "plain \u{e9} \u{1f600}"),
            ("\u{1b}]0;x\u{7}", r"\u{1b}]0;x\u{7}"),
            ("a\r\nb\t", r"a\r\nb\t"),
            ("\u{9b}31m\u{7f}", r"\u{9b}31m\u{7f}"),
            ("abc\u{202e}fed", r"abc\u{202e}fed"),
            ("\u{200b}\u{2028}", r"\u{200b}\u{2028}"),
            ("it's \\u", "it's \\u"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }
}
