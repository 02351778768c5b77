//! Shell completions and man pages, from the same source as the help.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_complete::Shell;

/// Print the completions of a shell.
///
/// For bash: `waypost completions bash > /etc/bash_completion.d/waypost`
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Write man pages, one for each command.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory to write to, such as /usr/local/share/man/man1; it is created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("can't write to stdout: {0}")]
    Output(io::Error),
    #[error("can't write to {0}: {1}")]
    Write(String, io::Error),
}

impl Completions {
    /// Prints the completions of a command line.
    pub(super) fn run(&self, mut command: Command) -> Result<(), DocumentError> {
        // It would panic if stdout is closed.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, "waypost", &mut text);
        io::Write::write_all(&mut io::stdout().lock(), &text).map_err(DocumentError::Output)
    }
}

impl Man {
    /// Writes the pages of a command line.
    pub(super) fn run(&self, command: Command) -> Result<(), DocumentError> {
        let failed = |error| DocumentError::Write(self.directory.display().to_string(), error);
        write_pages(&self.directory, command).map_err(failed)
    }
}

/// Writes a page for a command and for each below it.
fn write_pages(directory: &Path, command: Command) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}
