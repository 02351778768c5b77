//! `waypost doctor`: examines the whole store of a stopped or a running location, and repairs what can be repaired.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use hyper::Method;
use kv_core::{OpenError, Options};

use super::client::{Client, ClientError, ServerArgs, print_json};
use crate::{
    api::doctor::NewExamination,
    doctor::{self, DoctorError, DoctorInfo},
    terminal,
};

/// The file of a store.
pub(super) const FILE: &str = "waypost.redb";

/// Examine a whole store, and repair what can be repaired.
///
/// With `--data`, it examines the store in this directory, whose server must be stopped. Without, it examines the store
/// of a running server, which continues to serve. It checks all checksums, the index of writes both ways, the parts of
/// large values, and finds values that nothing refers to and entries that are dated in the future. Exits with 1 if
/// something is wrong that was not repaired.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The data directory of a stopped server
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Change nothing, and print what would be done
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0} holds no store: give the data directory of a server, as its --data names it")]
    NoStore(PathBuf),
    #[error(
        "the store in {0} can't be opened: {1}. If its server runs, stop it, or leave out --data to examine the store of \
         the running server"
    )]
    Open(PathBuf, OpenError),
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    #[error(
        "the store was examined, and can't be closed: {0}. It is as after a crash; nothing is lost"
    )]
    Close(kv_core::WriteError),
    #[error("something is wrong with the store: see above")]
    Wrong,
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CommandError::Client(error) if error.is_usage())
    }
}

/// Examines a store, and prints the report.
///
/// # Errors
/// Also if something is wrong that was not repaired.
pub(super) fn run(command: Doctor) -> Result<(), CommandError> {
    let found = match &command.data {
        Some(data) => stopped(data, command.dry_run)?,
        None => {
            let client = Client::patient(&command.server)?;
            let new = NewExamination { dry_run: command.dry_run };
            client.call::<DoctorInfo>(&Method::POST, "/v1/doctor", Some(&new))?
        }
    };
    if command.server.json {
        print_json(&found)?;
    } else {
        terminal::stdout().write_all(found.text().as_bytes())?;
    }
    if found.is_wrong() { Err(CommandError::Wrong) } else { Ok(()) }
}

/// Examines the store of a server that is stopped.
fn stopped(data: &Path, is_dry_run: bool) -> Result<DoctorInfo, CommandError> {
    if !data.join(FILE).is_file() {
        return Err(CommandError::NoStore(data.to_owned()));
    }
    // Without this, tombstones would count as known to everyone.
    let store = Options::new()
        .replicated(true)
        .open(data)
        .map_err(|error| CommandError::Open(data.to_owned(), error))?;
    let is_watched = io::stderr().is_terminal();
    let found = doctor::examine(&store, is_dry_run, &mut |rows| {
        if is_watched {
            eprint!("\r{rows} rows");
        }
    });
    if is_watched {
        eprintln!();
    }
    store.close().map_err(CommandError::Close)?;
    Ok(found?)
}
