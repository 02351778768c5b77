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

/// A text as one word of a POSIX shell, in which nothing in it has a meaning.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_without_what_nobody_sees_and_is_one_word_of_a_shell() {
        assert_eq!(shown("a\u{1b}[31m\u{202e}b"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(shown(&"x".repeat(65)).chars().count(), 65);
        for (text, word) in [
            ("kv:read=a", "'kv:read=a'"),
            ("a'; rm -rf ~ #", r"'a'\''; rm -rf ~ #'"),
            ("$(reboot)`x`", "'$(reboot)`x`'"),
            ("a\\", "'a\\'"),
        ] {
            assert_eq!(shell_word(text), word);
            let mut shell = std::process::Command::new("sh");
            let read = shell.args(["-c", &format!("printf %s {word}")]).output().expect("a shell");
            assert_eq!(read.stdout, text.as_bytes());
        }
    }
}
