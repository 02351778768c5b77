//! The requests that each algorithm admits, compared with an exact log; as a table and a chart.
//! Fails if an algorithm exceeds its bound.

use std::{env, fs, path::PathBuf, time::Duration};

use clap::Parser;
use ratelimit::{Limit, Limiter, ManualClock, Request};
use waypost_benches::{
    Failure,
    accuracy::{
        chart::{Axis, Chart, Panel, Point},
        log::{ExactLog, most_within},
        rates::Rates,
        traffic::{self, Span, Traffic},
    },
};

/// The requests that each algorithm admits, compared with an exact log. The same in every run.
#[derive(Parser)]
struct Arguments {
    /// Number of requests allowed in a period of 60 s; at least 10.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..))]
    limit: u32,
    /// Number of windows to observe.
    #[arg(long, default_value_t = 3000)]
    windows: u64,
    /// Path of the chart; beside the program by default.
    #[arg(long)]
    svg: Option<PathBuf>,
}

const PERIOD_MS: u64 = 60_000;
/// 2026-01-01, the start of a window.
const START_MS: u64 = 1_767_225_600_000;
/// The number of windows in the chart.
const SHOWN: u64 = 6;
/// The intervals for which the bounds are checked, in milliseconds.
const INTERVALS: [u64; 6] = [1, 600, 6_000, 15_000, 30_000, PERIOD_MS];

/// An algorithm, and what it may admit in any interval up to a period.
struct Contender {
    name: &'static str,
    limit: Limit,
    /// The number of requests that may pass at once, and whether the limit is added to it over a
    /// period.
    at_once: u32,
    refills: bool,
}

impl Contender {
    fn all(count: u32) -> Result<[Contender; 4], Failure> {
        let period = Duration::from_millis(PERIOD_MS);
        let tenth = count / 10;
        Ok([
            Contender {
                name: "fixed window",
                limit: Limit::fixed(count, period)?,
                at_once: 2 * count,
                refills: false,
            },
            Contender {
                name: "sliding window",
                limit: Limit::sliding(count, period)?,
                at_once: count,
                refills: true,
            },
            Contender {
                name: "GCRA, burst L",
                limit: Limit::gcra(count, count, period)?,
                at_once: count,
                refills: true,
            },
            Contender {
                name: "GCRA, burst L/10",
                limit: Limit::gcra(count, tenth, period)?,
                at_once: tenth,
                refills: true,
            },
        ])
    }

    /// The greatest number of requests in any interval `[t, t + interval_ms)`. The last one is at
    /// most `interval_ms - 1` later than the first.
    fn bound(&self, interval_ms: u64) -> u64 {
        let count = u64::from(self.limit.count());
        let refilled = if self.refills { count * (interval_ms - 1) / PERIOD_MS } else { 0 };
        u64::from(self.at_once) + refilled
    }

    /// The requests of one key that it admits.
    fn admitted(&self, times: &[u64]) -> Result<Vec<u64>, Failure> {
        let clock = ManualClock::at(START_MS);
        let limiter =
            Limiter::builder().capacity(1).secret([0; 16]).clock(clock.clone()).build()?;
        let request = Request::new("accuracy", "key", self.limit);
        let is_admitted = |time: &u64| {
            clock.set(*time);
            limiter.check(&request).allowed
        };
        Ok(times.iter().copied().filter(is_admitted).collect())
    }
}

/// The result of one kind of traffic.
struct Outcome {
    offered: u64,
    /// The number of requests that the exact log admits.
    exact: u64,
    /// For each algorithm, how many it admits, and the most in each of [`INTERVALS`].
    admitted: [u64; 4],
    most: [[u64; INTERVALS.len()]; 4],
    panel: Panel,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let limit = arguments.limit;
    let contenders = Contender::all(limit)?;
    let span = Span { limit, period_ms: PERIOD_MS, start_ms: START_MS, windows: arguments.windows };
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    println!("{limit} requests in 60 s: admitted against an exact log / most in any 60 s\n");
    println!("| traffic | requests | {} |\n|---|{}", names.join(" | "), "---|".repeat(5));
    let mut panels = Vec::new();
    let mut most = [[0; INTERVALS.len()]; 4];
    for traffic in traffic::ALL {
        let outcome = judge(traffic, span, &contenders)?;
        print_row(traffic, &outcome);
        for (most, in_this) in most.iter_mut().flatten().zip(outcome.most.iter().flatten()) {
            *most = (*most).max(*in_this);
        }
        panels.push(outcome.panel);
    }
    let path = match arguments.svg {
        Some(path) => path,
        None => env::current_exe()?.with_file_name("accuracy.svg"),
    };
    fs::write(&path, chart(limit, &names, panels).to_string())?;
    let holds = print_bounds(&contenders, &most);
    println!("\nThe chart is {}.", path.display());
    if holds { Ok(()) } else { Err("an algorithm admits more than its bound".into()) }
}

