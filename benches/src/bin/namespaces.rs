//! Stores with many namespaces: the cost of the last creation, of puts, of opening, and memory.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use kv_core::{NamespaceId, Options, Store};
use waypost_benches::{
    Failure, Scratch, data, meter,
    meter::Stopwatch,
    rounds::{CPU, Rounds, Sample, Side, Target, WALL, alternate},
};

/// Stores with many namespaces.
#[derive(Parser)]
struct Arguments {
    /// The number of namespaces.
    #[arg(long, default_value_t = 100_000)]
    namespaces: u64,
    /// Creations that are measured at a time.
    #[arg(long, default_value_t = 200)]
    creations: u64,
    /// Puts in a round.
    #[arg(long, default_value_t = 500)]
    puts: u64,
    /// Rounds of each side.
    #[arg(long, default_value_t = 7)]
    rounds: u64,
    /// Cache in MiB.
    #[arg(long, default_value_t = 64)]
    cache: usize,
    /// Directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let options = Options::new().cache_bytes(arguments.cache << 20);
    // Garbage collection of the dropped namespaces would be measured too.
    let options = options.gc_interval(Duration::MAX / 2);
    let few = options.clone().open(scratch.join("few"))?;
    let many = options.clone().open(scratch.join("many"))?;
    let before = meter::memory(std::process::id())?.anonymous;
    create_all(&many, arguments.namespaces)?;
    let after = meter::memory(std::process::id())?.anonymous;
    let each = after.saturating_sub(before) / arguments.namespaces.max(1);
    println!(
        "{} namespaces: {each} bytes of memory each, the engine's cache included",
        arguments.namespaces
    );

    let rounds = compare_creations(&few, &many, &arguments)?;
    rounds.print("creation of a namespace, one caller", &[CPU, WALL]);
    rounds.compare(1, 0, CPU, Target::AtMost(2.0));
    rounds.compare(1, 0, WALL, Target::AtMost(2.0));

    let rounds = compare_puts(&few, &many, &arguments)?;
    rounds.print("durable put of 100 B, one caller", &[CPU, WALL]);
    rounds.compare(1, 0, CPU, Target::Report);
    rounds.compare(1, 0, WALL, Target::Report);

    many.close()?;
    drop(many);
    let watch = Stopwatch::own()?;
    let many = options.clone().open(scratch.join("many"))?;
    let (wall, cpu) = (watch.wall(), watch.cpu()?);
    println!("\nopened in {wall:.2?}, with {cpu:.2?} of processor time");
    let count = many.namespaces().iter().count() as u64;
    if count < arguments.namespaces { Err(format!("it has {count}").into()) } else { Ok(()) }
}

/// Creates the namespaces, from several callers.
fn create_all(store: &Store, count: u64) -> Result<(), Failure> {
    const CALLERS: usize = 64;
    let watch = Stopwatch::own()?;
    std::thread::scope(|scope| {
        let caller = |caller: usize| {
            scope.spawn(move || -> Result<(), Failure> {
                for n in (caller as u64..count).step_by(CALLERS) {
                    store.create_namespace(&format!("namespace {n}"))?;
                }
                Ok(())
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        callers.into_iter().try_for_each(|one| one.join().map_err(|_panic| "a panic")?)
    })?;
    println!("created {count} namespaces in {:.1?}, from {CALLERS} callers", watch.wall());
    Ok(())
}

/// Creates some namespaces in a store with few and in one with many, and drops them again.
fn compare_creations(few: &Store, many: &Store, arguments: &Arguments) -> Result<Rounds, Failure> {
    let side = |name: String, store: &Store, round: u64| -> Result<Sample, Failure> {
        let mut made: Vec<NamespaceId> = Vec::new();
        let watch = Stopwatch::own()?;
        for n in 0..arguments.creations {
            made.push(store.create_namespace(&format!("{name} {round} {n}"))?.id);
        }
        let sample =
            Sample { operations: arguments.creations, cpu: watch.cpu()?, wall: watch.wall() };
        for id in made {
            store.drop_namespace(id)?;
        }
        Ok(sample)
    };
    alternate(
        arguments.rounds,
        vec![
            Side::new("few namespaces", |round| side("few".into(), few, round)),
            Side::new(format!("{} namespaces", arguments.namespaces), |round| {
                side("many".into(), many, round)
            }),
        ],
    )
}

/// Puts into a store with few namespaces and into one with many.
fn compare_puts(few: &Store, many: &Store, arguments: &Arguments) -> Result<Rounds, Failure> {
    let (of_few, of_many) = (few.namespace("put")?.id, many.namespace("put")?.id);
    let side = |store: &Store, namespace: NamespaceId, round: u64| -> Result<Sample, Failure> {
        let watch = Stopwatch::own()?;
        for n in 0..arguments.puts {
            store.put(namespace, data::key(n), data::value(round, 100))?;
        }
        Ok(Sample { operations: arguments.puts, cpu: watch.cpu()?, wall: watch.wall() })
    };
    alternate(
        arguments.rounds,
        vec![
            Side::new("few namespaces", |round| side(few, of_few, round)),
            Side::new(format!("{} namespaces", arguments.namespaces), |round| {
                side(many, of_many, round)
            }),
        ],
    )
}
