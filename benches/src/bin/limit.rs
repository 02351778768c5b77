//! A check by our limiter compared with one by governor: its cost, and the memory of many keys.
//!
//! Both sides get the same strings and read a clock for every check: ours the system's monotonic
//! clock, governor its default, `QuantaClock` (the processor's counter), and in one case
//! `MonotonicClock`.

use std::{env, hash::BuildHasherDefault, num::NonZeroU32, process, process::Command};

use clap::{Parser, ValueEnum};
use governor::clock::{MonotonicClock, QuantaClock};
use ratelimit::Limit;
use waypost_benches::{
    Failure,
    data::{self, Random},
    distribution::Zipf,
    limiters::{MINUTE, Ours, check_all, governor},
    meter,
    rounds::{CPU, Sample, Side, Target, WALL, alternate},
};

/// A check by our limiter compared with one by governor.
#[derive(Clone, Parser)]
struct Arguments {
    /// Number of keys, except for work with one key.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u32,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Checks of a round, on each thread.
    #[arg(long, default_value_t = 1_000_000)]
    checks: usize,
    /// Number of random keys in the flood under which memory is measured.
    #[arg(long, default_value_t = 10_000_000)]
    flood: u64,
    /// Measure only the memory.
    #[arg(long)]
    memory: bool,
    /// Fill one limiter with the keys, and print its memory. The program runs itself with this
    /// option.
    #[arg(long, hide = true)]
    memory_of: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Ours,
    Governor,
}

// ahash with random keys would bring a second getrandom. Its speed is the same with fixed keys.
type Ahash = BuildHasherDefault<ahash::AHasher>;
type Foldhash = foldhash::fast::RandomState;

/// More than a round checks one key, on both threads.
const HIGH: u32 = 2_000_000;
const LOW: u32 = 100;

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    if let Some(kind) = arguments.memory_of {
        return print_memory(kind, &arguments);
    }
    if arguments.memory {
        return compare_memory(&arguments);
    }
    if arguments.checks * 2 > HIGH as usize {
        return Err("at most 1,000,000 checks, or the high limit denies some".into());
    }
    // A separate key for each round, so that the limit is never reached.
    let fresh = |round: u64| Ok(vec![format!("user:{round:016}")]);
    let one = |_| Ok(vec![String::from("user:0000000000000000")]);
    for (threads, most) in [(1, 1.0), (2, 0.6)] {
        let title = |what| format!("one hot key, {what}, threads: {threads}");
        compare(&title("allowed"), &arguments, (threads, HIGH, 1), fresh, most)?;
        compare(&title("denied"), &arguments, (threads, LOW, 1), one, most)?;
    }
    let keys = arguments.keys;
    let checks = arguments.checks as u64;
    let uniform = |round| {
        let mut random = Random::new(round);
        (0..checks).map(|_| key(random.between(0, u64::from(keys)))).collect()
    };
    compare(&format!("{keys} keys, uniform"), &arguments, (1, LOW, keys), uniform, 0.5)?;
    let popular = Zipf::new(keys, 0.99);
    let zipf = |round| {
        let mut random = Random::new(round);
        (0..checks).map(|_| key(popular.next(&mut random) as u64)).collect()
    };
    compare(&format!("{keys} keys, zipf(0.99)"), &arguments, (1, LOW, keys), zipf, 0.5)?;
    compare_memory(&arguments)
}

fn key(n: u64) -> Result<String, Failure> {
    Ok(str::from_utf8(&data::key(n))?.to_owned())
}

/// Runs all sides with the keys that `keys_of` returns for each round. If `held` is more than one,
/// the limiters contain that many keys from the start.
fn compare(
    title: &str,
    arguments: &Arguments,
    (threads, limit, held): (usize, u32, u32),
    keys_of: impl Fn(u64) -> Result<Vec<String>, Failure>,
    most: f64,
) -> Result<(), Failure> {
    let quota = NonZeroU32::new(limit).ok_or("the limit is zero")?;
    let room = held as usize;
    let sliding = Ours::new(room.max(1000), Limit::sliding(limit, MINUTE)?)?;
    let gcra = Ours::new(room.max(1000), Limit::gcra(limit, limit, MINUTE)?)?;
    let by_ahash = governor::<_, Ahash>(quota, QuantaClock::default());
    let by_foldhash = governor::<_, Foldhash>(quota, QuantaClock::default());
    let monotonic = governor::<_, Foldhash>(quota, MonotonicClock);
    let sides: [(&str, &(dyn Checks + Sync)); 5] = [
        ("ours, sliding", &|key: &String| sliding.check(key)),
        ("ours, GCRA", &|key: &String| gcra.check(key)),
        ("governor, ahash", &|key: &String| by_ahash.check_key(key).is_ok()),
        ("governor, foldhash", &|key: &String| by_foldhash.check_key(key).is_ok()),
        ("governor, foldhash, MonotonicClock", &|key: &String| monotonic.check_key(key).is_ok()),
    ];
    let mut allowed = [0; 5];
    let mut runs = Vec::new();
    for ((name, side), allowed) in sides.into_iter().zip(&mut allowed) {
        if held > 1 {
            let all = (0..u64::from(held)).map(key).collect::<Result<Vec<_>, _>>()?;
            side.run(1, all.len(), &all)?;
        }
        runs.push(Side::new(name, |round| {
            let (sample, passed) = side.run(threads, arguments.checks, &keys_of(round)?)?;
            *allowed += passed;
            Ok(sample)
        }));
    }
    let rounds = alternate(arguments.rounds, runs)?;
    rounds.print(title, &[CPU, WALL]);
    let all = (arguments.rounds + 1) * (threads * arguments.checks) as u64;
    let shares = allowed.map(|allowed| format!("{:.1} %", 100.0 * allowed as f64 / all as f64));
    println!("allowed: {}", shares.join(", "));
    let fastest = rounds.least(&[2, 3], CPU);
    rounds.compare(0, fastest, CPU, Target::AtMost(most));
    rounds.compare(1, fastest, CPU, Target::Report);
    rounds.compare(0, 4, CPU, Target::Report);
    Ok(())
}

