//! `waypost kv delete`.
//!
//! Keys that are named are deleted with bulk calls. With a prefix, the keys are listed page by page, and each page is deleted
//! once it has been read: a command that is interrupted has deleted the first keys, and the same command deletes the rest. The
//! question for confirmation comes before the first deletion, and never with `--dry-run`.

use std::io::Write as _;

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use waypost_client::BulkOutcome;

use super::{
    connect::Target,
    error::KvError,
    list::{self, Pages},
};
use crate::{
    cli::{client::print_json, confirm::confirm},
    terminal,
};

/// The most keys of one request.
const BATCH: usize = 1000;

/// Delete keys. A key that does not exist is no error.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// The keys
    #[arg(required_unless_present = "prefix", value_parser = NonEmptyStringValueParser::new())]
    keys: Vec<String>,
    /// All keys that start with this; with '' all keys of the namespace
    #[arg(long, value_name = "TEXT", conflicts_with = "keys")]
    prefix: Option<String>,
    /// Delete nothing, and print the keys that would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation of --prefix
    #[arg(long, short)]
    yes: bool,
}

/// What was deleted.
#[derive(Serialize)]
struct Deleted {
    deleted: usize,
}

impl Delete {
    /// Deletes the keys.
    pub(super) async fn run(&self, target: &Target, json: bool) -> Result<(), KvError> {
        let deleted = match &self.prefix {
            Some(prefix) => self.delete_prefix(target, prefix, json).await?,
            None if self.dry_run => {
                let mut out = terminal::stdout();
                for key in &self.keys {
                    writeln!(out, "{}", kv_core::visible::escaped(key)).map_err(KvError::Output)?;
                }
                None
            }
            None => {
                let mut deleted = 0;
                for keys in self.keys.chunks(BATCH) {
                    deleted += delete(target, &keys.iter().map(String::as_str).collect::<Vec<_>>())
                        .await?;
                }
                Some(deleted)
            }
        };
        let Some(deleted) = deleted else { return Ok(()) };
        let printed = if json {
            print_json(&Deleted { deleted })
        } else {
            let s = if deleted == 1 { "" } else { "s" };
            writeln!(terminal::stdout(), "deleted {deleted} key{s}")
        };
        printed.map_err(KvError::Output)
    }

    /// Deletes the keys with a prefix, page by page. Keys that are put meanwhile may be deleted or stay.
    async fn delete_prefix(
        &self,
        target: &Target,
        prefix: &str,
        json: bool,
    ) -> Result<Option<usize>, KvError> {
        let list = waypost_client::List { prefix: prefix.to_owned(), ..Default::default() };
        let mut pages = Pages::of(target, list);
        let (mut deleted, mut is_confirmed) = (0, self.yes || self.dry_run);
        while let Some(keys) = pages.next().await? {
            if keys.is_empty() {
                continue;
            }
            if self.dry_run {
                list::print(&keys, json).map_err(KvError::Output)?;
                continue;
            }
            if !is_confirmed {
                let which = match prefix {
                    "" => "all keys".to_owned(),
                    prefix => format!("all keys that start with {prefix:?}"),
                };
                confirm(&format!("Delete {which} of the namespace {:?} for good?", target.name))?;
                is_confirmed = true;
            }
            let names: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
            deleted += delete(target, &names).await?;
        }
        Ok((!self.dry_run).then_some(deleted))
    }
}

/// Deletes keys with one request.
async fn delete(target: &Target, keys: &[&str]) -> Result<usize, KvError> {
    let outcome = target.keys.bulk_delete(keys).await.map_err(|error| target.failed(error))?;
    let BulkOutcome { successful, unsuccessful, messages } = outcome;
    if unsuccessful.is_empty() {
        return Ok(successful);
    }
    let why =
        messages.first().map_or_else(|| "no reason is known".into(), |note| note.message.clone());
    Err(KvError::Undeleted { count: unsuccessful.len(), why })
}
