//! The configuration of a server: settings, and the limits that only a file can describe.
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the table of settings, from which everything else about them is derived |
//! | `given` | the texts of flags and variables |
//! | `value` | how a value is read from a text and from the file |
//! | `kinds` | the server's own types of values, with their bounds |
//! | `listeners` | where the server listens |
//! | `source` | where a configuration comes from, to load it again |
//! | `stamp` | whether files have changed |
//! | `error` | why there is no configuration |
//!
//! A flag wins over a variable, a variable over the file, the file over the default.

mod error;
mod given;
pub(crate) mod kinds;
mod listeners;
mod settings;
mod source;
mod stamp;
#[cfg(test)]
mod tests;
mod value;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use toml::Spanned;

use self::{listeners::ListenerTable, settings::FileSettings};
use crate::{api::rls::Domains, rate_limits::NamedLimits};

pub use self::{
    error::ConfigError,
    given::{DataAndAddresses, DataOnly, Every, Flags, Given, Selection},
    kinds::{Durability, LogFilter, Number, Size, Span, Title},
    listeners::ListenerSettings,
    settings::{Group, RELOADED, SETTINGS, Setting, Settings},
    source::{RlsSource, Sources},
    stamp::Stamp,
    value::{List, Value, ValueError},
};
pub use crate::connection::Listen;

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The value of every setting.
    pub settings: Settings,
    /// Where the server listens: at least one.
    pub listeners: Vec<ListenerSettings>,
    /// Rate limits by name.
    pub rate_limits: NamedLimits,
    /// Limits for Envoy.
    pub rls: Domains,
    /// Where these come from.
    pub rls_source: Arc<RlsSource>,
    /// The state of their files before they were read.
    pub rls_stamp: Stamp,
}

impl Config {
    /// Loads the configuration from flags and variables, and from a file if there is one.
    ///
    /// # Errors
    /// If a file can't be read, or a value is wrong. A wrong value in the file is an error also if a
    /// flag or a variable sets the same setting.
    pub fn load(given: &Given, file: Option<&Path>) -> Result<Config, ConfigError> {
        let Contents { settings: from_file, tables, text } =
            file.map(read).transpose()?.unwrap_or_default();
        let (settings, rate_limits, domains) = Settings::resolve(given, from_file)?;
        let line = |key: &str| line_of(&text, key);
        let in_file = file.map(|path| listeners::File { path, line: &line, tables });
        let listeners = listeners::resolve(given, &settings, in_file)?;
        let max_limits = usize::try_from(settings.max_limits.get()).unwrap_or(usize::MAX);
        let named = rate_limits.0.len();
        if named > max_limits {
            return Err(ConfigError::Limits { named, max_limits });
        }
        let rls_source = RlsSource {
            inline: file.map(|file| (domains, file.to_owned())),
            yaml: settings.rls_config.clone(),
            algorithm: settings.rls_algorithm,
            max_limits: max_limits - named,
        };
        let rls_stamp = rls_source.stamp();
        let rls = rls_source.load()?;
        let rls_source = Arc::new(rls_source);
        Ok(Config { settings, listeners, rate_limits, rls, rls_source, rls_stamp })
    }
}

/// The contents of a file.
#[derive(Debug, Default)]
struct Contents {
    /// The settings, and what only a file has.
    settings: FileSettings,
    /// The tables of listeners, each with its line.
    tables: Vec<(usize, ListenerTable)>,
    /// All of it.
    text: String,
}

/// Reads the file of `--config`.
fn read(path: &Path) -> Result<Contents, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let mut settings: FileSettings = toml::from_str(&text).map_err(|error| ConfigError::Wrong {
        path: path.to_owned(),
        line: line_at(&text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let tables = std::mem::take(&mut settings.listener).into_iter();
    let tables =
        tables.map(|table| (line_at(&text, table.span().start), table.into_inner())).collect();
    Ok(Contents { settings, tables, text })
}

/// The line, from 1, of a place in a text.
fn line_at(text: &str, start: usize) -> usize {
    text.get(..start).unwrap_or(text).matches('\n').count() + 1
}

/// The line of a key of a file, if it has it.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let keys: BTreeMap<String, Spanned<toml::Value>> = toml::from_str(text).ok()?;
    keys.get(key).map(|value| line_at(text, value.span().start))
}
