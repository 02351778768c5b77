//! Writes that no other location has and that may be older than forgotten deletions: they leave the store only once
//! they are in a file.

use std::{fs, path::PathBuf};

use waypost_tests::{
    cluster::{Cluster, Cut},
    wait,
};

use super::{
    Entries, PATIENCE, assert_all_is_well, call, messages,
    restored::wait_until_tombstones_are_collected, server, shared, start,
};

/// The location whose directory is copied and restored.
const RESTORED: usize = 1;

/// A value in several chunks.
const LARGE: usize = 300_000;

/// The writes that are made while no other location can receive them.
fn late() -> [(&'static str, String); 2] {
    [("late", "written alone".into()), ("late-large", "x".repeat(LARGE))]
}

/// Two locations. One of them was restored from an image whose process wrote something alone, after which the other one,
/// and another process of that location, have deleted an entry and forgotten it. It is down.
fn restored() -> (Cluster, Entries) {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, RESTORED), "base", 6);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(RESTORED);
    let before = cluster.locations()[RESTORED].image();
    cluster.isolate(RESTORED, Cut::Network);
    cluster.restart(RESTORED);
    for (key, value) in late() {
        let put = call(server(&cluster, RESTORED), "PUT", &shared(key), "", value.as_bytes());
        assert_eq!(put.status, 200, "{}", put.text());
    }
    cluster.stop(RESTORED);
    let after = cluster.locations()[RESTORED].image();

    cluster.locations()[RESTORED].restore(&before);
    cluster.reunite();
    cluster.wait_until_linked();
    entries.delete(server(&cluster, 0), "base-0");
    entries.assert_everywhere(&cluster, "a delete");
    wait_until_tombstones_are_collected(&mut cluster);
    cluster.kill(RESTORED);
    cluster.locations()[RESTORED].restore(&after);
    (cluster, entries)
}

/// The writes in the files of a location, by key.
fn salvaged(folder: &PathBuf) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).expect("there are salvaged writes");
    let texts = files.map(|file| fs::read_to_string(file.expect("a file").path()).expect("text"));
    let mut writes = Vec::new();
    for line in texts.collect::<Vec<_>>().concat().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let value = line["change"]["value"].as_str().expect("the value is whole");
        let value = data_encoding::BASE64.decode(value.as_bytes()).expect("base64");
        let key = line["key"]["text"].as_str().expect("a key");
        writes.push((key.into(), String::from_utf8(value).expect("text")));
    }
    writes.sort();
    writes.dedup();
    writes
}

#[test]
fn writes_that_a_rebuild_removes_stay_in_the_store_until_they_are_in_a_file() {
    let (mut cluster, mut entries) = restored();
    let folder = cluster.locations()[RESTORED].data().join("salvage");
    // As on a full disk, no write to the folder succeeds.
    fs::write(&folder, "in the way").expect("a file");
    cluster.restart_unready(RESTORED);
    let location = &cluster.locations()[RESTORED];
    let named =
        location.status_becomes(PATIENCE, |status| status.has_alarm(&messages::NOT_SALVAGED));
    if let Err(status) = named {
        panic!("no alarm says that writes can't be saved: {}", status.shown);
    }

    fs::remove_file(&folder).expect("it is removed");
    let named = location.status_becomes(PATIENCE, |status| status.has_alarm(&messages::SALVAGED));
    if let Err(status) = named {
        panic!("no alarm says that writes were saved: {}", status.shown);
    }
    let expected = late().map(|(key, value)| (key.to_owned(), value)).to_vec();
    let found = wait::until(PATIENCE, || (salvaged(&folder) == expected).then_some(()));
    assert!(found.is_some(), "the writes are not in the file, whole: {:?}", salvaged(&folder));
    fs::remove_dir_all(&folder).expect("they are removed");
    assert_all_is_well(&cluster, &mut entries, "a location has writes older than a deletion");
    for (key, _) in late() {
        for number in 0..2 {
            let read = call(server(&cluster, number), "GET", &shared(key), "", b"");
            assert_eq!(read.status, 404, "location {number} has {key}, which was removed");
        }
    }
}
