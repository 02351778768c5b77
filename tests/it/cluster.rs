//! Locations as real processes on a bad network, with writes at all of them, cuts and `kill -9`. At
//! the end all locations hold the same entries, and no acknowledged write is missing.

mod ledger;
mod long_link;
mod schedule;
mod workers;
mod writers;

use std::{thread, time::Duration};

use waypost_link_tests::{Conditions, Ways};
use waypost_tests::{cluster::Cluster, process::announce, random::Random, settings};

use crate::{binary, crash::seeded};

use self::{schedule::stormy, writers::Writers};

const NAMESPACE: &str = "shared";

/// How long the clients write in each part of a test.
const WRITING: Duration = Duration::from_secs(1);

fn start(count: usize, conditions: Conditions, random: &mut Random) -> (Cluster, Writers) {
    let cluster = Cluster::start(binary(), count, NAMESPACE, conditions, random.next());
    let writers = Writers::new(&cluster);
    (cluster, writers)
}

/// The number of packets that the proxies have dropped.
fn dropped(cluster: &Cluster) -> u64 {
    let counts = cluster.counts();
    counts.to.dropped_packets + counts.from.dropped_packets
}

#[test]
fn three_locations_join_and_converge_over_a_network_that_loses_reorders_and_duplicates_packets() {
    seeded(|mut random| {
        let (cluster, writers) = start(3, stormy(), &mut random);
        writers.during(&random, || thread::sleep(WRITING));
        // The network stays bad while the locations catch up.
        writers.check(&cluster);
        assert!(dropped(&cluster) > 0, "{:?}", cluster.counts());
    });
}

#[test]
fn a_location_converges_after_a_cut_in_both_or_one_direction_heals() {
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
            assert!(dropped(&cluster) > before, "location {number} lost no packet during its cut");
            writers.check(&cluster);
        }
    });
}

#[test]
fn a_location_converges_over_new_links_after_its_old_ones_timed_out() {
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
fn acknowledged_writes_reach_all_locations_after_each_is_killed() {
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
fn five_locations_converge_after_random_faults() {
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
            ledger.rejected,
            counts.to.packets + counts.from.packets,
            counts.to.dropped_packets + counts.from.dropped_packets,
        ));
    });
}
