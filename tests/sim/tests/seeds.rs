//! Several locations with all faults, compared with the model.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use waypost_disk_tests::{
    rng::Rng,
    seeds::{self, number},
};
use waypost_sim_tests::{
    events::{Event, Events},
    plan::{Fault, Plan},
    world::World,
};

/// The plan of a seed: a mix of all faults, or one kind only if `WAYPOST_FAULT` names it.
fn plan(seed: u64) -> Plan {
    let mut rng = Rng::new(seed);
    let Ok(name) = std::env::var("WAYPOST_FAULT") else { return Plan::mixed(&mut rng) };
    let named = Fault::ALL.into_iter().find(|fault| format!("{fault:?}") == name);
    Plan::only(
        named.unwrap_or_else(|| panic!("WAYPOST_FAULT={name}: must be one of {:?}", Fault::ALL)),
        &mut rng,
    )
}

/// Runs a seed and prints its trace.
fn replay(seed: u64, plan: Plan) {
    let (report, result) = World::run(seed, plan, true);
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {} operations, {} faults", report.operations, report.faults);
    result.unwrap();
}

/// Runs seeds on all cores. Returns the events of all runs.
fn run(
    (fault, test): (&str, &str),
    first: u64,
    seeds: u64,
    plan: impl Fn(u64) -> Plan + Sync,
) -> Events {
    let events = Mutex::new(Events::default());
    let run = "cargo test -p waypost-sim-tests --test seeds -- --nocapture";
    let replay = format!("{fault}{run} {test}");
    seeds::run(first, seeds, &replay, |seed| {
        let (report, result) = World::run(seed, plan(seed), false);
        result?;
        assert!(report.operations >= 200 && report.faults >= 3, "seed {seed}");
        events.lock().unwrap().merge(&report.events);
        Ok(())
    });
    events.into_inner().unwrap()
}

#[test]
fn locations_converge_with_mixed_faults() {
    if let Some(seed) = number("WAYPOST_SEED") {
        return replay(seed, plan(seed));
    }
    let seeds = number("WAYPOST_SIM_SEEDS").unwrap_or(200);
    let first = number("WAYPOST_FIRST_SEED").unwrap_or(0);
    let events = run(("", "mixed"), first, seeds, plan);
    for event in Event::ALL {
        println!("{:>8} {event:?}", events.get(*event));
    }
    if seeds >= 100 && std::env::var_os("WAYPOST_FAULT").is_none() {
        assert_eq!(events.missing(), [], "events that never occurred in {seeds} seeds");
    }
}

#[test]
fn locations_converge_with_live_copies() {
    let plan = |seed| Plan::with_copies(&mut Rng::new(seed));
    if let Some(seed) = number("WAYPOST_SEED") {
        return replay(seed, plan(seed));
    }
    let seeds = number("WAYPOST_COPY_SEEDS").unwrap_or(200);
    let first = number("WAYPOST_FIRST_SEED").unwrap_or(0);
    run(("", "live_copies"), first, seeds, plan);
}

#[test]
fn locations_converge_with_each_fault_alone() {
    if number("WAYPOST_SEED").is_some() {
        return;
    }
    let seeds = number("WAYPOST_SIM_SEEDS").unwrap_or(200).div_ceil(60);
    for fault in Fault::ALL {
        println!("{fault:?}");
        let name = format!("WAYPOST_FAULT={fault:?} ");
        run((&name, "mixed"), 0, seeds, |seed| Plan::only(fault, &mut Rng::new(seed)));
    }
}
