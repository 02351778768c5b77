//! Global limits in virtual time: how much several locations allow beyond the limit, what the reports cost in bytes, and
//! what a check costs beside that of a limit of one location. All but the last is the same in every run. Fails if more is
//! allowed than the bound.

use std::time::Duration;

use clap::Parser;
use ratelimit::{Limit, Limiter, ManualClock, Request};
use waypost_benches::{
    Failure,
    data::Random,
    distribution::exponential,
    limiters::MINUTE,
    rounds::{CPU, Sample, Side, Target, WALL, alternate},
};

/// Global limits: overshoot, bytes, and the cost of a check.
#[derive(Parser)]
struct Arguments {
    /// Number of windows to observe.
    #[arg(long, default_value_t = 100)]
    windows: u64,
    /// Keys of global limits, for the bytes.
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Rounds of each side, for the cost of a check.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
}

const SECRET: [u8; 16] = [1; 16];
/// 2026-01-01, the start of a window.
const START_MS: u64 = 1_767_225_600_000;
/// How often a location reports, as the server does.
const REPORT_MS: u64 = 20;
const PERIOD_MS: u64 = 10_000;
/// The bytes of a message of the wire protocol beside the piece in it: the envelope, and two lengths.
const MESSAGE_BYTES: u64 = 19 + 2 + 4;

/// How requests arrive. The mean of each is twice the limit.
#[derive(Clone, Copy)]
enum Traffic {
    Steady,
    /// In one second of five, at ten times the limit.
    Bursty,
}

/// Locations with a delay between them.
struct World {
    limiters: Vec<Limiter<ManualClock>>,
    delay: u64,
    wire: Vec<(u64, usize, Vec<u8>)>,
    messages: u64,
    bytes: u64,
}

impl World {
    fn new(locations: usize, delay: u64, keys: usize) -> Result<World, Failure> {
        let builder = || Limiter::builder().capacity(keys).global(SECRET);
        let limiters = (0..locations).map(|_| builder().clock(ManualClock::at(START_MS)).build());
        let limiters = limiters.collect::<Result<_, _>>()?;
        Ok(World { limiters, delay, wire: Vec::new(), messages: 0, bytes: 0 })
    }

    /// Delivers what has arrived, and sends the reports that are due: each location has its own phase.
    fn step(&mut self, now: u64) -> Result<(), Failure> {
        let (due, later) =
            std::mem::take(&mut self.wire).into_iter().partition(|(at, ..)| *at <= now);
        self.wire = later;
        let due: Vec<(u64, usize, Vec<u8>)> = due;
        for (_, to, piece) in due {
            self.limiters[to].merge_usage_at(now, &piece)?;
        }
        let locations = self.limiters.len();
        for from in 0..locations {
            if now % REPORT_MS != from as u64 * REPORT_MS / locations as u64 {
                continue;
            }
            for piece in self.limiters[from].global_changes_at(now, u32::try_from(locations)?) {
                for to in (0..locations).filter(|to| *to != from) {
                    self.messages += 1;
                    self.bytes += piece.len() as u64 + MESSAGE_BYTES;
                    self.wire.push((now + self.delay, to, piece.clone()));
                }
            }
        }
        Ok(())
    }
}

/// The overshoot of one run.
struct Overshoot {
    /// What was allowed beyond one limiter for all requests, relative to what that allowed.
    mean: f64,
    /// The most that counted at a time beyond the limit, relative to the limit.
    most: f64,
    /// The bound at that time.
    bound: f64,
}

/// The requests that were allowed, as a limit counts them.
struct Judge {
    limit: u64,
    kept: u64,
    allowed: Vec<(u64, usize)>,
}

impl Judge {
    /// What counts beyond the limit after a request, and what may: what others have allowed while the last report waited
    /// and travelled, and what they keep.
    fn beyond(&self, now: u64, at: usize, age: u64) -> (u64, u64) {
        let (window, elapsed) = (now / PERIOD_MS, now % PERIOD_MS);
        let recent =
            || self.allowed.iter().rev().take_while(|(at, _)| at / PERIOD_MS + 1 >= window);
        let current = recent().filter(|(at, _)| at / PERIOD_MS == window).count() as u64;
        let before = recent().count() as u64 - current;
        let counts = current + (before * (PERIOD_MS - elapsed)).div_ceil(PERIOD_MS);
        let late = self.allowed.iter().rev().take_while(|(when, _)| when + age >= now);
        let unknown = late.filter(|(_, of)| *of != at).count() as u64;
        (counts.saturating_sub(self.limit), unknown + self.kept)
    }
}

fn overshoot(
    (locations, delay): (usize, u64),
    count: u32,
    traffic: Traffic,
    windows: u64,
) -> Result<Overshoot, Failure> {
    let limit = Limit::sliding(count, Duration::from_millis(PERIOD_MS))?;
    let one = Limiter::builder().capacity(1000).clock(ManualClock::at(START_MS)).build()?;
    let mut world = World::new(locations, delay, 1000)?;
    let mut random = Random::new(u64::from(count) ^ delay << 32 ^ (locations as u64) << 48);
    let kept = u64::from((count / 20 / u32::try_from(locations)?).max(1) - 1);
    let mut judge =
        Judge { limit: count.into(), kept: kept * (locations as u64 - 1), allowed: Vec::new() };
    let factor = match traffic {
        Traffic::Steady => 2.0,
        Traffic::Bursty => 10.0,
    };
    let mean_ms = PERIOD_MS as f64 / (f64::from(count) * factor);
    let (mut next, mut exact, mut result) = (0.0, 0_u64, (0_u64, 0_u64));
    for ms in 0..windows * PERIOD_MS {
        let now = START_MS + ms;
        world.step(now)?;
        while next <= ms as f64 {
            next += exponential(&mut random, mean_ms);
            if matches!(traffic, Traffic::Bursty) && ms % 5000 >= 1000 {
                continue;
            }
            let at = usize::try_from(random.between(0, locations as u64))?;
            let request = Request::new("n", "k", limit);
            exact += u64::from(one.check_at(now, &request).allowed);
            let shared = Request::new("n", "k", limit.global(true)?);
            if !world.limiters[at].check_at(now, &shared).allowed {
                continue;
            }
            judge.allowed.push((now, at));
            let (beyond, bound) = judge.beyond(now, at, delay + REPORT_MS);
            if beyond > bound {
                return Err(format!("{beyond} beyond the limit, and the bound is {bound}").into());
            }
            result = result.max((beyond, bound));
        }
    }
    let share = |number: u64| number as f64 / f64::from(count);
    let mean = judge.allowed.len() as f64 / exact as f64 - 1.0;
    Ok(Overshoot { mean, most: share(result.0), bound: share(result.1) })
}

