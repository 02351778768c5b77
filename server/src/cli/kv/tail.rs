//! The end of a file that was being written when its writer was killed.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
};

use serde::Deserialize;

/// How much is read at a time, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;

/// A line with a key.
#[derive(Deserialize)]
pub(super) struct Keyed {
    /// The key.
    pub(super) key: String,
}

/// Cuts off what follows the last end of a line, and returns the last line; none if there is no whole line. The file is then
/// written at its end.
///
/// # Errors
/// If the file can't be read, truncated or positioned.
pub(super) fn keep_whole_lines(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let end = after_newline(file, length)?;
    file.set_len(end)?;
    let begin = if end == 0 { 0 } else { after_newline(file, end - 1)? };
    file.seek(SeekFrom::Start(begin))?;
    let mut line = Vec::new();
    file.take(end - begin).read_to_end(&mut line)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((!line.is_empty()).then_some(line))
}

/// The position behind the last end of a line before `end`; 0 if there is none.
fn after_newline(file: &mut File, mut end: u64) -> io::Result<u64> {
    let mut block = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(begin))?;
        block.clear();
        file.take(end - begin).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_follows_the_last_end_of_a_line_is_cut_off() {
        let long = "x".repeat(200_000);
        for (text, kept, last) in [
            (String::new(), String::new(), None),
            ("cut".into(), String::new(), None),
            ("a\n".into(), "a\n".into(), Some("a\n".to_owned())),
            ("a\nb\ncut".into(), "a\nb\n".into(), Some("b\n".into())),
            (format!("a\n{long}\n{long}"), format!("a\n{long}\n"), Some(format!("{long}\n"))),
        ] {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(text.as_bytes()).expect("it is written");
            let line = keep_whole_lines(&mut file).expect("it is read");
            assert_eq!(line, last.map(String::into_bytes));
            file.write_all(b"!").expect("it is written");
            let mut all = String::new();
            file.seek(SeekFrom::Start(0)).expect("it is a file");
            file.read_to_string(&mut all).expect("it is read");
            assert_eq!(all, kept + "!");
        }
    }
}
