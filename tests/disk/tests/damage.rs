//! Bits that turn on the disk.
//!
//! The seeds run in child processes: on some damage redb panics while it unwinds from a panic, and
//! that ends the process. It is counted, and must be rare.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use kv_core::Options;
use waypost_disk_tests::{
    disk::FailingDisk,
    events::{Counted, Damage},
    rng::Rng,
    world::Damaged,
};

const NAME: &str = "a_bit_that_turns_never_makes_another_value";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Runs some seeds here, and tells of each before and after.
fn run_here(first: u64, end: u64) {
    for seed in first..end {
        println!("\nbegin {seed}");
        let (events, _, result) = Damaged::run(seed, false);
        for (place, event) in Damage::ALL.iter().enumerate() {
            println!("count {place} {}", events.get(*event));
        }
        if let Err(violation) = result {
            println!("broken {seed} {violation}");
        }
    }
    println!("\nbegin {end}");
}

/// What the children told.
#[derive(Default)]
struct Told {
    events: Counted<Damage>,
    broken: Vec<String>,
    aborted: Vec<u64>,
}

/// Runs some seeds in a child; the seed that ended it too early, if one did.
fn run_child(first: u64, end: u64, told: &Mutex<Told>) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("WAYPOST_DAMAGE_FIRST", first.to_string())
        .env("WAYPOST_DAMAGE_END", end.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut at = first;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut told = told.lock().unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begin", seed] => at = seed.parse().unwrap(),
            ["count", place, times] => {
                let place: usize = place.parse().unwrap();
                told.events.add(Damage::ALL[place], times.parse().unwrap());
            }
            ["broken", ..] => told.broken.push(line),
            _ => {}
        }
    }
    child.wait().unwrap();
    (at < end).then_some(at)
}

#[test]
fn a_bit_that_turns_never_makes_another_value() {
    if let (Some(first), Some(end)) = (number("WAYPOST_DAMAGE_FIRST"), number("WAYPOST_DAMAGE_END"))
    {
        return run_here(first, end);
    }
    if let Some(seed) = number("WAYPOST_SEED") {
        let (_, trace, result) = Damaged::run(seed, true);
        trace.iter().for_each(|line| println!("{line}"));
        result.unwrap();
        return;
    }
    const SEEDS: u64 = 25;
    let seeds = number("WAYPOST_TEST_SEEDS").unwrap_or(200);
    let first = number("WAYPOST_FIRST_SEED").unwrap_or(0);
    let (next, told) = (AtomicU64::new(first), Mutex::new(Told::default()));
    let run = || {
        loop {
            let mut at = next.fetch_add(SEEDS, Ordering::Relaxed);
            let end = (at + SEEDS).min(first + seeds);
            while at < end {
                let Some(aborted) = run_child(at, end, &told) else { break };
                told.lock().unwrap().aborted.push(aborted);
                at = aborted + 1;
            }
            if end == first + seeds {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(run);
        }
    });
    let Told { events, broken, aborted } = told.into_inner().unwrap();
    assert!(
        broken.is_empty(),
        "{broken:#?}\nreplay it: WAYPOST_SEED=.. cargo test -p waypost-disk-tests --test damage -- \
         --nocapture"
    );
    for event in Damage::ALL {
        println!("{:>8} {event:?}", events.get(*event));
    }
    println!("{:>8} processes ended by redb: {aborted:?}", aborted.len());
    assert!(aborted.len() as u64 <= seeds / 50 + 1, "too often");
    if seeds >= 100 {
        assert_eq!(events.missing(Damage::ALL), [], "never happened in {seeds} seeds");
    }
}

/// Whether a value of which one bit has turned is read as if nothing had happened.
fn is_read_with_a_turned_bit(len: usize) -> bool {
    let disk = FailingDisk::new(Rng::new(1));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let namespace = store.create_namespace("t").unwrap().id;
    let mark = [0xa5, 0x5a, 0x17, 0x71, 0x3c, 0xc3, 0x99, 0x66];
    let value = mark.repeat(len.div_ceil(mark.len()));
    store.put(namespace, "k", &value).unwrap();
    store.close().unwrap();
    let mut image = disk.image();
    // In every place where it is, or was before it was moved.
    for at in 0..image.len() - 2 * mark.len() {
        if image[at..].starts_with(&mark.repeat(2)) && !image[..at].ends_with(&mark) {
            image[at + 3] ^= 1 << 5;
        }
    }
    let disk = FailingDisk::holding(image, Rng::new(1));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let entry = store.get(namespace, "k").and_then(|entry| entry.unwrap().body.read());
    match entry {
        Err(_) => false,
        Ok(read) => {
            assert!(read != value, "the bit did not turn");
            true
        }
    }
}

#[test]
fn a_value_of_which_a_bit_has_turned_is_an_error() {
    for len in [100, 9000, 200_000] {
        assert!(!is_read_with_a_turned_bit(len), "{len}");
    }
}
