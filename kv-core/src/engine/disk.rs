//! The real disk: the directory of a store, and the files in it.

use std::{
    fs::{DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags},
    io::{Errno, retry_on_intr},
};

use super::storage::FILE;
pub use super::{
    memory::memory,
    storage::{Directory, DiskFile},
};

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
            Ok(()) => Ok(DataDir { path: path.to_path_buf(), directory, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(DirectoryError::Locked(path.display().to_string()))
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
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

/// The permissions of everyone but the owner.
const OTHERS: u32 = 0o077;

/// Makes a directory private, unless it has files other than a store's, or another user owns it.
fn keep_private(directory: &File, path: &Path) -> io::Result<()> {
    if directory.metadata()?.permissions().mode() & OTHERS == 0 {
        return Ok(());
    }
    if names(directory)?.iter().any(|name| name != LOCK && name != FILE) {
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
/// links are not followed: the user could have put them there, to make root change or give away what they lead to.
fn open_private(directory: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let owner = owner_of(directory)?;
    let links = if owner.is_some() { OFlags::NOFOLLOW } else { OFlags::empty() };
    let open = |flags: OFlags| {
        let flags = flags | links | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode)).map(File::from)
    };
    let (opened, is_new) = match flags.contains(OFlags::CREATE) {
        false => (open(flags), false),
        true => match open(flags | OFlags::EXCL) {
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
                (open(flags.difference(OFlags::CREATE)), false)
            }
            created => (created, true),
        },
    };
    let file = opened.map_err(|error| not_followed(name, error))?;
    if let Some((user, group)) = owner.filter(|_| is_new) {
        fchown(&file, Some(user), Some(group))?;
    }
    let found = file.metadata()?;
    if owner.is_some() && found.nlink() > 1 {
        return Err(not_followed(name, Errno::LOOP));
    }
    if found.permissions().mode() & OTHERS != 0 {
        let private = file.set_permissions(Permissions::from_mode(0o600));
        unless_of_another(private, Path::new(name))?;
    }
    Ok(file)
}

/// Returns the owner of a directory, if this process is root and the owner is another user.
fn owner_of(directory: &File) -> io::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = directory.metadata()?;
    Ok((found.uid() != 0).then(|| (found.uid(), found.gid())))
}

/// Explains the error for a link.
fn not_followed(name: &str, error: Errno) -> io::Error {
    if error != Errno::LOOP {
        return error.into();
    }
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
            directory.create(FILE).or_else(|_exists| directory.open(FILE)).unwrap();
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

    fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
        result.map(drop).expect_err("it fails").kind()
    }

    #[test]
    fn files_are_created_once_listed_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let real: Arc<dyn Directory> =
            Arc::new(DataDir::open(&parent.path().join("real")).unwrap());
        for (directory, others) in [(real, vec![LOCK]), (memory(), vec![])] {
            assert_eq!(kind(directory.open("log")), io::ErrorKind::NotFound);
            assert_eq!(kind(directory.remove("log")), io::ErrorKind::NotFound);
            let file = directory.create("log").unwrap();
            assert_eq!(kind(directory.create("log")), io::ErrorKind::AlreadyExists);
            file.write_at(3, b"abc").unwrap();
            file.sync().unwrap();
            directory.sync().unwrap();
            let mut names = directory.list().unwrap();
            names.sort();
            assert_eq!(names, [&others[..], &["log"]].concat());
            let mut read = [9; 6];
            directory.open("log").unwrap().read_at(0, &mut read).unwrap();
            assert_eq!(read, *b"\0\0\0abc");
            assert_eq!(kind(file.read_at(1, &mut read)), io::ErrorKind::UnexpectedEof);
            directory.remove("log").unwrap();
            assert_eq!(directory.list().unwrap(), others);
            // Who has it open still reads it, and a new file of its name is another one.
            assert_eq!(directory.create("log").unwrap().size().unwrap(), 0);
            file.set_len(2).unwrap();
            assert_eq!(file.size().unwrap(), 2);
        }
    }

    #[test]
    fn a_directory_that_was_renamed_is_still_the_stores() {
        let parent = tempfile::tempdir().unwrap();
        let (before, after) = (parent.path().join("before"), parent.path().join("after"));
        let directory = DataDir::open(&before).unwrap();
        fs::rename(&before, &after).unwrap();
        fs::create_dir(&before).unwrap();
        directory.create("log").unwrap();
        assert!(after.join("log").exists() && !before.join("log").exists());
        assert!(matches!(DataDir::open(&after), Err(DirectoryError::Locked(_))));
    }
}
