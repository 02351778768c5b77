//! `waypost kv list`.
//!
//! Keys are printed as they come, a line each, so that a pipe into `head` ends the command early. Control characters
//! in them are escaped; `--json` prints exact keys.

use std::io::Write as _;

use clap::{Args, builder::NonEmptyStringValueParser};
use waypost_client::{Listed, Page};

use super::{connect::Target, error::KvError, line::Line};
use crate::{cli::client::print_json, terminal};

/// List keys in the order of their bytes, one a line.
///
/// Characters that act on a terminal, such as the end of a line, are escaped. With --json each line is an object with the exact
/// key, its metadata and its expiration in Unix seconds.
#[derive(Debug, Args)]
pub(super) struct List {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// Only keys that start with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// At most so many keys
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// The pages of a list.
pub(super) struct Pages<'a> {
    /// The namespace.
    target: &'a Target,
    /// The next page; none after the last.
    next: Option<waypost_client::List>,
}

impl<'a> Pages<'a> {
    /// All pages of a list.
    pub(super) fn of(target: &'a Target, list: waypost_client::List) -> Pages<'a> {
        Pages { target, next: Some(list) }
    }

    /// The next page; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Listed>>, KvError> {
        let Some(list) = self.next.take() else { return Ok(None) };
        let page = self.target.keys.list(&list).await;
        let Page { keys, cursor } = page.map_err(|error| self.target.failed(error))?;
        self.next = cursor.map(|cursor| waypost_client::List { cursor: Some(cursor), ..list });
        Ok(Some(keys))
    }
}

impl List {
    /// Prints the keys.
    pub(super) async fn run(&self, target: &Target, json: bool) -> Result<(), KvError> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        // A page has at least 10 keys.
        let limit = self.limit.map(|limit| limit.clamp(10, 1000));
        let prefix = self.prefix.clone();
        let mut pages =
            Pages::of(target, waypost_client::List { prefix, limit, ..Default::default() });
        while left > 0
            && let Some(keys) = pages.next().await?
        {
            let shown = keys.len().min(left);
            print(&keys[..shown], json).map_err(KvError::Output)?;
            left -= shown;
        }
        Ok(())
    }
}

/// Prints keys.
pub(super) fn print(keys: &[Listed], json: bool) -> std::io::Result<()> {
    for Listed { name, expiration, metadata, .. } in keys {
        if json {
            print_json(&Line::key(name, *expiration, metadata.as_deref()))?;
        } else {
            // The end of a line within a key is not one of the list.
            writeln!(terminal::stdout(), "{}", kv_core::visible::escaped(name))?;
        }
    }
    Ok(())
}
