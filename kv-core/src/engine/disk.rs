//! The real disk: the directory of a store, and the files in it.

use std::{
    fs::{DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::{Errno, retry_on_intr},
};

use super::{
    heir::{Heir, is_open_to_others},
    storage::{FILE, LOCK, RESERVE, allocate_by_writing},
};
pub use super::{
    memory::memory,
    storage::{Directory, DiskFile},
};

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
struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            match retry_on_intr(|| fallocate(&self.0, FallocateFlags::empty(), 0, len)) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
                allocated => return Ok(allocated?),
            }
        }
        allocate_by_writing(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget_cached(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::fs::fadvise(&self.0, 0, None, rustix::fs::Advice::DontNeed) {
            tracing::debug!(%error, "the cached pages of the file stay in memory");
        }
    }
}

/// A store's directory, locked against other processes while this value lives.
///
/// Files are found in the directory that was opened, even if it is renamed meanwhile. All that are opened or
/// created become private to their owner.
#[derive(Debug)]
pub struct DataDir {
    /// The path of the directory, for messages.
    path: PathBuf,
    /// The open directory.
    directory: File,
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
        let directory = File::open(path).map_err(failed)?;
        keep_private(&directory, path).map_err(failed)?;
        let lock = open_private(&directory, LOCK, OFlags::CREATE).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::Locked(path.display().to_string()));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Somebody may have removed the file while another process has it locked.
        match directory.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::Locked(path.display().to_string()));
            }
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "this file system locks no directory: the file LOCK is enough");
            }
            Ok(()) => {}
        }
        Ok(DataDir { path: path.to_path_buf(), directory, _lock: lock })
    }

    /// Opens a file, and names it in an error.
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn DiskFile>> {
        match open_private(&self.directory, name, flags) {
            Ok(file) => Ok(Arc::new(RealFile(file))),
            Err(error) => Err(at(&self.path.join(name), &error)),
        }
    }
}

impl Directory for DataDir {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(name, OFlags::empty())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_file(name, OFlags::CREATE | OFlags::EXCL)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()))
            .map_err(|error| at(&self.path.join(name), &error.into()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        names(&self.directory).map_err(|error| at(&self.path, &error))
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all().map_err(|error| at(&self.path, &error))
    }

    fn capacity(&self) -> io::Result<u64> {
        let found =
            rustix::fs::fstatvfs(&self.directory).map_err(|error| at(&self.path, &error.into()))?;
        Ok(found.f_blocks.saturating_mul(found.f_frsize))
    }
}

/// Adds the path to the error of a call.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
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

/// Makes a directory private, unless it has files other than a store's, or another user owns it or needs it.
fn keep_private(directory: &File, path: &Path) -> io::Result<()> {
    let found = directory.metadata()?;
    if !is_open_to_others(&found)
        || Heir::of(directory)?.is_some_and(|heir| heir.needs_group_of(&found))
    {
        return Ok(());
    }
    if names(directory)?.iter().any(|name| ![LOCK, FILE, RESERVE].contains(&name.as_str())) {
        tracing::warn!(
            path = %path.display(),
            "other users can open the data directory; it keeps its permissions because it has other \
             files. The store's own files are private. Give the store a directory of its own"
        );
        return Ok(());
    }
    let private = directory.set_permissions(Permissions::from_mode(0o700));
    unless_of_another(private, path)
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

/// Returns the names of everything in a directory. What is not UTF-8 is left out.
fn names(directory: &File) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Opens a file of the store for reads and writes, and makes it private.
///
/// Root may run a command on the directory of a server that runs as another user. Then a new file belongs to that user, and
/// what a link leads to keeps its permissions: the user could have put the link there, to make root change it.
fn open_private(directory: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode)).map(File::from)
    };
    let heir = Heir::of(directory)?;
    if flags.contains(OFlags::CREATE) {
        match open(flags | OFlags::EXCL) {
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {}
            created => return given(directory, name, created?, heir),
        }
    }
    let flags = flags.difference(OFlags::CREATE);
    let (file, is_link) = match open(flags | OFlags::NOFOLLOW) {
        Err(Errno::LOOP) => (open(flags)?, true),
        opened => (opened?, false),
    };
    let found = file.metadata()?;
    let around = directory.metadata()?;
    let is_kept =
        heir.is_some_and(|heir| is_link || found.nlink() > 1 || heir.needs_group_of(&around));
    if is_open_to_others(&found) && !is_kept {
        let private = file.set_permissions(Permissions::from_mode(0o600));
        unless_of_another(private, Path::new(name))?;
    }
    Ok(file)
}

/// Gives a new file to the user who needs it. If that fails, the file is gone.
fn given(directory: &File, name: &str, file: File, heir: Option<Heir>) -> io::Result<File> {
    let done = heir.map_or(Ok(()), |heir| heir.give(&file, Path::new(name)));
    if let Err(error) = done {
        // What can't be removed stays, and the next start finds it.
        let _removed_or_not = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        return Err(error);
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
