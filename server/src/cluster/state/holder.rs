//! `ca-holder.toml`: the location that has the CA's key, as this location last learned from it.

use kv_core::MemberId;
use serde::{Deserialize, Serialize};

use super::{
    files::{self, ClusterDir, FilesError},
    names::{Name, text},
};

/// The location that has the CA's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaHolder {
    /// Its id.
    #[serde(with = "text")]
    pub member: MemberId,
    /// Its name at that time.
    pub location: Name,
}

impl CaHolder {
    /// Reads the file; none if it does not exist.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn load(directory: &ClusterDir) -> Result<Option<CaHolder>, FilesError> {
        if !directory.has(files::CA_HOLDER) {
            return Ok(None);
        }
        let content = directory.read(files::CA_HOLDER)?;
        let holder = toml::from_str(&content);
        holder.map(Some).map_err(|error| directory.damaged(files::CA_HOLDER, error))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the system refuses; the file is unchanged.
    pub fn save(&self, directory: &ClusterDir) -> Result<(), FilesError> {
        let content =
            toml::to_string(self).map_err(|error| directory.damaged(files::CA_HOLDER, error))?;
        directory.write(files::CA_HOLDER, &content)
    }
}
