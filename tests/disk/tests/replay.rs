//! Runs are deterministic.

use waypost_disk_tests::world::{Damaged, Plan, World};

#[test]
fn a_seed_always_has_the_same_trace() {
    for seed in 0..20 {
        let runs = [(); 2].map(|()| World::run(seed, Plan::mixed(), true));
        assert!(runs[0].0.trace.len() > 100, "seed {seed} has hardly any operations");
        assert_eq!(runs[0].0.trace, runs[1].0.trace, "seed {seed}");
    }
    for seed in 0..5 {
        let runs = [(); 2].map(|()| Damaged::run(seed, true));
        assert_eq!(runs[0].1, runs[1].1, "seed {seed}");
    }
}
