//! Garbage collection of tombstones while callers put: their puts a second, compared with those without it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clap::Parser;
use kv_core::{NamespaceId, Observer, Options, Store};
use waypost_benches::{
    Failure, Scratch,
    data::{self, Random},
    fill, meter,
    meter::Stopwatch,
    rounds::{CPU, RATE, Rounds, Sample, Target},
};

/// Garbage collection of tombstones while callers put.
#[derive(Parser)]
struct Arguments {
    /// The number of tombstones.
    #[arg(long, default_value_t = 1_000_000)]
    tombstones: usize,
    /// The number of keys that are put over.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Length of the values in bytes.
    #[arg(long, default_value_t = 1024)]
    value: usize,
    /// The number of callers; with 0, garbage collection runs alone.
    #[arg(long, default_value_t = 50)]
    callers: usize,
    /// Cache in MiB.
    #[arg(long, default_value_t = 64)]
    cache: usize,
    /// Length of a round in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The most rounds of each side.
    #[arg(long, default_value_t = 40)]
    rounds: u64,
    /// The directory for the files; beside the program by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Counts what was collected.
#[derive(Default)]
struct Collected(AtomicUsize);

impl Observer for Collected {
    fn collected(&self, rows: usize) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let scratch = Scratch::new(arguments.dir.clone())?;
    let collected = Arc::new(Collected::default());
    let path = scratch.join("store");
    let options = Options::new().cache_bytes(arguments.cache << 20).observer(collected.clone());
    // A store that may have peers keeps its tombstones until these have them.
    let without = options.clone().replicated(true);
    let store = without.clone().open(&path)?;
    let deleted = store.create_namespace("deleted")?.id;
    let kept = store.create_namespace("kept")?.id;
    fill::delete_all(&store, deleted, arguments.tombstones as u64)?;
    fill::put_all(&store, kept, arguments.keys, arguments.value)?;
    store.close()?;
    drop(store);

    let lasting = Duration::from_secs_f64(arguments.seconds);
    let (mut samples, mut took) = ([Vec::new(), Vec::new()], Duration::ZERO);
    let (load, mut before) = (meter::load(), 0);
    for round in 0..arguments.rounds {
        for (side, options) in [(0, &without), (1, &options)] {
            if side == 0 && arguments.callers == 0 {
                continue;
            }
            let store = options.clone().open(&path)?;
            let sample = put_for(&store, (kept, round), &arguments, lasting)?;
            store.close()?;
            samples[side].push(sample);
            if side == 1 && collected.0.load(Ordering::Relaxed) > before {
                took += sample.wall;
            }
        }
        // Until a round finds nothing more.
        let after = collected.0.load(Ordering::Relaxed);
        if after == before {
            break;
        }
        before = after;
    }
    println!(
        "{before} rows of {} tombstones collected in {:.0} s, to {:.0} s exactly",
        arguments.tombstones,
        took.as_secs_f64(),
        arguments.seconds,
    );
    if arguments.callers > 0 {
        report(samples, load, &arguments);
    }
    Ok(())
}

/// Prints the rates of both sides, without the last round, in which garbage collection may have ended.
fn report(mut samples: [Vec<Sample>; 2], load: String, arguments: &Arguments) {
    if samples[0].len() > 1 {
        samples.iter_mut().for_each(|side| side.truncate(side.len() - 1));
    }
    let names = ["without garbage collection".into(), "with garbage collection".into()];
    let rounds = Rounds::of(names.into(), samples.into(), [load, meter::load()]);
    let Arguments { callers, value, keys, .. } = *arguments;
    rounds.print(
        &format!("durable put of {value} B over one of {keys} keys, {callers} callers"),
        &[CPU, RATE],
    );
    rounds.compare(1, 0, RATE, Target::AtLeast(0.8));
}

/// Puts from several callers for a time.
fn put_for(
    store: &Store,
    (namespace, round): (NamespaceId, u64),
    arguments: &Arguments,
    lasting: Duration,
) -> Result<Sample, Failure> {
    let watch = Stopwatch::own()?;
    if arguments.callers == 0 {
        std::thread::sleep(lasting);
    }
    let operations = std::thread::scope(|scope| {
        let caller = |caller: usize| {
            scope.spawn(move || -> Result<u64, Failure> {
                let mut random = Random::new(round << 20 | caller as u64);
                let mut value = data::value(round, arguments.value);
                let mut done: u64 = 0;
                while watch.wall() < lasting {
                    value[..8].copy_from_slice(&random.next().to_be_bytes());
                    let key = data::key(random.between(0, arguments.keys));
                    store.put(namespace, key, value.clone())?;
                    done += 1;
                }
                Ok(done)
            })
        };
        let callers: Vec<_> = (0..arguments.callers).map(caller).collect();
        let done = callers.into_iter().map(|caller| caller.join().map_err(|_panic| "a panic")?);
        done.sum::<Result<u64, Failure>>()
    })?;
    Ok(Sample { operations, cpu: watch.cpu()?, wall: watch.wall() })
}