fn judge(traffic: Traffic, span: Span, contenders: &[Contender; 4]) -> Result<Outcome, Failure> {
    let (mut offered, mut exact) = (0, 0);
    let mut admitted = [0; 4];
    let mut most = [[0; INTERVALS.len()]; 4];
    let mut rates = Rates::new(traffic, span);
    let mut panel = None;
    for key in 0..traffic.keys() {
        let times = traffic.times(key, span);
        let mut log = ExactLog::new(span.limit, span.period_ms);
        let mut lines = vec![times.iter().copied().filter(|time| log.check(*time)).collect()];
        for contender in contenders {
            lines.push(contender.admitted(&times)?);
        }
        offered += times.len() as u64;
        exact += lines[0].len() as u64;
        for (n, line) in lines[1..].iter().enumerate() {
            admitted[n] += line.len() as u64;
            for (most, interval) in most[n].iter_mut().zip(INTERVALS) {
                *most = (*most).max(most_within(line, interval) as u64);
            }
        }
        rates.add(times.len(), &lines);
        panel = Some(lines);
    }
    let panel = match panel {
        Some(lines) if traffic.keys() == 1 => over_time(traffic, span, &lines),
        _ => rates.panel(traffic),
    };
    Ok(Outcome { offered, exact, admitted, most, panel })
}

fn print_row(traffic: Traffic, outcome: &Outcome) {
    print!("| {} | {} |", traffic.name(), outcome.offered);
    for (admitted, most) in outcome.admitted.iter().zip(&outcome.most) {
        let net = net_percent(*admitted, outcome.exact);
        let digits = if net.abs() < 10.0 { 2 } else { 0 };
        print!(" {net:+.digits$} % / {} |", most[INTERVALS.len() - 1]);
    }
    println!();
}

fn net_percent(admitted: u64, exact: u64) -> f64 {
    100.0 * (admitted as f64 / exact as f64 - 1.0)
}

/// Prints the most that any traffic got in intervals of each length. Returns whether the bounds
/// hold.
fn print_bounds(contenders: &[Contender; 4], most: &[[u64; INTERVALS.len()]; 4]) -> bool {
    let intervals = INTERVALS.map(|ms| format!("{} s", ms as f64 / 1e3));
    println!("\nMost in any interval of a length, of all traffic / bound\n");
    println!("| | {} |\n|---|{}", intervals.join(" | "), "---|".repeat(INTERVALS.len()));
    let mut all_hold = true;
    for (contender, most) in contenders.iter().zip(most) {
        print!("| {} |", contender.name);
        for (most, interval) in most.iter().zip(INTERVALS) {
            let bound = contender.bound(interval);
            let verdict = if *most <= bound { "" } else { " BROKEN" };
            all_hold &= *most <= bound;
            print!(" {most} / {bound}{verdict} |");
        }
        println!();
    }
    all_hold
}

fn chart(limit: u32, names: &[&str], panels: Vec<Panel>) -> Chart {
    let title = format!(
        "Limit L = {limit} requests in 60 s: what was admitted in the last 60 s, over time"
    );
    let names = ["exact log"].iter().chain(names).map(|name| (*name).to_owned()).collect();
    Chart { title, names, panels }
}

/// The number of requests that were admitted in the period before each moment of the first windows.
fn over_time(traffic: Traffic, span: Span, lines: &[Vec<u64>]) -> Panel {
    const STEP_MS: usize = 500;
    let end = SHOWN * PERIOD_MS;
    let held = |line: &Vec<u64>| -> Vec<Point> {
        let up_to = |time: u64| line.partition_point(|&admitted| admitted <= time);
        let at = |after: u64| {
            let time = span.start_ms + after;
            let held = up_to(time) - up_to(time - span.period_ms);
            (after as f64 / PERIOD_MS as f64, held as f64)
        };
        (0..=end).step_by(STEP_MS).map(at).collect()
    };
    let limit = f64::from(span.limit);
    Panel {
        title: traffic.name(),
        lines: lines.iter().map(held).collect(),
        across: Axis {
            from: 0.0,
            to: SHOWN as f64,
            marks: (0..=SHOWN).map(|n| (n as f64, format!("{n} min"))).collect(),
        },
        up: Axis {
            from: 0.0,
            to: 2.1 * limit,
            marks: vec![(0.0, "0".into()), (limit, "L".into()), (2.0 * limit, "2L".into())],
        },
        is_stepped: true,
    }
}
