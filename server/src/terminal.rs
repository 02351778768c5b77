//! The output of commands, in which texts of other machines don't act on a terminal.

use std::{
    borrow::Cow,
    io::{self, StdoutLock, Write},
};

use kv_core::visible::{escaped, is_invisible};
use serde::Serialize;

/// A writer that escapes the controls and the invisible characters of text, except the ends of lines.
#[derive(Debug)]
pub struct Escaped<W>(W);

impl<W: Write> Escaped<W> {
    /// Escapes what is written to `out`.
    pub fn new(out: W) -> Escaped<W> {
        Escaped(out)
    }
}

impl<W: Write> Write for Escaped<W> {
    /// Writes text, in pieces that do not divide a character.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(text).split_inclusive('\n') {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            self.0.write_all(escaped(line).as_bytes())?;
            self.0.write_all(end.as_bytes())?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The standard output of a command, for people.
#[must_use]
pub fn stdout() -> Escaped<StdoutLock<'static>> {
    Escaped::new(io::stdout().lock())
}

/// A text as one word of a POSIX shell, for a command that people may paste: quoted, unless nothing in it has a meaning there.
#[must_use]
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-/:@%+".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

/// Writes one line of JSON, whose texts have the same characters as escapes of JSON.
///
/// # Errors
/// If the document can't be written.
pub fn write_json(out: impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json::Serializer::with_formatter(out, Visible);
    document.serialize(&mut json)?;
    json.into_inner().write_all(b"\n")
}

/// Compact JSON with visible characters only.
struct Visible;

impl serde_json::ser::Formatter for Visible {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for letter in fragment.chars() {
            let mut buffer = [0; 4];
            if letter.is_control() || is_invisible(letter) {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            } else {
                out.write_all(letter.encode_utf8(&mut buffer).as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_word_of_a_shell_in_which_nothing_has_a_meaning() {
        for (text, word) in [
            ("na\u{ef}ve-1.2_3/x", "na\u{ef}ve-1.2_3/x"),
            ("", "''"),
            ("kv:read=a", "'kv:read=a'"),
            ("a'; rm -rf ~ #", r"'a'\''; rm -rf ~ #'"),
            ("$(reboot)`x`", "'$(reboot)`x`'"),
            ("a\\", "'a\\'"),
            ("~", "'~'"),
        ] {
            assert_eq!(shell_word(text), word);
            let mut shell = std::process::Command::new("sh");
            let read = shell.args(["-c", &format!("printf %s {word}")]).output().expect("a shell");
            assert_eq!(read.stdout, text.as_bytes());
        }
    }

    #[test]
    fn the_text_of_a_server_does_not_act_on_the_terminal() {
        let mut out = Escaped::new(Vec::new());
        let (id, title) = ("\u{1b}[2J", "a\u{202e}b\r");
        writeln!(out, "{id}  {title}").expect("a vector takes all");
        out.write_all("last \u{e9}\nno end".as_bytes()).expect("a vector takes all");
        let expected = "\\u{1b}[2J  a\\u{202e}b\\r\nlast \u{e9}\nno end";
        assert_eq!(str::from_utf8(&out.0), Ok(expected));
    }

    #[test]
    fn json_keeps_its_values_and_shows_them() {
        let value = "\u{1b}[2J \u{9b} \u{202e} \u{e0041} \u{e9} \"\n";
        let mut out = Vec::new();
        write_json(&mut out, &[value]).expect("a vector takes all");
        let text = str::from_utf8(&out).expect("text");
        assert!(
            text.trim_end().chars().all(|it| !it.is_control() && !is_invisible(it)),
            "{text:?}"
        );
        assert_eq!(serde_json::from_str::<[String; 1]>(text).expect("JSON"), [value]);
    }
}
