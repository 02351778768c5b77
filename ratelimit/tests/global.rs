//! Global limits: several locations in virtual time, with delays, partitions, joins, crashes and clean restarts. A failure
//! names its seed.
//!
//! The judge knows every request that was allowed. It holds two rules for each decision, whatever the network does:
//!
//! - What is allowed is within the limit, if what the location can't know is left out: what others have allowed after the
//!   last report that has arrived was made, and what each of them may keep below the threshold.
//! - What is denied exceeds the limit.

use std::collections::BTreeMap;
use std::time::Duration;

use ratelimit::{Algorithm, Limit, Limiter, ManualClock, Request, StateCursor};

const SECRET: [u8; 16] = [7; 16];
/// The start of a window of every period here.
const START_MS: u64 = 1_767_225_600_000;
/// How often a location reports.
const TICK_MS: u64 = 20;
const STEP_MS: u64 = 5;

/// A small generator of random numbers (splitmix64; Steele, Lea and Flood, 2014), so that a seed repeats a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("short")]
    }
}

/// What a location knows of each process: everything that it had allowed before this time.
type Known = BTreeMap<usize, u64>;

/// A piece under way.
struct Message {
    at: u64,
    to: usize,
    pieces: Vec<Vec<u8>>,
    known: Known,
}

struct Location {
    limiter: Limiter<ManualClock>,
    /// The number of its process.
    process: usize,
    known: Known,
}

/// A request that was allowed.
struct Allowed {
    at: u64,
    process: usize,
    key: u64,
    cost: u32,
}

struct World {
    random: Random,
    limit: Limit,
    delay: u64,
    /// What each process may keep below the threshold. There are never fewer locations than at the start.
    kept: u64,
    now: u64,
    locations: Vec<Location>,
    processes: usize,
    cut: Vec<(usize, usize)>,
    wire: Vec<Message>,
    allowed: Vec<Allowed>,
    counts: BTreeMap<&'static str, u64>,
}

