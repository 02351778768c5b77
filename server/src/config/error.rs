//! Why there is no configuration.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::value::ValueError;
use crate::api::rls::LoadError;

/// Why there is no configuration. The text names the flag, the variable, or the file and its line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A flag has a wrong value.
    #[error("{flag}: {source}")]
    Flag {
        /// The flag, with its dashes.
        flag: String,
        /// Why the value is wrong.
        source: ValueError,
    },
    /// An environment variable has a wrong value.
    #[error("{variable}: {source}")]
    Variable {
        /// The variable.
        variable: String,
        /// Why the value is wrong.
        source: ValueError,
    },
    /// A file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file has a wrong value, an unknown key, or a wrong form.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The mistake there.
        message: String,
    },
    /// There are more limits than the setting allows.
    #[error(
        "there are {named} limits with a name, and the maximum is {max_limits}: raise max-limits"
    )]
    Limits {
        /// How many there are.
        named: usize,
        /// How many there may be.
        max_limits: usize,
    },
    /// The flags and variables of a listener don't fit each other.
    #[error("{setting}: {message}")]
    Listener {
        /// The flag or the variable.
        setting: String,
        /// What is wrong, why, and what to do.
        message: String,
    },
    /// The limits for Envoy can't be read.
    #[error(transparent)]
    Rls(#[from] LoadError),
}

impl ConfigError {
    /// The file that has the mistake, or can't be read.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            ConfigError::Unreadable { path, .. } | ConfigError::Wrong { path, .. } => Some(path),
            ConfigError::Rls(error) => Some(error.path()),
            ConfigError::Flag { .. }
            | ConfigError::Variable { .. }
            | ConfigError::Limits { .. }
            | ConfigError::Listener { .. } => None,
        }
    }

    /// Whether the command itself was wrong, rather than a file.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ConfigError::Flag { .. } | ConfigError::Variable { .. } | ConfigError::Listener { .. }
        )
    }
}
