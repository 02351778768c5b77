//! The directory `cluster/` in the data directory. Its files are private, and each is written
//! atomically. They belong to the owner of the data directory, whoever runs a command on it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::private_files::{self, Directory, PrivateFileError};

/// The cluster and the location; written last, so that with it the location is complete.
pub const DESCRIPTOR: &str = "cluster.toml";
/// The certificates of the CAs that the location trusts, the newest first.
pub const CA: &str = "ca.pem";
/// The private key of the cluster's CA, its certificate and its vouchers, at the CA holder only.
pub const CA_KEY: &str = "ca.key";
/// This location's certificate.
pub const CERTIFICATE: &str = "location.pem";
/// This location's private key.
pub const KEY: &str = "location.key";
/// The issued tokens, at the CA holder only.
pub const INVITATIONS: &str = "invitations.toml";
/// A join that is in progress.
pub const JOINING: &str = "joining.toml";
/// The location that has the CA's key, at the others.
pub const CA_HOLDER: &str = "ca-holder.toml";
/// Locked (`flock`) by the process that changes the files.
const LOCK: &str = "LOCK";

/// The name of the directory in the data directory.
const DIRECTORY: &str = "cluster";
/// Where `cluster init` creates its files, before the directory gets its name.
const UNFINISHED: &str = "cluster.new";

/// A file of the cluster can't be read or written. What was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The file does not exist.
    #[error("{} is missing: restore it from a backup, or join the cluster again in an empty data directory", .0.display())]
    Missing(PathBuf),
    /// The file can't be read or written.
    #[error(transparent)]
    Private(PrivateFileError),
    /// The content of the file is wrong.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The mistake in it.
        reason: String,
    },
}

impl From<PrivateFileError> for FilesError {
    fn from(error: PrivateFileError) -> FilesError {
        let is_missing = error.is_missing();
        match error {
            PrivateFileError::System { path, .. } if is_missing => FilesError::Missing(path),
            error => FilesError::Private(error),
        }
    }
}

/// The directory of a location's cluster.
#[derive(Clone, Debug)]
pub struct ClusterDir {
    /// The directory of the cluster's files.
    path: PathBuf,
}

impl ClusterDir {
    /// Returns that of a data directory, whether it exists or not.
    #[must_use]
    pub fn of(data: &Path) -> ClusterDir {
        ClusterDir { path: data.join(DIRECTORY) }
    }

    /// Creates an empty directory under another name, for [`ClusterDir::finish`]. Removes what an
    /// interrupted attempt left there.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn unfinished(data: &Path) -> Result<ClusterDir, FilesError> {
        let directory = ClusterDir { path: data.join(UNFINISHED) };
        private_files::remove_directory(&directory.path)?;
        directory.create()?;
        Ok(directory)
    }

    /// Gives an unfinished directory its name, so that all its files appear at once.
    ///
    /// # Errors
    /// If there is a directory of that name, which stays unchanged, or the system refuses.
    pub fn finish(self, data: &Path) -> Result<ClusterDir, FilesError> {
        let finished = ClusterDir::of(data);
        private_files::rename_directory(&self.path, &finished.path)?;
        Ok(finished)
    }

    /// Creates the directory, and the data directory around it, for their owner only.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn create(&self) -> Result<(), FilesError> {
        if let Some(data) = self.path.parent() {
            private_files::create_directory(data)?;
        }
        Directory::create_in_data(&self.path)?;
        Ok(())
    }

    /// Opens the directory, to use a file in it: if it does not exist, that file is missing.
    fn open(&self, name: &str) -> Result<Directory, FilesError> {
        Directory::in_data(&self.path).map_err(|error| {
            if error.is_missing() { FilesError::Missing(self.path(name)) } else { error.into() }
        })
    }

    /// Returns the path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a file exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Waits until no other process changes the files, and keeps others from it until the lock is
    /// dropped. The server and `waypost cluster invite` exclude each other by it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn lock(&self) -> Result<File, FilesError> {
        Ok(self.open(LOCK)?.lock(LOCK)?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`FilesError::Missing`] if it does not exist.
    pub fn read(&self, name: &str) -> Result<String, FilesError> {
        Ok(self.open(name)?.read(name)?)
    }

    /// Reads a file with a secret.
    ///
    /// # Errors
    /// See [`ClusterDir::read`]; also if other users have permissions to the file.
    pub fn read_secret(&self, name: &str) -> Result<String, FilesError> {
        Ok(self.open(name)?.read_secret(name)?)
    }

    /// Writes a file atomically, readable by its owner only. Durable when this returns.
    ///
    /// # Errors
    /// If the system refuses; the file is unchanged.
    pub fn write(&self, name: &str, text: &str) -> Result<(), FilesError> {
        Ok(self.open(name)?.write(name, text)?)
    }

    /// Removes a file, if it exists.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(&self, name: &str) -> Result<(), FilesError> {
        Ok(self.open(name)?.remove(name)?)
    }

    /// Returns the error for a file with wrong content.
    pub(crate) fn damaged(&self, name: &str, reason: impl ToString) -> FilesError {
        FilesError::Damaged { path: self.path(name), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_attempt_does_not_disturb_the_next_one() {
        let data = tempfile::tempdir().unwrap();
        ClusterDir::unfinished(data.path()).unwrap().write(KEY, "cut").unwrap();
        let again = ClusterDir::unfinished(data.path()).unwrap();
        assert!(!again.has(KEY));
        again.write(CA, "whole").unwrap();
        let finished = again.finish(data.path()).unwrap();
        assert_eq!(finished.read(CA).unwrap(), "whole");
        let late = ClusterDir::unfinished(data.path()).unwrap();
        assert!(late.finish(data.path()).is_err(), "the name is taken");
        assert_eq!(finished.read(CA).unwrap(), "whole");
    }

    #[test]
    fn a_missing_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        let error = ClusterDir::of(data.path()).read(KEY).unwrap_err().to_string();
        assert!(error.contains("location.key is missing: restore it"), "{error}");
    }
}
