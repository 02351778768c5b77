//! The cost of replication between real servers.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};
use waypost_benches::{
    Failure, Scratch,
    replicate::{bootstrap, catchup, large, latency, quiet, sustained, turnover, verify},
};

/// The cost of replication between real servers, over QUIC on loopback, partly through a proxy that
/// delays packets.
#[derive(Parser)]
struct Arguments {
    /// The measurements to run.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "delayed,loopback,sustained,bootstrap,large,dead,idle"
    )]
    only: Vec<Part>,
    /// Rounds of each side, in measurements with two sides.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Number of writes whose delays are measured.
    #[arg(long, default_value_t = 500)]
    writes: u64,
    /// One-way delay in milliseconds, in measurements with a delay.
    #[arg(long, default_value_t = 50)]
    delay: u64,
    /// Seconds of a round of sustained writes.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Number of entries that a joining member receives, or that are verified.
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Number of values that a location catches up with over a narrow link.
    #[arg(long, default_value_t = 100_000)]
    values: u64,
    /// Mbit/s of that link.
    #[arg(long, default_value_t = 100)]
    megabits: u64,
    /// Percentages of packets that it loses at random.
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    losses: Vec<f64>,
    /// Seconds of writes while a peer is dead.
    #[arg(long, default_value_t = 60)]
    dead: u64,
    /// Seconds for which an idle link is observed.
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Numbers of locations at which `links` measures.
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10,20")]
    locations: Vec<usize>,
    /// Writes a second of all locations together in `links`; 0 for idle ones only.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Number of members that come and go in `turnover`.
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Delayed,
    Loopback,
    Sustained,
    Bootstrap,
    Large,
    Dead,
    Idle,
    Links,
    Turnover,
    Catchup,
    Rewritten,
    Verify,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let delay = Duration::from_millis(arguments.delay);
    for part in &arguments.only {
        // Each part removes its files when it ends: a bootstrap leaves gigabytes.
        let scratch = Scratch::new(arguments.dir.clone())?;
        let at = scratch.join("cluster");
        match part {
            Part::Delayed => latency::delayed(&at, delay, arguments.writes)?,
            Part::Loopback => latency::loopback(&at, arguments.rounds, arguments.writes)?,
            Part::Sustained => {
                sustained::run(&at, arguments.rounds, Duration::from_secs(arguments.seconds))?;
            }
            Part::Bootstrap => bootstrap::run(&at, arguments.entries)?,
            Part::Large => large::run(&at, delay, 100, arguments.writes)?,
            Part::Dead => quiet::dead(&at, Duration::from_secs(arguments.dead))?,
            Part::Links => {
                let lasting = Duration::from_secs(arguments.idle);
                quiet::links(&at, &arguments.locations, lasting, arguments.rate)?;
            }
            Part::Catchup => {
                let link = (Duration::from_millis(100), arguments.megabits);
                catchup::bandwidth(&at, link, &arguments.losses, arguments.values)?;
            }
            Part::Rewritten => {
                let (delay, span) = (Duration::from_millis(100), Duration::from_secs(30));
                catchup::rewritten(&at.join("join"), delay)?;
                catchup::age(&at.join("age"), delay, span)?;
            }
            Part::Verify => verify::run(&at, arguments.entries)?,
            Part::Turnover => turnover::run(&at, arguments.members)?,
            Part::Idle => quiet::idle(&at, Duration::from_secs(arguments.idle))?,
        }
    }
    Ok(())
}