/// Checks a list of keys; a trait, so that each side is compiled separately.
trait Checks {
    fn run(&self, threads: usize, checks: usize, keys: &[String])
    -> Result<(Sample, u64), Failure>;
}

impl<F: Fn(&String) -> bool + Sync> Checks for F {
    fn run(
        &self,
        threads: usize,
        checks: usize,
        keys: &[String],
    ) -> Result<(Sample, u64), Failure> {
        check_all(threads, checks, keys, self)
    }
}

/// The memory of one limiter, from a line that the program prints when it runs itself.
struct Memory {
    bytes: u64,
    after_flood: u64,
    /// The number of keys whose only request was forgotten.
    evicted: u64,
    /// The number of keys at their limit that were forgotten in the flood.
    forgotten: u64,
}

fn compare_memory(arguments: &Arguments) -> Result<(), Failure> {
    let [ours, governor] = [memory_of("ours", arguments)?, memory_of("governor", arguments)?];
    let Arguments { keys, flood, .. } = arguments;
    let a_key = |bytes: u64| bytes as f64 / f64::from(*keys);
    let mib = |bytes: u64| bytes >> 20;
    println!("\nmemory of {keys} keys; load {}\n", meter::load());
    println!(
        "| | bytes a key | MiB | MiB after a flood of {flood} random keys |\n|---|---|---|---|"
    );
    println!(
        "| ours | {:.1} | {} | {} |",
        a_key(ours.bytes),
        mib(ours.bytes),
        mib(ours.after_flood)
    );
    println!(
        "| governor | {:.1} | {} | not run: it grows |",
        a_key(governor.bytes),
        mib(governor.bytes)
    );
    let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
    let ratio = ours.bytes as f64 / governor.bytes as f64;
    println!("\nbytes: ours / governor = {ratio:.2}: at most 0.35x {}", verdict(ratio <= 0.35));
    let evicted = 100.0 * ours.evicted as f64 / f64::from(*keys);
    println!("evicted of live keys: {evicted:.3} %: at most 1 % {}", verdict(evicted <= 1.0));
    let grown = ours.after_flood as f64 / ours.bytes as f64;
    println!("after the flood: {grown:.3}x the memory: flat {}", verdict(grown < 1.01));
    println!(
        "of {AT_LIMIT} keys at a limit of {LOW}, forgotten in the flood: {}: none {}",
        ours.forgotten,
        verdict(ours.forgotten == 0)
    );
    Ok(())
}

/// The number of keys that are at their limit when the flood starts.
const AT_LIMIT: u64 = 1000;

/// Measures in a separate process, whose memory nothing else has used.
fn memory_of(kind: &str, arguments: &Arguments) -> Result<Memory, Failure> {
    let output = Command::new(env::current_exe()?)
        .args(["--memory-of", kind, "--keys", &arguments.keys.to_string()])
        .args(["--flood", &arguments.flood.to_string()])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
    match numbers[..] {
        [bytes, after_flood, evicted, forgotten] if output.status.success() => {
            Ok(Memory { bytes, after_flood, evicted, forgotten })
        }
        _ => Err(format!("{kind}: {text}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn print_memory(kind: Kind, arguments: &Arguments) -> Result<(), Failure> {
    let keys = u64::from(arguments.keys);
    let before = meter::memory(process::id())?.anonymous;
    let taken = || -> Result<u64, Failure> {
        Ok(meter::memory(process::id())?.anonymous.saturating_sub(before))
    };
    if kind == Kind::Governor {
        let quota = NonZeroU32::new(LOW).ok_or("the limit is zero")?;
        let limiter = governor::<_, Foldhash>(quota, QuantaClock::default());
        for n in 0..keys {
            limiter.check_key(&key(n)?).map_err(|_denied| "the first request is denied")?;
        }
        println!("{} 0 0 0", taken()?);
        return Ok(());
    }
    // The period is an hour, so that no window ends during the flood.
    let ours = Ours::new(arguments.keys as usize, Limit::sliding(LOW, 60 * MINUTE)?)?;
    for n in 0..keys {
        if !ours.check(&key(n)?) {
            return Err("the first request is denied".into());
        }
    }
    let bytes = taken()?;
    let mut evicted = 0;
    for n in 0..keys {
        evicted += u64::from(ours.remaining(&key(n)?) == LOW);
    }
    for n in (0..AT_LIMIT).flat_map(|n| (0..LOW).map(move |_| n)) {
        ours.check(&format!("at its limit {n}"));
    }
    for n in 0..arguments.flood {
        ours.check(&key(u64::MAX - n)?);
    }
    let forgotten = (0..AT_LIMIT).filter(|n| ours.check(&format!("at its limit {n}"))).count();
    println!("{bytes} {} {evicted} {forgotten}", taken()?);
    Ok(())
}