fn limiter() -> Limiter<ManualClock> {
    let builder = Limiter::builder().capacity(4000).secret([3; 16]).global(SECRET);
    builder.clock(ManualClock::at(START_MS)).build().expect("the system has random bytes")
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let period = Duration::from_secs(random.pick(&[1, 1, 10, 10, 3600, 30 * 86_400]));
        let count = random.pick(&[1, 3, 20, 100, 1000]);
        let limit = match random.below(4) {
            0 => Limit::fixed(count, period),
            _ => Limit::sliding(count, period),
        };
        let limit = limit.and_then(|limit| limit.global(true)).expect("within bounds");
        let (delay, locations) = (random.pick(&[1, 20, 80]), random.pick(&[2, 3, 3, 10]));
        let mut world = World {
            random,
            limit,
            delay,
            kept: u64::from((count / 20 / locations).max(1) - 1),
            // Late in a window, so that long periods have a next one too.
            now: START_MS + limit.period_ms() * 3 - 2500.min(limit.period_ms()),
            locations: Vec::new(),
            processes: 0,
            cut: Vec::new(),
            wire: Vec::new(),
            allowed: Vec::new(),
            counts: BTreeMap::new(),
        };
        (0..locations).for_each(|_| world.join());
        world
    }

    fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_default() += 1;
    }

    fn start(&mut self) -> Location {
        self.processes += 1;
        Location { limiter: limiter(), process: self.processes, known: Known::new() }
    }

    fn join(&mut self) {
        let location = self.start();
        self.locations.push(location);
        self.link_all(self.locations.len() - 1);
    }

    /// Links one location with all that it is not cut off from.
    fn link_all(&mut self, one: usize) {
        for other in 0..self.locations.len() {
            self.send_state(one, other);
            self.send_state(other, one);
        }
    }

    fn is_linked(&self, from: usize, to: usize) -> bool {
        from != to && !self.cut.contains(&(from.min(to), from.max(to)))
    }

    /// A link has come up: one end sends everything.
    fn send_state(&mut self, from: usize, to: usize) {
        if !self.is_linked(from, to) {
            return;
        }
        let (mut cursor, mut pieces) = (StateCursor::default(), Vec::new());
        // The state is later than every change that was sent.
        self.report(from);
        while let Some(next) = self.locations[from].limiter.global_state(&mut cursor) {
            pieces.extend(next);
        }
        self.send(from, to, pieces);
    }

    fn send(&mut self, from: usize, to: usize, pieces: Vec<Vec<u8>>) {
        let mut known = self.locations[from].known.clone();
        known.insert(self.locations[from].process, self.now);
        let at = self.now + self.delay;
        self.wire.push(Message { at, to, pieces, known });
    }

    /// A location sends what has changed to all that it has a link to.
    fn report(&mut self, from: usize) {
        let count = u32::try_from(self.locations.len()).expect("few");
        let pieces = self.locations[from].limiter.global_changes_at(self.now, count);
        if pieces.is_empty() {
            self.count("nothing to send");
        }
        for to in
            (0..self.locations.len()).filter(|to| self.is_linked(from, *to)).collect::<Vec<_>>()
        {
            // Only what it has allowed itself is in these.
            let process = self.locations[from].process;
            let known = Known::from([(process, self.now)]);
            let at = self.now + self.delay;
            self.wire.push(Message { at, to, pieces: pieces.clone(), known });
        }
    }

    fn deliver(&mut self) {
        let (due, later) =
            std::mem::take(&mut self.wire).into_iter().partition(|it| it.at <= self.now);
        self.wire = later;
        let due: Vec<Message> = due;
        for Message { to, pieces, known, .. } in due {
            let location = &mut self.locations[to];
            for piece in pieces {
                location.limiter.merge_usage_at(self.now, &piece).expect("a piece as it was made");
            }
            for (process, at) in known {
                let held = location.known.entry(process).or_default();
                *held = at.max(*held);
            }
        }
    }

    /// What was allowed of a key, as the limit counts it now.
    fn total(&self, key: u64, counts: impl Fn(&Allowed) -> bool) -> u64 {
        let period = self.limit.period_ms();
        let (window, elapsed) = (self.now / period, self.now % period);
        let sum = |index: u64| -> u64 {
            let of = self.allowed.iter().filter(|it| it.key == key && it.at / period == index);
            of.filter(|it| counts(it)).map(|it| u64::from(it.cost)).sum()
        };
        match self.limit.algorithm() {
            Algorithm::Fixed => sum(window),
            _ => sum(window) + (sum(window - 1) * (period - elapsed)).div_ceil(period),
        }
    }

    fn request(&mut self, at: usize) {
        let key = self.random.below(2);
        let cost = if self.random.below(8) == 0 {
            1 + u32::try_from(self.random.below(5)).expect("small")
        } else {
            1
        };
        let name = key.to_le_bytes();
        let request = Request::new("n", &name, self.limit).cost(cost);
        let location = &self.locations[at];
        let (limit, process) = (u64::from(self.limit.count()), location.process);
        if self.random.below(20) == 0 {
            let _after = location.limiter.record_at(self.now, &request);
            self.allowed.push(Allowed { at: self.now, process, key, cost });
            return self.count("recorded");
        }
        let peeked = location.limiter.peek_at(self.now, &request).allowed;
        let is_allowed = location.limiter.check_at(self.now, &request).allowed;
        assert_eq!(peeked, is_allowed, "a peek decides as a check does");
        let all = self.total(key, |_| true);
        if !is_allowed {
            self.count("denied");
            assert!(all + u64::from(cost) > limit, "denied {cost} at {all} of {limit}");
            return;
        }
        let known = &location.known;
        let knows = |it: &Allowed| {
            it.process == process || known.get(&it.process).is_some_and(|until| it.at < *until)
        };
        let known_total = self.total(key, knows);
        let keeping = self.kept * (self.processes as u64 - 1);
        assert!(
            known_total + u64::from(cost) <= limit + keeping,
            "allowed {cost} at {known_total} of {limit}, of which others keep {keeping}"
        );
        self.allowed.push(Allowed { at: self.now, process, key, cost });
        self.count("allowed");
        if all + u64::from(cost) > limit {
            self.count("overshot");
        }
    }

    fn cut(&mut self) {
        let len = self.locations.len() as u64;
        let pair = |random: &mut Random| usize::try_from(random.below(len)).expect("few");
        let (one, other) = (pair(&mut self.random), pair(&mut self.random));
        let link = (one.min(other), one.max(other));
        if one == other {
            return;
        }
        if let Some(place) = self.cut.iter().position(|cut| *cut == link) {
            self.cut.remove(place);
            self.send_state(one, other);
            self.send_state(other, one);
            self.count("healed");
        } else {
            self.cut.push(link);
            // What is under way is lost, also to others: they lose it to a link that ends and begins again.
            self.wire.retain(|message| message.to != one && message.to != other);
            for end in [one, other] {
                (0..self.locations.len()).for_each(|from| self.send_state(from, end));
            }
            self.count("cut");
        }
    }

    /// A process ends and another begins: after a clean stop with what was known, after a crash with nothing.
    fn restart(&mut self, is_clean: bool) {
        let at = usize::try_from(self.random.below(self.locations.len() as u64)).expect("few");
        let mut new = self.start();
        self.wire.retain(|message| message.to != at);
        if is_clean {
            let (mut cursor, old) = (StateCursor::default(), &self.locations[at]);
            while let Some(pieces) = old.limiter.global_state(&mut cursor) {
                for piece in pieces {
                    new.limiter.merge_usage_at(self.now, &piece).expect("a piece as it was made");
                }
            }
            new.known = old.known.clone();
            new.known.insert(old.process, self.now);
        }
        self.locations[at] = new;
        self.link_all(at);
        self.count(if is_clean { "restarted" } else { "crashed" });
    }

    fn run(&mut self, steps: u64) {
        // Steady, or in bursts of 200 ms each second.
        let (is_bursty, rate) = (self.random.below(2) == 0, self.random.pick(&[1, 1, 4]));
        for _ in 0..steps {
            self.now += STEP_MS;
            self.deliver();
            if self.now.is_multiple_of(TICK_MS) {
                (0..self.locations.len()).for_each(|at| self.report(at));
            }
            match self.random.below(600) {
                0 | 1 => self.cut(),
                2 => self.restart(true),
                3 => self.restart(false),
                4 if self.locations.len() < 12 => self.join(),
                _ => {}
            }
            let is_on = !is_bursty || self.now % 1000 < 200;
            for _ in 0..if is_on { rate } else { 0 } {
                let at =
                    usize::try_from(self.random.below(self.locations.len() as u64)).expect("few");
                self.request(at);
            }
        }
    }
}

#[test]
fn no_location_allows_more_than_the_bound_or_denies_what_fits() {
    let seeds = std::env::var("WAYPOST_TEST_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..seeds.unwrap_or(60_u64) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        world.run(1500);
        for (event, count) in world.counts {
            *counts.entry(event).or_default() += count;
        }
    }
    println!("{counts:?}");
    for event in [
        "cut",
        "healed",
        "restarted",
        "crashed",
        "denied",
        "recorded",
        "overshot",
        "nothing to send",
    ] {
        assert!(counts.contains_key(event), "{event} never happens");
    }
}
