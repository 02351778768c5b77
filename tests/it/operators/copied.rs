//! Two processes that run on copies of one data directory at the same time, as one location.
//!
//! That is a conflict of identity, not of data: both may have acknowledged writes, and none of them is lost. The process
//! that started first stops taking writes once it learns of the other, reports why and what to do, and serves reads.

use waypost_tests::{
    cluster::{Cluster, contains_all},
    wait,
};

use super::{Entries, PATIENCE, assert_all_is_well, call, found, messages, server, shared};

/// The number of the copied location, and of the place where its copy runs.
const ORIGINAL: usize = 1;
const COPY: usize = 3;

const FAULT: &str = "two processes ran on copies of one data directory";

/// Three locations, and a copy of one of them that is started last.
fn with_a_copy() -> (Cluster, Entries) {
    let mut cluster = super::prepare(4);
    found(&mut cluster);
    cluster.join_at(1);
    cluster.join_at(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, ORIGINAL), "base", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(ORIGINAL);
    let image = cluster.locations()[ORIGINAL].image();
    cluster.restart(ORIGINAL);
    entries.put_many(server(&cluster, ORIGINAL), "original", 5);
    entries.assert_everywhere(&cluster, "a restart");
    let copy = &cluster.locations()[COPY];
    copy.restore(&image);
    copy.move_in(&cluster.locations()[ORIGINAL]);
    super::assert_starts(&mut cluster, COPY, "a copy was made of a location's directory");
    (cluster, entries)
}

/// Writes at both processes until the older one refuses.
fn write_at_both(cluster: &Cluster, entries: &mut Entries) {
    let mut index = 0;
    let refusal = wait::until(PATIENCE, || {
        index += 1;
        let (key, value) = (format!("copy-{index}"), format!("written at the copy: {index}"));
        let answer = entries.try_put(server(cluster, COPY), &key, &value, "");
        assert_eq!(answer.status, 200, "the process that started later refuses: {}", answer.text());
        let (key, value) = (format!("both-{index}"), format!("written at the original: {index}"));
        let answer = entries.try_put(server(cluster, ORIGINAL), &key, &value, "");
        std::thread::sleep(std::time::Duration::from_millis(20));
        (answer.status != 200).then_some(answer)
    });
    let refusal = refusal.unwrap_or_else(|| {
        let wrong = entries.wrong(cluster);
        panic!(
            "the process that started first still takes writes after {PATIENCE:?}, beside a later one on a copy \
             of its directory; of what both acknowledged, {} reads are wrong: {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        )
    });
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    let text = refusal.text();
    assert!(
        contains_all(&text, &messages::TWO_PROCESSES),
        "the refusal does not report the other process and what to do: {text}"
    );
    let status = cluster.locations()[ORIGINAL].status();
    assert!(
        status.has_alarm(&messages::TWO_PROCESSES) && !status.is_success,
        "no alarm reports the other process: {}",
        status.shown
    );
    let read = call(server(cluster, ORIGINAL), "GET", &shared("base-0"), "", b"");
    assert_eq!(read.status, 200, "the process that started first serves reads: {}", read.text());
}

#[test]
fn the_older_process_of_a_copied_directory_refuses_writes_and_nothing_is_lost_when_it_is_stopped() {
    let (mut cluster, mut entries) = with_a_copy();
    write_at_both(&cluster, &mut entries);
    cluster.stop(ORIGINAL);
    assert_all_is_well(&cluster, &mut entries, FAULT);
}

#[test]
fn the_older_process_of_a_copied_directory_continues_after_a_restart_when_the_copy_is_stopped() {
    let (mut cluster, mut entries) = with_a_copy();
    write_at_both(&cluster, &mut entries);
    // What only the copy holds must have left it.
    entries.assert_everywhere(&cluster, FAULT);
    cluster.stop(COPY);
    cluster.stop(ORIGINAL);
    cluster.restart(ORIGINAL);
    assert_all_is_well(&cluster, &mut entries, FAULT);
}
