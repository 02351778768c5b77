//! The cost of convergence: tables from the simulator, in virtual time and on a network without
//! faults.

use clap::{Parser, ValueEnum};
use waypost_benches::{
    Failure,
    converge::{
        cut::{self, Day},
        full::{self, Load},
        missing,
    },
    meter,
};

/// The cost of convergence. Bytes, messages and virtual time are the same in every run.
#[derive(Parser)]
struct Arguments {
    /// The tables to print.
    #[arg(long, value_delimiter = ',', default_value = "idle,full,cut,missing")]
    tables: Vec<Table>,
    /// Numbers of locations. A hundred locations take some minutes, three hundred an hour with all rates.
    #[arg(long, value_delimiter = ',', default_value = "3,10,30")]
    locations: Vec<usize>,
    /// Virtual seconds for which an idle cluster is observed.
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// Writes per second of the full mesh, over all locations; 0 is one write alone.
    #[arg(long, value_delimiter = ',', default_value = "0,10,100,1000")]
    rates: Vec<u64>,
    /// Virtual milliseconds of each load of the full mesh. Where there are many locations, progress is sent seldom: a
    /// span of some seconds shows what it costs.
    #[arg(long, default_value_t = 2000)]
    span: u64,
    /// Number of writes of each location during the cut; a multiple of ten.
    #[arg(long, default_value_t = 20)]
    cut_writes: u64,
    /// Send all progress messages of the day instead of skipping its idle times.
    #[arg(long)]
    whole_day: bool,
    /// Sizes of the stores that catch up.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
    keys: Vec<u64>,
    /// Number of keys that they miss.
    #[arg(long, default_value_t = 1000)]
    missed: u64,
    /// Cache of each of these stores, in MiB.
    #[arg(long, default_value_t = 64)]
    cache: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    Idle,
    Full,
    Cut,
    Missing,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    println!("One way takes 50 ms, a sync 5 ms; load {}", meter::load());
    for table in &arguments.tables {
        match table {
            Table::Idle => full::idle(&arguments.locations, arguments.idle)?,
            Table::Full => full_mesh(&arguments)?,
            Table::Cut => cuts(&arguments)?,
            Table::Missing => missing_keys(&arguments)?,
        }
    }
    println!("\nload {}", meter::load());
    Ok(())
}

fn full_mesh(arguments: &Arguments) -> Result<(), Failure> {
    full::head();
    for places in arguments.locations.iter().copied() {
        for per_second in arguments.rates.iter().copied() {
            let writes =
                if per_second == 0 { 1 } else { (per_second * arguments.span / 1000).max(2) };
            full::loaded(places, Load { writes, per_second: per_second.max(1) })?;
        }
    }
    Ok(())
}

fn cuts(arguments: &Arguments) -> Result<(), Failure> {
    cut::head();
    let (writes, whole) = (arguments.cut_writes, arguments.whole_day);
    for places in arguments.locations.iter().copied() {
        // Backlogs that hold the day's writes, and backlogs that hold only the last ones.
        for backlog_bytes in [8 << 20, 4 << 10] {
            cut::healed(Day { places, writes, backlog_bytes, whole })?;
        }
    }
    Ok(())
}

fn missing_keys(arguments: &Arguments) -> Result<(), Failure> {
    missing::head();
    for backlog_bytes in [8 << 20, 16 << 10] {
        for keys in arguments.keys.iter().copied() {
            missing::caught_up(keys, arguments.missed, backlog_bytes, arguments.cache << 20)?;
        }
    }
    Ok(())
}
