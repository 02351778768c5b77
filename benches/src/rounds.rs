//! Sides that run in turns, and the results of their rounds.

use std::{fmt, time::Duration};

use crate::{Failure, meter};

/// The result of one round of one side.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The number of operations.
    pub operations: u64,
    /// The processor time that they took.
    pub cpu: Duration,
    /// The wall time that they took.
    pub wall: Duration,
}

impl Sample {
    /// The processor time of an operation, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations as f64
    }

    /// The wall time of an operation, in microseconds.
    #[must_use]
    pub fn wall_us(&self) -> f64 {
        self.wall.as_secs_f64() * 1e6 / self.operations as f64
    }

    /// Operations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.wall.as_secs_f64()
    }
}

/// One of the compared programs.
pub struct Side<'a> {
    name: String,
    run: Box<dyn FnMut(u64) -> Result<Sample, Failure> + 'a>,
}

impl<'a> Side<'a> {
    /// A side each of whose rounds is a call of `run`. The argument is the number of the round,
    /// which serves as a seed, so that all sides do the same work in a round.
    pub fn new(
        name: impl Into<String>,
        run: impl FnMut(u64) -> Result<Sample, Failure> + 'a,
    ) -> Side<'a> {
        Side { name: name.into(), run: Box::new(run) }
    }
}

/// The median and the range of some numbers.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = numbers.collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Spread { median: f64::NAN, min: f64::NAN, max: f64::NAN };
        };
        Spread { median: sorted[sorted.len() / 2], min: *min, max: *max }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median {
            median if median < 10.0 => 2,
            median if median < 1000.0 => 1,
            _ => 0,
        };
        let Spread { median, min, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$}..{max:.digits$})")
    }
}

/// The rounds of all sides.
pub struct Rounds {
    names: Vec<String>,
    /// The rounds of each side.
    samples: Vec<Vec<Sample>>,
    load: [String; 2],
}

/// Runs the sides in turns, A B A B: one round to warm up and then `rounds` rounds.
///
/// # Errors
/// The error of the first round that fails.
pub fn alternate(rounds: u64, sides: Vec<Side<'_>>) -> Result<Rounds, Failure> {
    let (names, mut runs): (Vec<_>, Vec<_>) =
        sides.into_iter().map(|side| (side.name, side.run)).unzip();
    let before = meter::load();
    let mut samples = vec![Vec::new(); names.len()];
    for round in 0..=rounds {
        for (run, samples) in runs.iter_mut().zip(&mut samples) {
            let sample = run(round)?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    Ok(Rounds { names, samples, load: [before, meter::load()] })
}

/// A figure of a sample, with its name.
pub type Figure = (&'static str, fn(&Sample) -> f64);

/// [`Sample::cpu_us`].
pub const CPU: Figure = ("CPU µs/op", Sample::cpu_us);
/// [`Sample::wall_us`].
pub const WALL: Figure = ("wall µs/op", Sample::wall_us);
/// [`Sample::rate`].
pub const RATE: Figure = ("op/s", Sample::rate);

/// The target of a ratio.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// No target.
    Report,
}

impl Rounds {
    /// Rounds that were run by other means than [`alternate`], by side, with the loads before and after.
    #[must_use]
    pub fn of(names: Vec<String>, samples: Vec<Vec<Sample>>, load: [String; 2]) -> Rounds {
        Rounds { names, samples, load }
    }

    /// Prints a table of the sides' figures: median (minimum..maximum) over the rounds.
    pub fn print(&self, title: &str, figures: &[Figure]) {
        let [before, after] = &self.load;
        println!(
            "\n{title}; {} rounds, load {before} before, {after} after\n",
            self.samples[0].len()
        );
        let names: Vec<_> = figures.iter().map(|(name, _)| *name).collect();
        println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
        for (name, samples) in self.names.iter().zip(&self.samples) {
            let cells = figures
                .iter()
                .map(|(_, figure)| Spread::of(samples.iter().map(figure)).to_string());
            println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        println!();
    }

    /// The side with the least median of a figure; the first of them if they are equal.
    #[must_use]
    pub fn least(&self, sides: &[usize], (_, figure): Figure) -> usize {
        let median = |side: usize| Spread::of(self.samples[side].iter().map(figure)).median;
        let least = sides.iter().copied().min_by(|&a, &b| median(a).total_cmp(&median(b)));
        least.unwrap_or_default()
    }

    /// Prints the ratio of two sides in a figure, and whether it meets the target.
    pub fn compare(&self, side: usize, with: usize, (what, figure): Figure, target: Target) {
        let pairs = self.samples[side].iter().zip(&self.samples[with]);
        let ratio = Spread::of(pairs.map(|(one, other)| figure(one) / figure(other)));
        let verdict = |is_met: bool| if is_met { "met" } else { "MISSED" };
        let target = match target {
            Target::AtMost(most) => format!(": at most {most}x {}", verdict(ratio.median <= most)),
            Target::AtLeast(least) => {
                format!(": at least {least}x {}", verdict(ratio.median >= least))
            }
            Target::Report => String::new(),
        };
        println!("{what}: {} / {} = {ratio}{target}", self.names[side], self.names[with]);
    }
}
