//! Files that only their owner may use: secrets, and state that a restart depends on.
//!
//! A write is atomic and durable: after a crash at any time, a file has its old or its new content.
//! Every such file of the server goes through this module.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use kv_core::advice;

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

/// Reads a file.
///
/// # Errors
/// If the system refuses.
pub fn read(path: &Path) -> Result<String, PrivateFileError> {
    fs::read_to_string(path).map_err(system(path))
}

/// Reads a file with a secret.
///
/// # Errors
/// If the system refuses, or users other than the owner have permissions to the file.
pub fn read_secret(path: &Path) -> Result<String, PrivateFileError> {
    let metadata = fs::metadata(path).map_err(system(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::Exposed { path: path.to_owned(), mode });
    }
    read(path)
}

/// Writes a file that only its owner may read, and replaces the one that was there. Durable when this
/// returns.
///
/// # Errors
/// If the system refuses; the file is unchanged.
pub fn write(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = format!(".{name}.new");
    let write = || {
        // A fixed name: what a crash leaves is removed by the next write and never piles up.
        remove_if_there(&directory.join(&unfinished))?;
        let mut file = tempfile::Builder::new()
            .prefix(&unfinished)
            .rand_bytes(0)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(system(path))?;
    sync_directory(directory)
}

/// Appends lines to a file that only its owner may read, and creates it if it does not exist. Durable when this returns.
/// After a crash some of the lines may be there; what is left of a line then is a line of its own. Two calls must not
/// append to one file at the same time.
///
/// # Errors
/// If the system refuses. The file is as it was, unless the system refuses that too.
pub fn append_lines(
    path: &Path,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), PrivateFileError> {
    let append = || {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).create(true).append(true).mode(0o600).open(path)?;
        let before = file.metadata()?.len();
        let appended = append_to(&mut file, lines);
        if appended.is_err() {
            // Room on a full disk is given back.
            file.set_len(before)?;
        }
        appended
    };
    append().map_err(system(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
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

/// Removes a file, if it exists. Durable when this returns.
///
/// # Errors
/// If the system refuses.
pub fn remove(path: &Path) -> Result<(), PrivateFileError> {
    remove_if_there(path).map_err(system(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file; it is not an error if it does not exist.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _gone => Ok(()),
    }
}

/// Waits until no other process holds this lock file, and holds it until the result is dropped.
///
/// # Errors
/// If the system refuses.
pub fn lock(path: &Path) -> Result<File, PrivateFileError> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(path).map_err(system(path))?;
    lock.lock().map_err(system(path))?;
    Ok(lock)
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
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    create().map_err(system(path))
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
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap_err().is_missing());
    }

    #[test]
    fn lines_begin_on_a_new_line_after_one_that_was_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        append_lines(&path, ["one".into(), "two".into()]).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"thr").unwrap();
        append_lines(&path, ["four".into()]).unwrap();
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
            assert_eq!(read(&path).unwrap(), "secret");
        }
    }

    #[test]
    fn a_file_that_a_crash_left_unfinished_does_not_prevent_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".key.new"), "ha").unwrap();
        write(&directory.path().join("key"), "whole").unwrap();
        assert_eq!(read(&directory.path().join("key")).unwrap(), "whole");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
