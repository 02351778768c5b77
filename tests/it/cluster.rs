//! Locations as real processes with a bad network between them: writes at all of them, cuts, `kill -9`.
//! In the end all hold the same, and nothing that was acknowledged is missing.

mod ledger;
mod schedule;
mod workers;
mod writers;

use std::{thread, time::Duration};

use waypost_link_tests::{Conditions, Ways};
use waypost_tests::{cluster::Cluster, process::announce, random::Random, settings};

use crate::{binary, crash::seeded};

use self::{schedule::stormy, writers::Writers};

const NAMESPACE: &str = "shared";

/// For how long all write in each part of a test.
const WRITING: Duration = Duration::from_secs(1);

fn start(count: usize, conditions: Conditions, random: &mut Random) -> (Cluster, Writers) {
    let cluster = Cluster::start(binary(), count, NAMESPACE, conditions, random.next());
    let writers = Writers::new(&cluster);
    (cluster, writers)
}

/// How many packets all proxies have dropped.
fn dropped(cluster: &Cluster) -> u64 {
    let counts = cluster.counts();
    counts.to.dropped_packets + counts.from.dropped_packets
}

#[test]
fn three_locations_join_and_converge_over_a_network_that_loses_reorders_and_repeats() {
    seeded(|mut random| {
        let (cluster, writers) = start(3, stormy(), &mut random);
        writers.during(&random, || thread::sleep(WRITING));
        // It is as bad as before while they catch up.
        writers.check(&cluster);
        assert!(dropped(&cluster) > 0, "{:?}", cluster.counts());
    });
}

#[test]
fn a_location_that_was_cut_off_both_ways_or_one_way_converges_when_it_is_healed() {
    seeded(|mut random| {
        let near = Conditions::delayed(Duration::from_millis(2));
        let (cluster, writers) = start(3, near, &mut random);
        for (number, ways) in [(0, Ways::Both), (1, Ways::To), (2, Ways::From)] {
            let before = dropped(&cluster);
            writers.during(&random.fork(number as u64), || {
                thread::sleep(WRITING / 4);
                cluster.cut_off(number, ways);
                thread::sleep(WRITING);
                cluster.heal();
                thread::sleep(WRITING / 4);
            });
            // Nothing else drops packets here.
            assert!(dropped(&cluster) > before, "location {number} was not cut off");
            writers.check(&cluster);
        }
    });
}

#[test]
fn a_location_that_was_cut_off_until_its_links_were_given_up_converges_over_new_ones() {
    seeded(|mut random| {
        let near = Conditions::delayed(Duration::from_millis(2));
        let (cluster, writers) = start(3, near, &mut random);
        writers.during(&random, || {
            cluster.cut_off(1, Ways::Both);
            cluster.wait_until_alone(1);
            cluster.heal();
            thread::sleep(WRITING / 4);
        });
        writers.check(&cluster);
    });
}

#[test]
fn what_was_acknowledged_is_everywhere_also_after_kill_9_of_any() {
    seeded(|mut random| {
        let (mut cluster, writers) = start(3, stormy(), &mut random);
        for number in 0..3 {
            let pause = Duration::from_millis(random.between(100, 1_000));
            writers.during(&random.fork(number as u64), || {
                thread::sleep(pause);
                cluster.kill(number);
                thread::sleep(WRITING / 4);
                cluster.restart(number);
                thread::sleep(WRITING / 4);
            });
        }
        writers.check(&cluster);
    });
}

#[test]
fn five_locations_converge_whatever_befalls_them() {
    seeded(|mut random| {
        let time = settings::soak();
        let near = Conditions::delayed(Duration::from_millis(1));
        let (mut cluster, writers) = start(5, near, &mut random);
        let forks = random.clone();
        let done = writers.during(&forks, || schedule::run(&mut cluster, &mut random, time));
        cluster.heal();
        cluster.set(near);
        for number in 0..cluster.len() {
            if !cluster.locations()[number].is_up() {
                cluster.restart(number);
            }
        }
        writers.check(&cluster);
        let (ledger, counts) = (writers.ledger(), cluster.counts());
        announce(&format!(
            "{} s of five locations: {done}; {} writes acknowledged ({:?}), {} unanswered, {} \
             refused; {} packets passed, {} dropped",
            time.as_secs(),
            ledger.acknowledged.iter().sum::<u64>(),
            ledger.acknowledged,
            ledger.unanswered,
            ledger.refused,
            counts.to.packets + counts.from.packets,
            counts.to.dropped_packets + counts.from.dropped_packets,
        ));
    });
}
