//! Random operations on a failing disk, compared with the model.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use waypost_disk_tests::{
    events::{Event, Events},
    world::{Plan, World},
};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

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
    let next = AtomicU64::new(first);
    let (events, broken) = (Mutex::new(Events::default()), Mutex::new(Vec::new()));
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds || broken.lock().unwrap().len() >= 10 {
                return;
            }
            let (report, result) = World::run(seed, Plan::mixed(), false);
            match result {
                Ok(()) => assert!(report.operations >= 200 && report.faults >= 3, "seed {seed}"),
                Err(violation) => broken.lock().unwrap().push((seed, violation)),
            }
            events.lock().unwrap().merge(&report.events);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(run);
        }
    });
    let broken = broken.into_inner().unwrap();
    for (seed, violation) in &broken {
        println!("seed {seed}: {violation}");
    }
    assert!(
        broken.is_empty(),
        "to replay it: WAYPOST_SEED={} cargo test -p waypost-disk-tests --test seeds -- --nocapture",
        broken[0].0
    );
    let events = events.into_inner().unwrap();
    for event in Event::ALL {
        println!("{:>8} {event:?}", events.get(*event));
    }
    if seeds >= 100 {
        assert_eq!(events.missing(Event::ALL), [], "events that never occurred in {seeds} seeds");
    }
}
