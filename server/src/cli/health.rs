//! `waypost health`: whether a server should get traffic, for container runtimes and service managers, whose images may have no
//! `curl`.

use std::io::{self, Write as _};

use clap::Args;
use hyper::StatusCode;

use super::client::{Client, ClientError, ServerArgs, print_json};
use crate::terminal;

/// Whether a running server should get traffic: exits with 0 if so, with 1 if not. It needs no token.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Only check that the process is alive
    #[arg(long)]
    alive: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Why the server should get no traffic.
#[derive(Debug, thiserror::Error)]
pub(super) enum HealthError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("not ready: {0}")]
    Unready(String),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command.
pub(super) fn run(command: &Health) -> Result<(), HealthError> {
    let path = if command.alive { "/healthz" } else { "/readyz" };
    let (status, text) = Client::new(&command.server)?.probe(path)?;
    let text = text.trim();
    if status != StatusCode::OK {
        return Err(HealthError::Unready(text.to_owned()));
    }
    if command.server.json {
        return Ok(print_json(&serde_json::json!({"status": text}))?);
    }
    Ok(writeln!(terminal::stdout(), "{text}")?)
}
