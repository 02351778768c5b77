//! `waypost kv`: get, put, delete, list, import and export keys.
//!
//! | module | contents |
//! |---|---|
//! | `get`, `put`, `delete`, `list` | a command each |
//! | `export`, `line`, `tail` | entries as lines of JSON, and where such a file ends |
//! | `import` | the sources, and the batches that go to the server |
//! | `connect` | the server and the namespace of a command |
//! | `progress` | what a person sees meanwhile |
//! | `error` | why a command failed, and what is left |
//!
//! The commands use the server over its REST API, through the crate `waypost-client`, as any program does: they know nothing
//! of the data directory.

use clap::{Args, Subcommand};
use tokio::runtime;

use super::client::ServerArgs;

mod connect;
mod delete;
mod error;
mod export;
mod get;
mod import;
mod line;
mod list;
mod progress;
mod put;
mod tail;

use connect::Target;
pub(super) use error::KvError;

/// Get, put, delete, list, import and export keys of a running server.
#[derive(Debug, Args)]
pub(super) struct Kv {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    Get(get::Get),
    Put(put::Put),
    Delete(delete::Delete),
    List(list::List),
    Import(Box<import::Import>),
    Export(export::Export),
}

/// The exit code of `waypost kv get` if there is no such key.
pub(super) const NO_KEY: u8 = 3;

/// Runs one command.
pub(super) fn run(command: Kv) -> Result<(), KvError> {
    let Kv { action, server } = command;
    let json = server.json;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(KvError::System)?.block_on(async {
        match action {
            Action::Get(get) => get.run(&Target::of(&server, &get.namespace)?, json).await,
            Action::Put(put) => put.run(&Target::of(&server, &put.namespace)?).await,
            Action::Delete(delete) => {
                delete.run(&Target::of(&server, &delete.namespace)?, json).await
            }
            Action::Import(import) => {
                let token = match import.takes_token() {
                    true => server.token_of_environment()?,
                    false => server.token()?,
                };
                let target = Target::patient(&server, &import.namespace, token)?;
                import.run(&server, &target, json).await
            }
            Action::Export(export) => {
                let target = Target::patient(&server, &export.namespace, server.token()?)?;
                export.run(&target).await
            }
            Action::List(list) => list.run(&Target::of(&server, &list.namespace)?, json).await,
        }
    })
}
