//! The alarm about a data directory that was removed or replaced while the server runs.
//!
//! The server keeps its files open, so that nothing fails: it goes on to acknowledge writes, into a file that has no name any more
//! and ends with the process.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{alarm::Alarm, kind::AlarmKind};

/// What tells a file from another one with the same path: the file system, and the file in it.
type Identity = (u64, u64);

/// The paths of a store, and what is there.
#[derive(Debug, Default)]
pub struct DataDirectory {
    /// The directory and the file of the store, as they were when it was opened.
    opened: Vec<(PathBuf, Identity)>,
    /// The path that is not there any more, or that leads to something else.
    lost: Mutex<Option<PathBuf>>,
}

impl DataDirectory {
    /// Remembers these paths of a store that was just opened. One that can't be examined is not watched.
    pub fn opened(paths: impl IntoIterator<Item = PathBuf>) -> DataDirectory {
        let identified =
            paths.into_iter().filter_map(|path| Some((path.clone(), identity(&path).ok()?)));
        DataDirectory { opened: identified.collect(), lost: Mutex::default() }
    }

    /// Looks whether all is still there. Blocks. A path that can't be examined for another reason is not lost.
    pub fn look(&self) {
        let is_lost = |(path, opened): &&(PathBuf, Identity)| match identity(path) {
            Ok(now) => now != *opened,
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
        };
        let lost = self.opened.iter().find(is_lost).map(|(path, _)| path.clone());
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// The path that was lost, as of the last look.
    pub(super) fn lost(&self) -> Option<PathBuf> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is at a path.
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The alarm about this path.
pub(super) fn alarm(path: &Path) -> Alarm {
    let text = format!(
        "{} was removed or replaced while the server runs: it goes on with the files that it has open, and what it \
         acknowledges is lost when it ends, unless other locations have it. Do not stop it. If it was moved, move it back. \
         Otherwise copy the values out first, or see in `waypost cluster status` that another location lacks nothing; then restart \
         the server",
        path.display()
    );
    Alarm::here(AlarmKind::DirectoryLost, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_or_file_that_is_removed_moved_or_replaced_is_lost_until_it_is_back() {
        let parent = tempfile::tempdir().expect("a directory");
        let (data, aside) = (parent.path().join("data"), parent.path().join("aside"));
        let file = data.join("store");
        fs::create_dir(&data).expect("a directory");
        fs::write(&file, "x").expect("a file");
        let watched = DataDirectory::opened([data.clone(), file.clone(), parent.path().join("no")]);
        let lost = || {
            watched.look();
            watched.lost()
        };
        assert_eq!(lost(), None);
        fs::write(&file, "changed").expect("a file");
        assert_eq!(lost(), None);
        fs::rename(&data, &aside).expect("a rename");
        assert_eq!(lost(), Some(data.clone()));
        fs::create_dir(&data).expect("a directory");
        assert_eq!(lost(), Some(data.clone()), "it is another one");
        fs::remove_dir(&data).expect("a directory");
        fs::rename(&aside, &data).expect("a rename");
        assert_eq!(lost(), None);
        fs::write(data.join("new"), "x").expect("a file");
        fs::rename(data.join("new"), &file).expect("a rename");
        assert_eq!(lost(), Some(file.clone()));
        fs::remove_file(&file).expect("a file");
        let alarm = alarm(&lost().expect("it is lost"));
        assert!(alarm.text.contains("Do not stop it"), "{}", alarm.text);
    }
}
