//! `waypost limit`: check limits, override them for single keys, and see which keys are denied, on a running server.
//!
//! `check`, `peek` and `reset` are calls of `/ratelimit`, as an application makes them; the rest are calls of `/v1/limits`.
//! A denial is no error: it is printed, and the exit code is 3, so that a script can tell it from a failed command.

mod overrides;
mod used;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use hyper::Method;
use kv_core::visible::escaped;
use serde::Serialize;

use super::client::{Client, ClientError, NO_BODY, ServerArgs, print_json};
use crate::{api::limits::TopList, terminal};

/// Check rate limits, override them for single keys, and show which keys are denied most.
///
/// NAME is a limit of the server's configuration, or `namespace:NAMESPACE` for a namespace of limits that a binding or
/// another caller uses: `check`, `peek` and `reset` then need --limit and --period.
#[derive(Debug, Args)]
pub(super) struct Limit {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count a request, if its limit allows it. The exit code is 3 if it is denied.
    Check {
        #[command(flatten)]
        counter: used::Counter,
        /// The cost of the request; below 0, its amount is given back
        #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
        cost: i64,
    },
    /// Show what `check` would decide, and count nothing. The exit code is 3 if it would be denied.
    Peek {
        #[command(flatten)]
        counter: used::Counter,
        /// The cost of the request
        #[arg(long, default_value_t = 1)]
        cost: u32,
    },
    /// Forget what was counted for a key at this location, so that its whole limit is free
    Reset {
        #[command(flatten)]
        counter: used::Counter,
    },
    /// Set, list and delete overrides: other limits for single keys, at all locations
    #[command(subcommand)]
    Override(overrides::Action),
    /// Show the keys that this location has denied most in the last one to two minutes
    Top {
        /// The most keys to show
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
    },
    /// List the limits and namespaces that can be overridden
    List,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CommandError::Client(error) if error.is_usage())
    }
}

/// The exit code for a request that is denied.
const DENIED: u8 = 3;

/// The path of this API.
const ALL: &str = "/v1/limits";

/// Runs one command.
pub(super) fn run(command: Limit) -> Result<ExitCode, CommandError> {
    let json = command.server.json;
    let client = Client::new(&command.server)?;
    match command.action {
        Action::Check { counter, cost } => used::check(&client, json, &counter, cost),
        Action::Peek { counter, cost } => used::peek(&client, json, &counter, cost),
        Action::Reset { counter } => used::reset(&client, json, &counter),
        Action::Override(action) => {
            overrides::run(&client, json, action).map(|()| ExitCode::SUCCESS)
        }
        Action::Top { count } => {
            let top: TopList =
                client.call(&Method::GET, &format!("{ALL}/top?count={count}"), NO_BODY)?;
            let line = |one: &crate::api::limits::TopKey| {
                format!("{:>9}  {}  {}", one.count, one.namespace, one.key)
            };
            let mut lines =
                vec![format!("denied in the last {} s, by namespace and key:", top.seconds)];
            lines.extend(top.denied.iter().map(line));
            if top.denied.is_empty() {
                lines = vec![format!("nothing was denied in the last {} s", top.seconds)];
            }
            print(json, &top, &lines).map(|()| ExitCode::SUCCESS)
        }
        Action::List => overrides::limits(&client, json).map(|()| ExitCode::SUCCESS),
    }
}

/// The name of a limit or namespace.
fn name() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}

/// Prints one JSON document, or lines for people.
fn print(json: bool, document: &impl Serialize, lines: &[String]) -> Result<(), CommandError> {
    if json {
        print_json(document)?;
        return Ok(());
    }
    let mut out = terminal::stdout();
    for line in lines {
        // A line stays one line, whatever a client has sent as its key.
        writeln!(out, "{}", escaped(line))?;
    }
    Ok(())
}
