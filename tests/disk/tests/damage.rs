//! Flipped bits on the disk.
//!
//! The seeds run in child processes: with some damage redb panics while it unwinds from a panic,
//! which ends the process. The test counts these cases, which must be rare.
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
    seeds::number,
    world::Damaged,
};

const NAME: &str = "a_flipped_bit_never_produces_another_value";

/// Runs some seeds in this process, and prints a line before and after each.
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

/// The results of the child processes.
#[derive(Default)]
struct Results {
    events: Counted<Damage>,
    broken: Vec<String>,
    aborted: Vec<u64>,
}

/// Runs some seeds in a child process. Returns the seed that ended it early, if there is one.
fn run_child(first: u64, end: u64, results: &Mutex<Results>) -> Option<u64> {
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
        let mut results = results.lock().unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["begin", seed] => at = seed.parse().unwrap(),
            ["count", place, times] => {
                let place: usize = place.parse().unwrap();
                results.events.add(Damage::ALL[place], times.parse().unwrap());
            }
            ["broken", ..] => results.broken.push(line),
            _ => {}
        }
    }
    child.wait().unwrap();
    (at < end).then_some(at)
}

#[test]
fn a_flipped_bit_never_produces_another_value() {
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
    let (next, results) = (AtomicU64::new(first), Mutex::new(Results::default()));
    let run = || {
        loop {
            let mut at = next.fetch_add(SEEDS, Ordering::Relaxed);
            let end = (at + SEEDS).min(first + seeds);
            while at < end {
                let Some(aborted) = run_child(at, end, &results) else { break };
                results.lock().unwrap().aborted.push(aborted);
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
    let Results { events, broken, aborted } = results.into_inner().unwrap();
    assert!(
        broken.is_empty(),
        "{broken:#?}\nto replay it: WAYPOST_SEED=.. cargo test -p waypost-disk-tests --test damage -- \
         --nocapture"
    );
    for event in Damage::ALL {
        println!("{:>8} {event:?}", events.get(*event));
    }
    println!("{:>8} processes ended by redb: {aborted:?}", aborted.len());
    assert!(aborted.len() as u64 <= seeds / 50 + 1, "redb ended too many processes");
    if seeds >= 100 {
        assert_eq!(events.missing(Damage::ALL), [], "events that never occurred in {seeds} seeds");
    }
}

/// Whether a read of a value with one flipped bit succeeds.
fn can_be_read_with_a_flipped_bit(len: usize) -> bool {
    let disk = FailingDisk::new(Rng::new(1));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let namespace = store.create_namespace("t").unwrap().id;
    let mark = [0xa5, 0x5a, 0x17, 0x71, 0x3c, 0xc3, 0x99, 0x66];
    let value = mark.repeat(len.div_ceil(mark.len()));
    store.put(namespace, "k", &value).unwrap();
    store.close().unwrap();
    let mut image = disk.image();
    // Wherever the value is, or was before it was moved.
    for file in image.values_mut() {
        for at in 0..file.len() - 2 * mark.len() {
            if file[at..].starts_with(&mark.repeat(2)) && !file[..at].ends_with(&mark) {
                file[at + 3] ^= 1 << 5;
            }
        }
    }
    let disk = FailingDisk::holding(image, Rng::new(1));
    let store = Options::new().open_disk(disk.process()).unwrap();
    let entry = store.get(namespace, "k").and_then(|entry| entry.unwrap().body.read());
    match entry {
        Err(_) => false,
        Ok(read) => {
            assert!(read != value, "the bit was not flipped");
            true
        }
    }
}

#[test]
fn a_value_with_a_flipped_bit_is_an_error() {
    // Inline, a body of one chunk, and a body of several.
    let readable: Vec<_> = [100, 9000, 200_000]
        .into_iter()
        .filter(|len| can_be_read_with_a_flipped_bit(*len))
        .collect();
    assert!(readable.is_empty(), "values of these lengths: {readable:?}");
}
