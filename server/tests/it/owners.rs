//! Who owns the files of a data directory: of a volume for a group, and of a server on whose directory root runs commands.
//! Only root can test this; for others these tests are skipped.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::{
    cluster::{cluster, free_port, text},
    process::{Server, waypost},
};

/// Another user and its group: `nobody` of most systems.
const OTHER: u32 = 65_534;

/// A directory that others can reach, with a copy of the binary that they can run; none if this user is not root.
fn directory() -> Option<TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run a process as another user");
        return None;
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("it is ours");
    fs::copy(env!("CARGO_BIN_EXE_waypost"), directory.path().join("waypost")).expect("a copy");
    Some(directory)
}

/// Makes the data directory of an owner, with a mode.
fn data(directory: &TempDir, (user, group): (u32, u32), mode: u32) -> PathBuf {
    let data = directory.path().join("data");
    fs::create_dir(&data).expect("it does not exist");
    chown(&data, Some(user), Some(group)).expect("root can");
    fs::set_permissions(&data, Permissions::from_mode(mode)).expect("root can");
    data
}

/// The server, as the other user.
fn serve(directory: TempDir) -> Server {
    let mut command = Command::new(directory.path().join("waypost"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env_clear().uid(OTHER).gid(OTHER);
    Server::start_with(command, directory, &[])
}

/// Checks that everything in a directory belongs to the other user.
fn assert_owned(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("an entry").path();
        let found = fs::symlink_metadata(&path).expect("it exists");
        assert_eq!((found.uid(), found.gid()), (OTHER, OTHER), "{}", path.display());
        if found.is_dir() {
            assert_owned(&path);
        }
    }
}

fn fails(output: &Output, expected: &str) {
    assert!(!output.status.success(), "{output:?}");
    assert!(text(&output.stderr).contains(expected), "{output:?}");
}

#[test]
fn an_empty_volume_of_another_user_for_a_group_is_used_with_a_warning() {
    for mode in [0o2770, 0o775] {
        let Some(directory) = directory() else { return };
        let path = data(&directory, (0, OTHER), mode);
        let server = serve(directory);
        assert!(server.log().contains("another user owns this"), "{}", server.log());
        let directory = server.stop();
        for file in ["LOCK", "waypost.redb"] {
            let mode = fs::metadata(path.join(file)).expect("it exists").mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
            // What Kubernetes does at each start of a pod.
            fs::set_permissions(path.join(file), Permissions::from_mode(0o660)).expect("root can");
        }
        serve(directory).stop();
    }
}

#[test]
fn what_root_creates_in_a_data_directory_belongs_to_its_owner() {
    let Some(directory) = directory() else { return };
    let path = data(&directory, (OTHER, OTHER), 0o700);
    let listen = free_port();
    let init = ["--name", "c", "--location", "fra", "--cluster-listen", &listen];
    let made = cluster("init", &init, directory.path());
    assert!(made.status.success(), "{made:?}");
    assert_owned(&path);
    let directory = serve(directory).stop();
    fs::remove_file(path.join("cluster/LOCK")).expect("it exists");
    for command in [&["invite"][..], &["ca", "rotate"], &["ca", "show"]] {
        let output = waypost(["cluster"]).args(command).arg("--data").arg(&path).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{output:?}");
        assert_owned(&path);
    }
    fs::remove_file(path.join("cluster/invitations.toml")).expect("it exists");
    let examined = waypost(["doctor", "--data"]).arg(&path).output().expect("the binary runs");
    assert!(examined.status.success(), "{examined:?}");
    assert_owned(&path);
    let server = serve(directory);
    assert!(server.log().contains("invitations.toml is missing: tokens"), "{}", server.log());
    let invited = cluster("invite", &[], server.directory.path());
    assert!(invited.status.success(), "{invited:?}");
    assert_owned(&path);
}

#[test]
fn root_changes_nothing_behind_a_link_in_the_data_directory_of_another_user() {
    let Some(directory) = directory() else { return };
    let path = data(&directory, (OTHER, OTHER), 0o700);
    let init = ["--name", "c", "--location", "fra", "--cluster-listen", &free_port()];
    assert!(cluster("init", &init, directory.path()).status.success());
    let target = directory.path().join("target");
    fs::create_dir(&target).expect("it does not exist");
    let is_untouched = || {
        let found = fs::metadata(&target).expect("it exists");
        assert_eq!(found.uid(), 0);
        let files = fs::read_dir(&target).expect("it can be read");
        files.map(|file| file.expect("an entry")).for_each(|file| {
            let found = file.metadata().expect("it exists");
            assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o644), "{:?}", file.path());
            assert_eq!(fs::read_to_string(file.path()).expect("text"), "of root");
        });
    };
    let of_root = target.join("file");
    fs::write(&of_root, "of root").expect("it can be written");
    fs::set_permissions(&of_root, Permissions::from_mode(0o644)).expect("root can");
    let invite = || cluster("invite", &[], directory.path());
    for (name, is_fatal) in
        [("LOCK", true), ("invitations.toml", true), (".invitations.toml.new", false)]
    {
        let file = path.join("cluster").join(name);
        let kept = fs::read(&file).ok();
        for link in [&of_root, &target.join("missing")] {
            let _there_or_not = fs::remove_file(&file);
            symlink(link, &file).expect("a link");
            let output = invite();
            if is_fatal {
                fails(&output, "is a link in a directory of the user with the id 65534");
            } else {
                assert!(output.status.success(), "{output:?}");
            }
            is_untouched();
        }
        let _there_or_not = fs::remove_file(&file);
        if let Some(kept) = kept {
            fs::write(&file, kept).expect("it can be written");
            chown(&file, Some(OTHER), Some(OTHER)).expect("root can");
        }
    }
    fs::hard_link(&of_root, path.join("cluster/LOCK.2")).expect("a link");
    fs::rename(path.join("cluster/LOCK.2"), path.join("cluster/LOCK")).expect("a rename");
    fails(&invite(), "is a link in a directory");
    is_untouched();

    // A link in place of the directory itself.
    fs::rename(path.join("cluster"), target.join("cluster")).expect("a rename");
    symlink(target.join("cluster"), path.join("cluster")).expect("a link");
    fails(&invite(), "is a link in a directory of the user");
    // The store's files may be links, to another disk. What they lead to is not changed or given away.
    for file in ["LOCK", "waypost.redb"] {
        let another = TempDir::new().expect("a temporary directory can be made");
        fs::set_permissions(another.path(), Permissions::from_mode(0o755)).expect("it is ours");
        let path = data(&another, (OTHER, OTHER), 0o700);
        symlink(&of_root, path.join(file)).expect("a link");
        let _done_or_not = cluster("init", &init, another.path());
        let found = fs::metadata(&of_root).expect("it exists");
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o644), "{file}");
        assert_eq!(fs::read_to_string(&of_root).expect("text"), "of root");
    }
}
