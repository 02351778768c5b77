//! What tells whether files have changed, without reading them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The state of some files: two are equal as long as no file was written, replaced, added or removed, and no symbolic link on
/// the way to one was changed, as Kubernetes does it when a ConfigMap changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<FileStamp>)>);

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    /// The file system and the file in it.
    file: (u64, u64),
    /// The length, in bytes.
    length: u64,
    /// When the content was changed, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything of it was changed.
    changed: (i64, i64),
}

impl Stamp {
    /// Adds the state of a file or directory, behind symbolic links. Blocks.
    pub fn add(&mut self, path: &Path) {
        let state = fs::metadata(path).ok().map(|file| FileStamp {
            file: (file.dev(), file.ino()),
            length: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        });
        self.0.push((path.to_owned(), state));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(path: &Path) -> Stamp {
        let mut stamp = Stamp::default();
        stamp.add(path);
        stamp
    }

    #[test]
    fn a_stamp_changes_when_a_file_is_replaced_or_a_link_on_the_way_to_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let write = |path: &Path, text: &str| fs::write(path, text).expect("a file");
        assert_eq!(of(&at("none")), of(&at("none")));
        write(&at("a"), "one");
        let before = of(&at("a"));
        assert_eq!(of(&at("a")), before);
        // The same length, and perhaps the same time.
        write(&at("b"), "two");
        fs::rename(at("b"), at("a")).expect("a rename");
        assert_ne!(of(&at("a")), before);
        // As Kubernetes mounts a ConfigMap.
        for version in ["1", "2"] {
            fs::create_dir(at(version)).expect("a directory");
            write(&at(version).join("file"), "text");
        }
        symlink("1", at("..data")).expect("a link");
        symlink("..data/file", at("file")).expect("a link");
        let before = of(&at("file"));
        symlink("2", at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("a rename");
        assert_ne!(of(&at("file")), before);
    }
}
