//! Random operations on a failing disk, compared with the model.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use waypost_disk_tests::{
    events::{Event, Events},
    seeds::{self, number},
    world::{Plan, World},
};

/// Runs a seed and prints its trace.
fn replay(seed: u64) {
    let (report, result) = World::run(seed, Plan::mixed(), true);
    for line in &report.trace {
        println!("{line}");
    }
    println!("seed {seed}: {} operations, {} faults", report.operations, report.faults);
    result.unwrap();
}

#[test]
fn a_store_on_a_failing_disk_keeps_its_promises() {
    if let Some(seed) = number("WAYPOST_SEED") {
        return replay(seed);
    }
    let seeds = number("WAYPOST_TEST_SEEDS").unwrap_or(200);
    let first = number("WAYPOST_FIRST_SEED").unwrap_or(0);
    let events = Mutex::new(Events::default());
    let replay = "cargo test -p waypost-disk-tests --test seeds -- --nocapture";
    seeds::run(first, seeds, replay, |seed| {
        let (report, result) = World::run(seed, Plan::mixed(), false);
        result?;
        assert!(report.operations >= 200 && report.faults >= 3, "seed {seed}");
        events.lock().unwrap().merge(&report.events);
        Ok(())
    });
    let events = events.into_inner().unwrap();
    for event in Event::ALL {
        println!("{:>8} {event:?}", events.get(*event));
    }
    if seeds >= 100 {
        assert_eq!(events.missing(Event::ALL), [], "events that never occurred in {seeds} seeds");
    }
}
