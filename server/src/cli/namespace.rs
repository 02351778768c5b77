//! `waypost namespace`: create, list, rename, drop and merge namespaces.

use std::io::{self, Write as _};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::{
    api::namespaces::{Merged, NamespaceInfo, NamespaceList, NewMerge, NewNamespace, NewTitle},
    terminal,
};

use super::{
    client::{Client, ClientError, NO_BODY, ServerArgs, print_json},
    confirm::{ConfirmError, confirm},
};

/// Create, list, rename, drop and merge namespaces on a running server.
#[derive(Debug, Args)]
pub(super) struct Namespace {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a namespace.
    Create {
        /// Its title; no other namespace may have the same.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        title: String,
        /// Its id, if it must have a certain one: 32 hexadecimal digits, as in a wrangler.toml.
        #[arg(long, value_name = "HEX")]
        id: Option<String>,
    },
    /// List all namespaces.
    List,
    /// Change the title of a namespace.
    Rename {
        /// Its title or id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        old: String,
        /// The new title.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        new: String,
    },
    /// Drop a namespace and all its entries. This can't be undone. The namespace may be created again, empty.
    Drop {
        /// Its title or id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        namespace: String,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Move all entries of a namespace into another one, and drop the first: for two namespaces that have one title.
    Merge {
        /// The title or id of the namespace to drop. Writes to it during the merge may be lost.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        from: String,
        /// The title or id of the namespace that gets the entries. Its own later writes stay.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        into: String,
    },
}

/// Why a namespace command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Confirm(#[from] ConfirmError),
    #[error("can't write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Whether the command itself was wrong.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, CommandError::Client(error) if error.is_usage())
    }
}

/// The path of the namespaces API.
const ALL: &str = "/v1/namespaces";

/// The path of one namespace, with its name percent-encoded.
fn path_of(name: &str) -> String {
    format!("{ALL}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

/// Reads all namespaces, page by page, and sorts them by title.
fn list_all(client: &Client) -> Result<NamespaceList, CommandError> {
    let mut all = NamespaceList::default();
    let mut path = ALL.to_owned();
    loop {
        let page: NamespaceList = client.call(&Method::GET, &path, NO_BODY)?;
        all.namespaces.extend(page.namespaces);
        let Some(next) = page.next else { break };
        path = format!("{ALL}?after={}", utf8_percent_encode(&next, NON_ALPHANUMERIC));
    }
    all.namespaces.sort_by(|a, b| (&a.title, &a.id).cmp(&(&b.title, &b.id)));
    Ok(all)
}

/// Runs one command.
pub(super) fn run(command: Namespace) -> Result<(), CommandError> {
    let json = command.server.json;
    let client = match &command.action {
        Action::Merge { .. } => Client::patient(&command.server)?,
        _ => Client::new(&command.server)?,
    };
    match command.action {
        Action::Create { title, id } => {
            let created: NamespaceInfo =
                client.call(&Method::POST, ALL, Some(&NewNamespace { title, id }))?;
            print(json, &created, &format!("created {}  {}", created.id, created.title))
        }
        Action::List => {
            let list = list_all(&client)?;
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
                confirm(&format!("Drop {title:?} ({id}) and all its entries for good?"))?;
            }
            // By id: another namespace may have got the title since.
            let dropped: NamespaceInfo =
                client.call(&Method::DELETE, &path_of(&found.id), NO_BODY)?;
            print(json, &dropped, &format!("dropped {}  {}", dropped.id, dropped.title))
        }
        Action::Merge { from, into } => {
            let path = format!("{}/merge", path_of(&from));
            let merged: Merged = client.call(&Method::POST, &path, Some(&NewMerge { into }))?;
            let Merged { dropped, into, moved } = &merged;
            let lines = format!(
                "moved {moved} entries into {}  {}\ndropped {}  {}",
                into.id, into.title, dropped.id, dropped.title
            );
            print(json, &merged, &lines)
        }
    }
}

/// Prints one JSON document, or lines for people.
fn print(json: bool, document: &impl Serialize, lines: &str) -> Result<(), CommandError> {
    if json {
        print_json(document)?;
    } else if !lines.is_empty() {
        writeln!(terminal::stdout(), "{lines}")?;
    }
    Ok(())
}
