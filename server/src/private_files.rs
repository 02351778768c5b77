//! Files that only their owner may use: secrets, and state that a restart depends on.
//!
//! A write is atomic and durable: after a crash at any time, a file has its old or its new content.
//! Every such file of the server goes through this module.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use kv_core::{Heir, advice};

mod directory;

pub use self::directory::Directory;

/// The permissions of all users but the owner.
const OTHERS: u32 = 0o077;

/// A private file can't be used. What was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateFileError {
    /// The system refused an operation.
    #[error("{}: {source}{}", path.display(), advice(source))]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A link is in the place of a file or directory, in the data directory of another user.
    #[error(
        "can't use {}: it is a link in a directory of the user with the id {user}, and root does not follow it; run this as \
         that user, or replace the link by what it leads to", path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// The owner of the directory.
        user: u32,
    },
    /// Users other than the owner have permissions to a secret.
    #[error(
        "can't use {0}: other users have permissions to this secret (mode {mode:o}); run `chmod 600 \
         {0}`, and replace the secret if somebody may have read it", path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl PrivateFileError {
    /// Whether the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, PrivateFileError::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes the error of a system call on a path.
fn system(path: &Path) -> impl FnOnce(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::System { path: path.to_owned(), source }
}

/// Reads a file with a secret that an operator names.
///
/// # Errors
/// If the system refuses, or users other than the owner have permissions to the file.
pub fn read_secret(path: &Path) -> Result<String, PrivateFileError> {
    let (directory, name) = parts(path)?;
    directory.read_secret(&name)
}

/// Writes a file that an operator names, readable by this process' user only; see [`Directory::write`].
///
/// # Errors
/// If the system refuses; the file is unchanged.
pub fn write(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    let (directory, name) = parts(path)?;
    directory.write(&name, text)
}

/// The directory of a file, and its name.
fn parts(path: &Path) -> Result<(Directory, String), PrivateFileError> {
    let no_name = || system(path)(io::Error::other("this is not the path of a file"));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    Ok((Directory::named(parent)?, name.to_owned()))
}

/// Appends lines to an open file, durably.
fn append_to(file: &mut File, lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let is_whole = ends_with_newline(file)?;
    let mut writer = BufWriter::new(&mut *file);
    if !is_whole {
        writer.write_all(b"\n")?;
    }
    for line in lines {
        writer.write_all(line.as_bytes())?;
        writer.write_all(b"\n")?;
    }
    writer.flush()?;
    drop(writer);
    file.sync_all()
}

/// Whether the last line of a file, if there is one, is whole.
fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Creates a directory that only its owner may use. An existing directory becomes private only if it
/// is empty: other users may need the files in it.
///
/// # Errors
/// If the system refuses.
pub fn create_directory(path: &Path) -> Result<(), PrivateFileError> {
    let create = || {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            if let Some(parent) = path.canonicalize()?.parent() {
                File::open(parent)?.sync_all()?;
            }
        } else if path.read_dir()?.next().is_none() {
            let open = File::open(path)?;
            make_private(&open, path, Heir::of(&open)?)?;
        }
        Ok(())
    };
    create().map_err(system(path))
}

/// Takes the permissions of other users to a directory away. Only the owner can do so: what another user owns stays as it
/// is, with a warning, such as a volume that belongs to root and that the group of this process may write to. Root leaves
/// it to those who need it.
fn make_private(open: &File, path: &Path, heir: Option<Heir>) -> io::Result<()> {
    let found = open.metadata()?;
    if found.permissions().mode() & OTHERS == 0
        || heir.is_some_and(|heir| heir.needs_group_of(&found))
    {
        return Ok(());
    }
    match open.set_permissions(Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(
                path = %path.display(),
                "another user owns this directory, so that it can't be made private: others may list and remove the \
                 files in it, and not read them"
            );
            Ok(())
        }
        done => done,
    }
}

/// Removes a directory and everything in it, if it exists.
///
/// # Errors
/// If the system refuses.
pub fn remove_directory(path: &Path) -> Result<(), PrivateFileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(path)(error)),
        _gone => Ok(()),
    }
}

