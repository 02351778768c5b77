//! Locations among peers that send invalid messages: nothing panics, and all bounds hold.

use waypost_disk_tests::rng::Rng;
use waypost_sim_tests::{
    events::{Event, Events},
    plan::{Fault, Plan},
    scenario,
    world::World,
};

/// The duration of a run, in virtual milliseconds.
const RUN_MS: u64 = 20_000;

#[test]
fn invalid_messages_exceed_no_bound_and_forge_no_write() {
    let seeds = std::env::var("WAYPOST_LIAR_SEEDS").map_or(40, |text| text.parse().unwrap());
    let (mut whole, mut halted) = (0, 0);
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let plan = Plan {
            nodes: 3,
            kinds: vec![(2, Fault::Crash), (1, Fault::OneWayCut), (1, Fault::SlowPeer)],
            faults: 4,
            skew_ms: 100,
            steps_at_start: false,
            pause_ms: 20,
            ..Plan::mixed(&mut rng)
        };
        let mangled = rng.weighted(&[(2, 1), (2, 5), (1, 30)]);
        let mut world = World::new(seed, plan, false).unwrap();
        let lived = world.live_among_liars(RUN_MS, mangled);
        assert!(lived.is_ok(), "seed {seed}: {lived:?}");
        if world.left() == 3 { whole += 1 } else { halted += 1 }
    }
    println!("{whole} runs without a halt, {halted} with a halted location");
    assert!(whole > 0, "a location halts in every run, so the test covers too little");
}

#[test]
fn members_converge_once_one_whose_store_holds_lies_is_removed() {
    let seeds = std::env::var("WAYPOST_LIAR_SEEDS").map_or(60, |text| text.parse().unwrap());
    let mut events = Events::default();
    for seed in 0..seeds {
        let result = scenario::lying_store::run_counted(seed, &mut events);
        assert!(result.is_ok(), "seed {seed}: {result:?}");
    }
    let missing: Vec<_> = Event::OF_LIARS.iter().filter(|event| events.get(**event) == 0).collect();
    assert!(missing.is_empty(), "these events did not occur: {missing:?}");
}
