//! `waypost kv get`.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{connect::Target, error::KvError, line::Line};
use crate::{cli::client::print_json, terminal};

/// Print the value of a key.
///
/// The value is printed as it is, without an end of line; on a terminal, characters that act on it are escaped. Exits with 3 if
/// there is no such key.
#[derive(Debug, Args)]
pub(super) struct Get {
    /// The title or id of the namespace
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(super) namespace: String,
    /// The key
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    key: String,
}

impl Get {
    /// Prints the value, or with `json` the entry as a line of JSON.
    pub(super) async fn run(&self, target: &Target, json: bool) -> Result<(), KvError> {
        let failed = |error| target.failed(error);
        let Some(mut entry) = target.keys.get(&self.key).await.map_err(failed)? else {
            return Err(KvError::NoKey { key: self.key.clone(), namespace: target.name.clone() });
        };
        if json {
            let expiration = entry.expiration;
            let value = entry.bytes().await.map_err(failed)?;
            let metadata = target.keys.metadata(&self.key).await.map_err(failed)?;
            let line = Line::key(&self.key, expiration, metadata.as_deref());
            return print_json(&line.with_value(&value)).map_err(KvError::Output);
        }
        if io::stdout().is_terminal() {
            let value = entry.bytes().await.map_err(failed)?;
            let mut out = terminal::stdout();
            out.write_all(&value).map_err(KvError::Output)?;
            let end: &[u8] = if value.ends_with(b"\n") || value.is_empty() { b"" } else { b"\n" };
            return out.write_all(end).and_then(|()| out.flush()).map_err(KvError::Output);
        }
        let mut out = io::stdout().lock();
        while let Some(piece) = entry.next().await.map_err(failed)? {
            out.write_all(&piece).map_err(KvError::Output)?;
        }
        out.flush().map_err(KvError::Output)
    }
}