/// Renames a directory within its parent, so that all its files appear at once. Durable when this
/// returns.
///
/// # Errors
/// If the new name is taken by a directory with files in it, or the system refuses.
pub fn rename_directory(from: &Path, to: &Path) -> Result<(), PrivateFileError> {
    fs::rename(from, to).map_err(system(to))?;
    sync_directory(to.parent().unwrap_or(Path::new(".")))
}

/// Syncs a directory, so that a rename in it survives a crash.
fn sync_directory(path: &Path) -> Result<(), PrivateFileError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(system(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_written_file_is_private_and_replaces_the_previous_one() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/data");
        create_directory(&directory).unwrap();
        let path = directory.join("key");
        for text in ["one", "two"] {
            write(&path, text).unwrap();
            assert_eq!(read_secret(&path).unwrap(), text);
        }
        assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left");
        let open = Directory::in_data(&directory).unwrap();
        open.remove("key").unwrap();
        open.remove("key").unwrap();
        assert!(open.read("key").unwrap_err().is_missing());
    }

    #[test]
    fn root_leaves_a_volume_for_a_group_to_its_group() {
        use std::os::unix::fs::MetadataExt as _;
        let parent = tempfile::tempdir().unwrap();
        let data = parent.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o2770)).unwrap();
        if fs::metadata(&data).unwrap().uid() != 0
            || std::os::unix::fs::chown(&data, Some(0), Some(4321)).is_err()
        {
            return;
        }
        fs::set_permissions(&data, Permissions::from_mode(0o2770)).unwrap();
        create_directory(&data).unwrap();
        let open = Directory::create_in_data(&data.join("cluster")).unwrap();
        open.write("key", "secret").unwrap();
        assert_eq!(open.read_secret("key").unwrap(), "secret");
        let shown = |path: &str, user| {
            let found = data.join(path).metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (user, 4321), "{path}");
            found.mode() & 0o777
        };
        assert_eq!(
            (shown(".", 0), shown("cluster", 0), shown("cluster/key", 0)),
            (0o770, 0o770, 0o660)
        );
        // The server has run.
        fs::write(data.join("waypost.redb"), "").unwrap();
        std::os::unix::fs::chown(data.join("waypost.redb"), Some(1234), Some(4321)).unwrap();
        let open = Directory::create_in_data(&data.join("cluster")).unwrap();
        open.write("key", "secret").unwrap();
        assert_eq!((shown(".", 0), shown("cluster/key", 1234)), (0o770, 0o600));
    }

    #[test]
    fn lines_begin_on_a_new_line_after_one_that_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let open = Directory::create_in_data(directory.path()).unwrap();
        open.append_lines("lines", ["one".into(), "two".into()]).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"thr").unwrap();
        open.append_lines("lines", ["four".into()]).unwrap();
        assert_eq!(read_secret(&path).unwrap(), "one\ntwo\nthr\nfour\n");
    }

    #[test]
    fn a_secret_that_other_users_may_read_is_rejected_with_the_command_that_repairs_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, "secret").unwrap();
        for exposed in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(exposed)).unwrap();
            let error = read_secret(&path).unwrap_err().to_string();
            assert!(
                error.contains("chmod 600") && error.contains(&format!("{exposed:o}")),
                "{error}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        }
    }

    #[test]
    fn a_file_that_a_crash_left_unfinished_does_not_prevent_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".key.new"), "ha").unwrap();
        write(&directory.path().join("key"), "whole").unwrap();
        assert_eq!(read_secret(&directory.path().join("key")).unwrap(), "whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_group_of_a_volume_for_a_group_may_read_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, "secret").unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o2770)).unwrap();
        for (key, is_accepted) in [(0o660, true), (0o640, true), (0o664, false), (0o604, false)] {
            fs::set_permissions(&path, Permissions::from_mode(key)).unwrap();
            assert_eq!(read_secret(&path).is_ok(), is_accepted, "{key:o}");
        }
    }
}
