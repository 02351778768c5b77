//! Random faults in a cluster, from a seed: cuts, heals, kills, starts, and other network
//! conditions.

use std::{fmt, num::NonZeroU64, time::Duration};

use waypost_link_tests::{Conditions, Ways};
use waypost_tests::{cluster::Cluster, random::Random, wait::Stopwatch};

/// The number of locations that may be down at the same time.
const MOST_DOWN: usize = 2;

/// How often each fault was injected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    kills: u32,
    starts: u32,
    kills_of_starting: u32,
    cuts: u32,
    heals: u32,
    conditions: u32,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { kills, starts, kills_of_starting, cuts, heals, conditions } = self;
        write!(
            f,
            "{kills} kills, {starts} starts, {kills_of_starting} kills during a start, \
             {cuts} cuts, {heals} heals, {conditions} changes of the network"
        )
    }
}

/// Injects faults, one after the other, until the time is over. Some locations may be down at the
/// end, and links cut.
pub(super) fn run(cluster: &mut Cluster, random: &mut Random, time: Duration) -> Done {
    let clock = Stopwatch::start();
    let mut done = Done::default();
    // The location with the CA key is always down for a while, whatever the random choices are.
    std::thread::sleep(Duration::from_millis(random.between(200, 1_500)));
    kill(cluster, 0, &mut done);
    while clock.elapsed() < time {
        // Mostly in quick succession; sometimes with a pause that lets all links recover.
        let most = if random.percent(20) { 3_000 } else { 700 };
        std::thread::sleep(Duration::from_millis(random.between(20, most)));
        step(cluster, random, &mut done);
    }
    done
}

fn step(cluster: &mut Cluster, random: &mut Random, done: &mut Done) {
    match random.between(0, 100) {
        0..20 => {
            let (one, other) = pair(cluster, random);
            cluster.cut(one, other, ways(random));
            done.cuts += 1;
        }
        20..30 => {
            let number = any(cluster, random);
            cluster.cut_off(number, ways(random));
            done.cuts += 1;
        }
        30..50 => {
            cluster.heal();
            done.heals += 1;
        }
        50..65 => {
            cluster.set(conditions(random));
            done.conditions += 1;
        }
        65..82 => {
            let number = any(cluster, random);
            kill(cluster, number, done);
        }
        _ => start(cluster, random, done),
    }
}

fn kill(cluster: &mut Cluster, number: usize, done: &mut Done) {
    let down = cluster.locations().iter().filter(|location| !location.is_up()).count();
    if down < MOST_DOWN && cluster.locations()[number].is_up() {
        cluster.kill(number);
        done.kills += 1;
    }
}

fn start(cluster: &mut Cluster, random: &mut Random, done: &mut Done) {
    let is_down = |number: &usize| !cluster.locations()[*number].is_up();
    let first = any(cluster, random);
    let mut numbers = (0..cluster.len()).map(|number| (number + first) % cluster.len());
    let Some(number) = numbers.find(is_down) else { return };
    if random.percent(30) {
        let after = Duration::from_micros(random.between(0, 300_000));
        cluster.start_and_kill(number, after);
        done.kills_of_starting += 1;
    }
    cluster.restart(number);
    done.starts += 1;
}

fn any(cluster: &Cluster, random: &mut Random) -> usize {
    usize::try_from(random.between(0, cluster.len() as u64)).expect("a location's number")
}

fn pair(cluster: &Cluster, random: &mut Random) -> (usize, usize) {
    let one = any(cluster, random);
    let step =
        usize::try_from(random.between(1, cluster.len() as u64)).expect("a location's number");
    (one, (one + step) % cluster.len())
}

fn ways(random: &mut Random) -> Ways {
    match random.between(0, 4) {
        0 => Ways::To,
        1 => Ways::From,
        _ => Ways::Both,
    }
}

/// A bad intercontinental link: 5 % loss, reordering and duplication.
pub(super) fn stormy() -> Conditions {
    Conditions {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(15),
        loss: 0.05,
        duplication: 0.02,
        ..Conditions::default()
    }
}

fn conditions(random: &mut Random) -> Conditions {
    let ms = Duration::from_millis;
    match random.between(0, 5) {
        0 => Conditions::default(),
        1 => stormy(),
        2 => Conditions { loss: 0.2, ..Conditions::delayed(ms(5)) },
        3 => Conditions { jitter: ms(30), duplication: 0.2, ..Conditions::delayed(ms(40)) },
        _ => Conditions {
            bits_per_second: NonZeroU64::new(10_000_000),
            queue_bytes: 32 << 10,
            ..Conditions::delayed(ms(50))
        },
    }
}
