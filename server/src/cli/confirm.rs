//! Confirmation of commands that can't be undone.

use std::io::{self, IsTerminal as _, Write as _};

/// Why a command was not carried out. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfirmError {
    /// Stdin is not a terminal, so no one can confirm.
    #[error(
        "nothing was changed: this command needs a confirmation, and stdin is not a terminal; add --yes"
    )]
    NoTerminal,
    /// The user declined.
    #[error("nothing was changed: the command was not confirmed")]
    Declined,
    /// The terminal can't be used.
    #[error("nothing was changed: can't use the terminal: {0}; add --yes")]
    Terminal(#[from] io::Error),
}

/// Shows a question on stderr, because stdout is for the result of the command, and reads the answer
/// from stdin.
///
/// # Errors
/// Unless the answer is yes.
pub(super) fn confirm(question: &str) -> Result<(), ConfirmError> {
    if !io::stdin().is_terminal() {
        return Err(ConfirmError::NoTerminal);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(ConfirmError::Declined),
    }
}
