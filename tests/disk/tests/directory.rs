//! The failing disk as a directory: what a power failure, a failed sync and a full disk do to several files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, io};

use kv_core::engine::disk::Directory;
use waypost_disk_tests::{
    disk::{Armed, Call, FailingDisk, Fault, Image, Keep},
    rng::Rng,
};

fn read(directory: &dyn Directory, name: &str) -> Option<Vec<u8>> {
    let file = directory.open(name).ok()?;
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    Some(bytes)
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    result.map(drop).unwrap_err().kind()
}

fn holding(names: &[&str], seed: u64) -> FailingDisk {
    let image: Image = names.iter().map(|name| (name.to_string(), b"before".to_vec())).collect();
    FailingDisk::holding(image, Rng::new(seed))
}

#[test]
fn a_file_whose_directory_was_not_synced_is_lost_with_all_its_synced_bytes() {
    let disk = holding(&[], 1);
    let file = disk.process().create("log").unwrap();
    file.write_at(0, b"bytes").unwrap();
    file.sync().unwrap();
    disk.power_loss(Keep::Nothing);
    assert!(disk.process().list().unwrap().is_empty());
    let directory = disk.process();
    directory.create("log").unwrap().write_at(0, b"bytes").unwrap();
    directory.sync().unwrap();
    disk.power_loss(Keep::Nothing);
    // The name was synced, the bytes were not.
    assert_eq!(read(&*disk.process(), "log"), Some(vec![]));
}

#[test]
fn a_removed_file_stays_readable_where_it_is_open_and_may_come_back() {
    let disk = holding(&["log"], 2);
    let directory = disk.process();
    let open = directory.open("log").unwrap();
    directory.remove("log").unwrap();
    assert_eq!(kind(directory.open("log")), io::ErrorKind::NotFound);
    assert_eq!(open.size().unwrap(), 6);
    disk.power_loss(Keep::Nothing);
    assert!(open.size().is_err(), "the process is dead");
    assert_eq!(read(&*disk.process(), "log").unwrap(), b"before");
    let directory = disk.process();
    directory.remove("log").unwrap();
    directory.sync().unwrap();
    disk.power_loss(Keep::Nothing);
    assert_eq!(kind(disk.process().open("log")), io::ErrorKind::NotFound);
}

#[test]
fn a_power_failure_keeps_and_loses_the_writes_of_each_file_independently() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = holding(&["a", "b"], seed);
        for name in ["a", "b"] {
            disk.process().open(name).unwrap().write_at(0, b"after!").unwrap();
        }
        disk.power_loss(Keep::Mixed);
        found.insert(["a", "b"].map(|name| read(&*disk.process(), name).unwrap() == b"after!"));
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn a_failed_sync_loses_only_what_it_should_have_covered() {
    let disk = holding(&["a", "b"], 3);
    let directory = disk.process();
    let files = ["a", "b"].map(|name| directory.open(name).unwrap());
    files.iter().for_each(|file| file.write_at(0, b"after!").unwrap());
    directory.create("c").unwrap();
    let fault = Fault::Fail { keep: Keep::Nothing, evict: false };
    for on in [Call::Sync, Call::SyncDirectory] {
        disk.arm(Armed { on: Some(on), after: 0, fault });
    }
    assert!(files[0].sync().is_err() && directory.sync().is_err());
    assert!(files[1].sync().is_ok() && directory.sync().is_ok());
    assert!(read(&*directory, "a").unwrap() == b"after!" && read(&*directory, "c").is_some());
    // The next process sees what the disk has once the system forgets what it cached.
    disk.kill();
    let directory = disk.process();
    let file = directory.open("a").unwrap();
    file.forget_cached();
    assert_eq!(read(&*directory, "a").unwrap(), b"before");
    assert_eq!(read(&*directory, "b").unwrap(), b"after!");
    assert!(read(&*directory, "c").is_none());
}

#[test]
fn on_a_full_disk_files_can_be_removed_and_not_created() {
    let disk = holding(&["log"], 4);
    let directory = disk.process();
    disk.fill();
    assert_eq!(kind(directory.create("other")), io::ErrorKind::StorageFull);
    assert_eq!(kind(directory.open("log").unwrap().write_at(0, b"x")), io::ErrorKind::StorageFull);
    directory.remove("log").unwrap();
    assert!(directory.list().unwrap().is_empty());
}

#[test]
fn a_call_that_fails_may_have_created_or_removed_its_file() {
    let mut found = BTreeSet::new();
    for seed in 0..50 {
        let disk = holding(&["old"], seed);
        let directory = disk.process();
        let fault = Fault::Fail { keep: Keep::All, evict: false };
        for _ in 0..2 {
            disk.arm(Armed { on: None, after: 0, fault });
        }
        assert!(directory.create("new").is_err() && directory.remove("old").is_err());
        found.insert(directory.list().unwrap());
    }
    assert_eq!(found.len(), 4);
}
