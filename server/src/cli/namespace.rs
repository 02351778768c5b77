//! `waypost namespace`: make, list, rename and drop namespaces.

use std::io::{self, Write as _};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::api::namespaces::{NamespaceInfo, NamespaceList, NewNamespace, NewTitle};

use super::{
    client::{Client, ClientError, ServerUrl},
    confirm::confirm,
};

/// Make, list, rename and drop namespaces on a running server.
#[derive(Debug, Args)]
pub(super) struct Namespace {
    #[command(subcommand)]
    action: Action,

    /// The server to ask
    #[arg(
        long,
        env = "WAYPOST_SERVER",
        value_name = "URL|unix:PATH",
        default_value = "http://127.0.0.1:8420",
        global = true
    )]
    server: ServerUrl,

    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a namespace.
    Create {
        /// What to call it; no other namespace may have this title.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        title: String,
        /// The id that it must have: 32 hexadecimal digits, as in a wrangler.toml.
        #[arg(long, value_name = "HEX")]
        id: Option<String>,
    },
    /// List all namespaces.
    List,
    /// Give a namespace another title.
    Rename {
        /// Its title or id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        old: String,
        /// The new title.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        new: String,
    },
    /// Drop a namespace and all that is in it, for good; its id is refused from then on.
    Drop {
        /// Its title or id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        namespace: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Why a namespace command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("nothing was dropped: add --yes, for nobody is here to be asked")]
    NobodyToAsk,
    #[error("nothing was dropped")]
    NotConfirmed,
    #[error("{0}")]
    Terminal(#[from] io::Error),
}

const ALL: &str = "/v1/namespaces";

fn path_of(name: &str) -> String {
    format!("{ALL}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// Runs one command.
pub(super) fn run(command: Namespace) -> Result<(), CommandError> {
    let client = Client::new(command.server)?;
    let json = command.json;
    match command.action {
        Action::Create { title, id } => {
            let made: NamespaceInfo =
                client.call(&Method::POST, ALL, Some(&NewNamespace { title, id }))?;
            print(json, &made, &format!("made {}  {}", made.id, made.title))
        }
        Action::List => {
            let list: NamespaceList = client.call(&Method::GET, ALL, NO_BODY)?;
            let lines: Vec<String> = list
                .namespaces
                .iter()
                .map(|namespace| format!("{}  {}", namespace.id, namespace.title))
                .collect();
            print(json, &list, &lines.join("\n"))
        }
        Action::Rename { old, new } => {
            let renamed: NamespaceInfo =
                client.call(&Method::PATCH, &path_of(&old), Some(&NewTitle { title: new }))?;
            print(json, &renamed, &format!("renamed {}  {}", renamed.id, renamed.title))
        }
        Action::Drop { namespace, yes } => {
            let found: NamespaceInfo = client.call(&Method::GET, &path_of(&namespace), NO_BODY)?;
            if !yes {
                let NamespaceInfo { title, id, .. } = &found;
                let question = format!("Drop {title:?} ({id}) and all its entries, for good?");
                confirm(&question, CommandError::NotConfirmed, CommandError::NobodyToAsk)?;
            }
            // By id: the title may have become another's since.
            let dropped: NamespaceInfo =
                client.call(&Method::DELETE, &path_of(&found.id), NO_BODY)?;
            print(json, &dropped, &format!("dropped {}  {}", dropped.id, dropped.title))
        }
    }
}

const NO_BODY: Option<&()> = None;

/// To stdout: one JSON document, or lines for people.
fn print(json: bool, document: &impl Serialize, lines: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if !lines.is_empty() {
        writeln!(out, "{lines}")?;
    }
    Ok(())
}