fn print_overshoot(windows: u64) -> Result<(), Failure> {
    println!(
        "Overshoot, of {windows} windows of {} s: mean / most at a time / its bound, of the limit",
        PERIOD_MS / 1000
    );
    println!();
    println!(
        "| locations | one way | limit | steady, 2 x the limit | bursty: 1 s of 5 at 10 x the limit |"
    );
    println!("|---|---|---|---|---|");
    for locations in [3, 10] {
        for delay in [1, 20, 80] {
            for count in [100, 1000] {
                let cell = |traffic| -> Result<String, Failure> {
                    let it = overshoot((locations, delay), count, traffic, windows)?;
                    let [mean, most, bound] = [it.mean, it.most, it.bound].map(|it| it * 100.0);
                    Ok(format!("{mean:+.2} % / {most:.1} % / {bound:.1} %"))
                };
                let (steady, bursty) = (cell(Traffic::Steady)?, cell(Traffic::Bursty)?);
                println!("| {locations} | {delay} ms | {count} | {steady} | {bursty} |");
            }
        }
    }
    println!();
    Ok(())
}

/// The bytes of reports, with so many keys at 0.1 requests a second each at one of three locations.
fn print_bytes(keys: u32) -> Result<(), Failure> {
    const SECONDS: u64 = 20;
    let mut world = World::new(3, 20, 40 * keys as usize)?;
    let limit = Limit::sliding(100, MINUTE)?.global(true)?;
    let mut random = Random::new(1);
    let mut due = 0.0;
    for ms in 0..SECONDS * 1000 {
        let now = START_MS + ms;
        world.step(now)?;
        due += f64::from(keys) / 10_000.0;
        while due >= 1.0 {
            due -= 1.0;
            let key = random.between(0, u64::from(keys)).to_be_bytes();
            let at = usize::try_from(random.between(0, 3))?;
            if !world.limiters[at].check_at(now, &Request::new("n", &key, limit)).allowed {
                return Err("a key is over its limit".into());
            }
        }
    }
    let per_second = |bytes: u64| bytes as f64 / SECONDS as f64;
    println!(
        "{keys} keys at 0.1 requests a second, 3 locations: {:.0} KB/s and {:.0} messages a second on all links together",
        per_second(world.bytes) / 1000.0,
        per_second(world.messages)
    );
    let before = (world.bytes, world.messages);
    for ms in SECONDS * 1000..SECONDS * 2000 {
        world.step(START_MS + ms)?;
        if ms == SECONDS * 1000 + 2000 {
            world.bytes = before.0;
        }
    }
    println!("idle: {} bytes", world.bytes - before.0);
    if world.bytes > before.0 {
        return Err("an idle location sends something".into());
    }
    println!();
    Ok(())
}

/// The cost of a check of a global limit, and of one of a location.
fn compare_checks(rounds: u64) -> Result<(), Failure> {
    const CHECKS: u64 = 1_000_000;
    for keys in [1_u64, 1_000_000] {
        let build = || -> Result<Limiter, ratelimit::BuildError> {
            Limiter::builder().memory_bytes(768 << 20).global(SECRET).build()
        };
        let local = Limit::sliding(2_000_000, MINUTE)?;
        let side = |name: &str, limit: Limit| -> Result<Side<'_>, Failure> {
            let limiter = build()?;
            for key in 0..keys {
                let _first = limiter.check(&Request::new("n", &key.to_be_bytes(), limit));
            }
            Ok(Side::new(name, move |round| -> Result<Sample, Failure> {
                let mut random = Random::new(round);
                // A hot key of its own for each round, so that the limit is never reached.
                let first = if keys == 1 { round << 32 } else { 0 };
                let key = |_| (first + random.between(0, keys)).to_be_bytes();
                let keys: Vec<[u8; 8]> = (0..CHECKS).map(key).collect();
                let watch = waypost_benches::meter::Stopwatch::own()?;
                let allowed = keys
                    .iter()
                    .filter(|key| limiter.check(&Request::new("n", *key, limit)).allowed);
                let allowed = allowed.count() as u64;
                let sample = Sample { operations: CHECKS, cpu: watch.cpu()?, wall: watch.wall() };
                let _reported = limiter.global_changes(3);
                if allowed == CHECKS { Ok(sample) } else { Err("a check was denied".into()) }
            }))
        };
        let sides = vec![side("local", local)?, side("global", local.global(true)?)?];
        let rounds = alternate(rounds, sides)?;
        rounds.print(&format!("A check, {keys} keys"), &[CPU, WALL]);
        rounds.compare(1, 0, CPU, Target::AtMost(1.3));
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    print_overshoot(arguments.windows)?;
    print_bytes(arguments.keys)?;
    compare_checks(arguments.rounds)
}
