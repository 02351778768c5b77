//! Locations whose wall clocks are wrong: ahead or behind, by minutes or years, for a while.
//!
//! Replication continues whatever the clocks show. A wrong clock is an alarm at the location that has it, and only
//! there. Entries live until they expire by true time. After the clock is right, nothing of its error is left but the
//! versions of the keys that were written meanwhile.

mod ahead;

use std::{fs, process, thread, time::Duration};

use waypost_tests::{
    clock::{Faketime, remove_leftovers},
    cluster::{Cluster, Cut},
    wait::{self, Stopwatch, unix_seconds},
};

use super::{
    Entries, NAMESPACE, PATIENCE, assert_all_is_well, assert_joins, assert_writes_replicate, found,
    messages, prepare, server,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// 2036-01-01, in Unix seconds: the certificates of the CA still hold then, those of the locations do not.
const YEAR_2036: i64 = 2_082_758_400;

/// 2250-01-01: no entry may have a time from the year 2200 on.
const YEAR_2250: i64 = 8_835_955_200;

/// How long a clock is wrong: long enough that GC runs many times.
const WRONG: Duration = Duration::from_secs(4);

/// Two versions that lie no further apart are of the same time, on a slow machine too.
const SAME_TIME_MS: u64 = 60_000;

/// Times to live, in seconds, and whether the entry must outlive the test, however slow the machine is.
const TIMES_TO_LIVE: [(u64, bool); 6] =
    [(60, false), (120, true), (600, true), (3_600, true), (21_600, true), (43_200, true)];

/// Locations whose clocks a test can set; `None` where there is no libfaketime.
fn prepare_with_clocks(count: usize) -> Option<Cluster> {
    let faketime = Faketime::get()?;
    let mut cluster = prepare(count);
    cluster.give_clocks(&faketime);
    Some(cluster)
}

/// A cluster of `count` such locations.
fn start_with_clocks(count: usize) -> Option<Cluster> {
    let mut cluster = prepare_with_clocks(count)?;
    found(&mut cluster);
    (1..count).for_each(|number| cluster.join_at(number));
    Some(cluster)
}

fn to_2036() -> i64 {
    YEAR_2036 - i64::try_from(unix_seconds()).expect("a time fits")
}

/// How far a version's time is from the true time, in milliseconds.
fn off_by(version_ms: u64) -> u64 {
    version_ms.abs_diff(unix_seconds() * 1_000)
}

/// Waits until a location reports that its own clock is wrong, as an alarm that names itself and the offset; and asserts
/// that no other location has an alarm about a clock.
fn assert_names_itself(cluster: &Cluster, number: usize, way: &[&str], offset: &[&str]) {
    let name = format!("location-{number}");
    let fragments = [way, &[&name]].concat();
    let names_itself = |alarm: &str| {
        waypost_tests::cluster::contains_all(alarm, &fragments)
            && offset.iter().any(|offset| alarm.contains(offset))
    };
    let named = cluster.locations()[number].status_becomes(PATIENCE, |status| {
        !status.is_success && status.alarms().iter().any(|alarm| names_itself(alarm))
    });
    if let Err(status) = named {
        panic!(
            "location {number} does not report its own wrong clock ({fragments:?}, one of {offset:?}), with exit \
             code 1: {}",
            status.shown
        );
    }
    for other in cluster.members().into_iter().filter(|other| *other != number) {
        let status = cluster.locations()[other].status();
        let blames = status.has_alarm(&["clock"]);
        assert!(!blames, "location {other} has an alarm about a clock: {}", status.shown);
    }
}

#[test]
fn a_process_sees_the_clock_that_a_test_sets_while_it_runs() {
    let Some(mut cluster) = prepare_with_clocks(1) else { return };
    cluster.serve(0, &["--namespaces", NAMESPACE]);
    let mut entries = Entries::default();
    assert!(off_by(entries.put(server(&cluster, 0), "right", "x")) < SAME_TIME_MS);
    cluster.set_clock(0, 2 * HOUR);
    let two_hours_ms = 2 * 3_600 * 1_000;
    let version = entries.put(server(&cluster, 0), "ahead", "x");
    assert!(version.abs_diff(unix_seconds() * 1_000 + two_hours_ms) < SAME_TIME_MS);
}

// ---- Times to live ----

/// Puts entries with all times to live, and one without.
fn put_with_times_to_live(cluster: &Cluster, at: usize, entries: &mut Entries) {
    entries.put(server(cluster, at), "without-ttl", "lives");
    for (seconds, _) in TIMES_TO_LIVE {
        let (key, options) = (format!("ttl-{seconds}"), format!("expiration_ttl={seconds}"));
        entries.put_with(server(cluster, at), &key, "lives until it expires", &options);
    }
}

/// Asserts that all entries live whose time is not over by true time.
fn assert_all_live(cluster: &Cluster, entries: &mut Entries, put: Stopwatch, fault: &str) {
    // The shortest time to live that a client may give is a minute. A slow machine may not get here in time.
    if put.elapsed() + PATIENCE / 3 < Duration::from_secs(60) {
        let lives = wait::until(PATIENCE / 3, || entries.wrong(cluster).is_empty().then_some(()));
        assert!(lives.is_some(), "after {fault}: {:?}", entries.wrong(cluster));
    }
    for (seconds, _) in TIMES_TO_LIVE.iter().filter(|(_, outlives)| !outlives) {
        entries.forget(&format!("ttl-{seconds}"));
    }
    entries.assert_everywhere(cluster, fault);
}

#[test]
fn entries_live_until_they_expire_though_a_location_restarts_with_its_clock_a_day_ahead() {
    let Some(mut cluster) = start_with_clocks(3) else { return };
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 0, &mut entries);
    let put = Stopwatch::start();
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    cluster.set_clock(1, DAY);
    cluster.restart(1);
    thread::sleep(WRONG);
    cluster.set_clock(1, 0);
    let fault = "a location ran with its clock a day ahead";
    assert_all_live(&cluster, &mut entries, put, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn entries_live_until_they_expire_though_a_clock_steps_a_day_ahead_while_its_location_is_alone() {
    let Some(mut cluster) = start_with_clocks(3) else { return };
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 1, &mut entries);
    let put = Stopwatch::start();
    entries.assert_everywhere(&cluster, "a start");
    cluster.isolate(1, Cut::Stopped);
    cluster.set_clock(1, DAY);
    thread::sleep(WRONG);
    // The clock is right again only after a restart.
    cluster.kill(1);
    cluster.set_clock(1, 0);
    cluster.reunite();
    let fault = "a location ran alone with its clock a day ahead";
    assert_all_live(&cluster, &mut entries, put, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn entries_of_a_single_store_live_until_they_expire_though_its_clock_was_a_day_ahead() {
    let Some(mut cluster) = prepare_with_clocks(1) else { return };
    cluster.serve(0, &["--namespaces", NAMESPACE]);
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 0, &mut entries);
    let put = Stopwatch::start();
    cluster.stop(0);
    cluster.set_clock(0, DAY);
    cluster.serve(0, &[]);
    thread::sleep(WRONG);
    cluster.set_clock(0, 0);
    assert_all_live(&cluster, &mut entries, put, "a single store ran with its clock a day ahead");
}

#[test]
fn a_location_that_joins_from_one_whose_clock_was_a_day_ahead_gets_all_live_entries() {
    let Some(mut cluster) = prepare_with_clocks(2) else { return };
    found(&mut cluster);
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 0, &mut entries);
    let put = Stopwatch::start();
    cluster.set_clock(0, DAY);
    thread::sleep(WRONG);
    cluster.set_clock(0, 0);
    let fault = "a location joined from one whose clock was a day ahead";
    assert_joins(&mut cluster, 1, fault);
    assert_all_live(&cluster, &mut entries, put, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

// ---- Behind ----

#[test]
fn what_a_location_writes_whose_clock_is_10_minutes_slow_wins_and_lives_everywhere() {
    let Some(mut cluster) = start_with_clocks(3) else { return };
    let fault = "a clock was 10 minutes slow";
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "seen", 6);
    entries.assert_everywhere(&cluster, "a start");
    cluster.set_clock(1, -10 * MINUTE);
    for index in 0..4 {
        entries.put(server(&cluster, 1), &format!("seen-{index}"), "overwritten at the slow one");
    }
    entries.delete(server(&cluster, 1), "seen-4");
    entries.put_with(server(&cluster, 1), "seen-5", "with a new ttl", "expiration_ttl=3600");
    entries.assert_everywhere(&cluster, fault);

    // An entry may live for a minute here: it is looked for at once, and not afterwards.
    entries.put_with(server(&cluster, 1), "ttl-60", "lives for a minute", "expiration_ttl=60");
    entries.assert_everywhere(&cluster, fault);
    entries.forget("ttl-60");
    assert_writes_replicate(&cluster, &mut entries, fault);
    assert_names_itself(&cluster, 1, &messages::CLOCK_BEHIND, &messages::TEN_MINUTES);

    // What it wrote stays when its clock is right, after a restart too.
    cluster.set_clock(1, 0);
    entries.assert_everywhere(&cluster, fault);
    cluster.kill(1);
    cluster.restart(1);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn a_location_that_starts_10_minutes_slow_beside_one_other_overwrites_what_it_has_seen() {
    let Some(mut cluster) = start_with_clocks(2) else { return };
    let fault = "one of two clocks was 10 minutes slow";
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "seen", 4);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(1);
    cluster.set_clock(1, -10 * MINUTE);
    cluster.restart(1);
    for round in 0..2 {
        for index in 0..4 {
            let (key, value) = (format!("seen-{index}"), format!("overwritten in round {round}"));
            entries.put(server(&cluster, 1 - round), &key, &value);
        }
        entries.assert_everywhere(&cluster, fault);
    }
    // Of two that disagree it is not known which is right, so both report it.
    for location in cluster.locations() {
        let reports = location
            .status_becomes(PATIENCE, |status| !status.is_success && status.has_alarm(&["clock"]));
        if let Err(status) = reports {
            panic!("{fault}, and one of them reports no alarm: {}", status.shown);
        }
    }
    cluster.set_clock(1, 0);
    assert_all_is_well(&cluster, &mut entries, fault);
}

// ---- Far ahead ----

#[test]
fn a_clock_beyond_the_year_2200_refuses_writes_and_leaves_nothing_when_it_is_right_again() {
    let Some(cluster) = start_with_clocks(2) else { return };
    let fault = "a clock was in the year 2250";
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 1, &mut entries);
    let put = Stopwatch::start();
    entries.assert_everywhere(&cluster, "a start");
    cluster.set_clock(1, YEAR_2250 - i64::try_from(unix_seconds()).expect("a time fits"));
    let refused = wait::until(PATIENCE / 3, || {
        let answer = entries.try_put(server(&cluster, 1), "in-2250", "put in 2250", "");
        (answer.status == 503 && answer.text().contains("clock")).then_some(())
    });
    assert!(refused.is_some(), "a location whose clock is in the year 2250 takes writes");
    let read = entries.wrong_at(server(&cluster, 0));
    assert!(read.is_empty(), "{fault}: {read:?}");
    cluster.set_clock(1, 0);
    assert_all_live(&cluster, &mut entries, put, fault);
    assert_all_is_well(&cluster, &mut entries, fault);
}

// ---- 2036 and back ----

#[test]
fn a_clock_that_jumps_to_2036_and_back_leaves_nothing_but_the_keys_written_there() {
    let Some(mut cluster) = start_with_clocks(3) else { return };
    let fault = "a clock jumped to 2036 and back";
    let mut entries = Entries::default();
    put_with_times_to_live(&cluster, 1, &mut entries);
    let put = Stopwatch::start();
    entries.assert_everywhere(&cluster, "a start");
    cluster.set_clock(1, to_2036());
    entries.put(server(&cluster, 1), "in-2036", "put in 2036");
    thread::sleep(WRONG);
    cluster.kill(1);
    cluster.set_clock(1, 0);
    cluster.restart(1);
    assert_all_live(&cluster, &mut entries, put, fault);
    let later = entries.put(server(&cluster, 1), "later", "put after the return");
    assert!(off_by(later) < SAME_TIME_MS, "a later put is dated {} s off", off_by(later) / 1_000);
    assert_all_is_well(&cluster, &mut entries, fault);
}

#[test]
fn what_killed_processes_leave_of_their_clocks_is_removed_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = process::id();
    // No process has a number as high as this.
    let ended = u32::MAX;
    let kept = [
        format!("faketime_shm_{running}"),
        format!("sem.faketime_sem_{running}"),
        format!("faketime_shm_{ended}x"),
        format!("shm_{ended}"),
    ];
    let removed = [format!("faketime_shm_{ended}"), format!("sem.faketime_sem_{ended}")];
    for name in kept.iter().chain(&removed) {
        fs::write(directory.path().join(name), []).expect("the directory takes a file");
    }
    remove_leftovers(directory.path());
    for name in &kept {
        assert!(directory.path().join(name).exists(), "{name} is kept");
    }
    for name in &removed {
        assert!(!directory.path().join(name).exists(), "{name} is removed");
    }
}
