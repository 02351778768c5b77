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

#[test]
fn a_directory_whose_lock_was_removed_is_still_locked() {
    let parent = tempfile::tempdir().unwrap();
    let first = DataDir::open(parent.path()).unwrap();
    fs::remove_file(parent.path().join(LOCK)).unwrap();
    assert!(matches!(DataDir::open(parent.path()), Err(DirectoryError::Locked(_))));
    drop(first);
    assert!(DataDir::open(parent.path()).is_ok());
}

/// Makes a directory and files with these users, groups and modes. None if this process is not root.
fn owned(parent: &Path, user: u32, directory: u32, files: &[(&str, u32)]) -> Option<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let path = parent.join("data");
    fs::create_dir(&path).unwrap();
    for (file, user) in files {
        fs::write(path.join(file), "").unwrap();
        std::os::unix::fs::chown(path.join(file), Some(*user), Some(4321)).unwrap();
        fs::set_permissions(path.join(file), Permissions::from_mode(0o660)).unwrap();
    }
    std::os::unix::fs::chown(&path, Some(user), Some(4321)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(directory)).unwrap();
    Some(path)
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let found = path.metadata().unwrap();
    (found.uid(), found.gid(), found.mode() & 0o777)
}

#[test]
fn root_leaves_a_volume_for_a_group_to_its_group() {
    for (files, lock) in [
        (&[][..], (0, 4321, 0o660)),
        (&[(FILE, 1234)], (1234, 4321, 0o600)),
        (&[(FILE, 0)], (0, 4321, 0o660)),
    ] {
        let parent = tempfile::tempdir().unwrap();
        let Some(path) = owned(parent.path(), 0, 0o2770, files) else { return };
        let directory = DataDir::open(&path).unwrap();
        assert_eq!(owner(&path), (0, 4321, 0o770), "{files:?}");
        assert_eq!(owner(&path.join(LOCK)), lock, "{files:?}");
        let store = directory.create(FILE).or_else(|_exists| directory.open(FILE));
        store.expect("a file of the store");
        let kept = match files {
            [(_, user)] => (*user, 4321, 0o660),
            _ => lock,
        };
        assert_eq!(owner(&path.join(FILE)), kept, "{files:?}");
    }
}

#[test]
fn root_opens_a_store_over_a_link_of_another_user_and_leaves_what_it_leads_to() {
    let parent = tempfile::tempdir().unwrap();
    let Some(path) = owned(parent.path(), 1234, 0o700, &[]) else { return };
    let (other, copy) = (parent.path().join("other"), path.join("copy"));
    fs::write(&other, "").unwrap();
    fs::set_permissions(&other, Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&other, path.join(FILE)).unwrap();
    fs::hard_link(&other, &copy).unwrap();
    let directory = DataDir::open(&path).unwrap();
    assert!(directory.open(FILE).is_ok() && directory.open("copy").is_ok());
    assert_eq!(owner(&other), (0, 0, 0o644));
    assert_eq!(owner(&path.join(LOCK)), (1234, 4321, 0o600));
    assert_eq!(kind(directory.create(FILE)), io::ErrorKind::AlreadyExists);
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(drop).expect_err("it fails").kind()
}

#[test]
fn files_are_created_once_listed_and_removed() {
    let parent = tempfile::tempdir().unwrap();
    let real: Arc<dyn Directory> = Arc::new(DataDir::open(&parent.path().join("real")).unwrap());
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
