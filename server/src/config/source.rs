//! Where a configuration comes from, to load it again.

use std::path::{Path, PathBuf};

use ratelimit::Algorithm;

use super::{Config, ConfigError, Given, Stamp};
use crate::api::rls::{self, Domains, LoadError, config::Domain};

/// The flags, the variables and the file of a server.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What the flags and the variables set, which can't change while the server runs.
    given: Given,
    /// The file of `--config`.
    file: Option<PathBuf>,
}

impl Sources {
    /// The sources that a command line names.
    #[must_use]
    pub fn new(given: Given, file: Option<PathBuf>) -> Sources {
        Sources { given, file }
    }

    /// Loads the configuration. Blocks.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.given, self.file.as_deref())
    }

    /// The file of `--config`.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Where Envoy's limits come from.
#[derive(Clone, Debug)]
pub struct RlsSource {
    /// The domains that the file of `--config` has, with its path.
    pub(super) inline: Option<(Vec<Domain>, PathBuf)>,
    /// The file or directory of `--rls-config`.
    pub(super) yaml: Option<PathBuf>,
    /// The algorithm of limits that name none.
    pub(super) algorithm: Algorithm,
    /// The most limits.
    pub(super) max_limits: usize,
}

impl RlsSource {
    /// Loads the limits. Of the file of `--config` it takes what was read when that was loaded. Blocks.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(&self) -> Result<Domains, LoadError> {
        let inline = self.inline.as_ref().map(|(domains, file)| (&domains[..], &**file));
        rls::load(rls::Sources {
            inline,
            yaml: self.yaml.as_deref(),
            algorithm: self.algorithm,
            max_limits: self.max_limits,
        })
    }

    /// The state of the files of `--rls-config`: a few system calls for each. Blocks.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let mut stamp = Stamp::default();
        if let Some(yaml) = &self.yaml {
            stamp.add(yaml);
            // A path that can't be read has no files, until it changes.
            for file in rls::files(yaml).unwrap_or_default() {
                stamp.add(&file);
            }
        }
        stamp
    }
}
