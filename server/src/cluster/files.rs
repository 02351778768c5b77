//! `cluster/` in the data directory: its owner's alone, and each file is written whole or not at
//! all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Which cluster and location; there once the location is complete.
pub const ABOUT: &str = "cluster.toml";
/// The certificate of the cluster's CA.
pub const CA: &str = "ca.pem";
/// The private key of the cluster's CA, where `waypost cluster init` ran.
pub const CA_KEY: &str = "ca.key";
/// This location's certificate.
pub const CERTIFICATE: &str = "location.pem";
/// This location's private key.
pub const KEY: &str = "location.key";
/// The tokens that were given out, where the key of the CA is.
pub const INVITATIONS: &str = "invitations.toml";
/// A joining that is under way.
pub const JOINING: &str = "joining.toml";
/// Which store is that of the cluster's first location.
pub const STORE: &str = "store";
/// Locked (`flock`) by who changes the files.
const LOCK: &str = "LOCK";

const DIRECTORY: &str = "cluster";
/// Where `cluster init` makes its files, before the directory gets its name.
const UNFINISHED: &str = "cluster.new";

/// The rights of all but the owner.
const OTHERS: u32 = 0o077;

/// A file of the cluster can't be read or written. What was there before is there still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// It is not there.
    #[error("{} is missing: put it back from a backup, or join the cluster again in an empty data directory", .0.display())]
    Missing(PathBuf),
    /// The system says no.
    #[error("{}: {source}", path.display())]
    System {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
}

/// The directory of a location's cluster.
#[derive(Clone, Debug)]
pub struct ClusterDir {
    path: PathBuf,
}

impl ClusterDir {
    /// That of a data directory, whether it is there or not.
    #[must_use]
    pub fn of(data: &Path) -> ClusterDir {
        ClusterDir { path: data.join(DIRECTORY) }
    }

    /// The same before it is finished; empty, whatever an attempt that was cut left in it.
    ///
    /// # Errors
    /// If the system does not let it be.
    pub fn unfinished(data: &Path) -> Result<ClusterDir, FilesError> {
        let directory = ClusterDir { path: data.join(UNFINISHED) };
        match fs::remove_dir_all(&directory.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system(&directory.path)(error));
            }
            _gone => {}
        }
        directory.make()?;
        Ok(directory)
    }

    /// Gives an unfinished directory its name; all that is in it appears at once.
    ///
    /// # Errors
    /// If there is one with that name, which stays as it is, or the system says no.
    pub fn finish(self, data: &Path) -> Result<ClusterDir, FilesError> {
        let finished = ClusterDir::of(data);
        fs::rename(&self.path, &finished.path).map_err(system(&finished.path))?;
        sync_directory(data)?;
        Ok(finished)
    }

    /// Makes the directory, and the data directory around it, for their owner alone.
    ///
    /// # Errors
    /// If the system does not let it be.
    pub fn make(&self) -> Result<(), FilesError> {
        if let Some(data) = self.path.parent() {
            make_private(data)?;
        }
        make_private(&self.path)
    }

    /// Where a file of it is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Whether others than the owner have rights to a file.
    #[must_use]
    pub fn is_exposed(&self, name: &str) -> bool {
        let metadata = self.path(name).metadata();
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
    }

    /// Waits until no other process changes the files, and keeps others from it while the lock
    /// lives. The server and `waypost cluster invite` meet here.
    ///
    /// # Errors
    /// If the system does not let it be.
    pub fn lock(&self) -> Result<File, FilesError> {
        let path = self.path(LOCK);
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(system(&path))?;
        lock.lock().map_err(system(&path))?;
        Ok(lock)
    }

    /// What a file says.
    ///
    /// # Errors
    /// [`FilesError::Missing`] if it is not there.
    pub fn read(&self, name: &str) -> Result<String, FilesError> {
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FilesError::Missing(path),
            _ => FilesError::System { path, source: error },
        })
    }

    /// Writes a file, readable by its owner alone: after a crash at any time it is as before or as
    /// it should be. Durable when this returns.
    ///
    /// # Errors
    /// If the system says no; the file is as before.
    pub fn write(&self, name: &str, text: &str) -> Result<(), FilesError> {
        let path = self.path(name);
        let unfinished = self.path(&format!(".{name}.new"));
        let write = || {
            match fs::remove_file(&unfinished) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _gone => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options.create_new(true).write(true).mode(0o600).open(&unfinished)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(system(&path))?;
        sync_directory(&self.path)
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// If the system says no.
    pub fn remove(&self, name: &str) -> Result<(), FilesError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(&path)(error)),
            _gone => sync_directory(&self.path),
        }
    }

    /// An error about what a file says.
    pub(crate) fn wrong(&self, name: &str, reason: impl ToString) -> FilesError {
        FilesError::Wrong { path: self.path(name), reason: reason.to_string() }
    }
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::System { path: path.to_owned(), source }
}

fn sync_directory(path: &Path) -> Result<(), FilesError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(system(path))
}

/// Makes a directory for its owner alone. One that is there gets so if it is empty: others may need
/// their rights to what lies in it.
fn make_private(path: &Path) -> Result<(), FilesError> {
    let make = || {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path.canonicalize()?.parent() {
                File::open(parent)?.sync_all()?;
            }
        } else if path.read_dir()?.next().is_none() {
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    make().map_err(system(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_the_owners_alone_and_replaces_what_was_there() {
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("a/data");
        let directory = ClusterDir::of(&data);
        directory.make().unwrap();
        for text in ["one", "two"] {
            directory.write(KEY, text).unwrap();
            assert_eq!(directory.read(KEY).unwrap(), text);
        }
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&data.join("cluster")), 0o700);
        assert_eq!(mode(&directory.path(KEY)), 0o600);
        assert!(!directory.is_exposed(KEY));
        fs::set_permissions(directory.path(KEY), Permissions::from_mode(0o640)).unwrap();
        assert!(directory.is_exposed(KEY));
    }

    #[test]
    fn what_an_attempt_that_was_cut_left_is_in_nobodys_way() {
        let data = tempfile::tempdir().unwrap();
        ClusterDir::unfinished(data.path()).unwrap().write(KEY, "cut").unwrap();
        let again = ClusterDir::unfinished(data.path()).unwrap();
        assert!(!again.has(KEY));
        again.write(CA, "whole").unwrap();
        let finished = again.finish(data.path()).unwrap();
        assert_eq!(finished.read(CA).unwrap(), "whole");
        let late = ClusterDir::unfinished(data.path()).unwrap();
        assert!(late.finish(data.path()).is_err(), "one is there");
        assert_eq!(finished.read(CA).unwrap(), "whole");
        // A file that a crash left half written does not keep the next from being written.
        fs::write(finished.path(".ca.pem.new"), "ha").unwrap();
        finished.write(CA, "next").unwrap();
        assert_eq!(finished.read(CA).unwrap(), "next");
    }

    #[test]
    fn a_missing_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        let error = ClusterDir::of(data.path()).read(KEY).unwrap_err().to_string();
        assert!(error.contains("location.key is missing: put it back"), "{error}");
    }
}
