//! A directory whose files are used by their names in the open directory, and not over a path that another user may
//! change meanwhile.
//!
//! Commands such as `waypost cluster invite` may run as root on the data directory of a server that runs as another user.
//! What they create belongs to that user, or the server could not read it. And they follow no link that the user has put
//! there, or the user could make root write to any file, and give it away.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use kv_core::Heir;
use rustix::{
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use super::{OTHERS, PrivateFileError, append_to, make_private, system};

/// The mode of a private file.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The permissions of all users but the owner and the group.
const WORLD: u32 = 0o007;

/// How a volume for a group looks: its directories give their group to new files, and the group may write. Kubernetes
/// (`fsGroup`) gives the group access to all files again at each start.
const OF_A_GROUP: u32 = 0o2030;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    /// The directory.
    open: File,
    /// Its path, for errors.
    path: PathBuf,
    /// To whom new files are given. None if they belong to this process' user.
    heir: Option<Heir>,
}

impl Directory {
    /// Opens the directory of a file that an operator names.
    ///
    /// # Errors
    /// If the system refuses.
    pub(super) fn named(path: &Path) -> Result<Directory, PrivateFileError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let open = File::open(path).map_err(system(path))?;
        Ok(Directory { open, path: path.to_owned(), heir: None })
    }

    /// Opens a directory in a data directory.
    ///
    /// # Errors
    /// If it does not exist, or is a link that root must not follow; or if the system refuses.
    pub fn in_data(path: &Path) -> Result<Directory, PrivateFileError> {
        let heir = heir_of(path)?;
        let follow = if heir.is_some() { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        let open = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR if is_link(path) => link(path, heir),
            error => system(path)(error.into()),
        })?;
        Ok(Directory { open: open.into(), path: path.to_owned(), heir })
    }

    /// Creates a directory in a data directory for its owner only, unless it exists. An existing one becomes private only
    /// if it is empty: other users may need the files in it.
    ///
    /// # Errors
    /// See [`Directory::in_data`].
    pub fn create_in_data(path: &Path) -> Result<Directory, PrivateFileError> {
        let created = match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(system(path)(error)),
        };
        let directory = Directory::in_data(path)?;
        if created {
            if let Err(error) = directory.give(&directory.open, path) {
                // What can't be removed stays, and the next call finds it.
                let _removed_or_not = fs::remove_dir(path);
                return Err(error);
            }
            let parent = path.parent().unwrap_or(Path::new("."));
            File::open(parent).and_then(|it| it.sync_all()).map_err(system(path))?;
        } else if path.read_dir().map_err(system(path))?.next().is_none() {
            make_private(&directory.open, path, directory.heir).map_err(system(path))?;
        }
        Ok(directory)
    }

    /// The path of a file in it.
    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens an existing file.
    fn open(&self, name: &str, flags: OFlags) -> Result<File, PrivateFileError> {
        let path = self.path(name);
        let follow = if self.heir.is_some() { OFlags::NOFOLLOW } else { OFlags::empty() };
        let flags = flags | OFlags::CLOEXEC | follow;
        let file = openat(&self.open, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP if self.heir.is_some() => link(&path, self.heir),
            error => system(&path)(error.into()),
        })?;
        let file = File::from(file);
        let links = file.metadata().map_err(system(&path))?.nlink();
        if self.heir.is_some() && links > 1 {
            return Err(link(&path, self.heir));
        }
        Ok(file)
    }

    /// Creates a file that does not exist, for the owner of the directory.
    fn create(&self, name: &str, flags: OFlags) -> Result<File, PrivateFileError> {
        let path = self.path(name);
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.open, name, flags, PRIVATE);
        let file = File::from(file.map_err(|error| system(&path)(error.into()))?);
        if let Err(error) = self.give(&file, &path) {
            let _removed_or_not = self.remove_if_there(name);
            return Err(error);
        }
        Ok(file)
    }

    /// Opens a file, or creates it.
    fn open_or_create(&self, name: &str, flags: OFlags) -> Result<File, PrivateFileError> {
        match self.open(name, flags) {
            Err(error) if error.is_missing() => self.create(name, flags),
            opened => opened,
        }
    }

    /// Gives what this process has created to the owner of the directory.
    fn give(&self, file: &File, path: &Path) -> Result<(), PrivateFileError> {
        match self.heir {
            Some(heir) => heir.give(file, path).map_err(system(path)),
            None => Ok(()),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If the system refuses, or it is not text.
    pub fn read(&self, name: &str) -> Result<String, PrivateFileError> {
        self.read_from(self.open(name, OFlags::RDONLY)?, name)
    }

    /// Reads an open file.
    fn read_from(&self, mut file: File, name: &str) -> Result<String, PrivateFileError> {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(system(&self.path(name)))?;
        Ok(text)
    }

    /// Reads a file with a secret.
    ///
    /// # Errors
    /// If the system refuses, or users other than the owner have permissions to the file; those of the group are accepted
    /// on a volume for a group, with a warning.
    pub fn read_secret(&self, name: &str) -> Result<String, PrivateFileError> {
        let path = self.path(name);
        let file = self.open(name, OFlags::RDONLY)?;
        let mode = file.metadata().map_err(system(&path))?.mode() & 0o777;
        let directory = self.open.metadata().map_err(system(&self.path))?.mode();
        if mode & WORLD == 0 && mode & OTHERS != 0 && directory & OF_A_GROUP == OF_A_GROUP {
            tracing::warn!(
                path = %path.display(),
                "the group of this volume can read a secret (Kubernetes: fsGroup): no other container may have this group"
            );
        } else if mode & OTHERS != 0 {
            return Err(PrivateFileError::Exposed { path, mode });
        }
        self.read_from(file, name)
    }

    /// Writes a file that only its owner may read, and replaces the one that was there. Durable when this returns.
    ///
    /// # Errors
    /// If the system refuses; the file is unchanged.
    pub fn write(&self, name: &str, text: &str) -> Result<(), PrivateFileError> {
        // A fixed name: what a crash leaves is removed by the next write and never piles up.
        let unfinished = format!(".{name}.new");
        self.remove_if_there(&unfinished)?;
        let mut file = self.create(&unfinished, OFlags::WRONLY)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let renamed = written.and_then(|()| {
            renameat(&self.open, &unfinished, &self.open, name).map_err(io::Error::from)
        });
        if let Err(error) = renamed {
            // Room on a full disk is given back. What can't be removed, the next write removes.
            let _removed_or_not = self.remove_if_there(&unfinished);
            return Err(system(&self.path(name))(error));
        }
        self.sync()
    }

    /// Appends lines to a file that only its owner may read, and creates it if it does not exist. Durable when this
    /// returns. After a crash some of the lines may be there; what is left of a line then is a line of its own. Two calls
    /// must not append to one file at the same time.
    ///
    /// # Errors
    /// If the system refuses. The file is as it was, unless the system refuses that too.
    pub fn append_lines(
        &self,
        name: &str,
        lines: impl IntoIterator<Item = String>,
    ) -> Result<(), PrivateFileError> {
        let path = self.path(name);
        let mut file = self.open_or_create(name, OFlags::RDWR | OFlags::APPEND)?;
        let before = file.metadata().map_err(system(&path))?.len();
        if let Err(error) = append_to(&mut file, lines) {
            // Room on a full disk is given back.
            file.set_len(before).map_err(system(&path))?;
            return Err(system(&path)(error));
        }
        self.sync()
    }

    /// Removes a file, if it exists. Durable when this returns.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn remove(&self, name: &str) -> Result<(), PrivateFileError> {
        self.remove_if_there(name)?;
        self.sync()
    }

    /// Removes a file; it is not an error if it does not exist.
    fn remove_if_there(&self, name: &str) -> Result<(), PrivateFileError> {
        match unlinkat(&self.open, name, AtFlags::empty()) {
            Err(error) if error != Errno::NOENT => Err(system(&self.path(name))(error.into())),
            _gone => Ok(()),
        }
    }

    /// Waits until no other process holds this lock file, and holds it until the result is dropped.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn lock(&self, name: &str) -> Result<File, PrivateFileError> {
        let lock = self.open_or_create(name, OFlags::RDWR)?;
        lock.lock().map_err(system(&self.path(name)))?;
        Ok(lock)
    }

    /// Syncs the directory, so that a change of its names survives a crash.
    fn sync(&self) -> Result<(), PrivateFileError> {
        self.open.sync_all().map_err(system(&self.path))
    }
}

/// Who needs what root creates in the data directory around a directory.
fn heir_of(path: &Path) -> Result<Option<Heir>, PrivateFileError> {
    let data = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(data).and_then(|data| Heir::of(&data)).map_err(system(path))
}

/// Whether a path is that of a symbolic link.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_symlink())
}

/// The error for a link of another user.
fn link(path: &Path, heir: Option<Heir>) -> PrivateFileError {
    PrivateFileError::Link { path: path.to_owned(), user: heir.map_or(0, Heir::user) }
}
