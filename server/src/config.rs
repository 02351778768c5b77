//! The configuration of a server: settings, and the limits that only a file can describe.
//!
//! | module | contents |
//! |---|---|
//! | `settings` | the table of settings, from which everything else about them is derived |
//! | `given` | the texts of flags and variables |
//! | `value` | how a value is read from a text and from the file |
//! | `kinds` | the server's own types of values, with their bounds |
//! | `source` | where a configuration comes from, to load it again |
//! | `stamp` | whether files have changed |
//! | `error` | why there is no configuration |
//!
//! A flag wins over a variable, a variable over the file, the file over the default.

mod error;
mod given;
mod kinds;
mod settings;
mod source;
mod stamp;
#[cfg(test)]
mod tests;
mod value;

use std::{fs, path::Path, sync::Arc};

use self::settings::FileSettings;
use crate::{api::rls::Domains, rate_limits::NamedLimits};

pub use self::{
    error::ConfigError,
    given::{DataAndAddresses, DataOnly, Every, Flags, Given, Selection},
    kinds::{Durability, LogFilter, Number, Size, Span, Title},
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
        let from_file = file.map(read).transpose()?.unwrap_or_default();
        let (settings, rate_limits, domains) = Settings::resolve(given, from_file)?;
        let rls_source = RlsSource {
            inline: file.map(|file| (domains, file.to_owned())),
            yaml: settings.rls_config.clone(),
            algorithm: settings.rls_algorithm,
        };
        let rls_stamp = rls_source.stamp();
        let rls = rls_source.load()?;
        let rls_source = Arc::new(rls_source);
        Ok(Config { settings, rate_limits, rls, rls_source, rls_stamp })
    }
}

/// Reads the file of `--config`.
fn read(path: &Path) -> Result<FileSettings, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or(&text);
        ConfigError::Wrong {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    })
}
