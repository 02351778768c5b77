//! The real disk: the one file of an engine, and the directory that it is in.
//!
//! All file access of a store goes through [`StorageBackend`], so that a test can substitute a failing
//! disk.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;

pub use super::storage::{OpenDisk, StorageBackend, memory};
use super::{redb::was_closed, storage::FILE};

/// The name of the file that is locked.
const LOCK: &str = "LOCK";

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process, or another handle in this one, has it open.
    #[error("{0} is in use by another process: stop it, or name another data directory")]
    Locked(String),
    /// The directory or its lock can't be created, read or made private.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// A file on the real disk.
#[derive(Debug)]
struct FileDisk(File);

impl FileDisk {
    /// Makes the next reads come from the disk. After a failed sync the system's cache may show bytes
    /// that never reach the disk, and a store that relied on them would not survive a crash.
    fn forget_cached(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed) {
            tracing::debug!(%error, "the cached pages of the file stay in memory");
        }
    }
}

impl StorageBackend for FileDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// A store's directory, locked against other processes while this value lives.
#[derive(Debug)]
pub struct DataDir {
    /// The path of the directory.
    path: PathBuf,
    /// The locked file `LOCK`; the lock ends when it is closed.
    _lock: File,
}

impl DataDir {
    /// Opens the directory and locks it. Creates it if it does not exist.
    ///
    /// The directory and the store's files become private to their owner, whatever their permissions
    /// were. A directory with other files in it keeps its permissions, with a warning, because other
    /// users may need them; the store's files are private there too.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn open(path: &Path) -> Result<DataDir, DirectoryError> {
        let failed = |source| DirectoryError::Io { path: path.display().to_string(), source };
        if !path.is_dir() {
            make_directory(path).map_err(failed)?;
        }
        keep_private(path).map_err(failed)?;
        let lock = open_private(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(DirectoryError::Locked(path.display().to_string()))
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Returns a function that opens the engine's file in this directory.
    #[must_use]
    pub fn disk(&self) -> OpenDisk {
        let directory = self.path.clone();
        Box::new(move || {
            let file = open_private(&directory.join(FILE))?;
            // The name of the file is in the directory and survives a crash only after its sync.
            File::open(&directory)?.sync_all()?;
            let disk = FileDisk(file);
            if !was_closed(&disk) {
                disk.forget_cached();
            }
            Ok(Arc::new(disk))
        })
    }
}

/// Creates a private directory that survives a crash.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "it exists and is not a directory",
        ));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The permissions of everyone but the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory private, unless it has files other than a store's, or another user owns it.
fn keep_private(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    for entry in path.read_dir()? {
        let name = entry?.file_name();
        if name != LOCK && name != FILE {
            tracing::warn!(
                path = %path.display(),
                "other users can open the data directory; it keeps its permissions because it has other \
                 files. The store's own files are private. Give the store a directory of its own"
            );
            return Ok(());
        }
    }
    unless_of_another(std::fs::set_permissions(path, Permissions::from_mode(0o700)), path)
}

/// Accepts that permissions can't be changed: only the owner can, and a volume may belong to root, while the group of this
/// process may write to it (Kubernetes: `fsGroup`).
fn unless_of_another(changed: io::Result<()>, path: &Path) -> io::Result<()> {
    match changed {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                path = %path.display(),
                "another user owns this part of the data directory, so that it can't be made private: see that nobody else \
                 has its group"
            );
            Ok(())
        }
        changed => changed,
    }
}

/// Opens or creates a file of the store, and makes it private.
///
/// Root may run a command on the directory of a server that runs as another user. Then the file belongs to that user, and
/// links are not followed: the user could have put them there, to make root change or give away what they lead to.
fn open_private(path: &Path) -> io::Result<File> {
    let owner = owner_of(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    if owner.is_some() {
        let follow_no_link = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
        options.custom_flags(follow_no_link);
    }
    let file = match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.create_new(false).open(path).map_err(|error| not_followed(path, error))?
        }
        created => {
            let created = created?;
            if let Some((user, group)) = owner {
                fchown(&created, Some(user), Some(group))?;
            }
            created
        }
    };
    let found = file.metadata()?;
    if owner.is_some() && found.nlink() > 1 {
        return Err(not_followed(path, rustix::io::Errno::LOOP.into()));
    }
    if found.permissions().mode() & OTHERS != 0 {
        unless_of_another(file.set_permissions(Permissions::from_mode(0o600)), path)?;
    }
    Ok(file)
}

/// Returns the owner of the directory of a file, if this process is root and the owner is another user.
fn owner_of(path: &Path) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let directory = path.parent().unwrap_or(Path::new(".")).metadata()?;
    Ok((directory.uid() != 0).then(|| (directory.uid(), directory.gid())))
}

/// Explains the error for a link.
fn not_followed(path: &Path, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return error;
    }
    let name = path.file_name().unwrap_or_default().display();
    io::Error::other(format!(
        "its file {name} is a link, which root does not follow in the directory of another user; run this as that user"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    /// Opens a store's directory and file twice, and returns the permissions after each.
    fn modes(path: &Path) -> [[u32; 3]; 2] {
        [(); 2].map(|()| {
            let directory = DataDir::open(path).unwrap();
            directory.disk()().unwrap();
            [mode(path), mode(&path.join(LOCK)), mode(&path.join(FILE))]
        })
    }

    fn shared(parent: &Path, name: &str, files: &[&str]) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        for file in files {
            fs::write(path.join(file), "").unwrap();
            fs::set_permissions(path.join(file), Permissions::from_mode(0o644)).unwrap();
        }
        path
    }

    #[test]
    fn a_store_becomes_private_whatever_its_permissions_were() {
        let parent = tempfile::tempdir().unwrap();
        for (name, files) in [("empty", &[][..]), ("store", &[LOCK, FILE]), ("copy", &[FILE])] {
            let path = shared(parent.path(), name, files);
            assert_eq!(modes(&path), [[0o700, 0o600, 0o600]; 2], "{name}");
        }
        assert_eq!(modes(&parent.path().join("a/b")), [[0o700, 0o600, 0o600]; 2]);
    }

    #[test]
    fn a_directory_with_other_files_keeps_its_permissions_at_every_start() {
        let parent = tempfile::tempdir().unwrap();
        for (name, files) in [("home", &["notes"][..]), ("old", &["notes", LOCK, FILE])] {
            let path = shared(parent.path(), name, files);
            assert_eq!(modes(&path), [[0o755, 0o600, 0o600]; 2], "{name}");
            assert_eq!(mode(&path.join("notes")), 0o644);
        }
    }
}
