//! Names of clients in texts for people.

use kv_core::visible::is_invisible;

/// The longest name that is shown whole, in characters.
const MAX_CHARS: usize = 64;

/// The beginning of a name, without characters that nobody sees.
pub(super) fn shown(name: &str) -> String {
    let is_seen = |letter: &char| !letter.is_control() && !is_invisible(*letter);
    let shown: String = name
        .chars()
        .take(MAX_CHARS)
        .map(|letter| if is_seen(&letter) { letter } else { '\u{fffd}' })
        .collect();
    if name.chars().count() > MAX_CHARS { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_what_nobody_sees() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}b"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(shown(&"x".repeat(65)).chars().count(), 65);
    }
}
