//! A question before what can't be undone.

use std::io::{self, IsTerminal as _, Write as _};

/// Asks on stderr, so that stdout is what the command prints, and reads the answer from stdin.
///
/// # Errors
/// `refused` unless the answer is yes; `nobody` if stdin is no terminal; what the terminal says.
pub(super) fn confirm<E: From<io::Error>>(question: &str, refused: E, nobody: E) -> Result<(), E> {
    if !io::stdin().is_terminal() {
        return Err(nobody);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(refused),
    }
}
