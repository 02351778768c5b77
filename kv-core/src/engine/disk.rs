//! Where bytes go: the one file of an engine, and the directory that it lies in.
//!
//! All file access of a store passes here, so that a test can put a failing disk in its place.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use super::redb::StorageBackend;
use super::redb::{InMemoryBackend, was_closed};
use crate::error::OpenError;

/// The name of the engine's file in its directory.
pub(super) const FILE: &str = "waypost.redb";

/// The name of the file that is locked.
const LOCK: &str = "LOCK";

/// Opens the engine's file anew: at the start, and again after the disk has failed.
pub type OpenDisk = Box<dyn Fn() -> io::Result<Arc<dyn StorageBackend>> + Send + Sync>;

/// A disk in memory, for tests and for stores that need not last.
#[must_use]
pub fn memory() -> OpenDisk {
    let disk: Arc<dyn StorageBackend> = Arc::new(InMemoryBackend::new());
    Box::new(move || Ok(Arc::clone(&disk)))
}

/// A file on the real disk.
#[derive(Debug)]
struct FileDisk(File);

impl FileDisk {
    /// Lets what is read next come from the disk. After a failed sync the system's cache may show
    /// what the disk will never hold, and a store that was built on it would not survive a crash.
    fn forget_cached(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed) {
            tracing::debug!(%error, "what the system has cached of the file stays");
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

/// A store's directory, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the directory and locks it; makes it if it is not there.
    ///
    /// The directory and what the store has in it are its owner's alone, whatever they were before.
    /// Only the rights to a directory in which other things lie are left, with a warning: others
    /// may need them. The store's files are private there too.
    ///
    /// # Errors
    /// If it can't be made or made private, or another process has it.
    pub fn open(path: &Path) -> Result<DataDir, OpenError> {
        let failed = |source| OpenError::Directory { path: path.display().to_string(), source };
        if !path.is_dir() {
            make_directory(path).map_err(failed)?;
        }
        keep_private(path).map_err(failed)?;
        let lock = open_private(&path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.display().to_string())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// How to open the engine's file in this directory.
    #[must_use]
    pub fn disk(&self) -> OpenDisk {
        let directory = self.path.clone();
        Box::new(move || {
            let file = open_private(&directory.join(FILE))?;
            // The file's name is in the directory: it survives a crash only once that is synced.
            File::open(&directory)?.sync_all()?;
            let disk = FileDisk(file);
            if !was_closed(&disk) {
                disk.forget_cached();
            }
            Ok(Arc::new(disk))
        })
    }
}

/// Makes a directory for its owner alone, one that survives a crash.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is there and no directory"));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The rights of all but the owner.
const OTHERS: u32 = 0o077;

/// Takes others' rights away from a directory that holds a store and nothing else, or nothing.
fn keep_private(path: &Path) -> io::Result<()> {
    if path.metadata()?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    for entry in path.read_dir()? {
        let name = entry?.file_name();
        if name != LOCK && name != FILE {
            tracing::warn!(
                path = %path.display(),
                "other users have rights to the data directory, which is left so because other \
                 things lie in it; the store's files are private. Better give it a directory of its own"
            );
            return Ok(());
        }
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Opens or makes a file of the store, and takes others' rights to it away.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file =
        options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    /// Opens a store's directory and file twice, and says the modes of each after that.
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
    fn a_store_is_private_however_it_was_before() {
        let parent = tempfile::tempdir().unwrap();
        for (name, files) in [("empty", &[][..]), ("store", &[LOCK, FILE]), ("copy", &[FILE])] {
            let path = shared(parent.path(), name, files);
            assert_eq!(modes(&path), [[0o700, 0o600, 0o600]; 2], "{name}");
        }
        assert_eq!(modes(&parent.path().join("a/b")), [[0o700, 0o600, 0o600]; 2]);
    }

    #[test]
    fn a_directory_with_other_things_in_it_keeps_its_rights_at_every_start() {
        let parent = tempfile::tempdir().unwrap();
        for (name, files) in [("home", &["notes"][..]), ("old", &["notes", LOCK, FILE])] {
            let path = shared(parent.path(), name, files);
            assert_eq!(modes(&path), [[0o755, 0o600, 0o600]; 2], "{name}");
            assert_eq!(mode(&path.join("notes")), 0o644);
        }
    }
}
