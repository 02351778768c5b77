//! `waypost doctor`, at a location that is stopped and at one that runs.

use serde_json::Value;
use waypost_tests::{Home, cluster::Cluster, random::noise};

use super::{
    Entries, assert_all_is_well, assert_starts, call, damaged_rows::damage_index, server, shared,
    start,
};

/// The key whose entry gets damaged, and the location that has it.
const KEY: &str = "damaged-key";
const AT: usize = 1;

/// A value that nothing else in the store's file looks like.
fn value() -> String {
    noise(9, 400).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

/// Examines the store of a location that is stopped. Returns the report, and whether the command exits with 0.
fn examine_stopped(home: &Home, flags: &[&str]) -> (Value, bool) {
    let mut command = home.command(&["doctor", "--json"]);
    let output = command.args(flags).arg("--data").arg(home.data()).output();
    let output = output.expect("the program runs");
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("no report: {output:?}")), output.status.success())
}

/// Examines the store of a location that runs.
fn examine_running(cluster: &Cluster, number: usize) -> (Value, bool) {
    let output = cluster.locations()[number].call(&["doctor", "--json"]);
    let report = serde_json::from_slice(&output.stdout);
    (report.unwrap_or_else(|_| panic!("no report: {output:?}")), output.status.success())
}

#[test]
fn the_doctor_finds_a_damaged_entry_that_no_reader_has_met_and_the_others_send_it() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    entries.put(server(&cluster, 0), KEY, &value());
    let large =
        noise(3, 200_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>();
    entries.put(server(&cluster, 0), "large", &large);
    entries.assert_everywhere(&cluster, "a start");
    let (report, is_well) = examine_running(&cluster, AT);
    assert!(is_well && report["is_sound"] == true, "{report}");
    cluster.stop(AT);
    let home = cluster.locations()[AT].home();
    let (report, is_well) = examine_stopped(home, &["--dry-run"]);
    assert!(is_well && report["is_sound"] == true, "{report}");

    assert!(cluster.locations()[AT].damage(&value().as_bytes()[100..164]) > 0);
    for flags in [&["--dry-run"][..], &[]] {
        let (report, is_well) = examine_stopped(cluster.locations()[AT].home(), flags);
        assert!(!is_well, "{report}");
        assert_eq!(report["damaged"]["count"], 1, "{report}");
        assert_eq!(report["damaged"]["first"][0]["key"], KEY, "{report}");
    }
    // Nobody reads the key here: it is recorded, and requested.
    assert_starts(&mut cluster, AT, "the doctor");
    assert_all_is_well(&cluster, &mut entries, "the doctor");
    let read = call(server(&cluster, AT), "GET", &shared(KEY), "", b"");
    assert_eq!((read.status, read.text()), (200, value()));
    let (report, is_well) = examine_running(&cluster, AT);
    assert!(is_well && report["is_sound"] == true, "{report}");
}

#[test]
fn the_doctor_has_a_damaged_index_checked_before_it_ends() {
    let mut cluster = start(2);
    let mut entries = Entries::default();
    entries.put_many(server(&cluster, 0), "a", 5);
    entries.assert_everywhere(&cluster, "a start");
    cluster.stop(AT);
    damage_index(&cluster, AT, "a-3");
    for (flags, check, is_repaired) in
        [(&["--dry-run"][..], "due", false), (&[][..], "done", true), (&[][..], "not-needed", true)]
    {
        let (report, is_well) = examine_stopped(cluster.locations()[AT].home(), flags);
        assert_eq!((&report["index_check"], is_well), (&check.into(), is_repaired), "{report}");
        assert_eq!(report["is_sound"], check == "not-needed", "{report}");
    }
    assert_starts(&mut cluster, AT, "the doctor");
    assert_all_is_well(&cluster, &mut entries, "the doctor");
}

#[test]
fn the_doctor_reports_what_is_wrong_with_its_directory() {
    let cluster = start(1);
    let home = cluster.locations()[0].home();
    let run = |data: &std::path::Path| {
        let output =
            home.command(&["doctor", "--data"]).arg(data).output().expect("the program runs");
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("the program prints UTF-8")
    };
    assert!(run(&home.directory().join("nothing")).contains("holds no store"));
    let opened = run(&home.data());
    assert!(opened.contains("If its server runs, stop it"), "{opened}");
    assert!(!home.directory().join("nothing").exists());
}
