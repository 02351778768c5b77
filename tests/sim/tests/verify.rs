//! Locations verify each other during faults.
#![expect(clippy::unwrap_used, reason = "tests")]

use kv_replicate::Ending;
use waypost_disk_tests::rng::Rng;
use waypost_sim_tests::{
    plan::{Fault, Plan},
    world::World,
};

/// The number of seeds: 50, or a twentieth of `WAYPOST_SIM_SEEDS`.
fn seeds() -> u64 {
    let seeds = std::env::var("WAYPOST_SIM_SEEDS").ok();
    seeds.map_or(50, |text| text.parse::<u64>().unwrap().div_ceil(20))
}

/// Runs a seed. Returns the number of verifications that were complete, that found equality, that
/// had unsettled rows, and that ended early; and how often rows were compared by key.
fn run(seed: u64, plan: Plan) -> [u64; 5] {
    let mut world = World::new(seed, plan, false).unwrap();
    world.verify_every(200);
    let lived = world.live();
    assert_eq!(lived, Ok(()), "seed {seed}");
    let verdicts = world.verifying().verdicts.iter().map(|(_, verdict)| verdict);
    let count = |which: &dyn Fn(&kv_replicate::Verdict) -> bool| {
        verdicts.clone().filter(|verdict| which(verdict)).count() as u64
    };
    let counts = [
        count(&|verdict| verdict.ending == Ending::Complete),
        count(&|verdict| verdict.is_equal()),
        count(&|verdict| verdict.unsettled.keys() > 0),
        count(&|verdict| verdict.ending != Ending::Complete),
        world.verifying().looks,
    ];
    assert!(verdicts.clone().all(|verdict| verdict.differing == 0), "seed {seed}");
    let healed = world.heal();
    assert_eq!(healed, Ok(()), "seed {seed}");
    counts
}

/// A mixed plan without the faults that make two stores differ: one rolls back, is copied, or has a
/// damaged row.
fn mixed(seed: u64) -> Plan {
    let mut plan = Plan::mixed(&mut Rng::new(seed));
    plan.kinds.retain(|(_, fault)| !matches!(fault, Fault::Copy | Fault::OldImage | Fault::Damage));
    plan
}

fn run_all(plan: impl Fn(u64) -> Plan) -> [u64; 5] {
    let mut all = [0; 5];
    for seed in 0..seeds() {
        let counts = run(seed, plan(seed));
        all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
    }
    println!("complete, equal, unsettled, ended early, comparisons by key: {all:?}");
    all
}

#[test]
fn verification_reports_no_false_difference_during_faults() {
    let all = run_all(mixed);
    assert!(seeds() < 50 || (all[0] > 100 && all[3] > 20 && all[4] > 200), "{all:?}");
}

#[test]
fn a_busy_cluster_on_bad_links_finds_no_difference() {
    let all = run_all(|seed| {
        let mut plan = Plan::mixed(&mut Rng::new(seed));
        (plan.loss, plan.repeat, plan.reorders) = (15, 10, true);
        (plan.keys, plan.pause_ms, plan.faults) = (12, 30, 0);
        plan
    });
    assert!(seeds() < 50 || (all[0] > 40 && all[4] > 200), "{all:?}");
}
